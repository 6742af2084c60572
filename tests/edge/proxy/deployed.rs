//! A proxy is there by its grant, and lets nothing pass without it or without its engine.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use testbed::{Agent, Guard, Proxy, Source};

use super::{Scene, config, for_proxy, settled};
use crate::plane::{DOMAIN, ask, control, grant, make, until};
use crate::support::{can_run, with_facts};

#[tokio::test]
async fn without_a_grant_there_is_no_proxy() {
    if !can_run(&[]) {
        return;
    }
    let scene = Scene::set().await;
    let other = make(&scene.functions, &grant(&["GET"], &["/api/v1/facts/*"])).await;
    settled(&scene.functions, &scene.agent).await;
    for token in [other.token.as_str(), "v1:sandbox.example.com:nobody", "nonsense"] {
        let config = config(&scene.agent, &scene.application);
        let wrote = Guard::ends(&config, token).await.unwrap();
        assert!(wrote.contains("/api/v1/proxies/billing") && wrote.contains("401"), "{wrote}");
        assert!(!wrote.contains(&other.token), "{wrote}");
    }
    // Who runs it sees what is there.
    let reader = make(&scene.functions, &grant(&["GET"], &["/api/v1/proxies"])).await.token;
    let shown = ask(&scene.functions, &reader, Method::GET, "/api/v1/proxies", None).await;
    let shown = shown.ok().unwrap();
    assert_eq!((&shown[0]["name"], &shown[0]["domain"]), (&json!("billing"), &json!(DOMAIN)));
    let route = &shown[0]["routes"]["routes"][0];
    assert_eq!((&route["method"], &route["path"]), (&json!("POST"), &json!("/users")));
    let logs = scene.guard.logs().to_string();
    let told = r#""method":"POST","path":"/users","replaced":"/email (email), /phones/* (phone)""#;
    assert!(logs.contains(told), "{logs}");
}

#[tokio::test]
async fn an_agent_that_has_not_caught_up_is_waited_for_but_not_for_ever() {
    if !can_run(&[]) {
        return;
    }
    let functions = with_facts().start().await.unwrap();
    let made = make(&functions, &for_proxy()).await;
    let way = Proxy::start(functions.port()).await.unwrap();
    way.refuse(true);
    let client = functions.mint("client", json!({})).await.unwrap();
    let agent = Agent::builder(way.url(), client).topics(["facts:."]).data_plane();
    let agent = agent.start().await.unwrap();
    let application = Source::start(&json!({})).unwrap();
    let config = config(&agent, &application);
    let impatient = format!("catch_up_seconds = 1\n{config}");
    let wrote = Guard::ends(&impatient, &made.token).await.unwrap();
    assert!(wrote.contains("caught up with the hub within 1 s"), "{wrote}");
    assert!(wrote.contains("catch_up_seconds") && !wrote.contains("a grant such as"), "{wrote}");

    let refused = async || {
        let audits = agent.get("/api/v1/api_audits").await.unwrap().ok().unwrap();
        audits.as_array().unwrap().iter().filter(|it| it["http_method"] == "PUT").count()
    };
    let before = refused().await;
    let mended = async {
        until("a proxy asks", async || refused().await > before).await;
        way.refuse(false);
    };
    let (guard, ()) = tokio::join!(Guard::start(&config, &made.token), mended);
    let logs = guard.unwrap().logs().to_string();
    assert!(logs.contains("the agent has not caught up"), "{logs}");
}

#[tokio::test]
async fn a_revoked_grant_and_a_dead_engine_let_nothing_pass() {
    if !can_run(&[]) {
        return;
    }
    let mut scene = Scene::set().await;
    assert_eq!(scene.ask(Method::GET, "/x", None).await.0, 200);
    let revoke = format!("/api/v1/grants/{}?wait=all", scene.grant);
    control(&scene.functions, Method::DELETE, &revoke, None).await.ok().unwrap();
    let refused = async {
        loop {
            let (status, told) = scene.ask(Method::GET, "/x", None).await;
            if status != 200 {
                return (status, told);
            }
        }
    };
    let (status, told) = tokio::time::timeout(Duration::from_secs(1), refused).await.unwrap();
    assert_eq!(status, 503, "{told}");
    assert!(told["message"].as_str().unwrap().contains("revoked"), "{told}");

    let made = make(&scene.functions, &for_proxy()).await;
    settled(&scene.functions, &scene.agent).await;
    let config = config(&scene.agent, &scene.application);
    scene.guard = Guard::start(&config, &made.token).await.unwrap();
    assert_eq!(scene.ask(Method::GET, "/x", None).await.0, 200);
    let before = scene.application.count();
    // It has the engine and the data plane in it.
    scene.agent.kill().await.unwrap();
    let (status, told) = scene.ask(Method::GET, "/x", None).await;
    assert_eq!((status.as_u16(), scene.application.count()), (503, before), "{told}");
    assert!(scene.guard.terminate().await.unwrap());
}
