//! What a publisher, an agent and an operator are promised beyond delivery: receipts,
//! reading one's own writes, tokens that end, state that stays.

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use testbed::{Agent, Functions, Source, http_client};

use crate::socket::Socket;
use crate::support::{SOON, agent, can_run, data, functions, inline, logged, revoke};

async fn publish(functions: &Functions, token: &str, query: &str, update: &Value) -> (u16, Value) {
    let path = format!("/data/config?{query}");
    let answer = functions.request(Method::POST, &path, Some(token), Some(update)).await.unwrap();
    (answer.status, answer.body)
}

/// The `code` of the error that a socket ends with.
async fn ended(socket: &mut Socket) -> Value {
    loop {
        let frame = socket.frame().await;
        if let Some(error) = frame.get("error") {
            return error["code"].clone();
        }
    }
}

#[tokio::test]
async fn a_publisher_that_waits_gets_the_receipts_of_the_agents() {
    if !can_run(&[]) {
        return;
    }
    let (functions, token) = functions().await;
    let agent = agent(&functions, &["t"]).await.start().await.unwrap();
    agent.wait_live(SOON).await.unwrap();
    let (status, answer) =
        publish(&functions, &token, "wait=all&timeout=20", &inline("t", "/a", &json!({"n": 1})))
            .await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!((&answer["seq"], &answer["complete"]), (&json!(1), &json!(true)));
    assert_eq!(answer["receipts"][0]["applied"], true, "{answer}");
    assert_eq!(data(&agent, "a/n").await, 1);

    let patch = json!({"entries": [{"topics": ["t"], "dst_path": "/nothing", "save_method": "PATCH",
        "data": [{"op": "remove", "path": "/here"}]}]});
    let (_, answer) = publish(&functions, &token, "wait=1&timeout=20", &patch).await;
    let receipt = &answer["receipts"][0];
    assert_eq!((&receipt["applied"], receipt["error"].is_string()), (&json!(false), true));

    // Nobody has this topic, and an agent that does not come is not waited for longer.
    let nobody = inline("nobody", "/n", &json!({}));
    let (_, answer) = publish(&functions, &token, "wait=all&timeout=20", &nobody).await;
    assert_eq!(answer["complete"], true, "{answer}");
    let (status, answer) = publish(&functions, &token, "wait=2&timeout=1", &nobody).await;
    assert_eq!((status, &answer["complete"]), (200, &json!(false)), "{answer}");
}

#[tokio::test]
async fn a_bad_wait_is_told_what_to_give_and_nothing_is_published() {
    if !can_run(&[]) {
        return;
    }
    let (functions, token) = functions().await;
    for query in ["wait=some", "wait=-1", "wait=all&timeout=soon", "wait=all&timeout=100000"] {
        let (status, answer) =
            publish(&functions, &token, query, &inline("t", "/a", &json!({"n": 1}))).await;
        assert_eq!(status, 422, "{query}: {answer}");
    }
    let seq = functions.publish_ok(&token, &inline("t", "/a", &json!({"n": 1}))).await.unwrap();
    assert_eq!(seq, 1);
}

#[tokio::test]
async fn one_reads_ones_own_writes_at_an_agent() {
    if !can_run(&[]) {
        return;
    }
    let (functions, token) = functions().await;
    let agent = agent(&functions, &["t"]).await.start().await.unwrap();
    agent.wait_live(SOON).await.unwrap();
    let ask = |seq: u64| {
        let url = format!("{}/v1/data/a/n", agent.decision_url());
        let request = http_client().unwrap().get(url).header("X-Girasol-At-Least", seq);
        request.header("X-Girasol-Timeout", "1").send()
    };
    for n in 1..=20 {
        let seq = functions.publish_ok(&token, &inline("t", "/a", &json!({"n": n}))).await.unwrap();
        let answer: Value = ask(seq).await.unwrap().json().await.unwrap();
        assert_eq!(answer["result"], n);
    }
    // A number of another topic is reached, too.
    let seq = functions.publish_ok(&token, &inline("other", "/o", &json!({"n": 1}))).await.unwrap();
    assert_eq!(agent.get(&format!("/sync?at_least={seq}&timeout=10")).await.unwrap().status, 200);
    let late = ask(seq + 1).await.unwrap();
    assert_eq!(late.status(), 503);
    let answer: Value = late.json().await.unwrap();
    assert_eq!(answer["code"], "not_yet", "{answer}");
    let behind = agent.get(&format!("/sync?at_least={}&timeout=0", seq + 2)).await.unwrap();
    assert_eq!((behind.status, &behind.body["lag"]), (503, &json!(2)), "{behind:?}");
    for bad in ["x", "-1", ""] {
        let answer = agent.get(&format!("/sync?at_least={bad}")).await.unwrap();
        assert_eq!(answer.status, 422, "{bad}");
    }
}

#[tokio::test]
async fn the_log_is_shown_to_who_may_read_without_credentials() {
    if !can_run(&[]) {
        return;
    }
    let (functions, token) = functions().await;
    let secret = json!({"entries": [{"url": "https://user:hunter2@h.example/x", "topics": ["t"],
        "dst_path": "/a", "config": {"headers": {"authorization": "Bearer hunter2"}}}]});
    functions.publish_ok(&token, &secret).await.unwrap();
    functions.publish_ok(&token, &inline("u", "/b", &json!({"n": 1}))).await.unwrap();
    let read = async |query: &str, token: Option<&str>| {
        functions.request(Method::GET, &format!("/log?{query}"), token, None).await.unwrap()
    };
    let page = read("after=0", Some(&token)).await;
    let seqs = |page: &Value| -> Vec<u64> {
        page["updates"].as_array().unwrap().iter().map(|it| it["seq"].as_u64().unwrap()).collect()
    };
    assert_eq!(seqs(&page.body), [1, 2]);
    assert!(!page.body.to_string().contains("hunter2"), "{}", page.body);
    assert_eq!(seqs(&read("after=1", Some(&token)).await.body), [2]);
    assert_eq!(seqs(&read("topics=t", Some(&token)).await.body), [1]);
    assert_eq!(read("after=0", None).await.status, 401);
    assert_eq!(read("after=-1", Some(&token)).await.status, 422);
    assert_eq!(read("topics=", Some(&token)).await.status, 422);
}

#[tokio::test]
async fn a_limit_that_was_lowered_is_kept_from_the_next_update_on() {
    if !can_run(&[]) {
        return;
    }
    let (mut functions, token) = functions().await;
    let one = |at: usize| inline("t", &format!("/p{at}"), &json!({"at": at}));
    join_all((1..=300).map(|at| {
        let (functions, token, update) = (&functions, &token, one(at));
        async move { functions.publish_ok(token, &update).await.unwrap() }
    }))
    .await;
    functions.set_var("GIRASOL_LOG_MAX_BYTES", "2000");
    functions.restart().await.unwrap();
    functions.publish_ok(&token, &one(301)).await.unwrap();
    let updates = logged(&functions, &token, 0).await;
    assert!((5..30).contains(&updates.len()), "{updates:?}");
    assert_eq!(updates.last().unwrap()["seq"], 301);
    // What alone is beyond it is kept as long as it is the newest.
    let large = inline("t", "/large", &json!({"x": "x".repeat(3_000)}));
    functions.publish_ok(&token, &large).await.unwrap();
    let updates = logged(&functions, &token, 0).await;
    assert_eq!(updates.len(), 1, "{updates:?}");

    let mut socket = Socket::native(&functions, &token).await;
    socket.hello(&["t"], 1).await;
    socket.frame().await;
    let reason = socket.frame().await["reset"]["reason"].clone();
    assert!(reason.as_str().unwrap().contains("limit"), "{reason}");
}

#[tokio::test]
async fn a_revoked_token_is_refused_at_once_and_after_a_restart() {
    if !can_run(&[]) {
        return;
    }
    let (mut functions, publisher) = functions().await;
    let token = functions.mint("datasource", json!({})).await.unwrap();
    let renewed = functions.request(Method::POST, "/token/renew", Some(&token), None).await;
    let renewed = renewed.unwrap().body["token"].as_str().unwrap().to_owned();
    let mut sockets = vec![];
    for token in [&token, &renewed] {
        let mut socket = Socket::native(&functions, token).await;
        socket.hello(&["t"], 0).await;
        sockets.push(socket);
    }
    let mut other = Socket::native(&functions, &publisher).await;
    other.hello(&["t"], 0).await;
    other.frame().await;
    other.frame().await;

    assert_eq!(revoke(&functions, &json!({"token": token})).await["closed_sockets"], 2);
    for socket in &mut sockets {
        assert_eq!(ended(socket).await, "revoked");
    }
    functions.publish_ok(&publisher, &inline("t", "/a", &json!({"n": 1}))).await.unwrap();
    assert_eq!(other.seqs().await, [(0, 1)]);
    for restart in [false, true] {
        if restart {
            functions.restart().await.unwrap();
        }
        for token in [&token, &renewed] {
            let update = inline("t", "/a", &json!({"n": 2}));
            let answer = functions.publish(token, &update).await.unwrap();
            assert_eq!(answer.status, 401, "{answer:?}");
            let again = functions.request(Method::POST, "/token/renew", Some(token), None).await;
            assert_eq!(again.unwrap().status, 401);
        }
    }
    let update = inline("t", "/a", &json!({"n": 3}));
    assert_eq!(functions.publish_ok(&publisher, &update).await.unwrap(), 2);
}

#[tokio::test]
async fn an_idle_socket_ends_with_its_token() {
    if !can_run(&[]) {
        return;
    }
    let (functions, _) = functions().await;
    let token = functions.mint("client", json!({"ttl": 2})).await.unwrap();
    let mut socket = Socket::native(&functions, &token).await;
    socket.hello(&["t"], 0).await;
    let begun = std::time::Instant::now();
    assert_eq!(ended(&mut socket).await, "expired");
    assert!(begun.elapsed().as_millis() < 4_000, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn an_agent_outlives_its_first_token() {
    if !can_run(&[]) {
        return;
    }
    let (functions, publisher) = functions().await;
    let token = functions.mint("client", json!({"ttl": 3})).await.unwrap();
    let agent = Agent::builder(functions.url(), token).topics(["t"]).start().await.unwrap();
    agent.wait_live(SOON).await.unwrap();
    for _ in 0..3 {
        let renewed = |line: &str| line.contains("the token was renewed").then_some(());
        tokio::time::timeout(SOON, agent.logs().wait_for(renewed)).await.unwrap().unwrap();
    }
    let seq = functions.publish_ok(&publisher, &inline("t", "/a", &json!({"n": 1}))).await.unwrap();
    agent.wait_cursor(seq, SOON).await.unwrap();
}

#[tokio::test]
async fn an_agent_starts_and_decides_without_hub_and_source() {
    if !can_run(&[]) {
        return;
    }
    let (mut functions, token) = functions().await;
    let folder = TempDir::new().unwrap();
    let plan = agent(&functions, &["t"]).await.data_dir(folder.path());
    let mut agent = plan.start().await.unwrap();
    let add = json!({"entries": [{"topics": ["t"], "dst_path": "/list", "save_method": "PATCH",
        "data": [{"op": "add", "path": "/-", "value": 1}]}]});
    functions.publish_ok(&token, &inline("t", "/list", &json!([]))).await.unwrap();
    let seq = functions.publish_ok(&token, &add).await.unwrap();
    agent.wait_cursor(seq, SOON).await.unwrap();

    functions.stop().await.unwrap();
    agent.kill().await.unwrap();
    agent.restart().await.unwrap();
    agent.wait_decision("list", &json!({}), &json!([1]), SOON).await.unwrap();

    functions.restart().await.unwrap();
    let seq = functions.publish_ok(&token, &add).await.unwrap();
    agent.wait_cursor(seq, SOON).await.unwrap();
    assert_eq!(data(&agent, "list").await, json!([1, 1]));
}

#[tokio::test]
async fn a_state_file_that_is_cut_short_is_a_fresh_start_that_says_so() {
    if !can_run(&[]) {
        return;
    }
    let (functions, token) = functions().await;
    let folder = TempDir::new().unwrap();
    let plan = agent(&functions, &["t"]).await.data_dir(folder.path());
    let mut agent = plan.start().await.unwrap();
    let seq = functions.publish_ok(&token, &inline("t", "/a", &json!({"n": 1}))).await.unwrap();
    agent.wait_cursor(seq, SOON).await.unwrap();
    agent.kill().await.unwrap();
    let mut files = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().path());
    let state = files.find(|file| file.extension().is_some_and(|it| it == "redb")).unwrap();
    let bytes = std::fs::read(&state).unwrap();
    std::fs::write(&state, &bytes[..bytes.len() / 3]).unwrap();
    agent.restart().await.unwrap();
    agent.wait_cursor(seq, SOON).await.unwrap();
    assert_eq!(data(&agent, "a/n").await, 1);
    assert!(agent.status().await.unwrap()["fresh_start"].is_string());
}

#[tokio::test]
async fn a_log_that_is_another_one_is_a_fresh_start_that_says_so() {
    if !can_run(&[]) {
        return;
    }
    let (mut functions, token) = functions().await;
    let agent = agent(&functions, &["t"]).await.start().await.unwrap();
    for n in 1..=3 {
        let seq = functions.publish_ok(&token, &inline("t", "/a", &json!({"n": n}))).await.unwrap();
        agent.wait_cursor(seq, SOON).await.unwrap();
    }
    functions.stop().await.unwrap();
    std::fs::remove_dir_all(functions.data_dir()).unwrap();
    std::fs::create_dir(functions.data_dir()).unwrap();
    functions.restart().await.unwrap();
    let seq = functions.publish_ok(&token, &inline("t", "/a", &json!({"n": 9}))).await.unwrap();
    assert_eq!(seq, 1, "numbers begin anew");
    agent.wait_decision("a/n", &json!({}), &json!(9), SOON).await.unwrap();
    let begun = |status: &Value| status["cursor"] == 1 && status["fresh_start"].is_string();
    agent.wait_status(begun, SOON).await.unwrap();
}

#[tokio::test]
async fn a_callback_is_told_what_became_of_the_update() {
    if !can_run(&[]) {
        return;
    }
    let (functions, token) = functions().await;
    let agent = agent(&functions, &["t"]).await.start().await.unwrap();
    agent.wait_live(SOON).await.unwrap();
    let listener = Source::start(&json!({})).unwrap();
    let mut update = json!({"id": "told", "entries": [
        {"topics": ["t"], "dst_path": "/nothing", "save_method": "PATCH",
            "data": [{"op": "remove", "path": "/here"}]},
        {"topics": ["t"], "dst_path": "/a", "data": {"n": 1}},
    ]});
    update["callback"] = json!({"callbacks": [[listener.url("/told"), {"method": "post"}]]});
    functions.publish_ok(&token, &update).await.unwrap();
    listener.wait_for_requests(1, SOON).await.unwrap();
    let told = &listener.received()[0];
    let report: Value = serde_json::from_slice(&told.body).unwrap();
    assert_eq!((told.method.as_str(), told.path.as_str()), ("POST", "/told"));
    assert_eq!(report["update_id"], "told", "{report}");
    let saved: Vec<&Value> =
        report["reports"].as_array().unwrap().iter().map(|it| &it["saved"]).collect();
    assert_eq!(saved, [false, true], "{report}");
}
