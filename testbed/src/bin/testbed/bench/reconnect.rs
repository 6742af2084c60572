//! Everybody comes back at once: the functions are killed and restarted under two thousand
//! subscribers.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::json;
use testbed::{Agent, Functions, Source};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{sleep, timeout};

use super::report::{Figure, Report, Times};
use super::subscriber::Subscription;

const SUBSCRIBERS: usize = 2_000;
const AGENTS: usize = 5;
/// Updates in the log, of which nobody has missed any.
const UPDATES: u64 = 200;
const FETCHED: u64 = 20;
const RESTARTS: u64 = 3;
/// At one time while everything is set up; nothing is measured then.
const OPENING: usize = 50;
/// An agent's first wait before it connects again is random, and at most this.
const FIRST_WAIT_MS: u64 = 500;
const PATIENCE: Duration = Duration::from_secs(60);

/// A subscriber that has caught up: with which life of the functions, when, and where.
type Caught = (u64, Instant, u64);

pub(crate) async fn measure(report: &mut Report) -> Result<()> {
    check_open_files()?;
    let mut functions = Functions::start().await?;
    let token = functions.mint("datasource", json!({})).await?;
    let client = functions.mint("client", json!({})).await?;
    let source = Source::start(&json!({"some": "data"}))?;
    for number in 0..UPDATES {
        let path = format!("/crowd/{number}");
        let entry = match number < FETCHED {
            true => json!({"url": source.url(&path), "topics": ["crowd"], "dst_path": path}),
            false => json!({"topics": ["crowd"], "dst_path": path, "data": {"n": number}}),
        };
        functions.publish_ok(&token, &json!({ "entries": [entry] })).await?;
    }
    let mut agents = Vec::with_capacity(AGENTS);
    for _ in 0..AGENTS {
        let agent = Agent::builder(functions.url(), client.clone()).topics(["crowd"]);
        agents.push(agent.start().await?);
    }
    for agent in &agents {
        agent.wait_cursor(UPDATES, PATIENCE).await?;
    }

    let (caught, mut arrivals) = mpsc::unbounded_channel();
    let (life, _) = watch::channel(0_u64);
    let opening = Arc::new(Semaphore::new(OPENING));
    for number in 0..SUBSCRIBERS {
        let subscription =
            Subscription { url: functions.ws_url(), token: client.clone(), topic: "crowd" };
        let crowd = Crowd { subscription, number, life: life.subscribe(), caught: caught.clone() };
        tokio::spawn(crowd.stay(Arc::clone(&opening)));
    }
    all(&mut arrivals, 0).await?;

    let fetches = source.count();
    let (mut since_back, mut since_death) = (Vec::new(), Vec::new());
    let mut each = Vec::new();
    for restart in 1..=RESTARTS {
        life.send_replace(restart);
        let died = Instant::now();
        functions.kill().await?;
        functions.restart().await?;
        let back = Instant::now();
        let times = all(&mut arrivals, restart).await?;
        let last = times.iter().max().copied().unwrap_or(back);
        since_back.push(last.saturating_duration_since(back));
        since_death.push(last.saturating_duration_since(died));
        each.extend(times.iter().map(|at| at.saturating_duration_since(back)));
        // They are really subscribed: the next update reaches everybody.
        let path = "/crowd/next";
        let entry = json!({"topics": ["crowd"], "dst_path": path, "data": {"n": restart}});
        let seq = functions.publish_ok(&token, &json!({ "entries": [entry] })).await?;
        reached(&mut arrivals, seq).await?;
        for agent in &agents {
            agent.wait_cursor(seq, PATIENCE).await?;
        }
        report.progress(restart, RESTARTS, "restarts");
    }
    let (since_back, since_death, each) =
        (Times::new(since_back), Times::new(since_death), Times::new(each));
    let all = "2,000 caught up after the functions are back, max of 3";
    report.add(Figure::new(all, since_back.max().as_secs_f64(), "s").target(5.0));
    let all = "2,000 caught up after the functions died, max of 3";
    report.add(Figure::new(all, since_death.max().as_secs_f64(), "s"));
    report.add(Figure::new("one caught up, p50", each.median().as_secs_f64(), "s"));
    let again = (source.count() - fetches) as f64;
    report.add(Figure::new("fetches at the source by 5 agents", again, "").target(0.0));
    Ok(())
}

/// One of the many.
struct Crowd {
    subscription: Subscription,
    number: usize,
    life: watch::Receiver<u64>,
    caught: mpsc::UnboundedSender<Caught>,
}

impl Crowd {
    /// Connects again whenever the socket ends, as an agent does.
    async fn stay(self, opening: Arc<Semaphore>) {
        let (mut cursor, mut first) = (0, true);
        while !self.caught.is_closed() {
            let place = if first { opening.acquire().await.ok() } else { None };
            let opened = self.subscription.open(self.number, cursor).await;
            drop(place);
            if let Ok(mut subscriber) = opened {
                first = false;
                cursor = subscriber.cursor();
                let _ = self.caught.send((*self.life.borrow(), Instant::now(), cursor));
                while let Ok(reached) = subscriber.advance().await {
                    cursor = reached;
                    let _ = self.caught.send((*self.life.borrow(), Instant::now(), cursor));
                }
            }
            sleep(Duration::from_millis(jitter(self.number))).await;
        }
    }
}

/// Spread evenly, and differently each time that the clock says something else.
fn jitter(number: usize) -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.map_or(0, |now| u64::from(now.subsec_micros()));
    (now + number as u64 * 7_919) % FIRST_WAIT_MS
}

/// Waits until everybody is there in this life of the functions, and gives when each was.
async fn all(arrivals: &mut mpsc::UnboundedReceiver<Caught>, life: u64) -> Result<Vec<Instant>> {
    collect(arrivals, |(of, _, _)| of == life).await
}

/// Waits until everybody has an update.
async fn reached(arrivals: &mut mpsc::UnboundedReceiver<Caught>, seq: u64) -> Result<()> {
    collect(arrivals, |(_, _, cursor)| cursor >= seq).await.map(drop)
}

async fn collect(
    arrivals: &mut mpsc::UnboundedReceiver<Caught>,
    wanted: impl Fn(Caught) -> bool,
) -> Result<Vec<Instant>> {
    let mut times = Vec::with_capacity(SUBSCRIBERS);
    while times.len() < SUBSCRIBERS {
        match timeout(PATIENCE, arrivals.recv()).await {
            Ok(Some(arrival)) if wanted(arrival) => times.push(arrival.1),
            Ok(Some(_)) => {}
            Ok(None) => bail!("every subscriber ended"),
            Err(_) => bail!("{} of {SUBSCRIBERS} are there after {PATIENCE:?}", times.len()),
        }
    }
    Ok(times)
}

/// Each subscriber is an open file here and one in workerd, which inherits our limit.
fn check_open_files() -> Result<()> {
    let needed = SUBSCRIBERS + 500;
    let Ok(limits) = fs::read_to_string("/proc/self/limits") else {
        return Ok(());
    };
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let limit = line.and_then(|rest| rest.split_whitespace().next()).context("open files")?;
    if limit.parse::<usize>().is_ok_and(|limit| limit < needed) {
        bail!(
            "{SUBSCRIBERS} sockets need {needed} open files, the limit is {limit}: `ulimit -n {needed}`"
        );
    }
    Ok(())
}
