//! What becomes of things that are made, changed and deleted, and what is answered.

use serde_json::{Value, json};

use super::{Desk, desk};

#[test]
fn a_user_is_made_with_201_replaced_with_200_and_keeps_id_and_birthday() {
    let mut desk = Desk::default();
    let body = r#"{"key":"other","email":"elon@example.com","first_name":"Elon","last_name":null,
        "attributes":{"age":50,"big":12345678901234567890123},"unknown":[1]}"#;
    let (status, made) = desk.ask("PUT", "users/auth0|elon", body);
    assert_eq!(status, 201, "{made}");
    assert_eq!(made["key"], "auth0|elon", "the path's key counts");
    for id in ["id", "organization_id", "project_id", "environment_id"] {
        assert_eq!(made[id].as_str().unwrap().len(), 36, "{made}");
    }
    assert_eq!((&made["last_name"], &made["roles"]), (&Value::Null, &json!([])));
    let (status, again) = desk.ask("PUT", "users/auth0|elon", r#"{"attributes":{}}"#);
    assert_eq!((status, &again["id"]), (200, &made["id"]));
    assert_eq!(again["created_at"], made["created_at"]);
    assert_ne!(again["updated_at"], made["updated_at"]);
    assert_eq!(again["email"], Value::Null, "what is replaced is gone");
    assert_eq!(desk.ok("GET", "users/auth0|elon", Value::Null), again);
}

#[test]
fn numbers_of_attributes_stay_as_they_were_written() {
    let mut desk = Desk::default();
    desk.ok("PUT", "users/a", json!({}));
    desk.ask("PATCH", "users/a", r#"{"attributes":{"n":1.50,"big":12345678901234567890123}}"#);
    let row = &desk.kept.0["directory/users/a"];
    assert!(row.contains(r#""big":12345678901234567890123,"n":1.50"#), "{row}");
}

#[test]
fn a_patch_changes_what_it_names_and_null_names_nothing() {
    let mut desk = Desk::default();
    let user = json!({"email": "a@example.com", "first_name": "A", "attributes": {"x": 1, "y": 2}});
    desk.ok("PUT", "users/a", user);
    let patch = json!({"email": null, "first_name": "B", "attributes": {"x": 3}});
    let user = desk.ok("PATCH", "users/a", patch);
    assert_eq!((&user["email"], &user["first_name"]), (&json!("a@example.com"), &json!("B")));
    assert_eq!(user["attributes"], json!({"x": 3}), "a named member is replaced as a whole");
}

#[test]
fn what_is_there_already_or_is_not_is_told_in_permits_words() {
    let mut desk = desk();
    desk.ok("POST", "users/a/roles", json!({"role": "viewer", "tenant": "t"}));
    desk.ok("POST", "resource_instances", json!({"resource": "doc", "key": "1", "tenant": "t"}));
    let tuple = json!({"subject": "folder:1", "relation": "parent", "object": "doc:1"});
    desk.ok("POST", "relationship_tuples", tuple.clone());
    let role = |tenant: &str| json!({"user": "a", "role": "viewer", "tenant": tenant});
    let nobody = json!({"user": "nobody", "role": "viewer", "tenant": "t"});
    let on_instance = json!({"user": "a", "role": "viewer", "resource_instance": "doc:2"});
    for (method, path, body, status) in [
        ("POST", "users", json!({"key": "a"}), 409),
        ("POST", "tenants", json!({"key": "t", "name": "again"}), 409),
        ("POST", "resource_instances", json!({"resource": "doc", "key": "1", "tenant": "t"}), 409),
        ("POST", "role_assignments", role("t"), 409),
        ("POST", "relationship_tuples", tuple, 409),
        ("GET", "users/x", Value::Null, 404),
        ("PATCH", "users/x", json!({}), 404),
        ("DELETE", "users/x", Value::Null, 404),
        ("GET", "tenants/x", Value::Null, 404),
        ("PATCH", "tenants/x", json!({}), 404),
        ("DELETE", "tenants/x", Value::Null, 404),
        ("GET", "resource_instances/doc:2", Value::Null, 404),
        ("PATCH", "resource_instances/doc:2", json!({}), 404),
        ("DELETE", "resource_instances/doc:2", Value::Null, 404),
        ("POST", "role_assignments", nobody, 404),
        ("POST", "role_assignments", role("x"), 404),
        ("POST", "role_assignments", on_instance, 404),
        ("DELETE", "role_assignments", role("x"), 404),
        (
            "DELETE",
            "relationship_tuples",
            json!({"subject": "folder:2", "relation": "parent", "object": "doc:1"}),
            404,
        ),
        ("POST", "resource_instances", json!({"resource": "doc", "key": "2", "tenant": "x"}), 404),
        ("GET", "nothing", Value::Null, 404),
    ] {
        let before = desk.kept.0.clone();
        let (answered, answer) = desk.ask(method, path, &body.to_string());
        assert_eq!(answered, status, "{method} {path} {body}: {answer}");
        let code = if status == 404 { "NOT_FOUND" } else { "DUPLICATE_ENTITY" };
        if path != "nothing" {
            assert_eq!(answer["error_code"], code, "{method} {path}: {answer}");
            assert!(answer["message"].as_str().is_some_and(|it| !it.is_empty()), "{answer}");
        }
        assert_eq!(desk.kept.0, before, "{method} {path} changed something");
    }
}

#[test]
fn a_role_is_given_in_a_tenant_or_on_an_instance_and_taken_away_again() {
    let mut desk = desk();
    let given = desk.ok("POST", "users/a/roles", json!({"role": "viewer", "tenant": "t"}));
    assert_eq!((&given["user"], &given["tenant"]), (&json!("a"), &json!("t")));
    let on = json!({"user": "a", "role": "editor", "tenant": "t", "resource_instance": "doc:1"});
    let given = desk.ok("POST", "role_assignments", on.clone());
    assert_eq!(given["resource_instance"], "doc:1");
    for id in ["id", "user_id", "role_id", "tenant_id", "resource_instance_id"] {
        assert_eq!(given[id].as_str().unwrap().len(), 36, "{given}");
    }
    assert_eq!(desk.ok("GET", "resource_instances/doc:1", Value::Null)["tenant"], "t");
    let user = desk.ok("GET", "users/a", Value::Null);
    assert_eq!(user["roles"], json!([{"role": "viewer", "tenant": "t"}]));
    let tenants = json!([{"tenant": "t", "roles": ["viewer"], "status": "active"}]);
    assert_eq!(user["associated_tenants"], tenants);
    let gone = desk.ok("DELETE", "role_assignments?return_deleted=true", on.clone());
    assert_eq!(gone, given);
    assert_eq!(desk.ask("DELETE", "role_assignments", &on.to_string()).0, 404);
    let role = r#"{"role":"viewer","tenant":"t"}"#;
    assert_eq!(desk.ask("DELETE", "users/a/roles", role), (204, Value::Null));
    assert_eq!(desk.data("users", "a")["roleAssignments"], json!({}));
    assert_eq!(desk.data("role_assignments", "user:a"), json!({}));
}

#[test]
fn the_default_tenant_comes_to_be_when_it_is_first_named() {
    let mut desk = desk();
    assert_eq!(desk.ask("GET", "tenants/default", "").0, 404);
    desk.ok("POST", "users/a/roles", json!({"role": "viewer", "tenant": "default"}));
    assert_eq!(desk.ok("GET", "tenants/default", Value::Null)["name"], "Default Tenant");
    assert_eq!(desk.data("tenants", "default"), json!({"attributes": {}}));
}

#[test]
fn a_thing_that_goes_takes_along_what_it_was_in() {
    let mut desk = desk();
    desk.ok("POST", "tenants", json!({"key": "u"}));
    for (user, tenant) in [("a", "t"), ("b", "t"), ("b", "u")] {
        let role = json!({"user": user, "role": "viewer", "tenant": tenant});
        desk.ok("POST", "role_assignments", role);
    }
    for (subject, object) in [("folder:1", "doc:1"), ("doc:1", "page:1"), ("folder:2", "page:1")] {
        let tuple =
            json!({"subject": subject, "relation": "parent", "object": object, "tenant": "t"});
        desk.ok("POST", "relationship_tuples", tuple);
    }
    let on = json!({"user": "a", "role": "editor", "resource_instance": "doc:1"});
    desk.ok("POST", "role_assignments", on);

    assert_eq!(desk.ask("DELETE", "resource_instances/doc:1", "").0, 204);
    assert_eq!(desk.data("role_assignments", "user:a"), json!({"__tenant:t": ["viewer"]}));
    assert_eq!(desk.data("relationships", "doc:1"), Value::Null);
    assert_eq!(desk.data("relationships", "page:1"), json!({"parent": {"folder": ["2"]}}));

    assert_eq!(desk.ask("DELETE", "tenants/t", "").0, 204);
    assert_eq!(desk.data("role_assignments", "user:b"), json!({"__tenant:u": ["viewer"]}));
    assert_eq!(desk.data("users", "b")["roleAssignments"], json!({"u": ["viewer"]}));
    assert!(desk.data["resource_instances"].is_empty(), "{:?}", desk.data);
    assert_eq!(desk.data("tenants", "t"), Value::Null);

    for user in ["a", "b"] {
        assert_eq!(desk.ask("DELETE", &format!("users/{user}"), "").0, 204);
    }
    desk.ok("DELETE", "tenants/u", Value::Null);
    let empty = desk.data.iter().all(|(_, documents)| documents.is_empty());
    assert!(empty && desk.kept.0.is_empty(), "{:?} {:?}", desk.data, desk.kept.0);
}

#[test]
fn a_bulk_call_is_all_or_nothing_and_does_not_mind_what_is_so_already() {
    let mut desk = desk();
    let users: Vec<Value> = (0..1_000).map(|at| json!({"key": format!("u{at}")})).collect();
    assert_eq!(desk.ok("POST", "bulk/users", json!({"operations": users})), json!({}));
    assert_eq!(desk.told, 1_000);
    let (status, answer) =
        desk.ask("POST", "bulk/users", r#"{"operations":[{"key":"new"},{"key":"u5"}]}"#);
    assert_eq!(status, 409);
    assert!(answer["message"].as_str().unwrap().starts_with("operation 1: "), "{answer}");
    assert_eq!(desk.ask("GET", "users/new", "").0, 404);
    desk.ok("PUT", "bulk/users", json!({"operations": [{"key": "new"}, {"key": "u5"}]}));

    let role = |user: &str| json!({"user": user, "role": "viewer", "tenant": "t"});
    let roles = json!([role("u1"), role("u2"), role("u1")]);
    let made = desk.ok("POST", "role_assignments/bulk", roles.clone());
    assert_eq!(made, json!({"assignments_created": 2}));
    let gone = desk.ok("DELETE", "role_assignments/bulk", roles);
    assert_eq!(gone, json!({"assignments_removed": 2}));
    let (status, answer) = desk.ask("POST", "role_assignments/bulk", r#"[{"user":"u1"}]"#);
    assert_eq!((status, &answer["detail"][0]["loc"]), (422, &json!(["body", 0, "role"])));

    let tuple = json!({"subject": "a:1", "relation": "r", "object": "b:1", "tenant": "t"});
    let both = json!([tuple, tuple]);
    assert_eq!(desk.ok("POST", "relationship_tuples/bulk", json!({"operations": both})), json!({}));
    desk.ok("DELETE", "relationship_tuples/bulk", json!({"idents": both}));
    assert_eq!(desk.data("relationships", "b:1"), json!({}));

    let instances = json!([{"resource": "a", "key": "1", "tenant": "t", "attributes": {"x": 1}}]);
    desk.ok("PUT", "bulk/resource_instances", json!({"operations": instances}));
    assert_eq!(desk.data("resource_instances", "a:1")["attributes"], json!({"x": 1}));
    desk.ok("DELETE", "bulk/resource_instances", json!({"idents": ["a:1", "a:2"]}));
    desk.ok("POST", "bulk/tenants", json!({"operations": [{"key": "v", "name": "V"}]}));
    desk.ok("DELETE", "bulk/tenants", json!({"idents": ["v", "w"]}));
    let idents: Vec<String> = (0..1_000).map(|at| format!("u{at}")).collect();
    desk.ok("DELETE", "bulk/users", json!({"idents": idents}));
    assert_eq!(desk.data["users"].keys().collect::<Vec<_>>(), ["a", "b", "new"]);
}

#[test]
fn a_call_that_one_update_cannot_tell_is_refused_with_what_to_do() {
    let mut desk = desk();
    let users =
        (0..1_000).map(|at| json!({"key": format!("u{at}"), "attributes": {"x": "y".repeat(900)}}));
    let body = json!({"operations": users.collect::<Vec<_>>()});
    let (status, answer) = desk.ask("PUT", "bulk/users", &body.to_string());
    assert_eq!(status, 413);
    assert!(answer["detail"].as_str().unwrap().contains("fewer operations"), "{answer}");
}

#[test]
fn instances_of_different_tenants_are_not_related() {
    let mut desk = desk();
    desk.ok("POST", "tenants", json!({"key": "u"}));
    for (key, tenant) in [("1", "t"), ("2", "u")] {
        let instance = json!({"resource": "doc", "key": key, "tenant": tenant});
        desk.ok("POST", "resource_instances", instance);
    }
    let tuple = r#"{"subject":"doc:1","relation":"r","object":"doc:2"}"#;
    assert_eq!(desk.ask("POST", "relationship_tuples", tuple).0, 422);
    let moved = r#"{"operations":[{"resource":"doc","key":"1","tenant":"u"}]}"#;
    assert_eq!(desk.ask("PUT", "bulk/resource_instances", moved).0, 422);
}
