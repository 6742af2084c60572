//! Durable publishes a second with 32 in flight, to nobody and to 100 live sockets, beside a
//! hand-written Durable Object in JavaScript that stores and broadcasts and does nothing else.
//!
//! Both run at the same time on a workerd of their own and are loaded in turns, so that whatever
//! else the machine does meets both. The figure of each is the median of its rounds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use testbed::{Functions, http_client};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::report::{Figure, Report};

const IN_FLIGHT: u64 = 32;
const ROUNDS: usize = 5;
const SUBSCRIBERS: [u64; 2] = [0, 100];
const TOPIC: &str = "bench";
const PATIENCE: Duration = Duration::from_secs(30);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

pub(crate) async fn measure(report: &mut Report, publishes: u64) -> Result<()> {
    for subscribers in SUBSCRIBERS {
        let girasol = Functions::start().await?;
        let token = girasol.mint("datasource", json!({})).await?;
        let girasol = Side::new(girasol, Some(token), subscribers).await?;
        let peer = Side::new(Functions::peer().start().await?, None, subscribers).await?;
        for side in [&girasol, &peer] {
            side.load(publishes.div_ceil(4)).await?;
        }
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            ours.push(girasol.load(publishes).await?);
            theirs.push(peer.load(publishes).await?);
            report.progress((round + 1) as u64, ROUNDS as u64, "rounds");
        }
        let name = |who: &str| format!("{who}, {subscribers} subscribers");
        let peer = Figure::new(name("peer: a Durable Object by hand"), median(theirs), "/s");
        let ours = Figure::new(name("durable publishes"), median(ours), "/s").beside(&peer);
        let ratio = ours.ratio().unwrap_or(0.0);
        report.add(ours);
        report.add(peer);
        report.add(Figure::new(name("durable publishes over peer"), ratio, "×").at_least(1.0));
    }
    Ok(())
}

/// One of the two that are compared, with its subscribers.
struct Side {
    worker: Functions,
    token: Option<String>,
    /// What its subscribers have received, in frames with an update.
    received: Arc<AtomicU64>,
    subscribers: u64,
    /// The subscribers read until this is dropped.
    _readers: JoinSet<()>,
}

impl Side {
    async fn new(worker: Functions, token: Option<String>, subscribers: u64) -> Result<Self> {
        let received = Arc::<AtomicU64>::default();
        let mut readers = JoinSet::new();
        for name in 0..subscribers {
            let socket = timeout(PATIENCE, subscribe(&worker, token.as_deref(), name)).await??;
            readers.spawn(read(socket, Arc::clone(&received)));
        }
        Ok(Self { worker, token, received, subscribers, _readers: readers })
    }

    /// Publishes a second, from the first request to the last answer. Returns when every
    /// subscriber has everything, so that the next round begins with a quiet machine.
    async fn load(&self, publishes: u64) -> Result<f64> {
        // Its connections are its own: those of an earlier round workerd may just be closing.
        let http = http_client()?;
        let url = format!("{}/data/config", self.worker.url());
        let (next, before) = (AtomicU64::new(0), self.received.load(Ordering::Relaxed));
        let publisher = || async {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= publishes {
                    return Ok(());
                }
                let mut request = http.post(&url).json(&update(number));
                if let Some(token) = &self.token {
                    request = request.bearer_auth(token);
                }
                let answer = request.send().await?;
                if !answer.status().is_success() {
                    bail!("answered {}: {}", answer.status(), answer.text().await?);
                }
                answer.bytes().await?;
            }
        };
        let began = Instant::now();
        futures::future::try_join_all((0..IN_FLIGHT).map(|_| publisher())).await?;
        let rate = publishes as f64 / began.elapsed().as_secs_f64();

        let all = before + publishes * self.subscribers;
        let arrived = async {
            while self.received.load(Ordering::Relaxed) < all {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, arrived).await.map_err(|_| {
            let missing = all.saturating_sub(self.received.load(Ordering::Relaxed));
            anyhow!("{missing} of {all} deliveries did not arrive")
        })?;
        Ok(rate)
    }
}

/// A small change at one of a thousand paths, as a source with many records makes it.
fn update(number: u64) -> Value {
    let path = format!("/records/{}", number % 1_000);
    let data = json!({"number": number, "plan": "enterprise", "seats": 25, "active": true});
    json!({"entries": [{"url": "", "topics": [TOPIC], "dst_path": path, "data": data}]})
}

/// A socket to which updates are pushed from now on. The peer knows no tokens and no topics.
async fn subscribe(worker: &Functions, token: Option<&str>, name: u64) -> Result<Socket> {
    let mut request = worker.ws_url().into_client_request()?;
    let Some(token) = token else {
        return Ok(connect_async(request).await?.0);
    };
    let headers = request.headers_mut();
    headers.insert("Authorization", format!("Bearer {token}").parse()?);
    headers.insert("Sec-WebSocket-Protocol", "girasol.v1".parse()?);
    let (mut socket, _) = connect_async(request).await?;
    let hello = json!({"hello": {"agent": format!("bench-{name}"), "topics": [TOPIC]}});
    socket.send(Message::text(hello.to_string())).await?;
    while let Some(message) = socket.next().await {
        if message?.to_text()?.starts_with(r#"{"caught_up""#) {
            return Ok(socket);
        }
    }
    Err(anyhow!("the hub closed a subscriber's socket")).context(worker.logs().to_string())
}

/// Counts updates as they come, and asks on where the hub asks for a sign of life.
async fn read(mut socket: Socket, received: Arc<AtomicU64>) {
    while let Some(Ok(message)) = socket.next().await {
        let Ok(text) = message.to_text() else { continue };
        // Every delivery has one; a frame of the hub can hold several. `id` comes with each too,
        // but is the publisher's.
        let deliveries = text.matches(r#""seq":"#).count() as u64;
        if let Some(cursor) = paused_at(text) {
            let resume = json!({"resume": {"cursor": cursor}});
            if socket.send(Message::text(resume.to_string())).await.is_err() {
                return;
            }
        } else if !text.starts_with(r#"{"caught_up""#) {
            received.fetch_add(deliveries, Ordering::Relaxed);
        }
    }
}

/// From where the hub wants to be asked on.
fn paused_at(text: &str) -> Option<u64> {
    let frame = ["{\"pause\"", "{\"bookmark\""].iter().find(|frame| text.starts_with(**frame))?;
    let frame = frame.trim_start_matches('{').trim_matches('"');
    serde_json::from_str::<Value>(text).ok()?.get(frame)?.get("seq")?.as_u64()
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or_default()
}
