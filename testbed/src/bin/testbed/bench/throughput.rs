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
use serde::Deserialize;
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
    /// The last number that each subscriber has come to.
    reached: Vec<Arc<AtomicU64>>,
    /// The subscribers read until this is dropped.
    _readers: JoinSet<()>,
}

/// What both answer a publish with, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Published {
    seq: u64,
}

impl Side {
    async fn new(worker: Functions, token: Option<String>, subscribers: u64) -> Result<Self> {
        let mut reached = Vec::new();
        let mut readers = JoinSet::new();
        for name in 0..subscribers {
            let socket = timeout(PATIENCE, subscribe(&worker, token.as_deref(), name)).await??;
            let mine = Arc::<AtomicU64>::default();
            reached.push(Arc::clone(&mine));
            readers.spawn(read(socket, mine));
        }
        Ok(Self { worker, token, reached, _readers: readers })
    }

    /// Publishes a second, from the first request to the last answer. Returns when every
    /// subscriber has everything, so that the next round begins with a quiet machine.
    async fn load(&self, publishes: u64) -> Result<f64> {
        // Its connections are its own: those of an earlier round workerd may just be closing.
        let http = http_client()?;
        let url = format!("{}/data/config", self.worker.url());
        let (next, last) = (AtomicU64::new(0), AtomicU64::new(0));
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
                    let (status, logs) = (answer.status(), self.worker.logs());
                    bail!("answered {status}: {}\n{logs}", answer.text().await?);
                }
                let Published { seq } = answer.json().await?;
                last.fetch_max(seq, Ordering::Relaxed);
            }
        };
        let began = Instant::now();
        futures::future::try_join_all((0..IN_FLIGHT).map(|_| publisher())).await?;
        let rate = publishes as f64 / began.elapsed().as_secs_f64();

        let last = last.load(Ordering::Relaxed);
        let behind = || self.reached.iter().filter(|it| it.load(Ordering::Relaxed) < last).count();
        let arrived = async {
            while behind() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let arrived = timeout(PATIENCE, arrived).await;
        arrived.map_err(|_| anyhow!("{} subscribers did not come to {last}", behind()))?;
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

/// Notes how far it has come, and asks on where the hub asks for a sign of life. Updates are not
/// counted: one that was replaced before a pause ended is not sent any more.
async fn read(mut socket: Socket, reached: Arc<AtomicU64>) {
    while let Some(Ok(message)) = socket.next().await {
        let Ok(text) = message.to_text() else { continue };
        if let Some(seq) = last_seq(text) {
            reached.fetch_max(seq, Ordering::Relaxed);
        }
        if ["{\"pause\"", "{\"bookmark\""].iter().any(|it| text.starts_with(it)) {
            let resume = json!({"resume": {"cursor": reached.load(Ordering::Relaxed)}});
            if socket.send(Message::text(resume.to_string())).await.is_err() {
                return;
            }
        }
    }
}

/// The last number in a frame of either; each delivery has one, and so has what follows them.
/// Found without reading the frame: a hundred readers share the machine with what is measured.
fn last_seq(text: &str) -> Option<u64> {
    let (_, rest) = text.rsplit_once(r#""seq":"#)?;
    rest.split(|it: char| !it.is_ascii_digit()).next()?.parse().ok()
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or_default()
}
