//! The socket to the hub: opens it, turns frames into inputs, notices when it is dead.

use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use protocol::limits::MAX_FRAME_BYTES;
use protocol::socket::{AgentFrame, HubFrame, SUBPROTOCOL};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::error::Error;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::header::{
    AUTHORIZATION, HeaderValue, SEC_WEBSOCKET_PROTOCOL,
};
use tokio_tungstenite::tungstenite::protocol::{Message, WebSocketConfig};
use tokio_tungstenite::{
    Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config,
};
use url::Url;

use crate::core::Input;
use crate::http;
use crate::settings::Secret;

/// Time for the connection, TLS and the upgrade together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A ping after so much time; a second one without any sign of life ends the connection.
const PING_EVERY: Duration = Duration::from_secs(20);

type Socket = WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>;

/// Why there can be no link with these settings.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The server's address is none.
    #[error("--server {0}: give an address such as https://girasol.example.workers.dev")]
    Server(String),
    /// The token holds characters that no header may.
    #[error("--token: not a token (line breaks or control characters in it)")]
    Token,
}

/// The link's settings, and the connection that is open now.
pub(super) struct Link {
    request: Request,
    inputs: mpsc::UnboundedSender<Input>,
    outgoing: Option<mpsc::UnboundedSender<Message>>,
}

impl Link {
    pub(super) fn new(
        server: &Url,
        token: &Secret,
        inputs: mpsc::UnboundedSender<Input>,
    ) -> Result<Self, LinkError> {
        let bad_server = || LinkError::Server(server.to_string());
        let url = socket_url(server).ok_or_else(bad_server)?;
        let mut request = url.as_str().into_client_request().map_err(|_| bad_server())?;
        request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
        let mut link = Self { request, inputs, outgoing: None };
        link.set_token(token)?;
        Ok(link)
    }

    /// Opens connections with this token from now on.
    pub(super) fn set_token(&mut self, token: &Secret) -> Result<(), LinkError> {
        let mut bearer = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
            .map_err(|_| LinkError::Token)?;
        bearer.set_sensitive(true);
        self.request.headers_mut().insert(AUTHORIZATION, bearer);
        Ok(())
    }

    /// Opens a connection; how it goes comes as inputs.
    pub(super) fn connect(&mut self) {
        let (outgoing, to_send) = mpsc::unbounded_channel();
        self.outgoing = Some(outgoing);
        let (request, inputs) = (self.request.clone(), self.inputs.clone());
        tokio::spawn(async move {
            let reason = match open(request).await {
                Ok(socket) => {
                    let _ = inputs.send(Input::LinkUp);
                    converse(socket, to_send, &inputs).await
                }
                Err(reason) => reason,
            };
            let _ = inputs.send(Input::LinkDown(reason));
        });
    }

    /// Ends the open connection; an input says so when it has ended.
    pub(super) fn disconnect(&mut self) {
        self.outgoing = None;
    }

    /// Sends a frame on the open connection. Without one the frame is for nobody: what it
    /// asked for is asked again by the next `hello`.
    pub(super) fn send(&self, frame: &AgentFrame) {
        let (Some(outgoing), Ok(text)) = (&self.outgoing, frame.encode()) else {
            return;
        };
        let _ = outgoing.send(Message::text(text));
    }
}

/// `http(s)://host/base` → `ws(s)://host/base/ws`.
fn socket_url(server: &Url) -> Option<Url> {
    let mut url = server.clone();
    let scheme = match url.scheme() {
        "http" | "ws" => "ws",
        "https" | "wss" => "wss",
        _ => return None,
    };
    url.host()?;
    url.set_scheme(scheme).ok()?;
    url.path_segments_mut().ok()?.pop_if_empty().push("ws");
    url.set_query(None);
    Some(url)
}

async fn open(request: Request) -> Result<Socket, String> {
    let config = WebSocketConfig::default()
        .max_message_size(Some(2 * MAX_FRAME_BYTES))
        .max_frame_size(Some(2 * MAX_FRAME_BYTES));
    let connector = match request.uri().scheme_str() {
        Some("wss") => Connector::Rustls(http::tls_config().map_err(|error| error.to_string())?),
        _ => Connector::Plain,
    };
    let opening = connect_async_tls_with_config(request, Some(config), true, Some(connector));
    match timeout(CONNECT_TIMEOUT, opening).await {
        Ok(Ok((socket, _))) => Ok(socket),
        Ok(Err(error)) => Err(why(&error)),
        Err(_) => Err(format!("no answer within {} s", CONNECT_TIMEOUT.as_secs())),
    }
}

/// Reads and writes until the connection ends; returns why it did.
async fn converse(
    socket: Socket,
    mut to_send: mpsc::UnboundedReceiver<Message>,
    inputs: &mpsc::UnboundedSender<Input>,
) -> String {
    let (mut sink, mut stream) = socket.split();
    let mut ping = interval(PING_EVERY);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = Instant::now();
    loop {
        tokio::select! {
            message = stream.next() => {
                heard = Instant::now();
                match message {
                    Some(Ok(Message::Text(text))) => match HubFrame::decode(&text) {
                        Ok(Some(frame)) => { let _ = inputs.send(Input::Frame(frame)); }
                        Ok(None) => {}
                        Err(error) => return error,
                    },
                    Some(Ok(Message::Close(Some(frame)))) => {
                        return format!("closed by the hub: {} {}", u16::from(frame.code), frame.reason);
                    }
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return why(&error),
                    None => return "closed by the hub".to_owned(),
                }
            }
            message = to_send.recv() => {
                let Some(message) = message else {
                    return "closed by the agent".to_owned();
                };
                if let Err(error) = sink.send(message).await {
                    return why(&error);
                }
            }
            _ = ping.tick() => {
                if heard.elapsed() > 2 * PING_EVERY {
                    return format!("nothing heard for {} s", heard.elapsed().as_secs());
                }
                if let Err(error) = sink.send(Message::Ping(Vec::new().into())).await {
                    return why(&error);
                }
            }
        }
    }
}

/// An error in words; the server's own reason where it gave one.
fn why(error: &Error) -> String {
    match error {
        Error::Http(response) => {
            let status = response.status();
            let detail = http::detail(response.body().as_deref().unwrap_or_default());
            if detail.is_empty() {
                return format!(
                    "refused with {status}; is --server the address of Girasol's functions?"
                );
            }
            format!("refused with {status}{detail}")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_beside_the_servers_other_paths() {
        for (server, socket) in [
            ("http://127.0.0.1:7002", "ws://127.0.0.1:7002/ws"),
            ("https://girasol.example.dev/", "wss://girasol.example.dev/ws"),
            ("https://example.dev/base/", "wss://example.dev/base/ws"),
        ] {
            assert_eq!(socket_url(&Url::parse(server).unwrap()).unwrap().as_str(), socket);
        }
        for server in ["localhost:7002", "ftp://h"] {
            assert!(socket_url(&Url::parse(server).unwrap()).is_none(), "{server}");
        }
    }
}
