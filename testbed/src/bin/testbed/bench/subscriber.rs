//! A subscriber that is only a socket: many fit into one process, and each knows to the
//! microsecond when a frame came.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use futures::{SinkExt as _, StreamExt as _};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

const PATIENCE: Duration = Duration::from_secs(30);

/// What every subscriber of a benchmark says of itself.
#[derive(Debug, Clone)]
pub(super) struct Subscription {
    /// `ws://…/ws`.
    pub(super) url: String,
    pub(super) token: String,
    pub(super) topic: &'static str,
}

/// One open socket that has caught up.
#[derive(Debug)]
pub(super) struct Subscriber {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    cursor: u64,
}

/// The members of a frame that matter here.
#[derive(Debug, Deserialize)]
struct Frame {
    updates: Option<Vec<At>>,
    bookmark: Option<At>,
    pause: Option<At>,
    caught_up: Option<At>,
    error: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct At {
    seq: u64,
}

// === impl Subscription ===

impl Subscription {
    /// Connects, and takes what was missed since `cursor`.
    pub(super) async fn open(&self, number: usize, cursor: u64) -> Result<Subscriber> {
        let mut request = self.url.as_str().into_client_request()?;
        let headers = request.headers_mut();
        headers.insert("Authorization", format!("Bearer {}", self.token).parse()?);
        headers.insert("Sec-WebSocket-Protocol", "girasol.v1".parse()?);
        let (socket, _) = timeout(PATIENCE, connect_async(request)).await??;
        let mut subscriber = Subscriber { socket, cursor };
        let agent = format!("light-{number}");
        let hello = json!({"agent": agent, "topics": [self.topic], "cursor": cursor});
        subscriber.say(&json!({ "hello": hello })).await?;
        while subscriber.hear().await?.caught_up.is_none() {}
        Ok(subscriber)
    }
}

// === impl Subscriber ===

impl Subscriber {
    /// Up to where everything has arrived.
    pub(super) fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Waits until something arrives that is new, and gives the cursor it led to.
    pub(super) async fn advance(&mut self) -> Result<u64> {
        let before = self.cursor;
        while self.cursor == before {
            self.hear().await?;
        }
        Ok(self.cursor)
    }

    /// The next frame; what it asks for is answered.
    async fn hear(&mut self) -> Result<Frame> {
        loop {
            let message = self.socket.next().await.context("the hub closed the socket")??;
            let text = match message {
                Message::Text(text) => text,
                Message::Close(why) => bail!("the hub closed the socket: {why:?}"),
                _ => continue,
            };
            let frame: Frame = serde_json::from_str(&text)?;
            if let Some(error) = frame.error {
                return Err(anyhow!("the hub refused: {error}"));
            }
            let reached = frame.updates.iter().flatten().chain(&frame.bookmark);
            let reached = reached.chain(&frame.caught_up).chain(&frame.pause);
            self.cursor = reached.map(|at| at.seq).chain([self.cursor]).max().unwrap_or_default();
            if frame.bookmark.is_some() || frame.pause.is_some() {
                self.say(&json!({"resume": {"cursor": self.cursor}})).await?;
            }
            return Ok(frame);
        }
    }

    async fn say(&mut self, frame: &Value) -> Result<()> {
        Ok(self.socket.send(Message::text(frame.to_string())).await?)
    }
}
