use super::*;

fn value(json: &str) -> Value {
    Value::from_json_str(json).unwrap()
}

fn patched(before: &str, base: &str, operations: &str) -> Result<Value, Refused> {
    let mut root = value(before);
    Patch::parse(operations)?.apply(&mut root, &segments(base)?)?;
    Ok(root)
}

#[test]
fn copies_of_copies_cannot_grow_without_bounds() {
    let mut root = Value::from_json_str(r#"{"a":{}}"#).unwrap();
    let patch = |text: &str, root: &mut Value| Patch::parse(text).unwrap().apply(root, &[]);
    let doubled = (0..).find_map(|n| {
        let copy = format!(r#"[{{"op":"copy","from":"/a","path":"/a/k{n}"}}]"#);
        patch(&copy, &mut root).err()
    });
    assert!(doubled.unwrap().contains("a copy may stand for at most"));

    let mut root = Value::from_json_str(r#"{"a":{}}"#).unwrap();
    let deeper = (0..).find_map(|n| {
        let path = "/a".repeat((1 << n) + 1);
        patch(&format!(r#"[{{"op":"copy","from":"/a","path":"{path}"}}]"#), &mut root).err()
    });
    assert!(deeper.unwrap().contains("more than 160 levels"));
    let deep = "/a".repeat(161);
    let add = format!(r#"[{{"op":"add","path":"{deep}","value":1}}]"#);
    assert!(patch(&add, &mut root).is_err());
}

#[test]
fn operations_do_what_rfc_6902_says() {
    for (before, operations, after) in [
        // The examples of its appendix A.
        (
            r#"{"foo":"bar"}"#,
            r#"[{"op":"add","path":"/baz","value":"qux"}]"#,
            r#"{"baz":"qux","foo":"bar"}"#,
        ),
        (
            r#"{"foo":["bar","baz"]}"#,
            r#"[{"op":"add","path":"/foo/1","value":"qux"}]"#,
            r#"{"foo":["bar","qux","baz"]}"#,
        ),
        (r#"{"baz":"qux","foo":"bar"}"#, r#"[{"op":"remove","path":"/baz"}]"#, r#"{"foo":"bar"}"#),
        (
            r#"{"foo":["bar","qux","baz"]}"#,
            r#"[{"op":"remove","path":"/foo/1"}]"#,
            r#"{"foo":["bar","baz"]}"#,
        ),
        (
            r#"{"baz":"qux","foo":"bar"}"#,
            r#"[{"op":"replace","path":"/baz","value":"boo"}]"#,
            r#"{"baz":"boo","foo":"bar"}"#,
        ),
        (
            r#"{"foo":{"bar":"baz","waldo":"fred"},"qux":{"corge":"grault"}}"#,
            r#"[{"op":"move","from":"/foo/waldo","path":"/qux/thud"}]"#,
            r#"{"foo":{"bar":"baz"},"qux":{"corge":"grault","thud":"fred"}}"#,
        ),
        (
            r#"{"foo":["all","grass","cows","eat"]}"#,
            r#"[{"op":"move","from":"/foo/1","path":"/foo/3"}]"#,
            r#"{"foo":["all","cows","eat","grass"]}"#,
        ),
        (
            r#"{"baz":"qux","foo":["a",2,"c"]}"#,
            r#"[{"op":"test","path":"/baz","value":"qux"},{"op":"test","path":"/foo/1","value":2}]"#,
            r#"{"baz":"qux","foo":["a",2,"c"]}"#,
        ),
        (
            r#"{"foo":"bar"}"#,
            r#"[{"op":"add","path":"/child","value":{"g":{}}}]"#,
            r#"{"foo":"bar","child":{"g":{}}}"#,
        ),
        (
            r#"{"foo":"bar"}"#,
            r#"[{"op":"add","path":"/baz","value":"qux","xyz":123}]"#,
            r#"{"foo":"bar","baz":"qux"}"#,
        ),
        (r#"{"/":9,"~1":10}"#, r#"[{"op":"test","path":"/~01","value":10}]"#, r#"{"/":9,"~1":10}"#),
        (
            r#"{"foo":["bar"]}"#,
            r#"[{"op":"add","path":"/foo/-","value":["abc","def"]}]"#,
            r#"{"foo":["bar",["abc","def"]]}"#,
        ),
        // And more.
        (r#"{"a":1}"#, "[]", r#"{"a":1}"#),
        (r#"{"a":1}"#, r#"[{"op":"add","path":"/a","value":null}]"#, r#"{"a":null}"#),
        (r#"{"a":1}"#, r#"[{"op":"test","path":"/a","value":1.0}]"#, r#"{"a":1}"#),
        (r#"{"a":1}"#, r#"[{"op":"add","path":"","value":{"b":2}}]"#, r#"{"b":2}"#),
        (r#"{"a":1}"#, r#"[{"op":"replace","path":"","value":{"b":2}}]"#, r#"{"b":2}"#),
        (
            r#"{"a":{"b":1}}"#,
            r#"[{"op":"copy","from":"/a","path":"/a/c"}]"#,
            r#"{"a":{"b":1,"c":{"b":1}}}"#,
        ),
        (r#"{"a":{"b":1}}"#, r#"[{"op":"move","from":"/a","path":"/a"}]"#, r#"{"a":{"b":1}}"#),
        (r#"{"a":{"b":1}}"#, r#"[{"op":"move","from":"/a/b","path":"/a"}]"#, r#"{"a":1}"#),
        (r#"{"":{"":1}}"#, r#"[{"op":"replace","path":"//","value":2}]"#, r#"{"":{"":2}}"#),
        (
            r#"{"a":[]}"#,
            r#"[{"op":"add","path":"/a/0","value":1},{"op":"add","path":"/a/0","value":0}]"#,
            r#"{"a":[0,1]}"#,
        ),
    ] {
        let result = patched(before, "", operations);
        assert_eq!(result.as_ref(), Ok(&value(after)), "{before} {operations}");
    }
}

#[test]
fn paths_are_relative_to_where_the_patch_goes() {
    let before = r#"{"users":{"a":{"n":1}},"a":{"n":0}}"#;
    let after = patched(before, "/users", r#"[{"op":"copy","from":"/a/n","path":"/b"}]"#);
    assert_eq!(after, Ok(value(r#"{"users":{"a":{"n":1},"b":1},"a":{"n":0}}"#)));
    let after = patched(before, "/users/a", r#"[{"op":"replace","path":"","value":[]}]"#);
    assert_eq!(after, Ok(value(r#"{"users":{"a":[]},"a":{"n":0}}"#)));
    let after = patched(before, "/users/a", r#"[{"op":"remove","path":""}]"#);
    assert_eq!(after, Ok(value(r#"{"users":{},"a":{"n":0}}"#)));
}

#[test]
fn what_cannot_be_applied_is_refused_and_named() {
    for (base, operations, words) in [
        ("", r#"{"op":"add"}"#, "not a list of JSON Patch operations"),
        ("", r#"[{"op":"put","path":"/a"}]"#, "unknown variant `put`"),
        ("", r#"[{"op":"add","path":"a","value":1}]"#, "operation 0: a path is empty or begins"),
        ("", r#"[{"op":"add","path":"/a"}]"#, "operation 0: it needs a `value`"),
        ("", r#"[{"op":"move","path":"/a"}]"#, "operation 0: it needs a `from`"),
        (
            "",
            r#"[{"op":"remove","path":"/a"},{"op":"remove","path":"/a"}]"#,
            "operation 1: there is nothing at /a",
        ),
        ("", r#"[{"op":"replace","path":"/z","value":1}]"#, "nothing at /z"),
        ("", r#"[{"op":"add","path":"/z/y","value":1}]"#, "nothing at /z"),
        ("", r#"[{"op":"add","path":"/a/y","value":1}]"#, "/a has no members to add to"),
        ("", r#"[{"op":"add","path":"/l/3","value":1}]"#, "nothing at /l/3"),
        ("", r#"[{"op":"add","path":"/l/01","value":1}]"#, "nothing at /l/01"),
        ("", r#"[{"op":"remove","path":"/l/-"}]"#, "nothing at /l/-"),
        ("", r#"[{"op":"copy","from":"/z","path":"/a"}]"#, "nothing at /z"),
        ("", r#"[{"op":"move","from":"/o","path":"/o/p"}]"#, "`path` is inside `from`"),
        ("", r#"[{"op":"test","path":"/a","value":"1"}]"#, "/a is not what the test expects"),
        ("", r#"[{"op":"remove","path":""}]"#, "cannot be removed"),
        ("", r#"[{"op":"replace","path":"","value":5}]"#, "can only be an object"),
        ("/nowhere", "[]", "nothing at /nowhere to patch"),
    ] {
        let refused = patched(r#"{"a":1,"l":[1,2],"o":{"p":1}}"#, base, operations).unwrap_err();
        assert!(refused.contains(words), "{operations}: {refused}");
    }
}
