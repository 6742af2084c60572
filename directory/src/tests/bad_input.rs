//! Everything wrong is 422 with its place, and changes nothing.

use serde_json::{Value, json};

use super::desk;

#[test]
fn what_is_wrong_is_refused_with_its_place() {
    let mut desk = desk();
    let before = desk.kept.0.clone();
    let long = "x".repeat(257);
    let deep = format!(r#"{{"attributes":{}{}}}"#, "[".repeat(100), "]".repeat(100));
    let long_path = format!("users/{long}");
    let long_role = json!({"user": "a", "role": long, "tenant": "t"}).to_string();
    let many = json!({"idents": vec!["x"; 5_001]}).to_string();
    for (method, path, body, loc) in [
        ("POST", "users", "", json!(["body"])),
        ("POST", "users", "[]", json!(["body"])),
        ("POST", "users", r#"{"key":"#, json!(["body"])),
        ("POST", "users", "\u{feff}{}", json!(["body"])),
        ("POST", "users", "{}", json!(["body", "key"])),
        ("POST", "users", r#"{"key":null}"#, json!(["body", "key"])),
        ("POST", "users", r#"{"key":""}"#, json!(["body", "key"])),
        ("POST", "users", r#"{"key":7}"#, json!(["body", "key"])),
        ("POST", "users", r#"{"key":"a\nb"}"#, json!(["body", "key"])),
        ("POST", "users", r#"{"key":".."}"#, json!(["body", "key"])),
        ("PUT", "users/.", "{}", json!(["path", "key"])),
        ("PUT", &long_path, "{}", json!(["path", "key"])),
        ("PUT", "users/x", r#"{"email":"nobody"}"#, json!(["body", "email"])),
        ("PUT", "users/x", r#"{"email":"A <a@b.c>"}"#, json!(["body", "email"])),
        ("PUT", "users/x", r#"{"email":["a@b.c"]}"#, json!(["body", "email"])),
        ("PUT", "users/x", r#"{"first_name":7}"#, json!(["body", "first_name"])),
        ("PUT", "users/x", r#"{"attributes":[1]}"#, json!(["body", "attributes"])),
        ("PUT", "users/x", &deep, json!(["body"])),
        ("PUT", "users/x", r#"{"role_assignments":{}}"#, json!(["body", "role_assignments"])),
        (
            "PUT",
            "users/x",
            r#"{"role_assignments":[{"role":"r"}]}"#,
            json!(["body", "role_assignments", 0, "tenant"]),
        ),
        ("POST", "users/a/roles", r#"{"tenant":"t"}"#, json!(["body", "role"])),
        ("POST", "users/a/roles", r#"{"role":"r"}"#, json!(["body", "tenant"])),
        ("POST", "role_assignments", r#"{"role":"r","tenant":"t"}"#, json!(["body", "user"])),
        ("POST", "role_assignments", &long_role, json!(["body", "role"])),
        (
            "POST",
            "role_assignments",
            r#"{"user":"a","role":"r","resource_instance":"doc"}"#,
            json!(["body", "resource_instance"]),
        ),
        (
            "DELETE",
            "role_assignments?return_deleted=maybe",
            r#"{"user":"a","role":"r","tenant":"t"}"#,
            json!(["query", "return_deleted"]),
        ),
        ("POST", "role_assignments/bulk", "{}", json!(["body"])),
        ("POST", "role_assignments/bulk", "[7]", json!(["body", 0])),
        (
            "POST",
            "resource_instances",
            r#"{"resource":"a:b","key":"1"}"#,
            json!(["body", "resource"]),
        ),
        ("POST", "resource_instances", r#"{"resource":"a","key":"1"}"#, json!(["body", "tenant"])),
        ("GET", "resource_instances/doc", "", json!(["path", "instance"])),
        (
            "POST",
            "relationship_tuples",
            r#"{"relation":"r","object":"a:1"}"#,
            json!(["body", "subject"]),
        ),
        (
            "POST",
            "relationship_tuples",
            r#"{"subject":"user","relation":"r","object":"a:1"}"#,
            json!(["body", "subject"]),
        ),
        ("POST", "bulk/users", r#"{"operations":null}"#, json!(["body", "operations"])),
        ("PUT", "bulk/users", r#"{"operations":[{}]}"#, json!(["body", "operations", 0, "key"])),
        ("DELETE", "bulk/users", r#"{"idents":[1]}"#, json!(["body", "idents"])),
        ("DELETE", "bulk/users", r#"{"idents":["a","\u0000"]}"#, json!(["body", "idents", 1])),
        ("DELETE", "bulk/resource_instances", r#"{"idents":["a"]}"#, json!(["body", "idents", 0])),
        ("DELETE", "bulk/users", &many, json!(["body", "idents"])),
        ("GET", "users?page=0", "", json!(["query", "page"])),
        ("GET", "users?per_page=101", "", json!(["query", "per_page"])),
        ("GET", "users?per_page=x", "", json!(["query", "per_page"])),
        ("GET", "role_assignments?user=a&user=b", "", json!(["query", "user"])),
    ] {
        let (status, answer) = desk.ask(method, path, body);
        let shown: String = body.chars().take(80).collect();
        assert_eq!(
            (status, &answer["detail"][0]["loc"]),
            (422, &loc),
            "{method} {path} {shown}: {answer}"
        );
        assert!(answer["detail"][0]["msg"].as_str().is_some_and(|it| it.len() > 5), "{answer}");
        assert!(answer["detail"][0]["type"].is_string());
    }
    assert_eq!(desk.kept.0, before);
}

#[test]
fn another_method_is_told_which_there_are() {
    let mut desk = desk();
    for (method, path, words) in [
        ("PUT", "users", "use GET or POST"),
        ("POST", "users/a", "use GET or PUT or PATCH or DELETE"),
        ("GET", "bulk/users", "use POST or PUT or DELETE"),
        ("PATCH", "role_assignments/bulk", "use POST or DELETE"),
    ] {
        let (status, answer) = desk.ask(method, path, "{}");
        assert_eq!(status, 405, "{method} {path}");
        assert!(answer["detail"].as_str().unwrap().ends_with(words), "{answer}");
    }
    for path in ["", "users/a/b", "users/a/roles/x", "bulk", "bulk/roles"] {
        assert_eq!(desk.ask("GET", path, "").0, 404, "{path}");
    }
}

#[test]
fn a_refusal_repeats_no_attribute() {
    let mut desk = desk();
    for body in [r#"{"attributes":"s3cret"}"#, r#"{"email":{"a":"s3cret"}}"#, r#"{"a":"s3cret""#] {
        let (status, answer) = desk.ask("PUT", "users/a", body);
        assert_eq!(status, 422);
        assert!(!answer.to_string().contains("s3cret"), "{answer}");
    }
    assert_ne!(desk.ok("GET", "users/a", Value::Null), Value::Null);
}
