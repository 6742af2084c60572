//! Subscribers of OPAL's socket that do what opal-client does with an update but apply it: each
//! `notify` is answered at once, since an opal-server waits for that.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use futures::{SinkExt as _, StreamExt as _};
use serde::Deserialize;
use serde_json::json;
use testbed::Api;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

pub(super) const TOPIC: &str = "bench";
const PATIENCE: Duration = Duration::from_secs(60);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Subscribers that read until this is dropped.
pub(super) struct Audience {
    arrivals: mpsc::UnboundedReceiver<Instant>,
    size: usize,
    _readers: JoinSet<()>,
}

/// The members of a frame that matter here.
#[derive(Debug, Deserialize)]
struct Frame<'a> {
    #[serde(borrow)]
    request: Option<Request<'a>>,
}

#[derive(Debug, Deserialize)]
struct Request<'a> {
    method: &'a str,
    call_id: Option<&'a str>,
}

// === impl Audience ===

impl Audience {
    /// So many open sockets that have subscribed.
    pub(super) async fn gather(api: &Api, token: &str, size: usize) -> Result<Self> {
        let (sender, arrivals) = mpsc::unbounded_channel();
        let mut readers = JoinSet::new();
        for _ in 0..size {
            let socket = subscribe(api, token).await?;
            readers.spawn(read(socket, sender.clone()));
        }
        Ok(Self { arrivals, size, _readers: readers })
    }

    /// Waits until each has heard of so many more updates; gives when the last of all came.
    pub(super) async fn hear(&mut self, updates: usize, within: Duration) -> Result<Instant> {
        let wanted = updates * self.size;
        let deadline = tokio::time::Instant::now() + within;
        let mut last = Instant::now();
        for heard in 0..wanted {
            let arrival = tokio::time::timeout_at(deadline, self.arrivals.recv()).await;
            let arrival = arrival.with_context(|| format!("{heard} of {wanted} arrivals"))?;
            last = arrival.context("every socket ended")?;
        }
        Ok(last)
    }
}

/// A socket that has subscribed. Nobody reads it until it is handed to somebody who does, so by
/// itself it is a frozen subscriber: it answers neither `notify` nor a PING.
pub(super) async fn subscribe(api: &Api, token: &str) -> Result<Socket> {
    let mut request = api.ws_url().into_client_request()?;
    request.headers_mut().insert("Authorization", format!("Bearer {token}").parse()?);
    let (mut socket, _) =
        timeout(PATIENCE, connect_async(request)).await.context("no answer to an upgrade")??;
    let arguments = json!({ "topics": [TOPIC] });
    let request = json!({"method": "subscribe", "arguments": arguments, "call_id": "subscribe"});
    socket.send(Message::text(json!({"request": request, "response": null}).to_string())).await?;
    let answered = async {
        while let Some(message) = socket.next().await {
            let message = message?;
            if message.is_text() && message.to_text()?.contains(r#""subscribe""#) {
                return Ok(());
            }
        }
        bail!("the socket was closed before subscribe was answered")
    };
    timeout(PATIENCE, answered).await.context("no answer to subscribe")??;
    Ok(socket)
}

async fn read(mut socket: Socket, arrivals: mpsc::UnboundedSender<Instant>) {
    while let Some(Ok(message)) = socket.next().await {
        let Ok(text) = message.to_text() else { continue };
        let Ok(Frame { request: Some(Request { method: "notify", call_id }) }) =
            serde_json::from_str(text)
        else {
            continue;
        };
        if arrivals.send(Instant::now()).is_err() {
            return;
        }
        // To the letter what opal-client sends, so that a hub may know it by its looks.
        let answer = format!(
            r#"{{"request": null, "response": {{"result": "None", "result_type": "str", "call_id": "{}"}}}}"#,
            call_id.unwrap_or_default()
        );
        if socket.send(Message::text(answer)).await.is_err() {
            return;
        }
    }
}
