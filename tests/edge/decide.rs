//! Decisions at the edge, without an agent: the Worker follows the log itself.

use std::time::Instant;

use reqwest::Method;
use serde_json::{Value, json};
use testbed::{Answer, Functions, http_client};

use crate::support::{SOON, can_run, fetched, functions, inline, revoke};

const POLICY: &str = "package app\n\
    allow if input.user in data.admins\n\
    fresh if data.girasol.lag_seconds < 5\n\
    d := {\"k\": 1}\n\
    c := 1 if input.conflict\n\
    c := 2 if input.conflict\n";

/// Functions that look at the log for each decision, a token that may publish, and one that asks.
async fn start() -> (Functions, String, String) {
    let functions = Functions::builder().unwrap().var("GIRASOL_DECIDE_MAX_AGE_MS", "0");
    let functions = functions.start().await.unwrap();
    let publisher = functions.mint("datasource", json!({})).await.unwrap();
    let client = functions.mint("client", json!({})).await.unwrap();
    push(&functions, &publisher, POLICY).await;
    (functions, publisher, client)
}

async fn push(functions: &Functions, publisher: &str, rego: &str) {
    let policy = json!({"files": {"app.rego": rego}});
    let pushed = functions.request(Method::PUT, "/policy", Some(publisher), Some(&policy)).await;
    assert_eq!(pushed.unwrap().status, 200);
}

async fn ask(functions: &Functions, token: &str, path: &str, body: &Value) -> Answer {
    functions.request(Method::POST, path, Some(token), Some(body)).await.unwrap()
}

async fn allows(functions: &Functions, token: &str, user: &str) -> Option<Value> {
    let body = json!({"input": {"user": user}});
    let answer = ask(functions, token, "/v1/data/app/allow", &body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body.get("result").cloned()
}

#[tokio::test]
async fn what_is_published_decides_at_once_and_a_decision_says_of_when_it_is() {
    if !can_run(&[]) {
        return;
    }
    let (functions, publisher, client) = start().await;
    assert_eq!(allows(&functions, &client, "ada").await, None);
    let update = inline("policy_data", "/admins", &json!(["ada"]));
    let seq = functions.publish_ok(&publisher, &update).await.unwrap();
    assert_eq!(allows(&functions, &client, "ada").await, Some(json!(true)));
    let gone = inline("policy_data", "/admins", &json!([]));
    functions.publish_ok(&publisher, &gone).await.unwrap();
    assert_eq!(allows(&functions, &client, "ada").await, None);

    let http = http_client().unwrap();
    let url = format!("{}/v1/data/app/fresh", functions.url());
    let answer = http.get(&url).bearer_auth(&client).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/json");
    assert_eq!(answer.headers()["x-girasol-seq"], (seq + 1).to_string());
    let age: f64 = answer.headers()["x-girasol-age"].to_str().unwrap().parse().unwrap();
    assert!((0.0..1.0).contains(&age), "{age}");
    assert_eq!(answer.text().await.unwrap(), "{\"result\":true}\n");
    let later = http.get(&url).bearer_auth(&client).header("X-Girasol-At-Least", seq + 2);
    assert_eq!(later.send().await.unwrap().status(), 503);
}

#[tokio::test]
async fn a_decider_that_was_put_away_reads_the_log_again() {
    if !can_run(&[]) {
        return;
    }
    let (mut functions, publisher, client) = start().await;
    let update = inline("policy_data", "/admins", &json!(["ada"]));
    functions.publish_ok(&publisher, &update).await.unwrap();
    assert_eq!(allows(&functions, &client, "ada").await, Some(json!(true)));
    functions.kill().await.unwrap();
    functions.restart().await.unwrap();
    assert_eq!(allows(&functions, &client, "ada").await, Some(json!(true)));
}

#[tokio::test]
async fn what_is_not_older_than_wanted_costs_the_hub_nothing_and_a_seq_can_be_asked_for() {
    if !can_run(&[]) {
        return;
    }
    let (mut functions, publisher, client) = start().await;
    functions.set_var("GIRASOL_DECIDE_MAX_AGE_MS", "600000");
    functions.restart().await.unwrap();
    assert_eq!(allows(&functions, &client, "ada").await, None);
    let update = inline("policy_data", "/admins", &json!(["ada"]));
    let seq = functions.publish_ok(&publisher, &update).await.unwrap();
    // As old as it was allowed to be; who has written says so.
    assert_eq!(allows(&functions, &client, "ada").await, None);
    let url = format!("{}/v1/data/app/allow", functions.url());
    let input = json!({"input": {"user": "ada"}});
    let request = http_client().unwrap().post(url).bearer_auth(&client).json(&input);
    let answer = request.header("X-Girasol-At-Least", seq).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "{\"result\":true}\n");
    assert_eq!(allows(&functions, &client, "ada").await, Some(json!(true)));
}

#[tokio::test]
async fn nobody_decides_without_a_token_or_with_one_that_was_revoked() {
    if !can_run(&[]) {
        return;
    }
    let (functions, _, client) = start().await;
    let (path, body) = ("/v1/data/app/d", json!({"input": {}}));
    let without = functions.request(Method::POST, path, None, Some(&body)).await.unwrap();
    assert_eq!(without.status, 401);
    let narrow = functions.mint("client", json!({"claims": {"permitted_topics": ["other"]}})).await;
    assert_eq!(ask(&functions, &narrow.unwrap(), path, &body).await.status, 401);
    assert_eq!(ask(&functions, &client, path, &body).await.status, 200);
    revoke(&functions, &json!({ "token": client })).await;
    assert_eq!(ask(&functions, &client, path, &body).await.status, 401);
}

#[tokio::test]
async fn errors_are_opas_and_what_cannot_be_decided_here_is_a_501() {
    if !can_run(&[]) {
        return;
    }
    let (functions, publisher, client) = start().await;
    let input = json!({"input": {"conflict": true}});
    let conflict = ask(&functions, &client, "/v1/data/app/c", &input).await;
    assert_eq!((conflict.status, &conflict.body["code"]), (500, &json!("internal_error")));
    let missing = ask(&functions, &client, "/v0/data/app/nothing", &json!({})).await;
    assert_eq!((missing.status, &missing.body["code"]), (404, &json!("undefined_document")));
    let bare = ask(&functions, &client, "/v0/data/app/d", &json!({})).await;
    assert_eq!((bare.status, bare.body), (200, json!({"k": 1})));

    let elsewhere = fetched("policy_data", "/admins", "http://127.0.0.1:9/admins");
    functions.publish_ok(&publisher, &elsewhere).await.unwrap();
    let refused = ask(&functions, &client, "/v1/data/app/allow", &input).await;
    assert_eq!(refused.status, 501, "{refused:?}");
    assert!(refused.body["message"].as_str().unwrap().contains("/admins is fetched by agents"));
    let update = inline("policy_data", "/admins", &json!(["ada"]));
    functions.publish_ok(&publisher, &update).await.unwrap();
    assert_eq!(allows(&functions, &client, "ada").await, Some(json!(true)));

    push(&functions, &publisher, "package app\nallow if yaml.is_valid(input.user)").await;
    let refused = ask(&functions, &client, "/v1/data/app/allow", &input).await;
    assert_eq!(refused.status, 501, "{refused:?}");
}

#[tokio::test]
async fn a_policy_that_never_ends_is_given_up_and_the_next_decision_is_made() {
    if !can_run(&[]) {
        return;
    }
    let (functions, publisher, client) = start().await;
    let rego = "package app\n\
        slow if { some a in numbers.range(1, 5000); some b in numbers.range(1, 5000); a * b == 0 }\n\
        allow if input.user == \"ada\"\n";
    push(&functions, &publisher, rego).await;
    let began = Instant::now();
    let slow = ask(&functions, &client, "/v1/data/app/slow", &json!({})).await;
    assert_eq!(slow.status, 500, "{slow:?}");
    assert!(slow.body.get("result").is_none() && began.elapsed() < SOON, "{slow:?}");
    assert_eq!(allows(&functions, &client, "ada").await, Some(json!(true)));
}

#[tokio::test]
async fn a_scope_decides_by_its_own_log() {
    if !can_run(&[]) {
        return;
    }
    let (functions, publisher) = functions().await;
    let scope = json!({"scope_id": "acme", "data": {"entries": []}});
    let path = "/scopes";
    let made = functions.request(Method::PUT, path, Some(&publisher), Some(&scope)).await.unwrap();
    assert_eq!(made.status, 201, "{made:?}");
    let policy = json!({"files": {"app.rego": POLICY}});
    let path = "/scopes/acme/policy";
    let pushed = functions.request(Method::PUT, path, Some(&publisher), Some(&policy)).await;
    assert_eq!(pushed.unwrap().status, 200);
    let claims = json!({"claims": {"allowed_scopes": ["acme"]}});
    let client = functions.mint("client", claims).await.unwrap();
    let path = "/scopes/acme/v1/data/app/d";
    let answer = ask(&functions, &client, path, &json!({})).await;
    assert_eq!((answer.status, &answer.body["result"]), (200, &json!({"k": 1})));
    let elsewhere = json!({"claims": {"allowed_scopes": ["other"]}});
    let elsewhere = functions.mint("client", elsewhere).await.unwrap();
    assert_eq!(ask(&functions, &elsewhere, path, &json!({})).await.status, 403);
    let other = ask(&functions, &publisher, "/v1/data/app/d", &json!({})).await;
    assert_eq!((other.status, other.body.get("result")), (200, None));
}
