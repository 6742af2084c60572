//! Base sources, as agents get them: in the log, and again whenever an interval has passed.

use reqwest::Method;
use serde_json::{Value, json};
use testbed::{Agent, Functions, Reply, Source};

use crate::support::{SOON, agent, can_run, data, functions, inline, logged};

const SETTING: &str = "GIRASOL_DATA_CONFIG_SOURCES";

fn entry(source: &Source, path: &str) -> Value {
    json!({"url": source.url(path), "topics": ["t"], "dst_path": path})
}

fn periodic(source: &Source, path: &str) -> Value {
    json!({"url": source.url(path), "topics": ["t"], "dst_path": path,
        "periodic_update_interval": 1})
}

async fn set(functions: &Functions, token: &str, entries: &[Value]) {
    let body = json!({"config": {"entries": entries}});
    let set = functions.request(Method::PUT, "/data/config", Some(token), Some(&body));
    let answer = set.await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// What an OPAL client lists when it connects.
async fn listed(functions: &Functions) -> Vec<Value> {
    let token = functions.mint("client", json!({})).await.unwrap();
    let list = functions.request(Method::GET, "/data/config", Some(&token), None).await.unwrap();
    list.body["entries"].as_array().unwrap().clone()
}

#[tokio::test]
async fn sources_that_are_set_reach_the_agents_and_those_that_come_later() {
    if !can_run(&[]) {
        return;
    }
    let (functions, token) = functions().await;
    let source = Source::start(&json!({"from": "base"})).unwrap();
    let early = agent(&functions, &["t"]).await.start().await.unwrap();
    early.wait_live(SOON).await.unwrap();
    set(&functions, &token, &[entry(&source, "/a"), entry(&source, "/b")]).await;
    early.wait_cursor(2, SOON).await.unwrap();
    assert_eq!(data(&early, "b").await, json!({"from": "base"}));

    set(&functions, &token, &[entry(&source, "/c")]).await;
    let late = agent(&functions, &["t"]).await.start().await.unwrap();
    late.wait_live(SOON).await.unwrap();
    late.wait_cursor(3, SOON).await.unwrap();
    assert_eq!(data(&late, "c").await, json!({"from": "base"}));
    assert_eq!(data(&late, "a").await, Value::Null, "it is no source any more");
    let urls: Vec<Value> = listed(&functions).await.iter().map(|it| it["url"].clone()).collect();
    assert_eq!(urls, [json!(source.url("/c"))], "listed once");

    let wrong = json!({"config": {"entries": [{"url": "no address"}]}});
    let put = functions.request(Method::PUT, "/data/config", Some(&token), Some(&wrong));
    let answer = put.await.unwrap();
    let refused = answer.status == 422 && answer.body.to_string().contains("absolute address");
    assert!(refused, "{answer:?}");
}

#[tokio::test]
async fn sources_of_the_settings_are_there_when_an_agent_is_ready() {
    if !can_run(&[]) {
        return;
    }
    let source = Source::start(&json!({"from": "settings"})).unwrap();
    let setting = |path: &str| json!({"config": {"entries": [entry(&source, path)]}}).to_string();
    let plan = Functions::builder().unwrap().var(SETTING, setting("/a"));
    let mut functions = plan.start().await.unwrap();
    let token = functions.mint("datasource", json!({})).await.unwrap();
    let first = agent(&functions, &["t"]).await.start().await.unwrap();
    first.wait_status(|status| status["ready"] == true, SOON).await.unwrap();
    assert_eq!(data(&first, "a").await, json!({"from": "settings"}));
    assert_eq!(listed(&functions).await.len(), 1, "listed once");

    functions.restart().await.unwrap();
    let second = agent(&functions, &["t"]).await.start().await.unwrap();
    second.wait_cursor(1, SOON).await.unwrap();
    assert_eq!(logged(&functions, &token, 0).await.len(), 1, "nothing has changed");

    functions.stop().await.unwrap();
    functions.set_var(SETTING, &setting("/b"));
    functions.restart().await.unwrap();
    second.wait_cursor(2, SOON).await.unwrap();
    assert_eq!(data(&second, "b").await, json!({"from": "settings"}));
    let log = logged(&functions, &token, 0).await;
    assert_eq!((log.len(), &log[0]["reason"]), (1, &json!("base sources")), "{log:?}");
}

#[tokio::test]
async fn a_periodic_source_is_fetched_again_and_again_and_takes_no_room_in_the_log() {
    if !can_run(&[]) {
        return;
    }
    let (functions, token) = functions().await;
    let source = Source::start(&json!({"turn": 1})).unwrap();
    let agent = agent(&functions, &["t"]).await.start().await.unwrap();
    agent.wait_live(SOON).await.unwrap();
    set(&functions, &token, &[periodic(&source, "/a")]).await;
    agent.wait_decision("a", &json!({}), &json!({"turn": 1}), SOON).await.unwrap();
    source.reply(Reply::json(&json!({"turn": 2})));
    agent.wait_decision("a", &json!({}), &json!({"turn": 2}), SOON).await.unwrap();
    source.wait_for_requests(4, SOON).await.unwrap();
    let log = logged(&functions, &token, 0).await;
    assert_eq!((log.len(), &log[0]["reason"]), (1, &json!("periodic update")), "{log:?}");
    let list = listed(&functions).await;
    assert_eq!(
        (list.len(), list[0]["periodic_update_interval"].as_f64()),
        (1, Some(1.0)),
        "{list:?}"
    );

    // An update of somebody else's stands until the next turn.
    functions.publish_ok(&token, &inline("t", "/a", &json!({"turn": "by hand"}))).await.unwrap();
    agent.wait_decision("a", &json!({}), &json!({"turn": 2}), SOON).await.unwrap();
}

#[tokio::test]
async fn a_scope_has_base_sources_of_its_own() {
    if !can_run(&[]) {
        return;
    }
    let (functions, token) = functions().await;
    let source = Source::start(&json!({"from": "scope"})).unwrap();
    let mut base = entry(&source, "/a");
    base["topics"] = json!(["s1:data:t"]);
    let scope = json!({"scope_id": "s1", "data": {"entries": [base]}});
    let made = functions.request(Method::PUT, "/scopes", Some(&token), Some(&scope)).await.unwrap();
    assert_eq!(made.status, 201, "{made:?}");
    let claims = json!({"claims": {"allowed_scopes": ["s1"]}});
    let client = functions.mint("client", claims).await.unwrap();
    let agent = Agent::builder(functions.url(), client).topics(["t"]).arg("--scope").arg("s1");
    let agent = agent.start().await.unwrap();
    agent.wait_status(|status| status["ready"] == true, SOON).await.unwrap();
    assert_eq!(data(&agent, "a").await, json!({"from": "scope"}));
}
