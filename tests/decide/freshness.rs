//! How fresh a decision is, and policies that go by it.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use testbed::{Agent, Engine, Functions, Opa};

use crate::ask;
use crate::world::{SOON, can_run};

/// Allows nothing once the agent has not been current for more than two seconds.
const FAILS_CLOSED: &str = "package fresh\n\ndefault allow := false\n\n\
                            allow if data.girasol.lag_seconds <= 2\n";

fn policy() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("fresh.rego"), FAILS_CLOSED).unwrap();
    folder
}

async fn start(functions: &Functions, policy: &TempDir, engine: Engine) -> Agent {
    let token = functions.mint("client", json!({})).await.unwrap();
    let agent = Agent::builder(functions.url(), token).policy_dir(policy.path());
    agent.engine(engine).start().await.unwrap()
}

async fn fails_closed_without_the_hub(engine: Engine) {
    let mut functions = Functions::start().await.unwrap();
    let policy = policy();
    let agent = start(&functions, &policy, engine).await;
    let allowed = |wanted: bool| {
        let agent = &agent;
        let wanted = json!(wanted);
        async move { agent.wait_decision("fresh/allow", &json!({}), &wanted, SOON).await.unwrap() }
    };
    allowed(true).await;
    functions.stop().await.unwrap();
    allowed(false).await;
    let lag = agent.decide("girasol/lag_seconds", &json!({})).await.unwrap();
    assert!((3..30).contains(&lag["result"].as_u64().unwrap()), "{lag}");
    functions.restart().await.unwrap();
    allowed(true).await;
    let lag = agent.decide("girasol/lag_seconds", &json!({})).await.unwrap();
    assert_eq!(lag["result"], json!(0));
}

#[tokio::test]
async fn a_policy_of_the_embedded_engine_fails_closed_without_the_hub() {
    if can_run() {
        fails_closed_without_the_hub(Engine::Regorus).await;
    }
}

#[tokio::test]
async fn a_policy_of_a_real_opa_fails_closed_without_the_hub() {
    if can_run() {
        let opa = Opa::start().await.unwrap();
        fails_closed_without_the_hub(Engine::Opa(opa.url().to_owned())).await;
    }
}

#[tokio::test]
async fn an_agent_that_begins_without_the_hub_is_as_old_as_can_be() {
    if !can_run() {
        return;
    }
    let mut functions = Functions::start().await.unwrap();
    let policy = policy();
    let mut agent = start(&functions, &policy, Engine::Regorus).await;
    agent.wait_live(SOON).await.unwrap();
    functions.stop().await.unwrap();
    agent.restart().await.unwrap();
    // It decides by what it kept, and this policy will not.
    let year = 365 * 24 * 60 * 60;
    let url = format!("{}/v1/data/fresh/allow", agent.decision_url());
    let answer = ask::http().get(url).send().await.unwrap();
    let age: f64 = answer.headers()["x-girasol-age"].to_str().unwrap().parse().unwrap();
    assert!(age > f64::from(year), "{age}");
    let decided: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    assert_eq!(decided["result"], json!(false));
}

#[tokio::test]
async fn an_answer_says_what_it_was_decided_on_and_how_fresh_that_was() {
    if !can_run() {
        return;
    }
    let functions = Functions::start().await.unwrap();
    let publisher = functions.mint("datasource", json!({})).await.unwrap();
    let policy = policy();
    let agent = start(&functions, &policy, Engine::Regorus).await;
    agent.wait_live(SOON).await.unwrap();
    let update =
        json!({"entries": [{"topics": ["policy_data"], "dst_path": "/d", "data": {"k": 1}}]});
    let seq = functions.publish_ok(&publisher, &update).await.unwrap();
    agent.wait_cursor(seq, SOON).await.unwrap();
    let (http, base) = (ask::http(), agent.decision_url());
    for (method, path) in [("GET", "/v1/data/d"), ("POST", "/v0/data/d"), ("POST", "/v1/query")] {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let answer = http.request(method, format!("{base}{path}")).body("{}").send().await.unwrap();
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("x-girasol-seq"), seq.to_string(), "{path}");
        let age = Duration::try_from_secs_f64(header("x-girasol-age").parse().unwrap()).unwrap();
        assert!(age < Duration::from_secs(1), "{path}: {age:?}");
    }
    // What the whole data is replaced with does not say how fresh it is.
    let whole = json!({"entries": [{"topics": ["policy_data"], "dst_path": "", "data": {"d": 2}}]});
    let seq = functions.publish_ok(&publisher, &whole).await.unwrap();
    agent.wait_cursor(seq, SOON).await.unwrap();
    let data = agent.decide("", &json!({})).await.unwrap();
    assert_eq!(data["result"]["d"], json!(2));
    assert_eq!(data["result"]["girasol"], json!({"lag_seconds": 0}));
}
