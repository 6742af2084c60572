use serde_json::{Value, json};
use testbed::{Agent, Reply, Source};

use crate::support::{SOON, agent, can_run, data, fetched, functions, inline, policy};

#[tokio::test]
async fn a_publish_makes_the_agent_fetch_and_the_decision_flips() {
    if !can_run(&[]) {
        return;
    }
    let (functions, token) = functions().await;
    let billing = Source::start(&json!({"acme": {"enabled": false}})).unwrap();
    let agent = agent(&functions, &["billing"]).await.policy_dir(policy()).start().await.unwrap();
    agent.wait_live(SOON).await.unwrap();
    let user = json!({"customer": "acme"});
    let update = fetched("billing", "/billing", &billing.url("/billing"));

    let seq = functions.publish_ok(&token, &update).await.unwrap();
    agent.wait_cursor(seq, SOON).await.unwrap();
    assert_eq!(agent.decide("app/allow", &user).await.unwrap(), json!({"result": false}));

    billing.reply(Reply::json(&json!({"acme": {"enabled": true}})));
    let seq = functions.publish_ok(&token, &update).await.unwrap();
    agent.wait_cursor(seq, SOON).await.unwrap();
    assert_eq!(agent.decide("app/allow", &user).await.unwrap(), json!({"result": true}));
    assert_eq!(billing.count(), 2, "fetched once an update");
}

#[tokio::test]
async fn every_agent_gets_its_topics_and_only_those() {
    if !can_run(&[]) {
        return;
    }
    let (functions, token) = functions().await;
    let users = agent(&functions, &["users"]).await.start().await.unwrap();
    let both = agent(&functions, &["users/eu", "billing"]).await.start().await.unwrap();
    for agent in [&users, &both] {
        agent.wait_live(SOON).await.unwrap();
    }
    functions.publish_ok(&token, &inline("users/us", "/us", &json!({"n": 1}))).await.unwrap();
    functions.publish_ok(&token, &inline("users/eu", "/eu", &json!({"n": 2}))).await.unwrap();
    let last = functions
        .publish_ok(&token, &inline("billing", "/billing", &json!({"n": 3})))
        .await
        .unwrap();
    both.wait_cursor(last, SOON).await.unwrap();
    users.wait_cursor(last - 1, SOON).await.unwrap();
    assert_eq!(data(&users, "").await, json!({"us": {"n": 1}, "eu": {"n": 2}}));
    assert_eq!(data(&both, "").await, json!({"eu": {"n": 2}, "billing": {"n": 3}}));
}

#[tokio::test]
async fn put_replaces_and_patch_changes() {
    if !can_run(&[]) {
        return;
    }
    let (functions, token) = functions().await;
    let agent = agent(&functions, &["t"]).await.start().await.unwrap();
    agent.wait_live(SOON).await.unwrap();
    let put = inline("t", "/users", &json!({"ann": {"role": "admin"}, "bob": {"role": "user"}}));
    functions.publish_ok(&token, &put).await.unwrap();
    let patch = json!({"entries": [{"topics": ["t"], "dst_path": "/users", "save_method": "PATCH", "data": [
        {"op": "add", "path": "/carol", "value": {"role": "user"}},
        {"op": "remove", "path": "/bob"},
        {"op": "replace", "path": "/ann/role", "value": "user"},
    ]}]});
    let seq = functions.publish_ok(&token, &patch).await.unwrap();
    agent.wait_cursor(seq, SOON).await.unwrap();
    let wanted = json!({"ann": {"role": "user"}, "carol": {"role": "user"}});
    assert_eq!(data(&agent, "users").await, wanted);
}

#[tokio::test]
async fn a_patch_that_cannot_be_applied_changes_nothing_and_is_shown() {
    if !can_run(&[]) {
        return;
    }
    let (functions, token) = functions().await;
    let agent = agent(&functions, &["t"]).await.start().await.unwrap();
    agent.wait_live(SOON).await.unwrap();
    functions.publish_ok(&token, &inline("t", "/users", &json!({"ann": 1}))).await.unwrap();
    let patch = json!({"entries": [{"topics": ["t"], "dst_path": "/users", "save_method": "PATCH", "data": [
        {"op": "add", "path": "/bob", "value": 2},
        {"op": "remove", "path": "/nobody"},
    ]}]});
    let seq = functions.publish_ok(&token, &patch).await.unwrap();
    agent.wait_cursor(seq, SOON).await.unwrap();
    assert_eq!(data(&agent, "users").await, json!({"ann": 1}));
    let status = agent.status().await.unwrap();
    assert_eq!(status["last_failure"]["seq"], json!(seq), "{status:#}");
    assert_eq!(agent.healthz().await.unwrap().0, 503);
}

#[tokio::test]
async fn a_fetch_is_made_as_the_entry_says() {
    if !can_run(&[]) {
        return;
    }
    let (functions, token) = functions().await;
    let source = Source::start(&json!({"k": 1})).unwrap();
    let agent = agent(&functions, &["t"]).await.start().await.unwrap();
    agent.wait_live(SOON).await.unwrap();
    let update = json!({"entries": [{"url": source.url("/q"), "topics": ["t"], "dst_path": "/d",
        "config": {"method": "post", "headers": {"x-api-key": "k1"}, "data": "a body"}}]});
    let seq = functions.publish_ok(&token, &update).await.unwrap();
    agent.wait_cursor(seq, SOON).await.unwrap();
    let received = source.received();
    assert_eq!(received.len(), 1);
    assert_eq!((received[0].method.as_str(), received[0].path.as_str()), ("POST", "/q"));
    assert_eq!(received[0].header("x-api-key"), Some("k1"));
    assert_eq!(&received[0].body[..], b"a body");
}

#[tokio::test]
async fn the_largest_update_that_is_accepted_is_also_delivered() {
    if !can_run(&[]) {
        return;
    }
    let (functions, token) = functions().await;
    let live = agent(&functions, &["t"]).await.start().await.unwrap();
    live.wait_live(SOON).await.unwrap();
    let large = "x".repeat(999_000);
    let update = inline("t", "/large", &json!({"text": large}));
    let seq = functions.publish_ok(&token, &update).await.unwrap();
    live.wait_cursor(seq, SOON).await.unwrap();
    assert_eq!(data(&live, "large/text").await, json!(large));
    let late = agent(&functions, &["t"]).await.start().await.unwrap();
    late.wait_cursor(seq, SOON).await.unwrap();
    assert_eq!(data(&late, "large/text").await, json!(large), "by replay, too");
}

#[tokio::test]
async fn numbers_arrive_as_they_were_written() {
    if !can_run(&[]) {
        return;
    }
    let (functions, token) = functions().await;
    let agent = agent(&functions, &["t"]).await.start().await.unwrap();
    agent.wait_live(SOON).await.unwrap();
    let body = r#"{"entries":[{"topics":["t"],"dst_path":"/n","data":{"id":9007199254740993,"rate":0.1}}]}"#;
    let update: Value = serde_json::from_str(body).unwrap();
    let seq = functions.publish_ok(&token, &update).await.unwrap();
    agent.wait_cursor(seq, SOON).await.unwrap();
    assert_eq!(data(&agent, "n").await, json!({"id": 9_007_199_254_740_993_u64, "rate": 0.1}));
}

#[tokio::test]
async fn an_agent_that_was_away_gets_what_it_missed() {
    if !can_run(&[]) {
        return;
    }
    let (functions, token) = functions().await;
    let mut agent = agent(&functions, &["t"]).await.start().await.unwrap();
    agent.wait_live(SOON).await.unwrap();
    agent.kill().await.unwrap();
    for n in 1..=3 {
        let update = inline("t", &format!("/d{n}"), &json!({"n": n}));
        functions.publish_ok(&token, &update).await.unwrap();
    }
    agent.restart().await.unwrap();
    agent.wait_cursor(3, SOON).await.unwrap();
    assert_eq!(data(&agent, "").await, json!({"d1": {"n": 1}, "d2": {"n": 2}, "d3": {"n": 3}}));
}

#[tokio::test]
async fn functions_that_were_killed_have_everything_they_accepted() {
    if !can_run(&[]) {
        return;
    }
    let (mut functions, token) = functions().await;
    let agent = agent(&functions, &["t"]).await.start().await.unwrap();
    agent.wait_live(SOON).await.unwrap();
    functions.publish_ok(&token, &inline("t", "/a", &json!({"n": 1}))).await.unwrap();
    functions.kill().await.unwrap();
    let cut =
        |status: &Value| status["connection"]["state"] != "live" && status["healthy"] == false;
    agent.wait_status(cut, SOON).await.unwrap();
    functions.restart().await.unwrap();
    agent.wait_live(SOON).await.unwrap();
    assert_eq!(
        functions.publish_ok(&token, &inline("t", "/b", &json!({"n": 2}))).await.unwrap(),
        2
    );
    agent.wait_cursor(2, SOON).await.unwrap();
    assert_eq!(data(&agent, "").await, json!({"a": {"n": 1}, "b": {"n": 2}}));
    let late = Agent::builder(functions.url(), functions.mint("client", json!({})).await.unwrap())
        .topics(["t"])
        .start()
        .await
        .unwrap();
    late.wait_cursor(2, SOON).await.unwrap();
    assert_eq!(data(&late, "a").await, json!({"n": 1}));
}

#[tokio::test]
async fn the_embedded_engine_answers_like_opa() {
    if !can_run(&[]) {
        return;
    }
    let (functions, token) = functions().await;
    let agent = agent(&functions, &["t"]).await.policy_dir(policy()).start().await.unwrap();
    let billing = json!({"acme": {"enabled": true}});
    let seq = functions.publish_ok(&token, &inline("t", "/billing", &billing)).await.unwrap();
    agent.wait_cursor(seq, SOON).await.unwrap();
    let http = testbed::http_client().unwrap();
    let get = |path: &str| http.get(format!("{}{path}", agent.decision_url()));
    let ask = testbed::Answer::of;
    assert_eq!(ask(get("/health")).await.unwrap().ok().unwrap(), json!({}));
    let allowed = get("/v1/data/app/allow?input=%7B%22customer%22%3A%22acme%22%7D");
    assert_eq!(ask(allowed).await.unwrap().ok().unwrap(), json!({"result": true}));
    let undefined = ask(get("/v1/data/nothing/here")).await.unwrap();
    assert_eq!((undefined.status, undefined.body), (200, json!({})));
    let bad = http.post(format!("{}/v1/data/app", agent.decision_url())).body("{");
    let bad = ask(bad).await.unwrap();
    assert_eq!((bad.status, &bad.body["code"]), (400, &json!("invalid_parameter")));
}
