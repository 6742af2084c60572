# METADATA
# scope: package
# title: Roles and relationships
# description: |
#   What an agent decides by where the policy has no package `permit` of its own. Roles come from
#   `data.users`, `data.role_assignments` and `data.role_permissions`; an instance hands roles on
#   by `data.relationships` as `data.resource_types` says.
#
#   A node is a role on an instance, where a tenant is the instance `__tenant:<key>`. Whoever has
#   one of the nodes that an action on a resource asks for may do it; nobody else may.
package permit

import rego.v1

# === The four questions ===

root := {"allow": verdict(input)}

bulk := {"allow": [{"allow": verdict(check)} | some check in input.checks]}

user_permissions := {"permissions": {instance: shown(instance, roles) |
	some instance, roles in roles_of_user
}}

authorized_users.authorized_users := {
	"resource": concat(":", [input.resource.type, key_or_any]),
	"tenant": tenant_asked_for,
	"users": users,
}

# === May this user do this? ===

verdict(check) if allowed(check)

verdict(check) := false if not allowed(check)

allowed(check) if {
	some node in nodes_for(check.action, check.resource)
	has(check.user.key, node)
}

# The user has the role on the instance by an assignment, not because another role implies it.
has(user, node) if {
	roles := data.role_assignments[concat("", ["user:", user])][node.instance]
	is_array(roles)
	node.role in roles
}

has(user, node) if {
	node.type == "__tenant"
	roles := data.users[user].roleAssignments[trim_prefix(node.instance, "__tenant:")]
	is_array(roles)
	node.role in roles
}

# === Which nodes does an action on a resource ask for? ===

nodes_for(action, resource) := nodes if {
	tenant := tenant_of(resource)
	not elsewhere(resource, tenant)
	start := {node |
		instance := instance_of(resource)
		home(instance) == tenant
		some role
		permission := data.role_permissions[resource.type][role]
		grants(permission, resource.type, action)
		node := {"type": resource.type, "instance": instance, "role": role}
	}
	nodes := upwards(start, tenant) | {node |
		some role
		permission := data.role_permissions.__tenant[role]
		grants(permission, resource.type, action)
		node := {"type": "__tenant", "instance": concat(":", ["__tenant", tenant]), "role": role}
	}
}

grants(permission, type, action) if {
	actions := permission.grants[type]
	is_array(actions)
	some granted in actions
	granted in {action, "*"}
}

instance_of(resource) := concat(":", [resource.type, resource.key]) if not contains(resource.type, ":")

# Who names no tenant means that of the instance, or the one that everybody has from the start.
tenant_of(resource) := resource.tenant if is_string(resource.tenant)

tenant_of(resource) := home(instance_of(resource)) if not has_tenant(resource)

tenant_of(resource) := "default" if {
	not has_tenant(resource)
	not is_known(resource)
}

has_tenant(resource) if resource.tenant != null

# What is known to be another tenant's is nobody's business in this one.
elsewhere(resource, tenant) if {
	is_known(resource)
	not is_at_home(resource, tenant)
}

is_at_home(resource, tenant) if home(instance_of(resource)) == tenant

# True for any document, also for one that is `false`.
is_known(resource) if type_name(data.resource_instances[instance_of(resource)])

is_known(resource) if startswith(instance_of(resource), "__tenant:")

# The tenant that an instance belongs to.
home(instance) := trim_prefix(instance, "__tenant:") if startswith(instance, "__tenant:")

home(instance) := data.resource_instances[instance].tenant if not startswith(instance, "__tenant:")

# === What implies a role on an instance? ===

# Rego has no recursion; so ten relations in a row count, and what lies behind them does not.
upwards(start, tenant) := union({start, n1, n2, n3, n4, n5, n6, n7, n8, n9, n10}) if {
	n1 := above(start, tenant)
	n2 := above(n1, tenant)
	n3 := above(n2, tenant)
	n4 := above(n3, tenant)
	n5 := above(n4, tenant)
	n6 := above(n5, tenant)
	n7 := above(n6, tenant)
	n8 := above(n7, tenant)
	n9 := above(n8, tenant)
	n10 := above(n9, tenant)
}

above(nodes, tenant) := {up |
	some node in nodes
	rule := data.resource_types[node.type].derived_roles[node.role].rules[_]
	key := data.relationships[node.instance][rule.relation][rule.resource][_]
	up := {"type": rule.resource, "instance": concat(":", [rule.resource, key]), "role": rule.role}
	home(up.instance) == tenant
}

# === What may this user do? ===

roles_of_user[node.instance] contains node.role if {
	some node in downwards(assigned)
	is_wanted(node)
}

assigned contains {"type": "__tenant", "instance": concat(":", ["__tenant", tenant]), "tenant": tenant, "role": role} if {
	some tenant
	roles := data.users[input.user.key].roleAssignments[tenant]
	is_array(roles)
	some role in roles
}

assigned contains {"type": type, "instance": instance, "tenant": tenant, "role": role} if {
	some instance
	roles := data.role_assignments[concat("", ["user:", input.user.key])][instance]
	is_array(roles)
	some role in roles
	type := split(instance, ":")[0]
	tenant := home(instance)
}

downwards(start) := union({start, n1, n2, n3, n4, n5, n6, n7, n8, n9, n10}) if {
	n1 := below(start)
	n2 := below(n1)
	n3 := below(n2)
	n4 := below(n3)
	n5 := below(n4)
	n6 := below(n5)
	n7 := below(n6)
	n8 := below(n7)
	n9 := below(n8)
	n10 := below(n9)
}

below(nodes) := {down |
	instances := {node.instance | some node in nodes}
	count(instances) > 0
	some instance, relation, type
	key := data.relationships[instance][relation][type][_]
	subject := concat(":", [type, key])
	subject in instances
	some node in nodes
	node.instance == subject
	home(instance) == node.tenant
	own_type := split(instance, ":")[0]
	some role
	rule := data.resource_types[own_type].derived_roles[role].rules[_]
	[rule.resource, rule.role, rule.relation] == [node.type, node.role, relation]
	down := {"type": own_type, "instance": instance, "tenant": node.tenant, "role": role}
}

is_wanted(node) if {
	is_listed("tenants", node.tenant)
	is_listed("resource_types", node.type)
	is_listed("resources", node.instance)
}

is_listed(list, _) if object.get(input, list, null) == null

is_listed(list, name) if name in input[list]

shown(instance, roles) := {
	"tenant": {"key": key, "attributes": tenant_attributes(key)},
	"roles": roles,
	"permissions": permissions,
} if {
	startswith(instance, "__tenant:")
	key := trim_prefix(instance, "__tenant:")
	permissions := {permission |
		some role in roles
		some type
		actions := data.role_permissions.__tenant[role].grants[type]
		some permission in permissions_of(type, actions)
	}
}

shown(instance, roles) := {
	"resource": {"type": type, "key": key, "attributes": instance_attributes(instance)},
	"roles": roles,
	"permissions": permissions,
} if {
	not startswith(instance, "__tenant:")
	type := split(instance, ":")[0]
	key := trim_prefix(instance, concat("", [type, ":"]))
	permissions := {permission |
		some role in roles
		actions := data.role_permissions[type][role].grants[type]
		some permission in permissions_of(type, actions)
	}
}

# `*` is shown as what it stands for, too, as far as that is known.
permissions_of(type, actions) := {concat(":", [type, action]) | some action in actions} | {permission |
	"*" in actions
	action := data.resource_types[type].actions[_]
	permission := concat(":", [type, action])
} if {
	is_array(actions)
}

tenant_attributes(key) := attributes if {
	attributes := data.tenants[key].attributes
} else := {}

instance_attributes(instance) := attributes if {
	attributes := data.resource_instances[instance].attributes
} else := {}

# === Who may do this? ===

key_or_any := key if {
	key := input.resource.key
	is_string(key)
} else := "*"

users := {user: entries |
	nodes := nodes_for(input.action, input.resource)
	some user in everybody
	entries := {entry |
		some node in nodes
		has(user, node)
		entry := {"user": user, "tenant": tenant_asked_for, "resource": node.instance, "role": node.role}
	}
	count(entries) > 0
}

everybody := {user | data.users[user]} | {user |
	some subject
	data.role_assignments[subject]
	startswith(subject, "user:")
	user := trim_prefix(subject, "user:")
}

tenant_asked_for := tenant_of(input.resource)
