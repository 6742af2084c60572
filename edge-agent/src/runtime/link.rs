//! The socket to the hub: finds out which protocol the server speaks, opens the socket, turns
//! frames into inputs, notices when it is dead. What is said to an opal-server is
//! `opal_link.rs`'s.

use std::sync::Arc;
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

use super::opal_link::OpalLink;
use crate::core::Input;
use crate::http;
use crate::plane::Book;
use crate::settings::{Protocol, Secret};

/// Time for the connection, TLS and the upgrade together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A ping after so much time; a second one without any sign of life ends the connection.
pub(super) const PING_EVERY: Duration = Duration::from_secs(20);
/// A hub that is busy may say nothing for so long, however often it is to be heard.
const SHORTEST_SILENCE: Duration = Duration::from_secs(5);
/// Bytes of a message of an opal-server, which has no limit for what it sends.
const MAX_OPAL_MESSAGE_BYTES: usize = 64 << 20;

pub(super) type Socket = WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>;

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

/// Where the link leads to.
pub(super) struct Target<'t> {
    /// The server's address.
    pub(super) server: &'t Url,
    /// The socket's address at an opal-server; derived from the server's if there is none.
    pub(super) opal_socket: Option<&'t Url>,
    /// The tenant.
    pub(super) scope: &'t str,
    /// What the server speaks, as far as the settings say.
    pub(super) protocol: Protocol,
}

/// The link's settings, and the connection that is open now.
pub(super) struct Link {
    route: Route,
    opal: Arc<OpalLink>,
    inputs: mpsc::UnboundedSender<Input>,
    outgoing: Option<mpsc::UnboundedSender<AgentFrame>>,
}

/// How a socket is asked for.
#[derive(Clone)]
struct Route {
    protocol: Protocol,
    native: Request,
    opal: Request,
    /// A path that functions of ours have, and no opal-server.
    probe: Url,
    connecting: Connecting,
}

/// What the server is connected to with.
#[derive(Clone)]
pub(super) struct Connecting {
    pub(super) http: reqwest::Client,
    pub(super) tls: Arc<rustls::ClientConfig>,
    /// Hears of every sign of life.
    pub(super) book: Arc<Book>,
}

impl Link {
    pub(super) fn new(
        target: &Target<'_>,
        token: &Secret,
        connecting: Connecting,
        opal: Arc<OpalLink>,
        inputs: mpsc::UnboundedSender<Input>,
    ) -> Result<Self, LinkError> {
        let Target { server, opal_socket, scope, protocol } = *target;
        let bad_server = || LinkError::Server(server.to_string());
        let socket = socket_url(server).ok_or_else(bad_server)?;
        let request = |url: &Url| url.as_str().into_client_request().map_err(|_| bad_server());
        let mut native = socket.clone();
        if scope != protocol::DEFAULT_SCOPE {
            native.query_pairs_mut().append_pair("scope", scope);
        }
        let mut native = request(&native)?;
        native.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
        let route = Route {
            protocol,
            native,
            opal: request(opal_socket.unwrap_or(&socket))?,
            probe: beside(server, &["token", "renew"]),
            connecting,
        };
        let mut link = Self { route, opal, inputs, outgoing: None };
        link.set_token(token)?;
        Ok(link)
    }

    /// Opens connections with this token from now on.
    pub(super) fn set_token(&mut self, token: &Secret) -> Result<(), LinkError> {
        let mut bearer = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
            .map_err(|_| LinkError::Token)?;
        bearer.set_sensitive(true);
        for request in [&mut self.route.native, &mut self.route.opal] {
            request.headers_mut().insert(AUTHORIZATION, bearer.clone());
        }
        self.opal.set_token(token);
        Ok(())
    }

    /// Opens a connection; how it goes comes as inputs.
    pub(super) fn connect(&mut self) {
        let (outgoing, to_send) = mpsc::unbounded_channel();
        self.outgoing = Some(outgoing);
        let (route, opal, inputs) =
            (self.route.clone(), Arc::clone(&self.opal), self.inputs.clone());
        tokio::spawn(async move {
            let book = Arc::clone(&route.connecting.book);
            let reason = match route.open().await {
                Ok((Speaks::Girasol, socket)) => {
                    let _ = inputs.send(Input::LinkUp);
                    converse(socket, to_send, &inputs, &book).await
                }
                Ok((Speaks::Opal, socket)) => {
                    let _ = inputs.send(Input::LinkUp);
                    opal.converse(socket, to_send, &inputs).await
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
    pub(super) fn send(&self, frame: AgentFrame) {
        if let Some(outgoing) = &self.outgoing {
            let _ = outgoing.send(frame);
        }
    }
}

/// What a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speaks {
    Girasol,
    Opal,
}

impl Route {
    async fn open(self) -> Result<(Speaks, Socket), String> {
        let speaks = match self.protocol {
            Protocol::Girasol => Speaks::Girasol,
            Protocol::Opal => Speaks::Opal,
            Protocol::Auto => self.probe().await?,
        };
        let socket = match speaks {
            Speaks::Girasol => open(self.native, &self.connecting, 2 * MAX_FRAME_BYTES).await?,
            Speaks::Opal => open(self.opal, &self.connecting, MAX_OPAL_MESSAGE_BYTES).await?,
        };
        Ok((speaks, socket))
    }

    /// Asks for what only functions of ours have. Not by the socket: an opal-server that keeps
    /// statistics never forgets one that was closed without a word (`spec/opal-protocol.md` §1.6).
    async fn probe(&self) -> Result<Speaks, String> {
        let response =
            self.connecting.http.get(self.probe.clone()).send().await.map_err(http::failure)?;
        if response.status() != reqwest::StatusCode::NOT_FOUND {
            return Ok(Speaks::Girasol);
        }
        let body = response.bytes().await.map_err(http::failure)?;
        match http::detail(&body).as_str() {
            ": Not Found" => Ok(Speaks::Opal),
            _ => Err("answers 404 to everything; is --server the address of Girasol's functions \
                      or of an opal-server?"
                .to_owned()),
        }
    }
}

/// A path beside the server's other ones.
pub(super) fn beside(server: &Url, path: &[&str]) -> Url {
    let mut url = server.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    url
}

/// `http(s)://host/base` → `ws(s)://host/base/ws`.
pub(super) fn socket_url(server: &Url) -> Option<Url> {
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

async fn open(
    request: Request,
    connecting: &Connecting,
    max_bytes: usize,
) -> Result<Socket, String> {
    let config = WebSocketConfig::default()
        .max_message_size(Some(max_bytes))
        .max_frame_size(Some(max_bytes));
    let connector = match request.uri().scheme_str() {
        Some("wss") => Connector::Rustls(Arc::clone(&connecting.tls)),
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
    mut to_send: mpsc::UnboundedReceiver<AgentFrame>,
    inputs: &mpsc::UnboundedSender<Input>,
    book: &Book,
) -> String {
    let (mut sink, mut stream) = socket.split();
    let ping_every = book.needs_contact_every().map_or(PING_EVERY, |it| it.min(PING_EVERY));
    let silence = (2 * ping_every).max(SHORTEST_SILENCE);
    let mut ping = interval(ping_every);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = Instant::now();
    loop {
        tokio::select! {
            message = stream.next() => {
                heard = Instant::now();
                if matches!(message, Some(Ok(_))) {
                    book.heard();
                }
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
                let Some(frame) = message else {
                    return "closed by the agent".to_owned();
                };
                let Ok(text) = frame.encode() else { continue };
                if let Err(error) = sink.send(Message::text(text)).await {
                    return why(&error);
                }
            }
            _ = ping.tick() => {
                if heard.elapsed() > silence {
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
pub(super) fn why(error: &Error) -> String {
    match error {
        Error::Http(response) => {
            let status = response.status();
            let detail = http::detail(response.body().as_deref().unwrap_or_default());
            if detail.is_empty() && status.as_u16() == 403 {
                // An opal-server has no other words for it (`spec/opal-protocol.md` §1.1).
                return format!(
                    "refused with {status}: the token is missing, expired or not this \
                                server's; give --token a new one"
                );
            }
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
    use crate::net::{Tls, authority::Authority};

    #[tokio::test]
    async fn a_hub_of_ones_own_authority_is_trusted_if_the_settings_name_it() {
        let ours = Authority::new();
        let acceptor = ours.acceptor(false);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("wss://localhost:{}/ws", listener.local_addr().unwrap().port());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(stream) = acceptor.accept(stream).await else { continue };
                let _ = tokio_tungstenite::accept_async(stream).await;
            }
        });
        let ca = ours.file("ca.pem");
        for (ca, opens) in [(Some(ca.as_path()), true), (None, false)] {
            let tls = Arc::clone(Tls::new(ca, None, None).unwrap().trusting());
            let http = http::client(Duration::from_secs(5)).unwrap();
            let book = Arc::new(Book::new(None, &crate::store::Mark::default(), vec![]));
            let connecting = Connecting { http, tls, book };
            let request = url.as_str().into_client_request().unwrap();
            assert_eq!(open(request, &connecting, 1 << 20).await.is_ok(), opens);
        }
    }

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
