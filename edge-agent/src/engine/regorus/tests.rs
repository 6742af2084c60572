//! Writes, policies and decisions of the embedded engine.

use super::*;
use crate::json::Json;

fn json(text: &str) -> Json {
    Json::known(text.to_owned())
}

async fn put(engine: &RegorusEngine, path: &str, data: &str) -> Result<(), EngineError> {
    let path = DataPath::parse(path).unwrap();
    engine.write(Write::Put { path: &path, data: &json(data) }).await
}

async fn patch(engine: &RegorusEngine, path: &str, operations: &str) -> Result<(), EngineError> {
    let path = DataPath::parse(path).unwrap();
    engine.write(Write::Patch { path: &path, operations: &json(operations) }).await
}

async fn set(engine: &RegorusEngine, rego: &str) -> Result<(), EngineError> {
    let modules = [PolicyModule { id: "p.rego".to_owned(), rego: rego.to_owned() }];
    engine.set_policies(&modules).await
}

/// The decision as JSON, `undefined`, or the error.
fn ask(engine: &RegorusEngine, path: &str, input: Option<&str>) -> String {
    let path: Vec<String> = path.split('/').skip(1).map(str::to_owned).collect();
    let input = input.map(|input| Value::from_json_str(input).unwrap());
    match engine.decide(&path, input) {
        Ok(Some(value)) => serde_json::to_string(&value).unwrap(),
        Ok(None) => "undefined".to_owned(),
        Err(error) => format!("error: {error}"),
    }
}

const BILLING: &str = "package app\nimport rego.v1\n\ndefault allow := false\n\
    allow if data.billing[input.user].enabled\nusers contains u if some u, _ in data.billing";

#[tokio::test]
async fn a_decision_follows_the_data() {
    let engine = RegorusEngine::new();
    set(&engine, BILLING).await.unwrap();
    let alice = Some(r#"{"user":"alice"}"#);
    assert_eq!(ask(&engine, "/app/allow", alice), "false");
    put(&engine, "/billing/alice", r#"{"enabled":true}"#).await.unwrap();
    assert_eq!(ask(&engine, "/app/allow", alice), "true");
    assert_eq!(ask(&engine, "/app/allow", None), "false");
    assert_eq!(ask(&engine, "/app/users", None), r#"["alice"]"#);
    patch(&engine, "/billing", r#"[{"op":"replace","path":"/alice/enabled","value":false}]"#)
        .await
        .unwrap();
    assert_eq!(ask(&engine, "/app/allow", alice), "false");
    put(&engine, "/", "[1]").await.unwrap();
    assert_eq!(ask(&engine, "/items/0", None), "1");
    assert_eq!(ask(&engine, "/billing", None), "undefined");
}

#[tokio::test]
async fn rules_and_data_are_one_document() {
    let engine = RegorusEngine::new();
    let rego = "package a.b\nx := 1\nf(n) := n\ns contains \"k\"\nl := [{\"k\":2}]";
    set(&engine, rego).await.unwrap();
    put(&engine, "/a", r#"{"b":{"y":2},"c":[3,{"d":4}],"0":"zero"}"#).await.unwrap();
    for (path, expected) in [
        ("/a/b", r#"{"l":[{"k":2}],"s":["k"],"x":1,"y":2}"#),
        ("", r#"{"a":{"0":"zero","b":{"l":[{"k":2}],"s":["k"],"x":1,"y":2},"c":[3,{"d":4}]}}"#),
        ("/a/b/x", "1"),
        ("/a/b/y", "2"),
        ("/a/b/l/0/k", "2"),
        ("/a/b/s/k", "\"k\""),
        ("/a/c/0", "3"),
        ("/a/c/01", "{\"d\":4}"),
        ("/a/c/1/d", "4"),
        ("/a/c/-1", "undefined"),
        ("/a/c/9", "undefined"),
        ("/a/0", "\"zero\""),
        ("/a/b/f", "undefined"),
        ("/a/nothing/here", "undefined"),
        ("/a/b/x/y/z", "undefined"),
        ("/a/\"x", "error: invalid path: invalid ref term '\"x'"),
        ("/a/\u{1}", "error: invalid path: failed to parse query"),
        ("/a/\\", "undefined"),
    ] {
        assert_eq!(ask(&engine, path, None), expected, "{path}");
    }
}

#[tokio::test]
async fn a_refused_write_changes_nothing() {
    let engine = RegorusEngine::new();
    set(&engine, BILLING).await.unwrap();
    put(&engine, "/billing/alice", r#"{"enabled":true}"#).await.unwrap();
    let before = ask(&engine, "", None);
    let two = r#"[{"op":"remove","path":"/alice"},{"op":"remove","path":"/bob"}]"#;
    for (path, is_put, text, words) in [
        ("/billing", false, two, "operation 1: there is nothing at /billing/bob"),
        ("/nowhere", false, "[]", "nothing at /nowhere to patch"),
        ("/billing", false, "{}", "not a list of JSON Patch operations"),
        ("/", false, r#"[{"op":"add","path":"/app","value":{"allow":true}}]"#, "conflicting rule"),
        ("/billing/alice/enabled/x", true, "1", "storage_write_conflict_error"),
        ("/app/allow", true, "true", "conflicting rule for data path app/allow"),
        ("/app", true, "5", "conflicting rule"),
        ("/", true, "5", "conflicting rule"),
    ] {
        let done =
            if is_put { put(&engine, path, text).await } else { patch(&engine, path, text).await };
        let Err(EngineError::Rejected(why)) = done else { panic!("{path} {text}: {done:?}") };
        assert!(why.contains(words), "{why}");
        assert_eq!(ask(&engine, "", None), before);
    }
}

#[tokio::test]
async fn policies_that_do_not_compile_leave_the_old_ones() {
    let engine = RegorusEngine::new();
    set(&engine, "package a\nx := 1").await.unwrap();
    put(&engine, "/b", r#"{"y":1}"#).await.unwrap();
    for (rego, words) in [
        ("package a\nx := zz", "p.rego:2:6: var zz is unsafe"),
        ("package b\ny := 2", "p.rego:2: conflicting rule for data path b/y found"),
    ] {
        let Err(EngineError::Rejected(why)) = set(&engine, rego).await else { panic!("{rego}") };
        assert_eq!(why, words);
        assert_eq!(ask(&engine, "/a/x", None), "1");
    }
    set(&engine, "package c\nz := 3").await.unwrap();
    assert_eq!(ask(&engine, "", None), r#"{"b":{"y":1},"c":{"z":3}}"#);
}

#[tokio::test]
async fn an_evaluation_error_is_located_and_harms_no_later_decision() {
    let engine = RegorusEngine::new();
    let rego = "package a\nx := 1\nx := 2 if input.two\nc := 1 / 0";
    set(&engine, rego).await.unwrap();
    let path = ["a".to_owned(), "x".to_owned()];
    let two = Value::from_json_str(r#"{"two":true}"#).unwrap();
    let Err(DecisionError::Evaluation { message, location }) = engine.decide(&path, Some(two))
    else {
        panic!("decided")
    };
    assert_eq!(location, Some(Location { file: "p.rego".to_owned(), row: 3, col: 1 }));
    assert!(message.contains("rule conflicts with rule at p.rego:2:1"), "{message}");
    assert_eq!(ask(&engine, "/a/x", None), "1");
    assert_eq!(ask(&engine, "/a/c", None), "undefined");
}

#[tokio::test]
async fn a_large_document_is_read_elsewhere_and_is_there_when_the_write_returns() {
    let engine = RegorusEngine::new();
    let many: Vec<String> = (0..20_000).map(|n| format!(r#""user{n}":{{"n":{n}}}"#)).collect();
    let text = format!("{{{}}}", many.join(","));
    assert!(text.len() > READ_ELSEWHERE_BYTES);
    put(&engine, "/users", &text).await.unwrap();
    assert_eq!(ask(&engine, "/users/user19999/n", None), "19999");
}

#[tokio::test]
async fn it_is_empty_until_it_is_marked() {
    let engine = RegorusEngine::new();
    assert_eq!(engine.probe().await, Ok(EngineState::Empty));
    engine.restore(&[]).await.unwrap();
    assert_eq!(engine.probe().await, Ok(EngineState::Filled));
}

#[test]
fn a_reader_never_sees_half_a_write() {
    let engine = RegorusEngine::new();
    let rego = "package a\nsame if data.x.left == data.x.right";
    let modules = [PolicyModule { id: "p.rego".to_owned(), rego: rego.to_owned() }];
    engine.inner.set_policies(&modules).unwrap();
    engine.inner.put(&["x".to_owned()], r#"{"left":0,"right":0}"#).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        assert_eq!(ask(&engine, "/a/same", None), "true");
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                    }
                })
            })
            .collect();
        for n in 1..1_000 {
            if n % 2 == 0 {
                let text = format!(r#"{{"left":{n},"right":{n}}}"#);
                engine.inner.put(&["x".to_owned()], &text).unwrap();
            } else {
                let text = format!(
                    r#"[{{"op":"replace","path":"/left","value":{n}}},{{"op":"replace","path":"/right","value":{n}}}]"#
                );
                engine.inner.patch(&["x".to_owned()], &text).unwrap();
            }
        }
        stop.store(true, Ordering::Relaxed);
        for reader in readers {
            reader.join().unwrap();
        }
    });
}

fn owned(path: &str, text: Option<&str>) -> OwnedDocument {
    let text = text.map(json);
    (DataPath::parse(path).unwrap(), text)
}

#[tokio::test]
async fn a_restore_puts_and_removes_what_is_owned_and_leaves_the_rest() {
    let engine = RegorusEngine::new();
    set(&engine, "package app\nx := 1").await.unwrap();
    put(&engine, "/", r#"{"other":1,"a":{"b":1,"c":2},"list":[1]}"#).await.unwrap();
    let documents = [
        owned("/a/b", None),
        owned("/a/d", Some("[1.0]")),
        owned("/app/x", Some("2")),
        owned("/deep/down", Some(r#"{"k":{}}"#)),
        owned("/gone/here", None),
        owned("/list/5", Some("1")),
        owned("/other2", Some("1e999")),
    ];
    let refused = engine.restore(&documents).await.unwrap();
    let words: Vec<_> = refused.iter().map(|(path, why)| format!("{path}: {why}")).collect();
    assert!(words[0].starts_with("/app/x: p.rego:2: conflicting rule"), "{words:?}");
    assert!(words[1].starts_with("/list/5: storage_write_conflict_error"), "{words:?}");
    assert!(
        words[2].starts_with("/other2: the data cannot be read: number out of range"),
        "{words:?}"
    );
    assert_eq!(words.len(), 3);
    let expected = r#"{"a":{"c":2,"d":[1]},"app":{"x":1},"deep":{"down":{"k":{}}},"gone":{},"list":[1],"other":1}"#;
    assert_eq!(ask(&engine, "", None), expected);
    assert_eq!(engine.restore(&documents[..2]).await, Ok(vec![]));
    assert_eq!(ask(&engine, "", None), expected);
}

#[tokio::test]
async fn many_documents_are_restored_as_they_are() {
    let engine = RegorusEngine::new();
    let text = format!(r#"{{"n":"{}"}}"#, "x".repeat(60));
    let documents: Vec<_> =
        (0..20_000).map(|n| owned(&format!("/users/u{n}"), Some(&text))).collect();
    assert_eq!(engine.restore(&documents).await, Ok(vec![]));
    assert_eq!(ask(&engine, "/users/u19999", None), text);
    let whole = ask(&engine, "/users", None);
    assert_eq!(Value::from_json_str(&whole).unwrap().as_object().unwrap().len(), 20_000);
}

#[test]
fn what_takes_long_to_drop_is_known() {
    let read = |text: &str| Value::from_json_str(text).unwrap();
    assert!(!is_large(&read(r#"{"a":[1,2,{"b":"c"}]}"#)));
    assert!(is_large(&read(&format!("[{}1]", "1,".repeat(5_000)))));
    assert!(is_large(&read(&format!(r#"{{"a":[{}1]}}"#, "[{}],".repeat(3_000)))));
}

#[tokio::test]
async fn a_commit_is_seen_as_a_whole_or_not_at_all() {
    let engine = RegorusEngine::new();
    put(&engine, "/limits", r#"{"max":1}"#).await.unwrap();
    set(&engine, "package a\nx := data.limits.max").await.unwrap();
    let module = |rego: &str| PolicyModule { id: "p.rego".to_owned(), rego: rego.to_owned() };
    let document = |at: &str, text: &str| {
        let text = (text != "-").then(|| Json::known(text.to_owned()));
        (DataPath::parse(at).unwrap(), text)
    };
    // The rule comes where data was, and the data goes where a rule was.
    let moved = [document("/limits", "-"), document("/a/x", r#"{"y":2}"#)];
    engine.commit(&[module("package limits\nmax := 5")], &moved).await.unwrap();
    assert_eq!(ask(&engine, "", None), r#"{"a":{"x":{"y":2}},"limits":{"max":5}}"#);
    for (rego, documents, words) in [
        ("package a\nz :=", vec![document("/b", "1")], "p.rego:2"),
        ("package b", vec![document("/c", "1"), document("/a/x/y/z", "1")], "no members"),
        ("package b\nc := 1", vec![document("/b", r#"{"c":1}"#)], "conflicting rule"),
        ("package b", vec![document("/c", "{")], "EOF"),
    ] {
        let refused = engine.commit(&[module(rego)], &documents).await;
        let Err(EngineError::Rejected(why)) = refused else { panic!("{rego}: {refused:?}") };
        assert!(why.contains(words), "{words}: {why}");
        assert_eq!(ask(&engine, "", None), r#"{"a":{"x":{"y":2}},"limits":{"max":5}}"#);
    }
}
