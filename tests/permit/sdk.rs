//! Programs with the real SDK, in both versions.

use serde_json::json;
use testbed::{Part, checkout, permit_program};

use crate::support::{SOON, Stage, can_run};

const SDKS: [Part; 2] = [Part::Permit3, Part::Permit2];

/// Runs a program of `programs/` with each SDK, each against functions and an agent of its own;
/// what each printed.
async fn run(program: &str, prepare: impl Fn(&Stage)) -> Vec<String> {
    let mut said = vec![];
    for sdk in SDKS {
        let stage = Stage::new().await;
        // Who may do what is no fact but part of the policy's data.
        let viewer = json!({ "grants": { "document": ["read"] } });
        let update = json!({"entries": [{"url": "", "topics": ["policy_data"], "data": viewer,
            "dst_path": "role_permissions/__tenant/viewer"}]});
        let seq = stage.functions.publish_ok(&stage.token, &update).await.unwrap();
        stage.agent.wait_cursor(seq, SOON).await.unwrap();
        prepare(&stage);
        let file = checkout().join("tests/permit/programs").join(program);
        let variables = [
            ("AGENT", stage.agent.local_url()),
            ("DECISIONS", stage.agent.decision_url()),
            ("TOKEN", stage.token.as_str()),
        ];
        let ended = permit_program(sdk, &file, &variables).await.unwrap();
        assert_eq!(ended.code, Some(0), "{sdk:?} {program}: {}\n{}", ended.out, ended.err);
        assert_eq!(stage.waiters().await, 0);
        said.push(ended.out);
    }
    said
}

#[tokio::test]
async fn the_documented_snippet_writes_and_checks() {
    if can_run(&SDKS) {
        run("snippet.py", |_| {}).await;
    }
}

#[tokio::test]
async fn no_check_after_a_sync_is_answered_from_old_data() {
    if can_run(&SDKS) {
        run("fresh.py", |_| {}).await;
    }
}

#[tokio::test]
async fn whatever_the_sdk_writes_is_in_the_engine_when_the_call_returns() {
    if can_run(&SDKS) {
        run("things.py", |_| {}).await;
    }
}

#[tokio::test]
async fn a_thousand_users_are_there_when_the_call_returns_and_gone_after_another() {
    if can_run(&SDKS) {
        run("bulk.py", |_| {}).await;
    }
}

#[tokio::test]
async fn keys_come_back_as_they_were_sent() {
    if can_run(&SDKS) {
        run("keys.py", |_| {}).await;
    }
}

#[tokio::test]
async fn who_wants_to_know_is_told_that_the_agent_did_not_get_it() {
    if can_run(&SDKS) {
        let said = run("late.py", |stage| stage.proxy.hold_sockets()).await;
        assert_eq!(said, ["failed", "answered"]);
    }
}
