//! What is put beside what comes through Girasol, and what becomes of it when that grows.

use super::*;

fn segments(path: &str) -> Vec<String> {
    path.split('/').skip(1).map(str::to_owned).collect()
}

fn value(json: &str) -> Value {
    Value::from_json_str(json).unwrap()
}

fn put_local(engine: &RegorusEngine, path: &str, json: &str) -> Result<(), LocalError> {
    engine.put_local(&segments(path), value(json), false)
}

async fn put(engine: &RegorusEngine, path: &str, json: &str) {
    let (path, data) = (DataPath::parse(path).unwrap(), Json::known(json.to_owned()));
    engine.write(Write::Put { path: &path, data: &data }).await.unwrap();
}

async fn set(engine: &RegorusEngine, modules: &[(&str, &str)]) {
    let module =
        |(id, rego): &(&str, &str)| PolicyModule { id: (*id).to_owned(), rego: (*rego).to_owned() };
    let modules: Vec<_> = modules.iter().map(module).collect();
    engine.set_policies(&modules).await.unwrap();
}

/// The document, as JSON.
fn all(engine: &RegorusEngine) -> String {
    serde_json::to_string(&engine.inner.current().data).unwrap()
}

fn decide(engine: &RegorusEngine, path: &str) -> Option<Value> {
    engine.decide(&segments(path), None).unwrap()
}

fn ids(engine: &RegorusEngine) -> Vec<String> {
    engine.modules().into_iter().map(|(id, _)| id).collect()
}

#[tokio::test]
async fn what_comes_through_girasol_cannot_be_written_to() {
    let engine = RegorusEngine::new();
    set(&engine, &[("a.rego", "package a.b\nallow := true")]).await;
    put(&engine, "/users/ann", "{}").await;
    for (path, owned) in [
        ("", true),
        ("/a", true),
        ("/a/b", true),
        ("/a/b/allow", true),
        ("/a/other", false),
        ("/users", true),
        ("/users/ann/x", true),
        ("/users/bob", false),
        ("/girasol/anything", true),
        ("/else", false),
    ] {
        let written = put_local(&engine, path, "{}");
        assert_eq!(matches!(written, Err(LocalError::Owned(_))), owned, "{path}: {written:?}");
    }
    put(&engine, "", r#"{"all":1}"#).await;
    assert_eq!(
        put_local(&engine, "/else", "1"),
        Err(LocalError::Owned("all paths owned by bundle \"girasol\"".to_owned()))
    );
    assert_eq!(all(&engine), r#"{"all":1}"#);
}

#[tokio::test]
async fn an_update_takes_the_place_of_what_is_in_its_way() {
    for (local, update, after) in [
        ("/x", "/x", r#"{"x":{"new":1},"y":2}"#),
        ("/x/deep", "/x", r#"{"x":{"new":1},"y":2}"#),
        ("/x", "/x/deep", r#"{"x":{"deep":{"new":1}},"y":2}"#),
        ("/x/a", "/x/b", r#"{"x":{"a":7,"b":{"new":1}},"y":2}"#),
    ] {
        let engine = RegorusEngine::new();
        put_local(&engine, local, "7").unwrap();
        put_local(&engine, "/y", "2").unwrap();
        put(&engine, update, r#"{"new":1}"#).await;
        assert_eq!(all(&engine), after, "{local} {update}");
        assert!(matches!(put_local(&engine, update, "1"), Err(LocalError::Owned(_))));
        put_local(&engine, "/y", "3").unwrap();
    }
}

#[tokio::test]
async fn a_commit_and_a_restore_take_places_too() {
    let engine = RegorusEngine::new();
    put_local(&engine, "/x", "7").unwrap();
    let place = DataPath::parse("/x/deep").unwrap();
    let documents = [(place.clone(), Some(Json::known("1".to_owned())))];
    engine.commit(&[], &documents).await.unwrap();
    assert_eq!(all(&engine), r#"{"x":{"deep":1}}"#);
    let engine = RegorusEngine::new();
    put_local(&engine, "/x", "7").unwrap();
    assert!(engine.restore(&documents).await.unwrap().is_empty());
    assert_eq!(all(&engine), r#"{"x":{"deep":1}}"#);
    assert!(matches!(engine.delete_local(place.segments()), Err(LocalError::Owned(_))));
}

#[tokio::test]
async fn a_policy_beside_the_scopes_stays_until_the_scope_has_one_there() {
    let engine = RegorusEngine::new();
    set(&engine, &[("a.rego", "package a\np := 1")]).await;
    engine.put_local_policy("mine.rego", "package mine\nq := data.a.p + 1").unwrap();
    assert_eq!(decide(&engine, "/mine/q"), Some(Value::from(2)));
    set(&engine, &[("a.rego", "package a\np := 2")]).await;
    assert_eq!(decide(&engine, "/mine/q"), Some(Value::from(3)));
    assert_eq!(ids(&engine), ["a.rego", "mine.rego"]);
    // Of the same package, and of the same id.
    set(&engine, &[("a.rego", "package a\np := 2"), ("b.rego", "package mine\nq := 9")]).await;
    assert_eq!(decide(&engine, "/mine/q"), Some(Value::from(9)));
    assert_eq!(ids(&engine), ["a.rego", "b.rego"]);
    engine.put_local_policy("c.rego", "package free\nr := 1").unwrap();
    set(&engine, &[("c.rego", "package a\np := 3")]).await;
    assert_eq!((decide(&engine, "/free/r"), decide(&engine, "/a/p")), (None, Some(Value::from(3))));
}

#[tokio::test]
async fn a_policy_that_does_not_compile_with_the_scopes_new_one_goes() {
    let engine = RegorusEngine::new();
    set(&engine, &[("a.rego", "package a\nf(x) := x")]).await;
    engine.put_local_policy("mine.rego", "package mine\nq := data.a.f(1)").unwrap();
    set(&engine, &[("a.rego", "package a\ng(x) := x")]).await;
    assert_eq!(ids(&engine), ["a.rego"]);
    assert_eq!(decide(&engine, "/mine/q"), None);
}

#[tokio::test]
async fn data_of_this_process_does_not_keep_a_policy_of_the_scope_out() {
    let engine = RegorusEngine::new();
    put_local(&engine, "/a/allow", "true").unwrap();
    put_local(&engine, "/b", "1").unwrap();
    set(&engine, &[("a.rego", "package a\nallow := false")]).await;
    assert_eq!(decide(&engine, "/a/allow"), Some(Value::from(false)));
    assert_eq!(decide(&engine, "/b"), Some(Value::from(1)));
    // But the scope's own data does, and then nothing has changed.
    put(&engine, "/c/rule", "{}").await;
    let module = PolicyModule { id: "c.rego".to_owned(), rego: "package c\nrule := 1".to_owned() };
    assert!(engine.set_policies(&[module]).await.is_err());
    assert_eq!(ids(&engine), ["a.rego"]);
}

#[tokio::test]
async fn what_is_refused_changes_nothing() {
    let engine = RegorusEngine::new();
    put_local(&engine, "/x", r#"{"list":[1]}"#).unwrap();
    engine.put_local_policy("mine.rego", "package mine\nq := 1").unwrap();
    let before = all(&engine);
    let change = |json: &str| Change::Add(segments(json), Value::from(1));
    assert!(engine.patch_local(vec![change("/x/a"), change("/x/list/9")]).is_err());
    assert!(put_local(&engine, "/mine/q", "1").is_err());
    assert!(engine.put_local(&segments("/x"), value("1"), true).is_err());
    assert!(engine.delete_local(&segments("/nobody")).is_err());
    assert!(engine.put_local_policy("bad.rego", "package bad\nq := zz").is_err());
    assert!(engine.delete_local_policy("nobody.rego").is_err());
    assert_eq!((all(&engine), ids(&engine)), (before, vec!["mine.rego".to_owned()]));
}

#[tokio::test]
async fn the_lag_stays_whatever_is_written() {
    let engine = RegorusEngine::new();
    put(&engine, "", r#"{"a":1}"#).await;
    assert_eq!(all(&engine), r#"{"a":1}"#);
    engine.tell_lag(5).await.unwrap();
    let lag = DataPath::parse("/girasol/lag_seconds").unwrap();
    let read = async || engine.read(&lag).await.unwrap().map(|it| it.get().to_owned());
    assert_eq!(read().await.as_deref(), Some("5"));
    for root in [r#"{"b":1}"#, r#"{"girasol":"taken"}"#, r#"{"girasol":{"x":1}}"#, "[1]"] {
        put(&engine, "", root).await;
        assert_eq!(read().await.as_deref(), Some("5"), "{root}");
    }
    let operations = Json::known(r#"[{"op":"replace","path":"","value":{}}]"#.to_owned());
    let patch = Write::Patch { path: &DataPath::default(), operations: &operations };
    engine.write(patch).await.unwrap();
    assert_eq!(read().await.as_deref(), Some("5"));
    let root = [(DataPath::default(), Some(Json::known("{}".to_owned())))];
    engine.restore(&root).await.unwrap();
    assert_eq!(read().await.as_deref(), Some("5"));
    engine.commit(&[], &root).await.unwrap();
    assert_eq!(read().await.as_deref(), Some("5"));
    engine.tell_lag(0).await.unwrap();
    assert_eq!(read().await.as_deref(), Some("0"));
}
