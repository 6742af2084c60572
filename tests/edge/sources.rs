use std::time::Duration;

use serde_json::{Value, json};
use testbed::{Reply, Source};

use crate::support::{SOON, agent, can_run, data, fetched, functions, inline};

fn retrying(status: &Value) -> bool {
    status["pending"][0]["state"] == "retrying" && status["healthy"] == false
}

#[tokio::test]
async fn a_source_that_fails_leaves_the_old_data_and_is_asked_again() {
    if !can_run(&[]) {
        return;
    }
    let failures = [
        ("an error", Reply::json(&json!({"oops": 1})).status(500)),
        ("HTML", Reply::text("text/html", "<html><body>Sign in</body></html>")),
        ("half a document", Reply::text("application/json", "{\"k\":")),
        ("nothing", Reply::text("application/json", "null")),
    ];
    for (name, failure) in failures {
        let (functions, token) = functions().await;
        let source = Source::start(&json!({"version": 1})).unwrap();
        let agent = agent(&functions, &["t"]).await.start().await.unwrap();
        agent.wait_live(SOON).await.unwrap();
        let update = fetched("t", "/d", &source.url("/d"));
        let seq = functions.publish_ok(&token, &update).await.unwrap();
        agent.wait_cursor(seq, SOON).await.unwrap();

        source.reply(failure);
        let seq = functions.publish_ok(&token, &update).await.unwrap();
        let status = agent.wait_status(retrying, SOON).await.unwrap();
        let error = status["pending"][0]["error"].as_str().unwrap();
        assert!(
            !error.contains("oops") && !error.contains("Sign in"),
            "{name}: a body may be secret: {error}"
        );
        let (code, health) = agent.healthz().await.unwrap();
        assert_eq!(code, 503, "{name}");
        assert!(health["problems"][0].as_str().unwrap().contains("/d"), "{name}: {health}");
        assert_eq!(data(&agent, "d").await, json!({"version": 1}), "{name}: the old data stays");

        source.reply(Reply::json(&json!({"version": 2})));
        agent.wait_cursor(seq, SOON).await.unwrap();
        assert_eq!(data(&agent, "d").await, json!({"version": 2}), "{name}");
        assert_eq!(agent.healthz().await.unwrap().0, 200, "{name}");
    }
}

#[tokio::test]
async fn a_source_that_is_down_is_asked_until_it_is_back() {
    if !can_run(&[]) {
        return;
    }
    let (functions, token) = functions().await;
    let mut source = Source::start(&json!({"k": 1})).unwrap();
    let agent = agent(&functions, &["t"]).await.start().await.unwrap();
    agent.wait_live(SOON).await.unwrap();
    source.stop();
    let seq = functions.publish_ok(&token, &fetched("t", "/d", &source.url("/d"))).await.unwrap();
    let again = |status: &Value| status["pending"][0]["attempts"].as_u64() >= Some(2);
    agent.wait_status(again, SOON).await.unwrap();
    source.restart().unwrap();
    agent.wait_cursor(seq, SOON).await.unwrap();
    assert_eq!(data(&agent, "d").await, json!({"k": 1}));
}

#[tokio::test]
async fn a_slow_source_holds_back_only_its_own_paths() {
    if !can_run(&[]) {
        return;
    }
    let (functions, token) = functions().await;
    let source = Source::start(&json!({"k": 1})).unwrap();
    source.reply_at("/slow", Reply::json(&json!({"k": "late"})).delay(Duration::from_secs(120)));
    let agent = agent(&functions, &["t"]).await.arg("--fetch-timeout-seconds").arg("1");
    let agent = agent.start().await.unwrap();
    agent.wait_live(SOON).await.unwrap();
    functions.publish_ok(&token, &fetched("t", "/slow", &source.url("/slow"))).await.unwrap();
    functions.publish_ok(&token, &inline("t", "/other", &json!({"k": 2}))).await.unwrap();
    let applied = |status: &Value| status["last_applied"] == 2;
    agent.wait_status(applied, SOON).await.unwrap();
    assert_eq!(data(&agent, "other").await, json!({"k": 2}));
    let status = agent.wait_status(retrying, SOON).await.unwrap();
    assert_eq!(status["cursor"], 0, "update 1 is not done: {status:#}");
    source.reply_at("/slow", Reply::json(&json!({"k": "at last"})));
    agent.wait_cursor(2, SOON).await.unwrap();
    assert_eq!(data(&agent, "slow").await, json!({"k": "at last"}));
}
