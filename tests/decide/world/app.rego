package app.api.v1

import data.roles

allow if roles.allow

path_allowed if {
	input.path = ["users", name]
	name == input.user
}

every_listed if every item in input.list { item > 0 }

walked := [path | walk(input.tree, [path, value]); is_number(value)]

headers := {lower(name): value | some name, value in input.headers}
