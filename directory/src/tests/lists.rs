//! Lists: their parts, and what they are limited to.

use serde_json::{Value, json};

use super::{Desk, desk};

/// Three users with roles, instances and tuples.
fn filled() -> Desk {
    let mut desk = desk();
    desk.ok("POST", "tenants", json!({"key": "u", "name": "Uranus"}));
    desk.ok("PUT", "users/c", json!({"email": "Carla@example.com"}));
    for (user, role, tenant, instance) in [
        ("a", "viewer", "t", Value::Null),
        ("a", "admin", "u", Value::Null),
        ("b", "viewer", "t", Value::Null),
        ("b", "editor", "t", json!("doc:1")),
        ("c", "editor", "u", json!("docs:2")),
    ] {
        let role =
            json!({"user": user, "role": role, "tenant": tenant, "resource_instance": instance});
        desk.ok("POST", "role_assignments", role);
    }
    for (subject, relation, object) in [
        ("folder:1", "parent", "doc:1"),
        ("team:1", "owner", "doc:1"),
        ("folder:1", "parent", "doc:3"),
    ] {
        let tuple =
            json!({"subject": subject, "relation": relation, "object": object, "tenant": "t"});
        desk.ok("POST", "relationship_tuples", tuple);
    }
    desk
}

#[test]
fn a_list_holds_what_its_filters_say() {
    let mut desk = filled();
    for (path, member, expected) in [
        ("users", "key", "a b c"),
        ("users?search=CARLA", "key", "c"),
        ("users?search=a", "key", "a c"),
        ("tenants/t/users", "key", "a b"),
        ("tenants/u/users", "key", "a"),
        ("tenants", "key", "t u"),
        ("tenants?search=ura", "key", "u"),
        ("role_assignments", "role", "viewer admin viewer editor editor"),
        ("role_assignments?user=a", "role", "viewer admin"),
        ("role_assignments?user=nobody", "role", ""),
        ("role_assignments?tenant=u", "user", "a c"),
        ("role_assignments?role=editor", "user", "b c"),
        ("role_assignments?resource_instance=doc:1", "user", "b"),
        ("role_assignments?resource=doc", "user", "b"),
        ("role_assignments?user=a&tenant=u&role=viewer", "role", ""),
        ("resource_instances", "key", "1 3 2 1 1"),
        ("resource_instances?resource=doc", "key", "1 3"),
        ("resource_instances?tenant=u", "key", "2"),
        ("relationship_tuples", "subject", "folder:1 team:1 folder:1"),
        ("relationship_tuples?object=doc:1", "subject", "folder:1 team:1"),
        ("relationship_tuples?subject=folder:1", "object", "doc:1 doc:3"),
        ("relationship_tuples?relation=owner", "subject", "team:1"),
        ("relationship_tuples?subject=folder:1&object=doc:3", "subject", "folder:1"),
    ] {
        let list = desk.ok("GET", path, Value::Null);
        let things = list.get("data").unwrap_or(&list).as_array().unwrap();
        let found: Vec<&str> = things.iter().map(|it| it[member].as_str().unwrap()).collect();
        assert_eq!(found.join(" "), expected, "{path}");
    }
}

#[test]
fn the_parts_of_a_list_are_the_list() {
    let mut desk = filled();
    for at in 0..1_200 {
        desk.ok("PUT", &format!("users/x{at:04}"), json!({}));
    }
    let mut keys = vec![];
    for page in 1.. {
        let list = desk.ok("GET", &format!("users?page={page}&per_page=100"), Value::Null);
        assert_eq!((&list["total_count"], &list["page_count"]), (&json!(1_203), &json!(13)));
        let data = list["data"].as_array().unwrap();
        keys.extend(data.iter().map(|it| it["key"].as_str().unwrap().to_owned()));
        if data.is_empty() {
            break;
        }
    }
    assert_eq!((keys.len(), keys.is_sorted()), (1_203, true));
    let second = desk.ok("GET", "role_assignments?page=2&per_page=2", Value::Null);
    assert_eq!(second.as_array().unwrap().len(), 2);
    let counted = "role_assignments?per_page=2&include_total_count=true";
    assert_eq!(desk.ok("GET", counted, Value::Null)["total_count"], 5);
}
