package sets

numbers contains x if some x in [3, 1, 2, 2]

strings contains x if some x in ["b", "a", "ü", "B", ""]

mixed := {1, "1", true, null, [1], {"a": 1}, 1.5, {2}}

nested := {{1, 2}, {1}, set()}

empty := set()

of_input contains x if some x in input.list

objects contains {"id": id} if some id in numbers

intersection := {1, 2} & {2, 3}

union := {1, 2} | {2, 3}

difference := {1, 2} - {2}

as_keys := {x: count(x) | some x in ["a", "bb"]}

array := [x | some x in numbers]
