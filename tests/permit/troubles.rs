//! Who goes away, who cannot be reached, who may write.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::support::{SOON, Stage, ask, can_run};

const HELD: [(&str, &str); 2] = [("X-Wait-Timeout", "-1"), ("X-Timeout-Policy", "fail")];

/// A client whose answer is held for ever.
async fn waiting(stage: &Stage) -> TcpStream {
    let address = stage.agent.local_url().strip_prefix("http://").unwrap();
    let mut socket = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "PUT /facts/users/gone HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n\
         x-wait-timeout: -1\r\ncontent-length: 2\r\n\r\n{{}}",
        stage.token
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let holds = |status: &Value| status["fact_waiters"] == 1;
    stage.agent.wait_status(holds, SOON).await.unwrap();
    socket
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_no_waiter() {
    if !can_run(&[]) {
        return;
    }
    let stage = Stage::new().await;
    stage.proxy.hold_sockets();
    let socket = waiting(&stage).await;
    drop(socket);
    let holds_none = |status: &Value| status["fact_waiters"] == 0;
    stage.agent.wait_status(holds_none, SOON).await.unwrap();
}

#[tokio::test]
async fn an_answer_that_is_held_does_not_hold_up_the_end() {
    if !can_run(&[]) {
        return;
    }
    let mut stage = Stage::new().await;
    stage.proxy.hold_sockets();
    let _socket = waiting(&stage).await;
    let began = Instant::now();
    assert_eq!(stage.agent.stop().await.unwrap(), 0);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn without_the_functions_nothing_is_written_anywhere() {
    if !can_run(&[]) {
        return;
    }
    let mut stage = Stage::new().await;
    assert_eq!(stage.put("before", &HELD).await.status, 201);
    stage.functions.kill().await.unwrap();
    let told = stage.put("after", &HELD).await;
    assert!(matches!(told.status, 502 | 503), "{told:?}");
    assert!(told.body["detail"].is_string() && told.became.is_none(), "{told:?}");
    assert_eq!(stage.data("users/after").await, Value::Null);
    assert!(stage.data("users/before").await.is_object());
    stage.functions.restart().await.unwrap();
    stage.agent.wait_live(SOON).await.unwrap();
    assert_eq!(stage.ask("GET", "/facts/users/after", &[], &Value::Null).await.status, 404);
    let told = stage.put("after", &HELD).await;
    assert_eq!((told.status, told.became.as_deref()), (201, Some("applied")));
}

#[tokio::test]
async fn who_shows_the_key_writes_with_the_agents_token() {
    if !can_run(&[]) {
        return;
    }
    let mut stage = Stage::new().await;
    let lent = stage.token.clone();
    let agent = crate::support::builder(&stage.functions, &stage.proxy.url()).await;
    let agent = agent.var("GIRASOL_API_KEY", "sesame").var("GIRASOL_FACTS_TOKEN", &lent);
    stage.agent = agent.start().await.unwrap();
    let live = async |agent: &testbed::Agent, key: &str| {
        ask(agent, key, ("PUT", "/facts/users/ann"), &HELD, &json!({})).await
    };
    let told = live(&stage.agent, "sesame").await;
    assert_eq!((told.status, told.became.as_deref()), (201, Some("applied")), "{told:?}");
    for wrong in ["other", lent.as_str()] {
        let told = live(&stage.agent, wrong).await;
        assert!(told.status == 401 && told.body["detail"].is_string(), "{told:?}");
    }
    let scope = ask(&stage.agent, "sesame", ("GET", "/v2/api-key/scope"), &[], &Value::Null).await;
    for id in ["organization_id", "project_id", "environment_id"] {
        assert!(scope.status == 200 && scope.body[id].is_string(), "{scope:?}");
    }
    assert!(!stage.agent.logs().to_string().contains(&lent));
}

#[tokio::test]
async fn a_token_that_may_only_read_writes_nothing() {
    if !can_run(&[]) {
        return;
    }
    let stage = Stage::new().await;
    let reader = stage.functions.mint("client", json!({})).await.unwrap();
    let path = "/facts/users/ann";
    for (token, status) in [(reader.as_str(), 401), ("nonsense", 401)] {
        let told = ask(&stage.agent, token, ("PUT", path), &HELD, &json!({})).await;
        assert_eq!((told.status, &told.became), (status, &None), "{told:?}");
    }
    let read = ask(&stage.agent, &reader, ("GET", path), &HELD, &Value::Null).await;
    assert_eq!(read.status, 404);
}

#[tokio::test]
async fn an_agent_without_facts_says_so_once_and_whenever_it_is_asked() {
    if !can_run(&[]) {
        return;
    }
    let stage = Stage::with(|agent| agent.topics(["billing"])).await;
    let told = stage.put("ann", &[]).await;
    assert_eq!((told.status, told.became.as_deref()), (201, Some("not-waited")));
    let told = stage.put("ann", &HELD).await;
    assert_eq!((told.status, told.became.as_deref()), (424, Some("not-waited")));
    assert!(told.body["detail"].as_str().unwrap().contains("policy_data"), "{told:?}");
    let warned = stage.agent.logs().to_string().matches("without the topic policy_data").count();
    assert_eq!(warned, 1);
}
