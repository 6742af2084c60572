//! Who gets facts: what subscribes to their topic, so that policy can decide on them, and nobody else.

use std::fs;

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use testbed::{Agent, Functions, Opa, Part};

use crate::plane::{DOMAIN, VALUE, ask, fact, keep, omni, until};
use crate::support::{SOON, agent, can_run, inline, logged, with_facts};

/// It allows who knows the value of a fact.
const POLICY: &str = r#"package app
import rego.v1

default allow := false

allow if data.girasol.facts["sandbox.example.com"][input.fact].value == input.value
"#;

/// An agent that decides by [`POLICY`].
async fn decider(functions: &Functions, topics: &[&str]) -> (Agent, TempDir) {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("app.rego"), POLICY).unwrap();
    let agent = agent(functions, topics).await.policy_dir(folder.path()).start().await.unwrap();
    agent.wait_live(SOON).await.unwrap();
    (agent, folder)
}

/// Functions with a fact and with data of the topic `t`; the fact's id, and a client's token.
async fn with_a_fact_and_data() -> (Functions, String, String) {
    let functions = with_facts().start().await.unwrap();
    let token = omni(&functions, DOMAIN).await;
    let id = keep(&functions, &token, &fact("email", VALUE)).await;
    let publisher = functions.mint("datasource", json!({})).await.unwrap();
    functions.publish_ok(&publisher, &inline("t", "/a", &json!({"n": 1}))).await.unwrap();
    let client = functions.mint("client", json!({})).await.unwrap();
    (functions, id, client)
}

async fn allows(agent: &Agent, fact: &str) -> Value {
    let input = json!({"fact": fact, "value": VALUE});
    agent.decide("app/allow", &input).await.unwrap()["result"].clone()
}

#[tokio::test]
async fn policy_decides_on_a_fact_at_agents_that_subscribe_to_its_topic_and_nowhere_else() {
    if !can_run(&[]) {
        return;
    }
    let functions = with_facts().start().await.unwrap();
    let token = omni(&functions, DOMAIN).await;
    let (of_domain, _first) = decider(&functions, &["facts:sandbox.example.com"]).await;
    let (of_type, _second) = decider(&functions, &["facts:sandbox.example.com/email"]).await;
    let (others, _third) =
        decider(&functions, &["t", "facts:other.example.com", "facts:sandbox.example.com/url"])
            .await;

    let path = "/api/v1/facts?wait=all&timeout=20";
    let kept = ask(&functions, &token, Method::POST, path, Some(&fact("email", VALUE)))
        .await
        .ok()
        .unwrap();
    assert_eq!((&kept["complete"], kept.get("value")), (&json!(true), None), "{kept}");
    assert_eq!(kept["receipts"].as_array().unwrap().len(), 2, "{kept}");
    let id = kept["id"].as_str().unwrap();
    assert_eq!(allows(&of_domain, id).await, json!(true));
    assert_eq!(allows(&of_type, id).await, json!(true));
    // What comes after it has arrived, so it would have.
    let publisher = functions.mint("datasource", json!({})).await.unwrap();
    let next = functions.publish_ok(&publisher, &inline("t", "/a", &json!({}))).await.unwrap();
    others.wait_cursor(next, SOON).await.unwrap();
    assert_eq!(allows(&others, id).await, json!(false));
    let seen = others.decide("girasol/facts", &json!({})).await.unwrap();
    assert!(!seen.to_string().contains(VALUE), "{seen}");
    let (late, _fourth) = decider(&functions, &["facts:sandbox.example.com"]).await;
    // Live is who has been sent everything; what it does with that is under way.
    late.wait_cursor(next, SOON).await.unwrap();
    assert_eq!(allows(&late, id).await, json!(true));

    let gone = format!("/api/v1/facts/{id}?wait=all&timeout=20");
    let gone = ask(&functions, &token, Method::DELETE, &gone, None).await.ok().unwrap();
    assert_eq!(gone["complete"], true, "{gone}");
    for agent in [&of_domain, &of_type, &late] {
        assert_eq!(allows(agent, id).await, json!(false));
        let place = format!("girasol/facts/{DOMAIN}/{id}");
        assert_eq!(agent.decide(&place, &json!({})).await.unwrap(), json!({}));
    }
}

#[tokio::test]
async fn who_does_not_name_the_topic_finds_no_fact_in_the_log_and_in_the_base_sources() {
    if !can_run(&[]) {
        return;
    }
    let (functions, id, client) = with_a_fact_and_data().await;
    let read = async |path: &str, token: &str| {
        let answer = functions.request(Method::GET, path, Some(token), None).await.unwrap();
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.body.to_string()
    };
    for path in ["/log?after=0", "/log?after=0&topics=t", "/data/config", "/policy-data"] {
        let text = read(path, &client).await;
        assert!(!text.contains(VALUE) && !text.contains(&id), "{path}: {text}");
        assert!(!text.contains("girasol/grants"), "{path}: {text}");
    }
    assert_eq!(logged(&functions, &client, 0).await.len(), 1);
    let named = "/log?after=0&topics=facts:sandbox.example.com";
    assert!(read(named, &client).await.contains(VALUE));

    // Who may not subscribe to the topic may not read it either.
    let narrow = json!({"claims": {"permitted_topics": ["t"]}});
    let narrow = functions.mint("client", narrow).await.unwrap();
    let refused = functions.request(Method::GET, named, Some(&narrow), None).await.unwrap();
    assert_eq!(refused.status, 401, "{refused:?}");
    assert!(!read("/log?after=0", &narrow).await.contains(VALUE));
}

#[tokio::test]
async fn a_bundle_has_facts_only_if_it_is_asked_for_their_topic() {
    if !can_run(&[Part::Opa]) {
        return;
    }
    let (functions, id, client) = with_a_fact_and_data().await;
    let opa = async |query: &str| {
        let config = json!({
            "services": {"girasol": {
                "url": functions.url(), "credentials": {"bearer": {"token": client}}}},
            "bundles": {"main": {"service": "girasol", "resource": format!("bundles/x?{query}")}},
        });
        Opa::start_with(&config).await.unwrap()
    };
    let all = opa("data=only").await;
    until("the bundle is there", async || all.data("a/n").await.unwrap() == 1).await;
    assert_eq!(all.data("girasol/facts").await.unwrap(), Value::Null);
    let named = opa("data=only&topics=facts:sandbox.example.com").await;
    let value = format!("girasol/facts/{DOMAIN}/{id}/value");
    until("the fact is there", async || named.data(&value).await.unwrap() == VALUE).await;
}
