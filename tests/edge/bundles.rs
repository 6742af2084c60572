//! A real OPA without an agent: nothing but a configuration file.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use testbed::{Functions, Opa, Part, http_client};

use crate::support::{SOON, can_run, fetched, functions, inline};

/// A key that only these tests use, for bundles.
const PRIVATE: &str = include_str!("keys/bundles.txt");
const PUBLIC: &str = include_str!("keys/bundles.pub.txt");
/// Its other half is nowhere.
const OTHER_PUBLIC: &str = include_str!("keys/other.pub.txt");

const POLICY: &str = "package app\nallow if data.users[input.user].active\n";

async fn push(functions: &Functions, token: &str, files: Value) {
    let body = json!({ "files": files });
    let answer = functions.request(Method::PUT, "/policy", Some(token), Some(&body)).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// A configuration with one bundle, which is asked for by long polling.
async fn config(functions: &Functions, resource: &str) -> Value {
    let token = functions.mint("client", json!({})).await.unwrap();
    json!({
        "labels": {"place": "test"},
        "services": {"girasol": {
            "url": functions.url(),
            "credentials": {"bearer": {"token": token}},
        }},
        "bundles": {"main": bundle(resource)},
        "status": {"service": "girasol"},
        "decision_logs": {"service": "girasol",
            "reporting": {"min_delay_seconds": 1, "max_delay_seconds": 1}},
    })
}

fn bundle(resource: &str) -> Value {
    json!({
        "service": "girasol",
        "resource": resource,
        // Longer than any test: what arrives earlier was pushed.
        "polling": {"long_polling_timeout_seconds": 30},
    })
}

async fn allowed(opa: &Opa, user: &str) -> Value {
    opa.decide("app/allow", &json!({ "user": user })).await.unwrap()["result"].clone()
}

/// The last status that the functions have of an OPA, when it is like that.
async fn status(functions: &Functions, is_it: impl Fn(&Value) -> bool) -> Value {
    let token = functions.mint("listener", json!({})).await.unwrap();
    wait("status", async || {
        let answer = functions.request(Method::GET, "/status", Some(&token), None).await.unwrap();
        let statuses = answer.ok().unwrap()["result"].as_array().unwrap().clone();
        statuses.into_iter().map(|it| it["report"].clone()).find(|it| is_it(it))
    })
    .await
}

/// True if the bundle of a status is of the moment of this update.
fn is_at(status: &Value, seq: u64) -> bool {
    let revision = status["bundles"]["main"]["active_revision"].as_str();
    revision.is_some_and(|revision| revision.ends_with(&format!("/{seq}")))
}

/// Asks until there is an answer: OPA tells nobody what it has activated.
async fn wait<T>(what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "no {what} within {SOON:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn wait_allowed(opa: &Opa, user: &str, expected: Option<bool>) {
    let expected = expected.map_or(Value::Null, Value::from);
    wait(&format!("decision {expected} for {user}; OPA wrote:\n{}", opa.logs()), async || {
        (allowed(opa, user).await == expected).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_opa_with_nothing_but_a_configuration_follows_policy_and_data() {
    if !can_run(&[Part::Opa]) {
        return;
    }
    let (functions, token) = functions().await;
    push(
        &functions,
        &token,
        json!({"app/allow.rego": POLICY, "data.json": "{\"limits\":{\"n\":1}}"}),
    )
    .await;
    let users = json!({"alice": {"active": true}, "bob": {"active": false}});
    functions.publish_ok(&token, &inline("users", "/users", &users)).await.unwrap();
    let mut opa =
        Opa::start_with(&config(&functions, "bundles/main?data=true").await).await.unwrap();
    wait_allowed(&opa, "alice", Some(true)).await;
    assert_eq!(allowed(&opa, "bob").await, Value::Null);
    assert_eq!(opa.data("/limits").await.unwrap(), json!({"n": 1}));
    let first = status(&functions, |it| it["bundles"]["main"]["type"] == "snapshot").await;
    assert_eq!(first["labels"]["place"], "test");

    // Data: a delta, each time.
    for (number, active) in [true, false, true].into_iter().enumerate() {
        let patch = json!({"entries": [{"topics": ["users"], "dst_path": "/users/bob",
            "save_method": "PATCH", "data": [{"op": "replace", "path": "/active", "value": active}]}]});
        let seq = functions.publish_ok(&token, &patch).await.unwrap();
        wait_allowed(&opa, "bob", active.then_some(true)).await;
        let told = status(&functions, |it| is_at(it, seq)).await;
        assert_eq!(told["bundles"]["main"]["type"], "delta", "{number}");
        assert!(told["bundles"]["main"]["code"].is_null(), "{}", told["bundles"]);
    }
    // What is removed, also if it is not there, and what is beside it.
    let remove = json!({"entries": [
        {"topics": ["users"], "save_method": "PATCH", "data": [{"op": "remove", "path": "/users/bob"}]},
        {"topics": ["users"], "save_method": "PATCH", "data": [{"op": "remove", "path": "/none/here"}]},
        {"topics": ["users"], "dst_path": "/new/é~b", "data": {"list": [1, 2]}},
        fetched("users", "/elsewhere", "http://127.0.0.1:9/x")["entries"][0],
    ]});
    functions.publish_ok(&token, &remove).await.unwrap();
    wait_allowed(&opa, "bob", None).await;
    assert_eq!(opa.data("/new").await.unwrap(), json!({"é~b": {"list": [1, 2]}}));
    assert_eq!(opa.data("/none").await.unwrap(), Value::Null);

    // Policy: a snapshot.
    push(
        &functions,
        &token,
        json!({"app/allow.rego": "package app\nallow if input.user == \"zoe\"\n"}),
    )
    .await;
    wait_allowed(&opa, "zoe", Some(true)).await;
    assert_eq!(allowed(&opa, "alice").await, Value::Null);
    assert_eq!(opa.data("/limits").await.unwrap(), Value::Null);
    status(&functions, |it| it["bundles"]["main"]["type"] == "snapshot").await;

    opa.kill().await.unwrap();
    opa.restart().await.unwrap();
    wait_allowed(&opa, "zoe", Some(true)).await;
    assert_eq!(opa.data("/users").await.unwrap(), json!({"alice": {"active": true}}));
}

#[tokio::test]
async fn the_functions_may_restart_and_the_opa_goes_on_with_what_it_has() {
    if !can_run(&[Part::Opa]) {
        return;
    }
    let (mut functions, token) = functions().await;
    push(&functions, &token, json!({"app/allow.rego": POLICY})).await;
    let opa = Opa::start_with(&config(&functions, "bundles/main?data=true").await).await.unwrap();
    status(&functions, |it| it["bundles"]["main"]["type"] == "snapshot").await;
    functions.kill().await.unwrap();
    functions.restart().await.unwrap();
    let users = json!({"alice": {"active": true}});
    functions.publish_ok(&token, &inline("users", "/users", &users)).await.unwrap();
    wait_allowed(&opa, "alice", Some(true)).await;
    status(&functions, |it| it["bundles"]["main"]["type"] == "delta").await;
}

#[tokio::test]
async fn an_opa_that_persists_takes_no_delta_and_starts_without_the_functions() {
    if !can_run(&[Part::Opa]) {
        return;
    }
    let (mut functions, token) = functions().await;
    push(&functions, &token, json!({"app/allow.rego": POLICY})).await;
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(&functions, "bundles/main?data=true&deltas=false").await;
    config["persistence_directory"] = json!(folder.path());
    config["bundles"]["main"]["persist"] = json!(true);
    let mut opa = Opa::start_with(&config).await.unwrap();
    // The policy is the log's first update.
    status(&functions, |it| is_at(it, 1)).await;
    let users = json!({"alice": {"active": true}});
    let seq = functions.publish_ok(&token, &inline("users", "/users", &users)).await.unwrap();
    let told = status(&functions, |it| is_at(it, seq)).await;
    assert_eq!(told["bundles"]["main"]["type"], "snapshot", "{}", told["bundles"]);
    functions.kill().await.unwrap();
    opa.kill().await.unwrap();
    opa.restart().await.unwrap();
    wait_allowed(&opa, "alice", Some(true)).await;
}

#[tokio::test]
async fn policy_and_data_may_come_in_two_bundles() {
    if !can_run(&[Part::Opa]) {
        return;
    }
    let (functions, token) = functions().await;
    push(&functions, &token, json!({"app/allow.rego": POLICY, "other/x.rego": "package other\n"}))
        .await;
    let users = json!({"alice": {"active": true}});
    functions.publish_ok(&token, &inline("users", "/users", &users)).await.unwrap();
    functions.publish_ok(&token, &inline("secret", "/secret", &json!({}))).await.unwrap();
    let mut config = config(&functions, "bundles/policy.tar.gz?path=app&roots=auto").await;
    config["bundles"]["data"] = bundle("bundles/data?data=only&topics=users");
    let opa = Opa::start_with(&config).await.unwrap();
    wait_allowed(&opa, "alice", Some(true)).await;
    assert_eq!(opa.data("/secret").await.unwrap(), Value::Null);
    assert_eq!(opa.data("/other").await.unwrap(), Value::Null);
    let bob = json!({"active": true});
    functions.publish_ok(&token, &inline("users", "/users/bob", &bob)).await.unwrap();
    wait_allowed(&opa, "bob", Some(true)).await;
    let told = status(&functions, |it| it["bundles"]["data"]["type"] == "delta").await;
    assert_eq!(told["bundles"]["main"]["type"], "snapshot", "{}", told["bundles"]);
}

#[tokio::test]
async fn a_signed_bundle_is_verified_and_one_by_another_key_is_refused() {
    if !can_run(&[Part::Opa]) {
        return;
    }
    let plan = Functions::builder().unwrap().var("GIRASOL_BUNDLE_SIGNING_KEY", PRIVATE);
    let functions = plan.start().await.unwrap();
    let token = functions.mint("datasource", json!({})).await.unwrap();
    let odd = "{\"odd\":{\"b\":1.50,\"a\":\"<é\\u2028\\/>\",\"n\":12345678901234567890123}}";
    push(&functions, &token, json!({"app/allow.rego": POLICY, "data.json": odd})).await;
    let users = json!({"alice": {"active": true}});
    functions.publish_ok(&token, &inline("users", "/users", &users)).await.unwrap();
    let mut config = config(&functions, "bundles/main?data=true").await;
    config["bundles"]["main"]["signing"] = json!({"keyid": "girasol"});
    let with = |key: &str| {
        let mut config = config.clone();
        config["keys"] = json!({"girasol": {"key": key, "algorithm": "ES256"}});
        config
    };
    let opa = Opa::start_with(&with(PUBLIC)).await.unwrap();
    wait_allowed(&opa, "alice", Some(true)).await;
    let bob = json!({"active": true});
    let seq = functions.publish_ok(&token, &inline("users", "/users/bob", &bob)).await.unwrap();
    wait_allowed(&opa, "bob", Some(true)).await;
    let told = status(&functions, |it| is_at(it, seq)).await;
    assert_eq!(told["bundles"]["main"]["type"], "snapshot", "no delta is signed");
    drop(opa);

    let mut lenient = with(PUBLIC);
    lenient["bundles"]["main"]["signing"]["allow_unsigned_delta_bundles"] = json!(true);
    lenient["bundles"]["main"]["resource"] = json!("bundles/main?data=true&deltas=true");
    let opa = Opa::start_with(&lenient).await.unwrap();
    wait_allowed(&opa, "bob", Some(true)).await;
    functions.publish_ok(&token, &inline("users", "/users/eve", &bob)).await.unwrap();
    wait_allowed(&opa, "eve", Some(true)).await;
    status(&functions, |it| it["bundles"]["main"]["type"] == "delta").await;
    drop(opa);

    let opa = Opa::start_with(&with(OTHER_PUBLIC)).await.unwrap();
    let refused = status(&functions, |it| it["bundles"]["main"]["code"] == "bundle_error").await;
    let message = refused["bundles"]["main"]["message"].as_str().unwrap();
    assert!(message.contains("verif"), "{message}");
    assert_eq!(allowed(&opa, "alice").await, Value::Null);
}

#[tokio::test]
async fn status_and_decisions_arrive_and_only_some_may_read_them() {
    if !can_run(&[Part::Opa]) {
        return;
    }
    let (functions, token) = functions().await;
    push(&functions, &token, json!({"app/allow.rego": POLICY})).await;
    let mut config = config(&functions, "bundles/main").await;
    config["decision_logs"]["partition_name"] = json!("p1");
    config["status"]["partition_name"] = json!("p2");
    let opa = Opa::start_with(&config).await.unwrap();
    status(&functions, |it| it["bundles"]["main"]["type"] == "snapshot").await;
    for user in ["alice", "bob"] {
        allowed(&opa, user).await;
    }
    let listener = functions.mint("listener", json!({})).await.unwrap();
    let read = async |path: &str, token: &str| {
        functions.request(Method::GET, path, Some(token), None).await.unwrap()
    };
    let shown = wait("decisions", async || {
        let shown = read("/logs?limit=5", &listener).await.ok().unwrap()["result"].clone();
        (shown.as_array().unwrap().len() == 2).then_some(shown)
    })
    .await;
    assert_eq!(shown[0]["report"]["input"], json!({"user": "bob"}), "newest first: {shown}");
    assert_eq!(shown[1]["report"]["path"], "app/allow");
    assert_eq!(shown[0]["partition"], "p1");
    assert!(shown[0]["at"].as_u64().unwrap() > 1_600_000_000_000);
    assert_eq!(read("/logs?limit=1", &token).await.body["result"].as_array().unwrap().len(), 1);
    assert_eq!(read("/status", &token).await.body["result"][0]["partition"], "p2");
    let client = functions.mint("client", json!({})).await.unwrap();
    for path in ["/status", "/logs"] {
        assert_eq!(read(path, &client).await.status, 401, "{path}");
    }
    assert_eq!(read("/logs?limit=0", &listener).await.status, 422);
    for (path, body, expected) in [
        ("/status", json!([]), 422),
        ("/status", json!({"labels": {}}), 422),
        ("/logs", json!({}), 422),
        ("/logs", json!([7]), 422),
        ("/logs", json!([{"x": "y".repeat(1_100_000)}]), 413),
    ] {
        let answer = functions.request(Method::POST, path, Some(&client), Some(&body)).await;
        assert_eq!(answer.unwrap().status, expected, "{path}");
    }
}

#[tokio::test]
async fn a_request_is_held_until_something_changes_or_its_time_is_up() {
    if !can_run(&[]) {
        return;
    }
    let (functions, token) = functions().await;
    let http = http_client().unwrap();
    let ask = |path: &str, tag: Option<&str>, prefer: &str| {
        let url = format!("{}{path}", functions.url());
        let request = http.get(url).bearer_auth(&token).header("Prefer", prefer);
        let request = tag.iter().fold(request, |it, tag| it.header("If-None-Match", *tag));
        async { request.send().await.unwrap() }
    };
    let path = "/bundles/x?data=only&topics=users";
    let first = ask(path, None, "modes=snapshot,delta").await;
    assert_eq!(first.status(), 200);
    assert_eq!(first.headers()["content-type"], "application/gzip");
    let tag = first.headers()["etag"].to_str().unwrap().to_owned();
    assert!(tag.starts_with('"'), "strong: {tag}");

    let same = ask(path, Some(&tag), "modes=snapshot,delta").await;
    assert_eq!(same.status(), StatusCode::NOT_MODIFIED);
    let began = Instant::now();
    let held = ask(path, Some(&tag), "modes=snapshot,delta;wait=1").await;
    assert_eq!(held.status(), StatusCode::NOT_MODIFIED);
    assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
    assert_eq!(held.headers()["content-type"], "application/vnd.openpolicyagent.bundles");
    assert_eq!(held.headers()["etag"].to_str().unwrap(), tag);

    let held = tokio::spawn(ask(path, Some(&tag), "modes=snapshot,delta;wait=60"));
    functions.publish_ok(&token, &inline("billing", "/b", &json!({}))).await.unwrap();
    let still = ask(path, Some(&tag), "modes=delta").await;
    assert_eq!(still.status(), StatusCode::NOT_MODIFIED, "another topic is no news");
    assert!(!held.is_finished());
    functions.publish_ok(&token, &inline("users", "/u", &json!({}))).await.unwrap();
    let told = tokio::time::timeout(SOON, held).await.unwrap().unwrap();
    assert_eq!(told.status(), 200);
    assert_eq!(told.headers()["content-type"], "application/vnd.openpolicyagent.bundles");
    assert_ne!(told.headers()["etag"].to_str().unwrap(), tag);

    let url = format!("{}{path}", functions.url());
    let head = http.head(url).bearer_auth(&token).header("Prefer", "wait=60").send().await.unwrap();
    assert_eq!(head.headers()["etag"], told.headers()["etag"]);
}

#[tokio::test]
async fn who_may_not_have_a_bundle_or_asks_for_none_is_told_so() {
    if !can_run(&[]) {
        return;
    }
    let (functions, token) = functions().await;
    let get = async |path: &str, token: Option<&str>| {
        functions.request(Method::GET, path, token, None).await.unwrap()
    };
    assert_eq!(get("/bundles/x", None).await.status, 401);
    assert_eq!(get("/bundles/x", Some(&token)).await.status, 503, "no policy yet");
    push(&functions, &token, json!({"a/x.rego": "package a\n"})).await;
    for (path, status) in [
        ("/bundles/x", 200),
        ("/bundles/x.tar.gz?path=a", 200),
        ("/bundles/x?path=none", 404),
        ("/bundles/a%20b", 404),
        ("/bundles/x?data=perhaps", 422),
        ("/scopes/s1/bundles/x", 403),
    ] {
        assert_eq!(get(path, Some(&token)).await.status, status, "{path}");
    }
    let narrow = json!({"claims": {"permitted_topics": ["users"]}});
    let narrow = functions.mint("client", narrow).await.unwrap();
    assert_eq!(get("/bundles/x?data=only&topics=billing", Some(&narrow)).await.status, 401);
    assert_eq!(get("/bundles/x?data=only", Some(&narrow)).await.status, 200);
}

#[tokio::test]
async fn a_scope_has_bundles_of_its_own() {
    if !can_run(&[Part::Opa]) {
        return;
    }
    let (functions, token) = functions().await;
    let scope = json!({"scope_id": "s1"});
    let made = functions.request(Method::PUT, "/scopes", Some(&token), Some(&scope)).await.unwrap();
    assert_eq!(made.status, 201, "{made:?}");
    let files = json!({"files": {"app/allow.rego": POLICY}});
    let set = functions.request(Method::PUT, "/scopes/s1/policy", Some(&token), Some(&files)).await;
    assert_eq!(set.unwrap().status, 200);
    let claims = json!({"claims": {"allowed_scopes": ["s1"]}});
    let client = functions.mint("client", claims).await.unwrap();
    let mut config = config(&functions, "bundles/main?data=true").await;
    config["services"]["girasol"]["url"] = json!(format!("{}/scopes/s1", functions.url()));
    config["services"]["girasol"]["credentials"]["bearer"]["token"] = json!(client);
    let opa = Opa::start_with(&config).await.unwrap();
    let update = inline("users", "/users", &json!({"alice": {"active": true}}));
    let path = "/scopes/s1/data/update";
    let told = functions.request(Method::POST, path, Some(&token), Some(&update)).await.unwrap();
    assert_eq!(told.status, 200, "{told:?}");
    wait_allowed(&opa, "alice", Some(true)).await;
    let listener = json!({"claims": {"allowed_scopes": ["s1"]}});
    let listener = functions.mint("listener", listener).await.unwrap();
    wait("status of the scope", async || {
        let path = "/scopes/s1/status";
        let answer = functions.request(Method::GET, path, Some(&listener), None).await.unwrap();
        (!answer.ok().unwrap()["result"].as_array().unwrap().is_empty()).then_some(())
    })
    .await;
    let elsewhere = functions.request(Method::GET, "/status", Some(&listener), None).await.unwrap();
    assert_eq!(elsewhere.body["result"], json!([]));
}
