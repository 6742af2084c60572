//! What is in the decision log.

use std::fs;
use std::time::Instant;

use reqwest::Method;
use serde_json::{Value, json};
use testbed::{Agent, Functions};

use crate::ask::{self, Ask};
use crate::world::{SOON, can_run};

#[tokio::test]
async fn every_decision_is_in_the_file_and_at_the_service_under_the_id_of_its_answer() {
    if !can_run() {
        return;
    }
    let functions = Functions::start().await.unwrap();
    let token = functions.mint("client", json!({})).await.unwrap();
    let reader = functions.mint("listener", json!({})).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("a.rego"),
        "package a\nallow if input.x == 1\nc := 1\nc := 2 if input.x\n",
    )
    .unwrap();
    let file = folder.path().join("decisions.log");
    let agent = Agent::builder(functions.url(), token.clone()).policy_dir(folder.path());
    let agent = agent.arg("--decision-log-file").arg(&file);
    let agent = agent.arg("--decision-log-service").arg(functions.url());
    let agent = agent.arg("--decision-log-min-delay-seconds").arg("1");
    let agent = agent.arg("--decision-log-max-delay-seconds").arg("1");
    let mut agent = agent.var("GIRASOL_DECISION_LOG_TOKEN", &token).start().await.unwrap();
    agent.wait_live(SOON).await.unwrap();
    let http = ask::http();
    let x = r#"{"input":{"x":1}}"#;
    let mut ids = vec![];
    for (ask, status) in [
        (Ask::post("/v1/data/a/allow", x), 200),
        (Ask::post("/v1/data/a/nobody", x), 200),
        (Ask::post("/v1/data/a/c", x), 500),
        (Ask::post("/v0/data/a/allow", r#"{"x":1}"#), 200),
        (Ask::post("/v1/query", r#"{"query":"x = data.a.allow","input":{"x":1}}"#), 200),
        (Ask::post("/", "{}"), 404),
    ] {
        let answer = ask.send(&http, agent.decision_url()).await;
        assert_eq!(answer.status, status, "{}: {answer}", ask.name());
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        ids.push(body["decision_id"].as_str().map(str::to_owned));
    }
    let deadline = Instant::now() + SOON;
    let at_service = loop {
        let path = "/logs?limit=100";
        let answer = functions.request(Method::GET, path, Some(&reader), None);
        let answer = answer.await.unwrap();
        let found = answer.body.to_string();
        if found.matches("\"decision_id\"").count() >= 6 {
            break found;
        }
        assert!(Instant::now() < deadline, "{answer:?}");
        tokio::task::yield_now().await;
    };
    let status = agent.status().await.unwrap();
    assert_eq!(status["decision_log"]["logged"], json!(6), "{status}");
    agent.stop().await.unwrap();
    let lines = fs::read_to_string(&file).unwrap();
    let events: Vec<Value> = lines.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
    let asked: Vec<&Value> =
        events.iter().map(|it| it.get("path").or(it.get("query")).unwrap()).collect();
    assert_eq!(asked, ["a/allow", "a/nobody", "a/c", "a/allow", "x = data.a.allow", "system/main"]);
    assert_eq!(events[0]["decision_id"].as_str(), ids[0].as_deref());
    assert_eq!(events[1]["decision_id"].as_str(), ids[1].as_deref());
    assert_eq!((&events[0]["result"], &events[0]["input"]), (&json!(true), &json!({"x": 1})));
    assert!(events[1].get("result").is_none() && events[1].get("error").is_none());
    assert_eq!(events[2]["error"]["code"], "internal_error");
    assert_eq!(events[4]["result"], json!([{"x": true}]));
    for event in &events {
        assert!(at_service.contains(event["decision_id"].as_str().unwrap()), "{event}");
        assert!(event["requested_by"].as_str().unwrap().starts_with("127.0.0.1:"), "{event}");
        assert!(event["custom"]["girasol_seq"].is_u64(), "{event}");
    }
}
