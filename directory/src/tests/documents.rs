//! What agents have.

use serde_json::json;

use super::desk;

#[test]
fn documents_are_as_permit_has_them() {
    let mut desk = desk();
    let user = json!({"email": "e@example.com", "first_name": "E", "last_name": "L",
        "attributes": {"age": 50, "email": "mine"},
        "role_assignments": [{"role": "viewer", "tenant": "t"}]});
    desk.ok("PUT", "users/e", user);
    let on = json!({"user": "e", "role": "editor", "resource_instance": "doc:x/1", "tenant": "t"});
    desk.ok("POST", "role_assignments", on);
    desk.ok("PATCH", "tenants/t", json!({"attributes": {"plan": "pro"}}));
    desk.ok("PATCH", "resource_instances/doc:x%2F1", json!({"attributes": {"private": true}}));
    let tuple = json!({"subject": "folder:f", "relation": "parent", "object": "doc:x/1"});
    desk.ok("POST", "relationship_tuples", tuple);
    for (place, key, expected) in [
        (
            "users",
            "e",
            json!({"roleAssignments": {"t": ["viewer"]},
                "attributes": {"age": 50, "email": "mine", "first_name": "E", "last_name": "L"}}),
        ),
        ("role_assignments", "user:e", json!({"__tenant:t": ["viewer"], "doc:x/1": ["editor"]})),
        ("tenants", "t", json!({"attributes": {"plan": "pro"}})),
        ("resource_instances", "doc:x/1", json!({"tenant": "t", "attributes": {"private": true}})),
        ("relationships", "doc:x/1", json!({"parent": {"folder": ["f"]}})),
    ] {
        assert_eq!(desk.data(place, key), expected, "{place}/{key}");
    }
}

#[test]
fn keys_with_anything_in_them_never_nest_and_come_back() {
    let mut desk = desk();
    for key in
        ["auth0|elon", "a%2fb", "a/b", "ä ö/ü~1", "~", "x~0", "a:b", "%", "..x", "\u{10FFFF}"]
    {
        let path = format!("users/{}", key.replace('/', "%2F"));
        let user = desk.ok("PUT", &path, json!({}));
        assert_eq!(user["key"], key);
        assert!(desk.data["users"].contains_key(key), "{key}");
        assert_eq!(desk.ok("GET", &path, json!(null)), user);
    }
    assert_eq!(desk.data, desk.told_anew().into_iter().collect());
}
