//! Publishes at the same time, which travel to the hub together.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use testbed::http_client;
use tokio::time::timeout;

use crate::support::{SOON, agent, can_run, data, functions, inline, logged, revoke};

#[tokio::test]
async fn each_is_answered_for_itself_and_everybody_gets_them_in_order() {
    if !can_run(&[]) {
        return;
    }
    let (functions, token) = functions().await;
    let agent = agent(&functions, &["t"]).await.start().await.unwrap();
    agent.wait_live(SOON).await.unwrap();
    let revoked = functions.mint("datasource", json!({})).await.unwrap();
    revoke(&functions, &json!({ "token": revoked })).await;
    let claims = json!({"claims": {"permitted_topics": ["b"]}});
    let only_b = functions.mint("datasource", claims).await.unwrap();
    let mut taken = inline("t", "/taken", &json!({}));
    taken["id"] = "taken".into();
    assert_eq!(functions.publish_ok(&token, &taken).await.unwrap(), 1);
    taken["entries"][0]["data"] = json!({"other": true});

    let one = |number: usize| {
        let (bearer, update) = match number % 5 {
            0 => (&revoked, inline("t", "/refused", &json!({}))),
            1 => (&only_b, inline("t", "/refused", &json!({}))),
            2 => (&token, taken.clone()),
            _ => (&token, inline("t", &format!("/all/{number}"), &json!({"n": number}))),
        };
        let functions = &functions;
        async move { functions.publish(bearer, &update).await.unwrap() }
    };
    let answers = join_all((0..100).map(one)).await;
    let mut seqs = BTreeMap::new();
    for (number, answer) in answers.iter().enumerate() {
        let (status, words) = match number % 5 {
            0 => (401, "revoked"),
            1 => (401, "topics"),
            2 => (409, "number 1"),
            _ => (200, ""),
        };
        assert_eq!(answer.status, status, "{number}: {answer:?}");
        assert!(answer.body.to_string().contains(words), "{number}: {answer:?}");
        seqs.extend(answer.body["seq"].as_u64().map(|seq| (seq, &answer.body["id"])));
    }
    assert!(seqs.keys().copied().eq(2..=41), "numbers without gaps, each given once");
    let updates = logged(&functions, &token, 1).await;
    let in_log = updates.iter().map(|it| (it["seq"].as_u64().unwrap(), &it["id"]));
    assert!(in_log.eq(seqs), "{updates:?}");
    agent.wait_cursor(41, SOON).await.unwrap();
    let all = data(&agent, "all").await;
    let all: Vec<&Value> = all.as_object().unwrap().values().map(|it| &it["n"]).collect();
    assert_eq!(all.len(), 40);
}

/// As many that the runtime optimizes what they run through: what was right until then may not
/// be any more.
#[tokio::test]
async fn publishers_that_are_busy_for_long_are_all_answered_though_others_leave() {
    const PUBLISHES: u64 = 24_000;
    if !can_run(&[]) {
        return;
    }
    let (functions, token) = functions().await;
    let (next, accepted) = (AtomicU64::new(0), AtomicU64::new(0));
    let publisher = |number: usize| {
        let (functions, token, next, accepted) = (&functions, &token, &next, &accepted);
        async move {
            let http = http_client().unwrap();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                if at >= PUBLISHES {
                    return;
                }
                let update = inline("t", &format!("/records/{}", at % 100), &json!({"n": at}));
                let request = http
                    .post(format!("{}/data/config", functions.url()))
                    .bearer_auth(token)
                    .json(&update)
                    .send();
                if number == 0 {
                    // Leaves in the middle: this ends the connection.
                    let _ = timeout(Duration::from_millis(at % 8), request).await;
                    continue;
                }
                let answer = request.await.unwrap();
                let (status, text) = (answer.status(), answer.text().await.unwrap());
                assert_eq!(status, 200, "publish {at}: {text}\n{}", functions.logs());
                accepted.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    join_all((0..32).map(publisher)).await;
    let head = functions.publish_ok(&token, &inline("t", "/last", &json!({}))).await.unwrap();
    let accepted = accepted.into_inner();
    assert!(head > accepted && head <= PUBLISHES + 1, "{head} of {accepted}");
}
