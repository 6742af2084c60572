//! A real OPA beside the agent.

use serde_json::{Value, json};
use testbed::{Agent, Engine, Functions, Opa, Part, Source, http_client};
use tokio::time::timeout;

use crate::support::{SOON, agent, can_run, fetched, functions, inline, policy};

/// An agent that fills this OPA with the example's policy and the data of a topic.
async fn beside(opa: &Opa, functions: &Functions, topic: &str) -> Agent {
    let plan = agent(functions, &[topic]).await.policy_dir(policy());
    plan.engine(Engine::Opa(opa.url().to_owned())).start().await.unwrap()
}

#[tokio::test]
async fn a_publish_flips_the_decision_of_a_real_opa() {
    if !can_run(&[Part::Opa]) {
        return;
    }
    let (functions, token) = functions().await;
    let opa = Opa::start().await.unwrap();
    let billing = Source::start(&json!({"acme": {"enabled": true}})).unwrap();
    let agent = beside(&opa, &functions, "billing").await;
    agent.wait_live(SOON).await.unwrap();
    let user = json!({"customer": "acme"});
    agent.wait_decision("app/allow", &user, &json!(false), SOON).await.unwrap();
    let seq = functions
        .publish_ok(&token, &fetched("billing", "/billing", &billing.url("/b")))
        .await
        .unwrap();
    agent.wait_cursor(seq, SOON).await.unwrap();
    assert_eq!(opa.decide("app/allow", &user).await.unwrap()["result"], json!(true));
    let patch = json!({"entries": [{"topics": ["billing"], "dst_path": "/billing", "save_method": "PATCH",
        "data": [{"op": "replace", "path": "/acme/enabled", "value": false}]}]});
    let seq = functions.publish_ok(&token, &patch).await.unwrap();
    agent.wait_cursor(seq, SOON).await.unwrap();
    assert_eq!(opa.decide("app/allow", &user).await.unwrap()["result"], json!(false));
}

#[tokio::test]
async fn an_opa_that_is_down_at_the_start_is_waited_for() {
    if !can_run(&[Part::Opa]) {
        return;
    }
    let (functions, token) = functions().await;
    let mut opa = Opa::start().await.unwrap();
    opa.stop().await.unwrap();
    let agent = beside(&opa, &functions, "t").await;
    let seq = functions.publish_ok(&token, &inline("t", "/d", &json!({"k": 1}))).await.unwrap();
    let down = |status: &Value| status["engine_up"] == false && status["engine_error"].is_string();
    agent.wait_status(down, SOON).await.unwrap();
    assert_eq!(agent.healthz().await.unwrap().0, 503);
    opa.restart().await.unwrap();
    agent.wait_cursor(seq, SOON).await.unwrap();
    assert_eq!(opa.data("/d").await.unwrap(), json!({"k": 1}));
    agent.wait_status(|status| status["healthy"] == true, SOON).await.unwrap();
}

#[tokio::test]
async fn an_opa_that_was_restarted_is_filled_again() {
    if !can_run(&[Part::Opa]) {
        return;
    }
    let (functions, token) = functions().await;
    let mut opa = Opa::start().await.unwrap();
    let agent = beside(&opa, &functions, "t").await;
    agent.wait_live(SOON).await.unwrap();
    // A document for the root replaces everything but what the agent itself keeps there.
    functions
        .publish_ok(&token, &inline("t", "/", &json!({"billing": {"acme": {"enabled": true}}})))
        .await
        .unwrap();
    let seq = functions.publish_ok(&token, &inline("t", "/d", &json!({"k": 1}))).await.unwrap();
    agent.wait_cursor(seq, SOON).await.unwrap();

    opa.kill().await.unwrap();
    opa.restart().await.unwrap();
    let noticed = |line: &str| line.contains("the engine was emptied").then_some(());
    timeout(SOON, agent.logs().wait_for(noticed)).await.unwrap().unwrap();
    agent
        .wait_status(|status| status["ready"] == true && status["cursor"] == 2, SOON)
        .await
        .unwrap();
    assert_eq!(opa.data("/d").await.unwrap(), json!({"k": 1}));
    let user = json!({"customer": "acme"});
    assert_eq!(opa.decide("app/allow", &user).await.unwrap()["result"], json!(true));
}

#[tokio::test]
async fn what_somebody_else_writes_into_opa_is_put_right() {
    if !can_run(&[Part::Opa]) {
        return;
    }
    let (functions, token) = functions().await;
    let opa = Opa::start().await.unwrap();
    let agent = beside(&opa, &functions, "t").await;
    let seq = functions.publish_ok(&token, &inline("t", "/d", &json!({"k": 1}))).await.unwrap();
    agent.wait_cursor(seq, SOON).await.unwrap();

    let http = http_client().unwrap();
    for (path, document) in [("/d", json!({"k": 2})), ("/others", json!(1))] {
        let url = format!("{}/v1/data{path}", opa.url());
        let answer = http.put(url).body(document.to_string()).send().await.unwrap();
        assert_eq!(answer.status(), 204);
        let mut lines = 0;
        let noticed = |line: &str| {
            lines += usize::from(line.contains("somebody else wrote into the engine"));
            (lines > usize::from(path == "/others")).then_some(())
        };
        timeout(SOON, agent.logs().wait_for(noticed)).await.unwrap().unwrap();
        agent.wait_status(|status| status["engine_up"] == true, SOON).await.unwrap();
    }
    assert_eq!(opa.data("/d").await.unwrap(), json!({"k": 1}));
    assert_eq!(opa.data("/others").await.unwrap(), json!(1));
}

#[tokio::test]
async fn a_write_of_an_earlier_life_of_the_agent_is_refused_by_opa() {
    if !can_run(&[Part::Opa]) {
        return;
    }
    let (functions, token) = functions().await;
    let opa = Opa::start().await.unwrap();
    let first = beside(&opa, &functions, "t").await;
    let seq = functions.publish_ok(&token, &inline("t", "/d", &json!({"k": 1}))).await.unwrap();
    first.wait_cursor(seq, SOON).await.unwrap();
    let mark = opa.data("/girasol/agent").await.unwrap();
    let fence = format!("/girasol/agent/writes/{}", mark["run"].as_str().unwrap());
    let late = json!([{"op": "replace", "path": fence, "value": true},
        {"op": "add", "path": "/d", "value": {"k": "late"}}]);
    let send = || {
        let url = format!("{}/v1/data", opa.url());
        let request = http_client().unwrap().patch(url).body(late.to_string());
        request.header("content-type", "application/json-patch+json").send()
    };
    assert_eq!(send().await.unwrap().status(), 204);
    drop(first);
    let second = beside(&opa, &functions, "t").await;
    second.wait_cursor(seq, SOON).await.unwrap();
    assert_eq!(send().await.unwrap().status(), 404);
    assert_eq!(opa.data("/d").await.unwrap(), json!({"k": 1}));
}

#[tokio::test]
async fn what_opa_refuses_is_shown_and_the_next_update_goes_on() {
    if !can_run(&[Part::Opa]) {
        return;
    }
    let (functions, token) = functions().await;
    let opa = Opa::start().await.unwrap();
    let agent = beside(&opa, &functions, "t").await;
    agent.wait_live(SOON).await.unwrap();
    let patch = json!({"entries": [{"topics": ["t"], "dst_path": "/d", "save_method": "PATCH",
        "data": [{"op": "remove", "path": "/nothing"}]}]});
    let seq = functions.publish_ok(&token, &patch).await.unwrap();
    agent.wait_cursor(seq, SOON).await.unwrap();
    assert_eq!(agent.status().await.unwrap()["last_failure"]["seq"], json!(seq));
    let seq = functions.publish_ok(&token, &inline("t", "/d", &json!({"k": 1}))).await.unwrap();
    agent.wait_cursor(seq, SOON).await.unwrap();
    assert_eq!(opa.data("/d").await.unwrap(), json!({"k": 1}));
    assert_eq!(agent.healthz().await.unwrap().0, 200);
}
