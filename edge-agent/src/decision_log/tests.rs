use std::sync::Arc;
use std::time::Duration;

use protocol::{Millis, Seq};
use serde_json::{Value, json, value::RawValue};

use super::*;
use crate::engine::{Engine as _, RegorusEngine};
use crate::policy::PolicyModule;

async fn engine(rego: &str) -> Arc<RegorusEngine> {
    let engine = RegorusEngine::new();
    let module =
        PolicyModule { id: "log.rego".into(), rego: format!("package system.log\n{rego}") };
    engine.set_policies(&[module]).await.unwrap();
    Arc::new(engine)
}

fn raw(value: &Value) -> Option<Box<RawValue>> {
    Some(serde_json::value::to_raw_value(value).unwrap())
}

fn decision(input: &Value) -> Decision {
    Decision {
        id: "4ca636c1-55e4-417a-b1d8-4aceb67960d1".into(),
        asked: Asked::Path("app/allow".into()),
        input: raw(input),
        result: raw(&json!({"allow": true, "token": "t"})),
        error: None,
        requested_by: "127.0.0.1:1".into(),
        at: Millis(1_700_000_000_123),
        evaluation_ns: 17,
        seq: Some(Seq(5)),
        revision: Some("abc".into()),
    }
}

fn line(engine: &RegorusEngine, input: &Value) -> Result<Option<Value>, String> {
    let labels = [("id".to_owned(), "a".to_owned())].into();
    let line = mask::apply(&Event::new(&decision(input), &labels), engine)?;
    Ok(line.map(|line| serde_json::from_str(&line).unwrap()))
}

#[tokio::test]
async fn a_decision_has_opas_members() {
    let engine = engine("").await;
    let line = line(&engine, &json!({"user": "ada"})).unwrap().unwrap();
    let expected = json!({
        "labels": {"id": "a"},
        "decision_id": "4ca636c1-55e4-417a-b1d8-4aceb67960d1",
        "bundles": {"girasol": {"revision": "abc"}},
        "path": "app/allow",
        "input": {"user": "ada"},
        "result": {"allow": true, "token": "t"},
        "requested_by": "127.0.0.1:1",
        "timestamp": "2023-11-14T22:13:20.123000Z",
        "metrics": {"timer_rego_query_eval_ns": 17},
        "custom": {"girasol_seq": 5},
    });
    assert_eq!(line, expected);
}

#[tokio::test]
async fn what_a_policy_masks_is_not_in_the_log() {
    let engine = engine(
        r#"
        mask contains "/input/password"
        mask contains "/input/list/1"
        mask contains "/input/nobody/has/this"
        mask contains {"op": "upsert", "path": "/result/token", "value": "**"}
        mask contains {"op": "remove", "path": "/input/a~1b"}
        "#,
    )
    .await;
    let input = json!({"user": "ada", "password": "p", "list": [1, 2, 3], "a/b": 1});
    let mut line = line(&engine, &input).unwrap().unwrap();
    assert_eq!(line["input"], json!({"user": "ada", "list": [1, 3]}));
    assert_eq!(line["result"], json!({"allow": true, "token": "**"}));
    let mut erased: Vec<String> = serde_json::from_value(line["erased"].take()).unwrap();
    erased.sort();
    assert_eq!(erased, ["/input/a~1b", "/input/list/1", "/input/password"]);
    assert_eq!(line["masked"], json!(["/result/token"]));
}

#[tokio::test]
async fn the_whole_input_can_be_taken_out_or_replaced() {
    for (rule, input) in [
        (r#"mask contains "/input""#, json!(null)),
        (r#"mask contains {"op": "upsert", "path": "/input", "value": 1}"#, json!(1)),
    ] {
        let engine = engine(rule).await;
        assert_eq!(line(&engine, &json!({"a": 1})).unwrap().unwrap()["input"], input, "{rule}");
    }
}

#[tokio::test]
async fn what_a_policy_drops_is_not_logged() {
    let engine = engine(r#"drop if input.path == "app/allow""#).await;
    assert_eq!(line(&engine, &json!({})).unwrap(), None);
    let engine = self::engine(r#"drop if input.path == "app/deny""#).await;
    assert!(line(&engine, &json!({})).unwrap().is_some());
}

#[tokio::test]
async fn what_cannot_be_masked_as_it_should_is_not_logged() {
    for rule in [
        r#"mask contains "input/password""#,
        r#"mask contains "/labels/id""#,
        "mask contains 17",
        r#"mask contains {"op": "replace", "path": "/input/a"}"#,
        r#"mask contains {"op": "remove"}"#,
        r#"mask := "/input/password""#,
        "mask := 1 if input.path\nmask := 2 if input.path",
        "drop := true if input.path\ndrop := false if input.path",
    ] {
        let engine = engine(rule).await;
        assert!(line(&engine, &json!({"password": "p"})).is_err(), "{rule}");
    }
}

fn settings() -> DecisionLogSettings {
    DecisionLogSettings { buffer_events: 4, ..DecisionLogSettings::default() }
}

#[tokio::test]
async fn nothing_is_started_that_nobody_wants() {
    let engine = engine("").await;
    assert!(DecisionLog::start(settings(), engine).unwrap().is_none());
}

#[tokio::test]
async fn what_was_taken_is_in_the_file_when_the_log_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("decisions.log");
    let wanted =
        DecisionLogSettings { file: Some(path.clone()), per_second: Some(2), ..settings() };
    let (log, ending) = DecisionLog::start(wanted, engine("").await).unwrap().unwrap();
    for number in 0..3 {
        log.record(decision(&json!(number)));
    }
    ending.finish().await;
    let text = std::fs::read_to_string(path).unwrap();
    let inputs: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["input"].take())
        .collect();
    assert_eq!(inputs, [json!(0), json!(1)]);
    let counts = log.counts();
    assert_eq!((counts.logged, counts.dropped), (2, 1), "{counts:?}");
}

#[tokio::test]
async fn who_decides_does_not_wait_for_a_log_without_room() {
    let folder = tempfile::tempdir().unwrap();
    let wanted = DecisionLogSettings { file: Some(folder.path().join("log")), ..settings() };
    let (log, ending) = DecisionLog::start(wanted, engine("").await).unwrap().unwrap();
    // The task has no turn before the next await: there is room for four.
    for number in 0..10 {
        log.record(decision(&json!(number)));
    }
    assert_eq!(log.counts().dropped, 6);
    ending.finish().await;
    assert_eq!(log.counts().logged, 4);
}

#[tokio::test]
async fn a_service_gets_lists_of_decisions_and_is_asked_again_when_it_fails() {
    use axum::{
        Router, body::Bytes, extract::State, http::HeaderMap, http::StatusCode, routing::post,
    };
    use std::io::Read as _;
    use tokio::sync::mpsc;

    type Posted = mpsc::UnboundedSender<(HeaderMap, Bytes)>;
    async fn take(State(posted): State<Posted>, headers: HeaderMap, body: Bytes) -> StatusCode {
        static FIRST: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(true);
        if FIRST.swap(false, Ordering::Relaxed) {
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        posted.send((headers, body)).unwrap();
        StatusCode::NO_CONTENT
    }
    let (posted, mut taken) = mpsc::unbounded_channel();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/base/", listener.local_addr().unwrap()).parse().unwrap();
    let router = Router::new().route("/base/logs", post(take)).with_state(posted);
    tokio::spawn(async move { axum::serve(listener, router).await });

    let service = ServiceSettings {
        url,
        token: Some(Secret::new("sesame".into())),
        chunk_bytes: 32 << 10,
        buffer_bytes: 1 << 20,
        delay: (Duration::from_millis(1), Duration::from_millis(2)),
    };
    let wanted = DecisionLogSettings { service: Some(service), ..settings() };
    let (log, _ending) = DecisionLog::start(wanted, engine("").await).unwrap().unwrap();
    log.record(decision(&json!("first")));
    let again = tokio::time::timeout(Duration::from_secs(10), taken.recv());
    let (headers, body) = again.await.unwrap().unwrap();
    assert_eq!(headers["authorization"], "Bearer sesame");
    assert_eq!(headers["content-encoding"], "gzip");
    let mut text = String::new();
    flate2::read::GzDecoder::new(&*body).read_to_string(&mut text).unwrap();
    let events: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(events[0]["input"], "first");
    assert_eq!(events.len(), 1);
}
