package rules

allow if input.x == 1

one := 1

two := one + 1

object := {"k": 1, "nested": {"list": [1, 2, {"deep": true}]}, "a b": "spaced", "a/b": "slashed"}

default fallback := 5

fallback := 6 if input.x == 6

default denied := false

denied if input.user.blocked

q.r.s := 4

q.r.t := 5 if input.x == 1

partial[name] := value if some name, value in {"a": 1, "b": [2], "c": {"d": 3}}

by_number[index] := name if some index, name in ["zero", "one", "two"]

called := data.apart.f(41)

chain := "first" if {
	input.x == 1
} else := "second" if {
	input.x == 2
} else := "third"

undefined if input.never == "anything"

uses_undefined := data.rules.undefined

whole_input := input

input_x := input.x

with_mock if allow with input as {"x": 1}

with_data := text if text := data.base.str with data.base.str as "mocked"

false_rule := false

null_rule := null
