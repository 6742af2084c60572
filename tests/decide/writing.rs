//! What is written beside what came through Girasol, as into an OPA that has a bundle.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::ask::Ask;
use crate::same::difference;
use crate::world::{SOON, World, can_run};

/// What changes, by method, place and body, in this order; after each the places that it is about
/// are read.
const WRITES: &[(&str, &str, &str)] = &[
    ("PUT", "/v1/data/mine", r#"{"list":[1,2,3],"object":{"a":1}}"#),
    ("PUT", "/v1/data/mine/deep/er/est", "[1]"),
    ("PUT", "/v1/data/mine/list/0", "9"),
    ("PUT", "/v1/data/mine/list/7", "9"),
    ("PUT", "/v1/data/mine/list/-", "9"),
    ("PUT", "/v1/data/mine/list/x", "9"),
    ("PUT", "/v1/data/mine/list/0/x", "9"),
    ("PUT", "/v1/data/mine/object/a/b", "9"),
    ("PUT", "/v1/data/mine/object/a/b/c", "9"),
    ("PUT", "/v1/data/mine/a%2Fb", "1"),
    ("PUT", "/v1/data/mine/a%20b", "\"x\""),
    ("PUT", "/v1/data/mine/null", "null"),
    ("PUT", "/v1/data/mine/object", "{\"b\":2} trailing"),
    ("PUT", "/v1/data/mine/bad", "{"),
    ("PUT", "/v1/data/mine/bad", ""),
    ("PUT", "/v1/data/mine/bad", "nope"),
    ("PUT", "/v1/data/mine/7", "\"number\""),
    ("PUT", "/v1/data/other?metrics", "1"),
    ("PUT", "/v1/data/other?pretty&metrics=true", "2"),
    ("PUT", "/v1/data", "{}"),
    ("PUT", "/v1/data", "{"),
    ("PUT", "/v1/data/base", "{}"),
    ("PUT", "/v1/data/base/x", "1"),
    ("PUT", "/v1/data/base/y/0", "1"),
    ("PUT", "/v1/data/base", "{"),
    ("PUT", "/v1/data/rules", "{}"),
    ("PUT", "/v1/data/rules/allow", "true"),
    ("PUT", "/v1/data/app", "{}"),
    ("PUT", "/v1/data/app/api", "{}"),
    ("PUT", "/v1/data/app/api/v1/allow", "true"),
    ("PUT", "/v1/data/app/other", "{\"is\":\"free\"}"),
    ("PUT", "/v1/data/system/authz", "{}"),
    ("PATCH", "/v1/data/mine", r#"[{"op":"add","path":"/list/-","value":4}]"#),
    ("PATCH", "/v1/data/mine", r#"[{"op":"add","path":"/list/1","value":5}]"#),
    ("PATCH", "/v1/data/mine", r#"[{"op":"replace","path":"list/0","value":{"x":1}}]"#),
    ("PATCH", "/v1/data/mine", r#"[{"op":"remove","path":"/list/1"}]"#),
    ("PATCH", "/v1/data/mine", r#"[{"op":"remove","path":"/list/99"}]"#),
    ("PATCH", "/v1/data/mine", r#"[{"op":"add","path":"/list/99","value":1}]"#),
    ("PATCH", "/v1/data/mine", r#"[{"op":"add","path":"/list/x","value":1}]"#),
    ("PATCH", "/v1/data/mine", r#"[{"op":"replace","path":"/list/-","value":1}]"#),
    ("PATCH", "/v1/data/mine", r#"[{"op":"remove","path":"/nobody"}]"#),
    ("PATCH", "/v1/data/mine", r#"[{"op":"replace","path":"/nobody","value":1}]"#),
    ("PATCH", "/v1/data/mine", r#"[{"op":"add","path":"/nobody/x","value":1}]"#),
    ("PATCH", "/v1/data/mine", r#"[{"op":"add","path":"/object/b/x","value":1}]"#),
    ("PATCH", "/v1/data/mine", r#"[{"op":"add","path":"/~0~1","value":1}]"#),
    ("PATCH", "/v1/data/mine", r#"[{"op":"add","path":"/no value"}]"#),
    ("PATCH", "/v1/data/mine", r#"[{"op":"add","path":"","value":{"list":[1]}}]"#),
    ("PATCH", "/v1/data/mine", r#"[{"op":"add","path":"/","value":{"list":[1,2]}}]"#),
    ("PATCH", "/v1/data/mine", r#"[{"op":"test","path":"/list/0","value":1}]"#),
    ("PATCH", "/v1/data/mine", r#"[{"op":"move","from":"/list/0","path":"/x"}]"#),
    ("PATCH", "/v1/data/mine", r#"[{"op":"copy","from":"/list/0","path":"/x"}]"#),
    ("PATCH", "/v1/data/mine", r#"[{"path":"/list/0"}]"#),
    (
        "PATCH",
        "/v1/data/mine",
        r#"[{"op":"add","path":"/one","value":1},{"op":"remove","path":"/two"}]"#,
    ),
    (
        "PATCH",
        "/v1/data/mine",
        r#"[{"op":"add","path":"/one","value":1},{"op":"add","path":"/two","value":2}]"#,
    ),
    ("PATCH", "/v1/data/mine", "[]"),
    ("PATCH", "/v1/data/mine", "{}"),
    ("PATCH", "/v1/data/mine", "["),
    ("PATCH", "/v1/data/mine", "[1]"),
    ("PATCH", "/v1/data", r#"[{"op":"add","path":"/mine/three","value":3}]"#),
    ("PATCH", "/v1/data", r#"[{"op":"add","path":"/base/three","value":3}]"#),
    ("PATCH", "/v1/data", r#"[{"op":"add","path":"/","value":{}}]"#),
    ("PATCH", "/v1/data", r#"[{"op":"add","path":"/fresh","value":{"a":1}}]"#),
    ("PATCH", "/v1/data/base", r#"[{"op":"add","path":"/x","value":1}]"#),
    ("PATCH", "/v1/data/nobody", r#"[{"op":"add","path":"/x","value":1}]"#),
    ("DELETE", "/v1/data/mine/one", ""),
    ("DELETE", "/v1/data/mine/one", ""),
    ("DELETE", "/v1/data/mine/list/0", ""),
    ("DELETE", "/v1/data/mine/list/9", ""),
    ("DELETE", "/v1/data/nobody/at/all", ""),
    ("DELETE", "/v1/data/base", ""),
    ("DELETE", "/v1/data/base/nobody", ""),
    ("DELETE", "/v1/data/fresh?metrics", ""),
    ("PUT", "/v1/policies/mine.rego", "package mine.rules\nallow if input.x == data.mine.two\n"),
    ("PUT", "/v1/policies/mine.rego", "package mine.rules\nallow if input.x == data.mine.two\n"),
    ("PUT", "/v1/policies/a/b/c.rego", "package mine.more\np := data.mine.rules.allow\n"),
    ("PUT", "/v1/policies/a%2Fb%2Fd.rego", "package mine.more\nq := data.mine.more.p\nf(x) := x\n"),
    ("PUT", "/v1/policies/user.rego", "package mine.user\nu := data.mine.more.f(1)\n"),
    ("PUT", "/v1/policies/parse.rego", "package mine\np :="),
    ("PUT", "/v1/policies/parse.rego", "this is no policy"),
    ("PUT", "/v1/policies/unsafe.rego", "package mine\n\np := zz"),
    ("PUT", "/v1/policies/unsafe.rego", "package mine\np if { x > 1 }"),
    ("PUT", "/v1/policies/unknown.rego", "package mine\np := nobody(1)"),
    ("PUT", "/v1/policies/unknown.rego", "package mine\np := data.mine.nobody(1)"),
    ("PUT", "/v1/policies/empty.rego", ""),
    ("PUT", "/v1/policies/owned.rego", "package rules\np := 1"),
    ("PUT", "/v1/policies/owned.rego", "package rules.below\np := 1"),
    ("PUT", "/v1/policies/owned.rego", "package base\np := 1"),
    ("PUT", "/v1/policies/owned.rego", "package app\np := 1"),
    ("PUT", "/v1/policies/free.rego", "package app.free\np := 1"),
    ("PUT", "/v1/policies/hides.rego", "package mine\nthree := 1"),
    ("PUT", "/v1/data/mine/rules/allow", "true"),
    ("PUT", "/v1/data/mine/more", "1"),
    ("PATCH", "/v1/data/mine", r#"[{"op":"add","path":"/more","value":1}]"#),
    ("DELETE", "/v1/policies/a/b/d.rego", ""),
    ("DELETE", "/v1/policies/user.rego?metrics", ""),
    ("DELETE", "/v1/policies/a/b/d.rego?pretty", ""),
    ("DELETE", "/v1/policies/nobody.rego", ""),
    ("DELETE", "/v1/policies/mine.rego", ""),
];

/// What is read after each write.
const READS: &[&str] =
    &["/v1/data/mine", "/v1/data/app", "/v1/data/other", "/v1/data/fresh", "/v1/policies"];

/// Writes that end otherwise, with the reason.
const OTHERWISE: &[(&str, &str)] = &[];

#[tokio::test(flavor = "multi_thread")]
async fn what_is_beside_girasols_is_written_as_into_an_opa_with_a_bundle() {
    if !can_run() {
        return;
    }
    let world = World::start().await;
    let mut differences = vec![];
    for (method, path, body) in WRITES {
        let write = Ask::new(method, *path).body(*body);
        let mut asks = vec![write.clone()];
        if write.method == "PUT" && !path.contains("policies") {
            // Without a write if there is something, and whatever else is to be said is said first.
            asks.insert(0, write.clone().header("if-none-match", "*"));
        }
        asks.extend(READS.iter().map(|path| Ask::get(*path)));
        for ask in asks {
            let (opas, ours) = world.both(&ask).await;
            let difference = difference(&ask, &opas, &ours);
            differences.extend(difference.map(|it| format!("after {}: {it}", write.name())));
        }
    }
    let known = |it: &String| OTHERWISE.iter().any(|(part, _)| it.contains(part));
    differences.retain(|it| !known(it));
    println!("{} writes", WRITES.len());
    assert!(differences.is_empty(), "not as OPA's:\n  {}", differences.join("\n  "));
}

#[tokio::test]
async fn what_comes_through_girasol_takes_the_place_of_what_was_written_beside_it() {
    if !can_run() {
        return;
    }
    let world = World::start().await;
    let put = |path: &'static str, body: &'static str| {
        let ask = Ask::new("PUT", path).body(body);
        let (http, url) = (world.http.clone(), world.agent.decision_url().to_owned());
        async move { ask.send(&http, &url).await.status }
    };
    assert_eq!(put("/v1/data/mine/a", "1").await, 204);
    assert_eq!(put("/v1/data/mine/b", "2").await, 204);
    let update = json!({"entries": [
        {"topics": ["policy_data"], "dst_path": "/mine/a/deep", "data": {"through": "girasol"}},
    ]});
    let seq = world.functions.publish_ok(&world.token, &update).await.unwrap();
    world.agent.wait_cursor(seq, SOON).await.unwrap();
    let mine = world.agent.decide("mine", &json!({})).await.unwrap();
    assert_eq!(mine["result"], json!({"a": {"deep": {"through": "girasol"}}, "b": 2}));
    // It is nobody's to write any more; what is beside it is.
    assert_eq!(put("/v1/data/mine/a", "1").await, 400);
    assert_eq!(put("/v1/data/mine/a/deep", "1").await, 400);
    assert_eq!(put("/v1/data/mine/b", "3").await, 204);
    assert_eq!(put("/v1/data/girasol/lag_seconds", "0").await, 400);
    assert_eq!(put("/v1/data/girasol/x", "0").await, 400);
}

#[tokio::test]
async fn where_nothing_may_be_written_the_way_to_write_is_named() {
    if !can_run() {
        return;
    }
    let world = World::start_with(|agent| agent.arg("--decision-read-only").arg("true")).await;
    let asks = [
        Ask::new("PUT", "/v1/data/mine").body("1"),
        Ask::new("PATCH", "/v1/data/mine").body("[]"),
        Ask::new("DELETE", "/v1/data/mine"),
        Ask::new("PUT", "/v1/policies/mine.rego").body("package mine"),
        Ask::new("DELETE", "/v1/policies/mine.rego"),
    ];
    for ask in asks {
        let answer = ask.send(&world.http, world.agent.decision_url()).await;
        assert_eq!(answer.status, StatusCode::NOT_IMPLEMENTED, "{}", ask.name());
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        assert!(body["message"].as_str().unwrap().contains("publish-data-update"), "{body}");
    }
}
