//! Facts at the agent: it reads what its engine has, and hands on the rest.

use reqwest::Method;
use serde_json::{Value, json};
use testbed::{Agent, Answer, Engine, Functions, Opa, Part, http_client};

use super::{TOKEN, ask, contact, plan, started, token};
use crate::support::{can_run, with_facts};

/// Keeps a fact through the agent: the answer.
async fn keep(agent: &Agent, path: &str, token: &str, fact: &Value) -> Answer {
    let url = format!("{}{path}", agent.data_plane_url().unwrap());
    Answer::of(http_client().unwrap().post(url).header(TOKEN, token).json(fact)).await.unwrap()
}

fn ssn(value: &str) -> Value {
    json!({"scope_custom_id": "customer", "fact_type_slug": "ssn", "value": value})
}

/// A fact that was kept through the agent is read there, also while the functions are gone.
async fn is_read_here(functions: &mut Functions, agent: &Agent) {
    let (_, token) = token(functions, &["*"]).await;
    let kept = keep(agent, "/api/v1/facts", &token, &ssn("123-45-6789")).await;
    assert_eq!((kept.status, kept.body.get("value")), (200, None), "{kept:?}");
    let path = format!("/api/v1/facts/{}", kept.body["id"].as_str().unwrap());
    functions.stop().await.unwrap();
    let read = ask(agent, "GET", &path, &token).await;
    assert_eq!((read.status, &read.body["value"]), (200, &json!("123-45-6789")), "{read:?}");
    assert_eq!(read.body["scope_custom_id"], "customer");
    let missing = ask(agent, "GET", "/api/v1/facts/fact_none", &token).await;
    assert_eq!(missing.status, 502, "{missing:?}");
    let lost = keep(agent, "/api/v1/facts", &token, &ssn("123-45-6780")).await;
    assert_eq!(lost.status, 502, "{lost:?}");
    assert!(lost.body["message"].is_string() && !lost.body.to_string().contains("6780"));

    functions.restart().await.unwrap();
    agent.wait_live(crate::support::SOON).await.unwrap();
    let gone = ask(agent, "DELETE", &path, &token).await;
    assert_eq!(gone.status, 200, "{gone:?}");
    assert_eq!(ask(agent, "GET", &path, &token).await.status, 404, "and it is gone here");
    let log = agent.logs().to_string();
    assert!(!log.contains("123-45-67"), "a value is in the log: {log}");
}

#[tokio::test]
async fn a_fact_is_read_where_it_was_written_also_without_the_functions() {
    if !can_run(&[]) {
        return;
    }
    let mut functions = with_facts().start().await.unwrap();
    let agent = started(&functions, &["t", "facts:."]).await;
    is_read_here(&mut functions, &agent).await;
}

#[tokio::test]
async fn a_fact_is_read_from_a_real_opa() {
    if !can_run(&[Part::Opa]) {
        return;
    }
    let mut functions = with_facts().start().await.unwrap();
    let opa = Opa::start().await.unwrap();
    let plan = plan(&functions, &["t", "facts:."]).await;
    let agent = plan.engine(Engine::Opa(opa.url().to_owned())).start().await.unwrap();
    contact(&agent).await;
    is_read_here(&mut functions, &agent).await;
}

#[tokio::test]
async fn a_fact_that_the_agent_does_not_have_is_asked_for_at_the_functions() {
    if !can_run(&[]) {
        return;
    }
    let functions = with_facts().start().await.unwrap();
    let agent = started(&functions, &["t"]).await;
    let (_, token) = token(&functions, &["*"]).await;
    let kept = keep(&agent, "/api/v1/facts", &token, &ssn("123-45-6789")).await;
    let path = format!("/api/v1/facts/{}", kept.body["id"].as_str().unwrap());
    let read = ask(&agent, "GET", &path, &token).await;
    assert_eq!((read.status, &read.body["value"]), (200, &json!("123-45-6789")), "{read:?}");
    let bad = keep(&agent, "/api/v1/facts", &token, &ssn("12345678")).await;
    assert_eq!(bad.status, 400, "{bad:?}");
    assert!(!bad.body.to_string().contains("12345678"), "{bad:?}");
    let large = keep(&agent, "/api/v1/facts", &token, &ssn(&"1".repeat(600 << 10))).await;
    assert_eq!(large.status, 413, "{large:?}");
    assert_eq!(large.body["message"], "the body cannot be taken", "it did not leave the agent");
}

#[tokio::test]
async fn who_names_an_update_waits_for_it_at_the_data_plane_too() {
    if !can_run(&[]) {
        return;
    }
    let functions = with_facts().start().await.unwrap();
    let agent = started(&functions, &["t", "facts:."]).await;
    let (_, token) = token(&functions, &["*"]).await;
    let master = Some(functions.master_token());
    let asked = async |at_least: &str| {
        let url = format!("{}/api/v1/fact_types", agent.data_plane_url().unwrap());
        let request = http_client().unwrap().get(url).header(TOKEN, &token);
        let request = request.header("X-Girasol-At-Least", at_least);
        Answer::of(request.header("X-Girasol-Timeout", "0.2")).await.unwrap()
    };
    let grants = functions.request(Method::GET, "/api/v1/grants", master, None).await.unwrap();
    assert_eq!(grants.status, 200, "{grants:?}");
    assert_eq!(asked("1").await.status, 200);
    assert_eq!(asked("x").await.status, 400);
    let late = asked("999").await;
    assert_eq!((late.status, &late.body["message"]), (503, &json!("not yet")), "{late:?}");
}

#[tokio::test]
async fn a_page_asks_the_agent_before_it_writes_and_cannot_name_a_scope() {
    if !can_run(&[]) {
        return;
    }
    let functions = with_facts().start().await.unwrap();
    let agent = started(&functions, &["t", "facts:."]).await;
    let (_, token) = token(&functions, &["/js/v1/facts"]).await;
    let url = format!("{}/js/v1/facts", agent.data_plane_url().unwrap());
    let preflight = http_client().unwrap().request(Method::OPTIONS, &url);
    let preflight = preflight.header("Origin", "https://shop.example.com");
    let preflight = preflight.header("Access-Control-Request-Method", "POST");
    let preflight = preflight.header("Access-Control-Request-Headers", TOKEN);
    let answer = preflight.send().await.unwrap();
    assert!(answer.status().is_success(), "{answer:?}");
    assert!(answer.headers().contains_key("access-control-allow-origin"), "{answer:?}");
    let kept = keep(&agent, "/js/v1/facts", &token, &ssn("123-45-6789")).await;
    assert_eq!((kept.status, kept.body.get("scope_custom_id")), (200, None), "{kept:?}");
    let path = format!("/api/v1/facts/{}", kept.body["id"].as_str().unwrap());
    assert_eq!(ask(&agent, "GET", &path, &token).await.status, 401, "it may write only");
}
