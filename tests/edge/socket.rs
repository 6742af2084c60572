//! The native dialect as any client would speak it.

use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use testbed::Functions;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::support::{SOON, can_run, functions, inline};

pub(crate) struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    async fn open(
        functions: &Functions,
        token: &str,
        dialect: Option<&str>,
    ) -> Result<Self, Error> {
        let mut request = functions.ws_url().into_client_request()?;
        let headers = request.headers_mut();
        headers.insert("Authorization", format!("Bearer {token}").parse().unwrap());
        if let Some(dialect) = dialect {
            headers.insert("Sec-WebSocket-Protocol", dialect.parse().unwrap());
        }
        connect_async(request).await.map(|(socket, _)| Self(socket))
    }

    pub(crate) async fn native(functions: &Functions, token: &str) -> Self {
        Self::open(functions, token, Some("girasol.v1")).await.unwrap()
    }

    async fn say(&mut self, frame: &Value) {
        self.0.send(Message::text(frame.to_string())).await.unwrap();
    }

    pub(crate) async fn hello(&mut self, topics: &[&str], cursor: u64) {
        self.say(&json!({"hello": {"agent": "test", "topics": topics, "cursor": cursor}})).await;
    }

    /// The next message that is a frame or a close.
    async fn next(&mut self) -> Message {
        loop {
            let message = timeout(SOON, self.0.next()).await.expect("the hub says something");
            match message.expect("the socket is open").unwrap() {
                Message::Ping(_) | Message::Pong(_) => {}
                message => return message,
            }
        }
    }

    pub(crate) async fn frame(&mut self) -> Value {
        match self.next().await {
            Message::Text(text) => serde_json::from_str(&text).unwrap(),
            other => panic!("a frame, not {other:?}"),
        }
    }

    /// The numbers of the next `updates` frame.
    pub(crate) async fn seqs(&mut self) -> Vec<(u64, u64)> {
        let frame = self.frame().await;
        let updates = frame["updates"].as_array().unwrap_or_else(|| panic!("{frame}"));
        updates
            .iter()
            .map(|it| (it["prev"].as_u64().unwrap(), it["seq"].as_u64().unwrap()))
            .collect()
    }

    /// The error's code and the close code that ends the socket.
    async fn refusal(&mut self) -> (String, u16) {
        let error = self.frame().await["error"].clone();
        assert!(!error["message"].as_str().unwrap().is_empty());
        match self.next().await {
            Message::Close(Some(close)) => {
                (error["code"].as_str().unwrap().to_owned(), close.code.into())
            }
            other => panic!("a close, not {other:?}"),
        }
    }
}

fn status(outcome: Result<Socket, Error>) -> u16 {
    match outcome {
        Err(Error::Http(response)) => response.status().as_u16(),
        Err(other) => panic!("{other}"),
        Ok(_) => 101,
    }
}

#[tokio::test]
async fn a_hello_is_welcomed_and_what_was_missed_follows() {
    if !can_run(&[]) {
        return;
    }
    let (functions, token) = functions().await;
    for path in ["/a", "/b"] {
        functions.publish_ok(&token, &inline("users", path, &json!({}))).await.unwrap();
    }
    let mut socket = Socket::native(&functions, &token).await;
    socket.hello(&["users"], 1).await;
    let welcome = socket.frame().await;
    assert_eq!(
        (&welcome["welcome"]["scope"], &welcome["welcome"]["head"]),
        (&json!("default"), &json!(2))
    );
    assert_eq!(socket.seqs().await, [(1, 2)]);
    let end = socket.frame().await;
    assert_eq!(end["caught_up"]["seq"], 2);
    assert_eq!(end["caught_up"]["digests"]["users"]["updates"], 2);
    functions.publish_ok(&token, &inline("billing", "/c", &json!({}))).await.unwrap();
    functions.publish_ok(&token, &inline("users/eu", "/d", &json!({}))).await.unwrap();
    assert_eq!(socket.seqs().await, [(2, 4)]);
}

#[tokio::test]
async fn one_frame_reaches_every_socket_of_a_topic() {
    if !can_run(&[]) {
        return;
    }
    let (functions, token) = functions().await;
    let mut sockets = vec![];
    for _ in 0..20 {
        let mut socket = Socket::native(&functions, &token).await;
        socket.hello(&["users"], 0).await;
        socket.frame().await;
        socket.frame().await;
        sockets.push(socket);
    }
    functions.publish_ok(&token, &inline("users", "/a", &json!({"n": 1}))).await.unwrap();
    for socket in &mut sockets {
        assert_eq!(socket.seqs().await, [(0, 1)]);
    }
}

#[tokio::test]
async fn a_socket_needs_a_token_and_a_dialect() {
    if !can_run(&[]) {
        return;
    }
    let (functions, token) = functions().await;
    assert_eq!(status(Socket::open(&functions, "garbage", Some("girasol.v1")).await), 401);
    assert_eq!(status(Socket::open(&functions, &token, Some("other.v9")).await), 400);
    // The OPAL dialect, whose clients reconnect in a tight loop at a 401.
    assert_eq!(status(Socket::open(&functions, "garbage", None).await), 101);
    assert_eq!(status(Socket::open(&functions, &token, Some("other.v9, girasol.v1")).await), 101);
}

#[tokio::test]
async fn what_is_not_a_frame_ends_the_socket_with_a_reason() {
    if !can_run(&[]) {
        return;
    }
    let (functions, token) = functions().await;
    let bad = [
        json!("garbage"),
        json!({"resume": {"cursor": 1}}),
        json!({"hello": {"agent": "a", "topics": []}}),
        json!({"hello": {"agent": "a", "topics": ["t"], "cursor": -1}}),
        json!({"hello": {"agent": "a", "topics": ["t"], "cursor": "1"}}),
    ];
    for frame in bad {
        let mut socket = Socket::native(&functions, &token).await;
        socket.say(&frame).await;
        assert_eq!(socket.refusal().await, ("bad_frame".to_owned(), 1003), "{frame}");
    }
    let mut socket = Socket::native(&functions, &token).await;
    socket.0.send(Message::binary(vec![1, 2, 3])).await.unwrap();
    assert_eq!(socket.refusal().await, ("bad_frame".to_owned(), 1003));
}

#[tokio::test]
async fn a_frame_over_the_limit_ends_the_socket_with_a_reason() {
    if !can_run(&[]) {
        return;
    }
    let (functions, token) = functions().await;
    let mut socket = Socket::native(&functions, &token).await;
    socket.say(&json!({"hello": {"agent": "a".repeat(1 << 20), "topics": ["t"]}})).await;
    assert_eq!(socket.refusal().await, ("too_large".to_owned(), 1009));
}

#[tokio::test]
async fn garbage_after_hello_ends_that_socket_and_nobody_elses() {
    if !can_run(&[]) {
        return;
    }
    let (functions, token) = functions().await;
    let mut good = Socket::native(&functions, &token).await;
    let mut bad = Socket::native(&functions, &token).await;
    for socket in [&mut good, &mut bad] {
        socket.hello(&["users"], 0).await;
        socket.frame().await;
        socket.frame().await;
    }
    bad.say(&json!(17)).await;
    assert_eq!(bad.refusal().await.1, 1003);
    functions.publish_ok(&token, &inline("users", "/a", &json!({}))).await.unwrap();
    assert_eq!(good.seqs().await, [(0, 1)]);
}

#[tokio::test]
async fn a_topic_that_the_token_does_not_permit_is_refused() {
    if !can_run(&[]) {
        return;
    }
    let (functions, _) = functions().await;
    let claims = json!({"claims": {"permitted_topics": ["users"]}});
    let limited = functions.mint("client", claims).await.unwrap();
    let mut socket = Socket::native(&functions, &limited).await;
    socket.hello(&["users", "billing"], 0).await;
    assert_eq!(socket.refusal().await, ("forbidden".to_owned(), 1008));
}

#[tokio::test]
async fn a_cursor_from_the_future_is_reset() {
    if !can_run(&[]) {
        return;
    }
    let (functions, token) = functions().await;
    functions.publish_ok(&token, &inline("users", "/a", &json!({}))).await.unwrap();
    let mut socket = Socket::native(&functions, &token).await;
    socket.hello(&["users"], 99).await;
    socket.frame().await;
    assert!(socket.frame().await["reset"]["reason"].as_str().unwrap().contains("99"));
    assert_eq!(socket.seqs().await, [(0, 1)]);
}

#[tokio::test]
async fn a_long_replay_comes_in_batches_that_are_asked_for() {
    if !can_run(&[]) {
        return;
    }
    let (functions, token) = functions().await;
    let large = json!({"large": "x".repeat(200_000)});
    let topics = ["users", "billing", "users", "users/eu", "users"];
    for (topic, path) in topics.into_iter().zip(["/a", "/b", "/c", "/d", "/e"]) {
        functions.publish_ok(&token, &inline(topic, path, &large)).await.unwrap();
    }
    let mut socket = Socket::native(&functions, &token).await;
    socket.hello(&["users"], 0).await;
    socket.frame().await;
    let mut seen = vec![];
    loop {
        seen.extend(socket.seqs().await);
        let end = socket.frame().await;
        if end["caught_up"]["seq"] == 5 {
            break;
        }
        let cursor = &end["bookmark"]["seq"];
        assert_eq!(cursor.as_u64(), seen.last().map(|&(_, seq)| seq), "{end}");
        socket.say(&json!({"resume": {"cursor": cursor}})).await;
    }
    assert_eq!(seen, [(0, 1), (1, 3), (3, 4), (4, 5)]);
}
