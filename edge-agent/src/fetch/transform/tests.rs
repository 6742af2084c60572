use serde_json::json;
use serde_json::value::to_raw_value;

use super::*;

async fn transform(expression: &str, data: &str) -> Result<String, FetchError> {
    limited(expression, data, 1_000).await
}

async fn limited(expression: &str, data: &str, limit: usize) -> Result<String, FetchError> {
    let config = Some(to_raw_value(&json!({ "transform": expression })).unwrap());
    let source = Source { url: String::new(), config };
    let transform = Transform::of(&source).await?.expect("a transform");
    let data = transform.apply(Json::known(data.to_owned()), limit).await?;
    Ok(data.get().to_owned())
}

#[tokio::test]
async fn a_pointer_takes_a_part_as_it_is_written() {
    let data = r#" {"a": {"b c": [1, { "n" : 1.0, "big":12345678901234567890123.450 }]},
        "x/y": {"m~n": []}, "": {"": {"k":1}}, "a1":[[0],[1]], "a1":[[2]], "t\u0061":{}} "#;
    for (pointer, expected) in [
        ("/a/b c/1", r#"{ "n" : 1.0, "big":12345678901234567890123.450 }"#),
        ("/a/b c", r#"[1, { "n" : 1.0, "big":12345678901234567890123.450 }]"#),
        ("/x~1y/m~0n", "[]"),
        ("//", r#"{"k":1}"#),
        ("/a1/0", "[2]"),
        ("/ta", "{}"),
    ] {
        assert_eq!(transform(pointer, data).await.unwrap(), expected, "{pointer}");
    }
}

#[tokio::test]
async fn a_pointer_to_nothing_or_to_no_data_is_an_error_worth_another_try() {
    let data = r#"{"a":[{"b":1}],"s":"s3cret"}"#;
    for (pointer, words) in [
        ("/x", "nothing is at /x "),
        ("/a/1", "nothing is at /a/1 "),
        ("/a/00", "nothing is at /a/00 "),
        ("/a/-", "nothing is at /a/- "),
        ("/a/b", "nothing is at /a/b "),
        ("/a/0/b/c", "nothing is at /a/0/b/c "),
        ("/", "nothing is at / "),
        ("/a/0/b", "a bare value"),
        ("/s", "a bare value"),
    ] {
        let error = transform(pointer, data).await.unwrap_err();
        assert!(!error.is_permanent(), "{pointer}");
        let error = error.to_string();
        assert!(error.starts_with("config.transform: ") && error.contains(words), "{error}");
        assert!(!error.contains("s3cret"), "{error}");
    }
    let error = transform("/a~2", data).await.unwrap_err();
    assert!(error.is_permanent() && error.to_string().contains("~1"), "{error}");
}

#[tokio::test]
async fn an_expression_makes_something_of_what_was_fetched() {
    let data = r#"{"users":[{"id":"al","n":12345678901234567890},{"id":"bo","n":1.5}]}"#;
    for (expression, expected) in [
        (
            "{u.id: u | some u in input.users}",
            r#"{"al":{"id":"al","n":12345678901234567890},"bo":{"id":"bo","n":1.5}}"#,
        ),
        ("[u.n | some u in input.users]", "[12345678901234567890,1.5]"),
        ("{u.id | some u in input.users}", r#"["al","bo"]"#),
        ("{\n  \"first\": input.users[0].id,\n}", r#"{"first":"al"}"#),
        ("input.users", r#"[{"id":"al","n":12345678901234567890},{"id":"bo","n":1.5}]"#),
        ("object.union(input, {\"users\": count(input.users)})", r#"{"users":2}"#),
    ] {
        assert_eq!(transform(expression, data).await.unwrap(), expected, "{expression}");
    }
}

#[tokio::test]
async fn an_expression_that_does_not_compile_is_an_error_for_good() {
    for (expression, words) in [
        ("{u.id: u |", "line "),
        ("{\n\"a\": nowhere}", "line 2: "),
        ("no.such.function(input)", "line 1: "),
        (&"[".repeat(200), "line 1: "),
    ] {
        let error = transform(expression, "{}").await.unwrap_err();
        assert!(error.is_permanent(), "{expression}: {error}");
        let error = error.to_string();
        assert!(error.starts_with("config.transform: ") && error.contains(words), "{error}");
    }
}

#[tokio::test]
async fn a_result_that_is_no_data_is_an_error_worth_another_try() {
    for (expression, data, words) in [
        ("input.missing", "{}", "no value"),
        ("count(input)", "[1]", "a bare value"),
        ("null", "{}", "a bare value"),
        ("{x.k: x.v | some x in input}", r#"[{"k":1,"v":1},{"k":1,"v":2}]"#, "line 1: "),
        ("[x | some x in input]", r#"["0123456789","0123456789"]"#, "more than the limit of 20"),
    ] {
        let error = limited(expression, data, 20).await.unwrap_err();
        assert!(!error.is_permanent(), "{expression}: {error}");
        let error = error.to_string();
        assert!(error.starts_with("config.transform: ") && error.contains(words), "{error}");
    }
}

#[tokio::test]
async fn an_object_is_the_fetchers_own_and_no_transform_is_none() {
    for config in [r#"{"transform":{"first":true}}"#, r#"{"transform":" "}"#, "{}", "7"] {
        let config = Some(serde_json::value::RawValue::from_string(config.to_owned()).unwrap());
        let source = Source { url: String::new(), config };
        assert!(Transform::of(&source).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn an_expression_sees_nothing_of_the_agent() {
    let seen = limited("opa.runtime()", "{}", 100_000).await.unwrap();
    assert!(!seen.contains("\"env\""), "{seen}");
    let refused = transform("[x | x := http.send({\"url\": \"http://h\"})]", "{}").await;
    assert!(
        format!("{refused:?}").contains("the embedded engine sends no requests"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn one_that_computes_keeps_its_turn_when_nobody_waits_for_it_any_more() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let (began, begun) = tokio::sync::oneshot::channel();
    let first = tokio::spawn(blocking(move || {
        let _ = began.send(());
        let _ = wait.recv();
    }));
    begun.await.unwrap();
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    assert_eq!(TURN.available_permits(), 0);
    go.send(()).unwrap();
    blocking(|| ()).await.unwrap();
}
