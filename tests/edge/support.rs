//! What the suites share.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use testbed::{Agent, AgentBuilder, Functions, FunctionsBuilder, Part, checkout};

/// Nothing on loopback takes this long unless it is broken.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A key that facts are sealed with, and nothing else anywhere.
pub(crate) const FACTS_KEYS: &str = "k1:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// True if the test can run; without a part it is skipped, and with `CI=true` it fails.
pub(crate) fn can_run(parts: &[Part]) -> bool {
    let needed = [&[Part::Workerd, Part::WorkerConfig, Part::Agent], parts].concat();
    testbed::require(&needed).unwrap()
}

/// The billing example's policy.
pub(crate) fn policy() -> PathBuf {
    checkout().join("examples/billing/policy")
}

/// Functions, and a token that may publish.
pub(crate) async fn functions() -> (Functions, String) {
    let functions = Functions::start().await.unwrap();
    let token = functions.mint("datasource", json!({})).await.unwrap();
    (functions, token)
}

/// Functions that can keep facts.
pub(crate) fn with_facts() -> FunctionsBuilder {
    Functions::builder().unwrap().var("GIRASOL_FACTS_KEYS", FACTS_KEYS)
}

/// An agent with a client's token.
pub(crate) async fn agent(functions: &Functions, topics: &[&str]) -> AgentBuilder {
    let token = functions.mint("client", json!({})).await.unwrap();
    Agent::builder(functions.url(), token).topics(topics.iter().copied())
}

/// An update of one entry with inline data.
pub(crate) fn inline(topic: &str, path: &str, data: &Value) -> Value {
    json!({"entries": [{"url": "", "topics": [topic], "dst_path": path, "data": data}]})
}

/// An update of one entry that is fetched.
pub(crate) fn fetched(topic: &str, path: &str, url: &str) -> Value {
    json!({"entries": [{"url": url, "topics": [topic], "dst_path": path}]})
}

/// The data that the agent's engine has at a path, without what the agent says of itself.
pub(crate) async fn data(agent: &Agent, path: &str) -> Value {
    let mut data = agent.decide(path, &json!({})).await.unwrap()["result"].take();
    if let Some(members) = data.as_object_mut() {
        members.remove("girasol");
    }
    data
}

pub(crate) async fn revoke(functions: &Functions, what: &Value) -> Value {
    let master = functions.master_token();
    let answer = functions.request(Method::POST, "/token/revoke", Some(master), Some(what)).await;
    let answer = answer.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

/// The updates of the hub's log after a number.
pub(crate) async fn logged(functions: &Functions, token: &str, after: u64) -> Vec<Value> {
    let path = format!("/log?after={after}");
    let answer = functions.request(Method::GET, &path, Some(token), None).await.unwrap();
    answer.body["updates"].as_array().unwrap().clone()
}
