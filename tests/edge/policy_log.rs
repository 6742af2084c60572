//! Policy in the scope's log, and agents that decide by it.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use testbed::{Agent, Answer, Engine, Functions, Opa, Part};

use crate::support::{SOON, agent, can_run, fetched, functions, inline, logged};

/// A policy that allows from this level up.
fn gate(level: u32) -> String {
    format!(
        "package app\nimport rego.v1\n\ndefault allow := false\n\nallow if input.level >= {level}\n"
    )
}

/// A policy that allows from the level that the data says.
const GATE_BY_DATA: &str = "package app\nimport rego.v1\n\ndefault allow := false\n\nallow if input.level >= data.gate.level\n";

async fn put(functions: &Functions, token: &str, query: &str, files: &Value) -> Answer {
    let path = format!("/policy{query}");
    let body = json!({ "files": files });
    functions.request(Method::PUT, &path, Some(token), Some(&body)).await.unwrap()
}

/// Makes files the policy; the number of the update that completes it.
async fn push(functions: &Functions, token: &str, files: &Value) -> u64 {
    let answer = put(functions, token, "", files).await.ok().unwrap();
    answer["seq"].as_u64().unwrap_or_else(|| panic!("{answer}"))
}

async fn allows(agent: &Agent, level: u32) -> Value {
    agent.decide("app/allow", &json!({ "level": level })).await.unwrap()["result"].clone()
}

#[tokio::test]
async fn a_push_changes_decisions_and_an_agent_that_comes_later_has_it_too() {
    if !can_run(&[]) {
        return;
    }
    let (functions, token) = functions().await;
    let first = agent(&functions, &["t"]).await.start().await.unwrap();
    first.wait_live(SOON).await.unwrap();
    let answer = put(&functions, &token, "?wait=all", &json!({"app.rego": gate(5)})).await;
    let answer = answer.ok().unwrap();
    assert_eq!((&answer["seq"], &answer["complete"]), (&json!(1), &json!(true)), "{answer}");
    assert_eq!(answer["receipts"][0]["applied"], json!(true), "{answer}");
    assert_eq!((allows(&first, 4).await, allows(&first, 5).await), (json!(false), json!(true)));
    let status = first.status().await.unwrap();
    assert_eq!(status["policy_revision"], answer["hash"]);

    let seq = push(&functions, &token, &json!({"app.rego": gate(3)})).await;
    first.wait_cursor(seq, SOON).await.unwrap();
    assert_eq!((allows(&first, 2).await, allows(&first, 3).await), (json!(false), json!(true)));

    let later = agent(&functions, &["other"]).await.start().await.unwrap();
    later.wait_status(|it| it["ready"] == true, SOON).await.unwrap();
    assert_eq!((allows(&later, 2).await, allows(&later, 3).await), (json!(false), json!(true)));
    // The log has each module once, and one marker.
    let parts: usize = logged(&functions, &token, 0)
        .await
        .iter()
        .map(|it| it["entries"].as_array().unwrap().len())
        .sum();
    assert_eq!(parts, 2);
}

#[tokio::test]
async fn data_of_a_commit_comes_with_its_policy_and_goes_with_it() {
    if !can_run(&[]) {
        return;
    }
    let (functions, token) = functions().await;
    let agent = agent(&functions, &["t"]).await.start().await.unwrap();
    let files = json!({"app.rego": GATE_BY_DATA, "gate/data.json": "{\"level\": 7}"});
    let seq = push(&functions, &token, &files).await;
    agent.wait_cursor(seq, SOON).await.unwrap();
    assert_eq!((allows(&agent, 6).await, allows(&agent, 7).await), (json!(false), json!(true)));
    // The data becomes a rule of the same place.
    let rule = "package gate\n\nlevel := 2\n";
    let files = json!({"app.rego": GATE_BY_DATA, "gate.rego": rule});
    let seq = push(&functions, &token, &files).await;
    agent.wait_cursor(seq, SOON).await.unwrap();
    assert_eq!((allows(&agent, 1).await, allows(&agent, 2).await), (json!(false), json!(true)));
    assert_eq!(agent.healthz().await.unwrap().0, 200);
}

#[tokio::test]
async fn an_agent_that_was_away_catches_up_and_one_without_a_hub_decides_by_what_it_had() {
    if !can_run(&[]) {
        return;
    }
    let (mut functions, token) = functions().await;
    let dir = tempfile::tempdir().unwrap();
    let plan = agent(&functions, &["t"]).await.data_dir(dir.path());
    let mut agent = plan.start().await.unwrap();
    let seq =
        push(&functions, &token, &json!({"app.rego": gate(5), "old.rego": "package old\n"})).await;
    agent.wait_cursor(seq, SOON).await.unwrap();
    agent.stop().await.unwrap();
    push(&functions, &token, &json!({"app.rego": gate(4), "gate/data.json": "{\"level\": 1}"}))
        .await;
    let files = json!({"app.rego": GATE_BY_DATA, "gate/data.json": "{\"level\": 9}"});
    let seq = push(&functions, &token, &files).await;
    agent.restart().await.unwrap();
    agent.wait_cursor(seq, SOON).await.unwrap();
    assert_eq!((allows(&agent, 8).await, allows(&agent, 9).await), (json!(false), json!(true)));

    agent.stop().await.unwrap();
    functions.stop().await.unwrap();
    agent.restart().await.unwrap();
    agent.wait_decision("app/allow", &json!({"level": 9}), &json!(true), SOON).await.unwrap();
    assert_eq!(allows(&agent, 8).await, json!(false));
    let status = agent.status().await.unwrap();
    assert!(status["policy_revision"].is_string() && status["engine_up"] == true, "{status}");
}

#[tokio::test]
async fn what_the_engine_refuses_changes_nothing_and_the_next_commit_goes_on() {
    if !can_run(&[]) {
        return;
    }
    let (functions, token) = functions().await;
    let agent = agent(&functions, &["t"]).await.start().await.unwrap();
    agent.wait_live(SOON).await.unwrap();
    let seq = push(&functions, &token, &json!({"app.rego": gate(5)})).await;
    agent.wait_cursor(seq, SOON).await.unwrap();
    // It compiles, and collides with data that a publisher has put there.
    let seq = functions.publish_ok(&token, &inline("t", "/taken", &json!({"x": 1}))).await.unwrap();
    agent.wait_cursor(seq, SOON).await.unwrap();
    let files = json!({"app.rego": gate(1), "taken.rego": "package taken\n\nx := 2\n"});
    let answer = put(&functions, &token, "?wait=all", &files).await.ok().unwrap();
    assert_eq!(answer["receipts"][0]["applied"], json!(false), "{answer}");
    assert_eq!((allows(&agent, 4).await, allows(&agent, 5).await), (json!(false), json!(true)));
    let status = agent.status().await.unwrap();
    assert_eq!((&status["ready"], &status["healthy"]), (&json!(true), &json!(false)), "{status}");
    assert!(status["policy_error"].as_str().unwrap().contains("taken/x"), "{status}");
    assert_eq!(agent.healthz().await.unwrap().0, 503);
    let seq = push(&functions, &token, &json!({"app.rego": gate(1)})).await;
    agent.wait_cursor(seq, SOON).await.unwrap();
    assert_eq!(allows(&agent, 1).await, json!(true));
    assert_eq!(agent.healthz().await.unwrap().0, 200);
}

#[tokio::test]
async fn a_source_that_does_not_answer_holds_up_only_a_commit_at_its_places() {
    if !can_run(&[]) {
        return;
    }
    let (functions, token) = functions().await;
    let agent = agent(&functions, &["t"]).await.start().await.unwrap();
    agent.wait_live(SOON).await.unwrap();
    let dead = fetched("t", "/dead", "http://127.0.0.1:9/nobody");
    functions.publish_ok(&token, &dead).await.unwrap();
    push(&functions, &token, &json!({"app.rego": gate(2)})).await;
    let input = json!({"level": 2});
    agent.wait_decision("app/allow", &input, &json!(true), SOON).await.unwrap();
}

#[tokio::test]
async fn an_agent_takes_the_folders_that_it_is_set_to() {
    if !can_run(&[]) {
        return;
    }
    let (functions, token) = functions().await;
    let files = json!({"app/app.rego": gate(5), "lib/x.rego": "package lib\n\nx := 1\n"});
    let seq = push(&functions, &token, &files).await;
    let plan = agent(&functions, &["t"]).await.arg("--policy-dirs").arg("app");
    let one = plan.start().await.unwrap();
    one.wait_status(|it| it["ready"] == true && it["policy_revision"].is_string(), SOON)
        .await
        .unwrap();
    assert_eq!(allows(&one, 5).await, json!(true));
    let lib = one.decide("lib/x", &json!({})).await.unwrap();
    assert_eq!(lib.get("result"), None, "{lib}");
    let plan = agent(&functions, &["t"]).await.arg("--policy-updates").arg("false");
    let none = plan.start().await.unwrap();
    none.wait_live(SOON).await.unwrap();
    let status = none.status().await.unwrap();
    assert_eq!((&status["ready"], &status["policy_revision"]), (&json!(true), &Value::Null));
    // Both hear of the next one, or do not, without a hole.
    let files = json!({"app/app.rego": gate(6), "lib/x.rego": "package lib\n\nx := 2\n"});
    let next = push(&functions, &token, &files).await;
    assert_eq!(next, seq + 1);
    one.wait_cursor(next, SOON).await.unwrap();
    assert_eq!((allows(&one, 5).await, allows(&one, 6).await), (json!(false), json!(true)));
}

#[tokio::test]
async fn a_real_opa_follows_policy_and_data_of_commits_and_keeps_the_old_ones_if_it_refuses() {
    if !can_run(&[Part::Opa]) {
        return;
    }
    let (functions, token) = functions().await;
    let mut opa = Opa::start().await.unwrap();
    let plan = agent(&functions, &["t"]).await.engine(Engine::Opa(opa.url().to_owned()));
    let agent = plan.start().await.unwrap();
    agent.wait_live(SOON).await.unwrap();
    let decide = async |opa: &Opa, level: u32| {
        let input = json!({ "level": level });
        opa.decide("app/allow", &input).await.unwrap()["result"].clone()
    };
    let files = json!({"app.rego": GATE_BY_DATA, "deep/er/data.json": "{}", "gate/data.json": "{\"level\": 7}"});
    let seq = push(&functions, &token, &files).await;
    agent.wait_cursor(seq, SOON).await.unwrap();
    assert_eq!((decide(&opa, 6).await, decide(&opa, 7).await), (json!(false), json!(true)));
    assert_eq!(opa.data("/deep/er").await.unwrap(), json!({}));

    // Data that becomes a rule, and a module that goes.
    let rule = json!({"app.rego": GATE_BY_DATA, "gate.rego": "package gate\n\nlevel := 2\n"});
    let seq = push(&functions, &token, &rule).await;
    agent.wait_cursor(seq, SOON).await.unwrap();
    assert_eq!((decide(&opa, 1).await, decide(&opa, 2).await), (json!(false), json!(true)));
    let seq = functions.publish_ok(&token, &inline("t", "/taken", &json!({"x": 1}))).await.unwrap();
    agent.wait_cursor(seq, SOON).await.unwrap();

    let bad = json!({"app.rego": gate(0), "taken.rego": "package taken\n\nx := 2\n", "new/data.json": "{\"k\": 1}"});
    let answer = put(&functions, &token, "?wait=all", &bad).await.ok().unwrap();
    assert_eq!(answer["receipts"][0]["applied"], json!(false), "{answer}");
    assert_eq!((decide(&opa, 1).await, decide(&opa, 2).await), (json!(false), json!(true)));

    let seq = push(&functions, &token, &json!({"app.rego": gate(3)})).await;
    agent.wait_cursor(seq, SOON).await.unwrap();
    assert_eq!((decide(&opa, 2).await, decide(&opa, 3).await), (json!(false), json!(true)));

    opa.kill().await.unwrap();
    opa.restart().await.unwrap();
    let input = json!({"level": 3});
    let deadline = tokio::time::Instant::now() + SOON;
    while opa.decide("app/allow", &input).await.unwrap()["result"] != json!(true) {
        assert!(tokio::time::Instant::now() < deadline, "it is not filled again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    agent.wait_status(|it| it["healthy"] == true, SOON).await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_policy_is_refused_and_publishers_keep_to_data() {
    if !can_run(&[]) {
        return;
    }
    let (functions, token) = functions().await;
    for (files, status, words) in [
        (json!({"a.rego": format!("package a\n# {}", "\"".repeat(600_000))}), 413, "`a.rego`"),
        (json!({"app/data.json": "[]"}), 422, "app/data.json:1: it is no JSON object"),
        (json!({"girasol/data.json": "{}"}), 422, "reserved"),
    ] {
        let answer = put(&functions, &token, "", &files).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.body["detail"].to_string().contains(words), "{answer:?}");
    }
    for update in
        [inline("policy:app", "/a", &json!({})), inline("t", "/girasol/policy", &json!({}))]
    {
        let answer = functions.publish(&token, &update).await.unwrap();
        assert_eq!(answer.status, 422, "{answer:?}");
    }
    assert_eq!(push(&functions, &token, &json!({"a.rego": "package a\n"})).await, 1);
}
