//! A peer of OPAL's socket (`spec/opal-protocol.md` §1) that sends and shows raw frames.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

/// Longer than anything on loopback takes that is not broken.
const PATIENCE: Duration = Duration::from_secs(15);
/// More than any server lets through, so that it is the server that refuses.
const MAX_FRAME: usize = 64 << 20;

/// One open socket. It answers nothing by itself but what [`OpalPeer::call`] says.
#[derive(Debug)]
pub struct OpalPeer {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    channel: String,
    /// Requests of the server that came while an answer was awaited, oldest first.
    pending: VecDeque<Value>,
    calls: u64,
}

/// What became of an upgrade.
#[derive(Debug)]
pub enum Upgrade {
    /// The socket is open.
    Open(Box<OpalPeer>),
    /// It was refused with this HTTP status.
    Refused(u16),
}

/// What came from the server.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    /// A text frame with JSON.
    Frame(Value),
    /// The end, with its close code if there was one, and its reason.
    Closed(Option<u16>, String),
    /// Nothing in the time that was given.
    Nothing,
}

// === impl Upgrade ===

impl Upgrade {
    /// The peer.
    ///
    /// # Errors
    /// The upgrade was refused.
    pub fn open(self) -> Result<OpalPeer> {
        match self {
            Self::Open(peer) => Ok(*peer),
            Self::Refused(status) => bail!("the upgrade was refused with {status}"),
        }
    }
}

// === impl OpalPeer ===

impl OpalPeer {
    /// Asks for a socket at `url` (`ws://…/ws`, with query if need be).
    ///
    /// # Errors
    /// Nobody answered, or not with HTTP.
    pub async fn connect(url: &str, token: Option<&str>) -> Result<Upgrade> {
        let mut request = url.into_client_request()?;
        if let Some(token) = token {
            request.headers_mut().insert("Authorization", format!("Bearer {token}").parse()?);
        }
        let config = WebSocketConfig::default()
            .max_message_size(Some(MAX_FRAME))
            .max_frame_size(Some(MAX_FRAME));
        let connected = Box::pin(connect_async_with_config(request, Some(config), true));
        match timeout(PATIENCE, connected).await.context("no answer to an upgrade")? {
            Ok((socket, _)) => Ok(Upgrade::Open(Box::new(Self {
                socket,
                channel: "0123456789abcdef0123456789abcdef".to_owned(),
                pending: VecDeque::new(),
                calls: 0,
            }))),
            Err(tungstenite::Error::Http(answer)) => Ok(Upgrade::Refused(answer.status().as_u16())),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// The socket is closed.
    pub async fn send(&mut self, message: impl Into<Message>) -> Result<()> {
        Ok(self.socket.send(message.into()).await?)
    }

    /// Sends a request without waiting for its answer; gives the `call_id`.
    ///
    /// # Errors
    /// The socket is closed.
    pub async fn request(&mut self, method: &str, arguments: &Value) -> Result<String> {
        self.calls += 1;
        let id = format!("call-{}", self.calls);
        let request = json!({"method": method, "arguments": arguments, "call_id": id});
        self.send(json!({"request": request, "response": null}).to_string()).await?;
        Ok(id)
    }

    /// Calls a method and gives its result. Meanwhile `_ping_` and `_get_channel_id_` of the server
    /// are answered, and its `notify` kept for [`OpalPeer::notified`], unanswered.
    ///
    /// # Errors
    /// The socket was closed instead, or nothing came.
    pub async fn call(&mut self, method: &str, arguments: &Value) -> Result<Value> {
        let id = self.request(method, arguments).await?;
        loop {
            match self.hear(PATIENCE).await? {
                Heard::Frame(frame) if *at(&frame, "/response/call_id") == *id => {
                    return Ok(at(&frame, "/response/result").clone());
                }
                Heard::Frame(frame) if *at(&frame, "/request/method") == "notify" => {
                    self.pending.push_back(frame);
                }
                Heard::Frame(_) => {}
                end => bail!("no answer to {method} but {end:?}"),
            }
        }
    }

    /// Subscribes to topics.
    ///
    /// # Errors
    /// The server did not answer `true`.
    pub async fn subscribe(&mut self, topics: &[&str]) -> Result<()> {
        match self.call("subscribe", &json!({ "topics": topics })).await? {
            Value::Bool(true) => Ok(()),
            other => Err(anyhow!("subscribe was answered {other}")),
        }
    }

    /// The next `notify` of the server, answered as opal-client answers it: its topic and its data.
    /// `None`: none came in the time that was given.
    ///
    /// # Errors
    /// The socket was closed.
    pub async fn notified(&mut self, within: Duration) -> Result<Option<(String, Value)>> {
        let frame = match self.unanswered(within).await? {
            Some(frame) => frame,
            None => return Ok(None),
        };
        let response = json!({
            "result": "None", "result_type": "str", "call_id": at(&frame, "/request/call_id"),
        });
        self.send(json!({"request": null, "response": response}).to_string()).await?;
        let arguments = at(&frame, "/request/arguments");
        let topic = at(arguments, "/subscription/topic").as_str().unwrap_or_default();
        Ok(Some((topic.to_owned(), at(arguments, "/data").clone())))
    }

    /// The next `notify`, as the frame that it is, without an answer to it.
    ///
    /// # Errors
    /// The socket was closed.
    pub async fn unanswered(&mut self, within: Duration) -> Result<Option<Value>> {
        if let Some(frame) = self.pending.pop_front() {
            return Ok(Some(frame));
        }
        let next = async {
            loop {
                match self.hear(within).await? {
                    Heard::Frame(frame) if *at(&frame, "/request/method") == "notify" => {
                        return Ok(Some(frame));
                    }
                    Heard::Frame(_) => {}
                    Heard::Nothing => return Ok(None),
                    Heard::Closed(code, reason) => bail!("closed with {code:?} {reason}"),
                }
            }
        };
        timeout(within, next).await.unwrap_or(Ok(None))
    }

    /// The next frame, or the end. `_ping_` and `_get_channel_id_` are answered and not shown.
    ///
    /// # Errors
    /// A frame is not text with JSON.
    pub async fn hear(&mut self, within: Duration) -> Result<Heard> {
        loop {
            let Ok(message) = timeout(within, self.socket.next()).await else {
                return Ok(Heard::Nothing);
            };
            let frame = match message {
                Some(Ok(Message::Text(text))) => serde_json::from_str::<Value>(&text)?,
                Some(Ok(Message::Close(Some(why)))) => {
                    return Ok(Heard::Closed(Some(why.code.into()), why.reason.to_string()));
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                Some(Ok(other)) => bail!("{other:?} is not a text frame"),
                Some(Err(error)) => return Ok(Heard::Closed(None, error.to_string())),
                None => return Ok(Heard::Closed(None, String::new())),
            };
            let result = match at(&frame, "/request/method").as_str() {
                Some("_ping_") => "pong",
                Some("_get_channel_id_") => &self.channel,
                _ => return Ok(Heard::Frame(frame)),
            };
            let response = json!({
                "result": result, "result_type": "str", "call_id": at(&frame, "/request/call_id"),
            });
            self.send(json!({"request": null, "response": response}).to_string()).await?;
        }
    }

    /// What this peer answers to `_get_channel_id_`.
    pub fn channel(&self) -> &str {
        &self.channel
    }
}

fn at<'a>(frame: &'a Value, pointer: &str) -> &'a Value {
    frame.pointer(pointer).unwrap_or(&Value::Null)
}
