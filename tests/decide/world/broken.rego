# Rules that compile and have no one value for some inputs.
package broken

conflict := 1

conflict := 2 if input.conflict

function(x) := 1 if x > 0

function(x) := 2 if x > 1

ambiguous := function(input.x)

keyed[name] := 1 if some name in ["a", "b"]

keyed[name] := 2 if {
	input.conflict
	some name in ["b"]
}

divides := 1 / input.x

not_a_number := to_number(input.name)

mistyped := count(input.x)
