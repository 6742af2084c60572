//! Agents that have lost the hub go by their grants for a while; those that may have missed a
//! revocation do not.

use reqwest::Method;
use serde_json::json;
use testbed::{Agent, Engine, Functions, Opa, Part, Proxy};

use super::{ask, becomes, contact, grant, plan, status, token};
use crate::support::{SOON, can_run, functions};

/// Where nothing is: the agent itself says so, to who may go there.
const PATH: &str = "/nowhere";

/// An agent that goes on for so many seconds without the hub.
async fn patient(functions: &Functions, seconds: &str) -> Agent {
    let plan = plan(functions, &["t"]).await;
    let agent = plan.arg("--grants-offline-seconds").arg(seconds).start().await.unwrap();
    contact(&agent).await;
    agent
}

async fn may(agent: &Agent, token: &str) -> bool {
    status(agent, "GET", PATH, token).await == 404
}

/// That the agent refuses, and says that it is for this.
async fn refuses(agent: &Agent, token: &str, why: &str) {
    let answer = becomes(agent, PATH, token, 401).await;
    assert_eq!(answer.body["message"], "Unauthorized");
    assert!(answer.body["detail"].as_str().unwrap().contains(why), "{answer:?}");
    let shown = agent.status().await.unwrap();
    assert!(shown["data_plane"]["refusing"].as_str().unwrap().contains(why), "{shown}");
}

#[tokio::test]
async fn without_the_hub_an_agent_goes_on_for_as_long_as_it_is_told_and_not_longer() {
    if !can_run(&[]) {
        return;
    }
    let (mut functions, _) = functions().await;
    let agent = patient(&functions, "2").await;
    let (_, token) = token(&functions, &["*"]).await;
    functions.stop().await.unwrap();
    assert!(may(&agent, &token).await, "it has heard of the hub a moment ago");
    refuses(&agent, &token, "may have missed a revocation").await;
    assert_eq!(ask(&agent, "GET", "/api/v1/healthz", "").await.status, 200);
    functions.restart().await.unwrap();
    becomes(&agent, PATH, &token, 404).await;
}

#[tokio::test]
async fn a_connection_on_which_nothing_happens_is_contact_and_one_that_is_dead_is_none() {
    if !can_run(&[]) {
        return;
    }
    let (functions, _) = functions().await;
    let proxy = Proxy::start(functions.port()).await.unwrap();
    let client = functions.mint("client", json!({})).await.unwrap();
    let plan = Agent::builder(proxy.url(), client).topics(["t"]).data_plane();
    let agent = plan.arg("--grants-offline-seconds").arg("2").start().await.unwrap();
    contact(&agent).await;
    let (_, token) = token(&functions, &["*"]).await;
    // Longer than its patience: only pings pass.
    tokio::time::sleep(std::time::Duration::from_millis(3_500)).await;
    assert!(may(&agent, &token).await);
    proxy.refuse(true);
    proxy.half_open();
    refuses(&agent, &token, "may have missed a revocation").await;
    proxy.refuse(false);
    becomes(&agent, PATH, &token, 404).await;
}

#[tokio::test]
async fn after_a_restart_without_the_hub_nothing_is_allowed() {
    if !can_run(&[]) {
        return;
    }
    let (mut functions, _) = functions().await;
    let mut agent = patient(&functions, "300").await;
    let (_, token) = token(&functions, &["*"]).await;
    functions.stop().await.unwrap();
    agent.restart().await.unwrap();
    refuses(&agent, &token, "has not caught up").await;
    assert_eq!(agent.status().await.unwrap()["data_plane"]["grants"], 1);
    functions.restart().await.unwrap();
    becomes(&agent, PATH, &token, 404).await;
}

#[tokio::test]
async fn an_agent_that_is_told_so_goes_on_for_ever_also_after_a_restart() {
    if !can_run(&[]) {
        return;
    }
    let (mut functions, _) = functions().await;
    let mut agent = patient(&functions, "0").await;
    let (id, token) = token(&functions, &["*"]).await;
    let denial = json!({"grant_id": id, "allowed_http_methods": ["DELETE"], "eft": "deny"});
    grant(&functions, &denial).await;
    // The mark that it had everything is kept a moment later.
    agent.stop().await.unwrap();
    agent.restart().await.unwrap();
    contact(&agent).await;
    functions.stop().await.unwrap();
    agent.restart().await.unwrap();
    assert!(may(&agent, &token).await);
    assert_eq!(status(&agent, "DELETE", PATH, &token).await, 401);
}

#[tokio::test]
async fn who_never_had_a_hub_allows_nothing_however_patient_he_is() {
    if !can_run(&[]) {
        return;
    }
    let (mut functions, _) = functions().await;
    let plan = plan(&functions, &["t"]).await.arg("--grants-offline-seconds").arg("0");
    functions.stop().await.unwrap();
    let agent = plan.start().await.unwrap();
    refuses(&agent, "v1:sandbox.example.com:secret", "has not caught up").await;
}

#[tokio::test]
async fn a_revocation_is_enforced_while_a_real_opa_is_down() {
    if !can_run(&[Part::Opa]) {
        return;
    }
    let (functions, _) = functions().await;
    let mut opa = Opa::start().await.unwrap();
    let plan = plan(&functions, &["t"]).await.engine(Engine::Opa(opa.url().to_owned()));
    let agent = plan.start().await.unwrap();
    contact(&agent).await;
    let (id, token) = token(&functions, &["*"]).await;
    assert!(may(&agent, &token).await);
    opa.stop().await.unwrap();
    agent.wait_status(|status| status["engine_up"] == false, SOON).await.unwrap();
    assert!(may(&agent, &token).await, "grants need no engine");
    let master = Some(functions.master_token());
    let path = format!("/api/v1/grants/{id}");
    let gone = functions.request(Method::DELETE, &path, master, None).await.unwrap();
    assert_eq!(gone.status, 200, "{gone:?}");
    becomes(&agent, PATH, &token, 401).await;
    assert_eq!(agent.status().await.unwrap()["engine_up"], false);
}
