# Who may do what, by roles that others include.
package roles

default allow := false

allow if {
	some role in reached
	permits(role)
}

allow if input.user in data.users.admins

reached contains role if some role in data.users.by_name[input.user].roles

reached contains role if {
	some held in data.users.by_name[input.user].roles
	some role in data.base.includes[held]
}

permits(role) if {
	some grant in data.base.grants[role]
	grant.action == input.action
	grant.type == input.type
}

reasons contains sprintf("%s may not %s", [input.user, input.action]) if not allow

everybody := {name | some name, _ in data.users.by_name}

counted := {role: n |
	some role, grants in data.base.grants
	n := count(grants)
}

longest := max([count(it.roles) | some it in data.users.by_name])
