//! Subscribers that stop reading, and what that costs the others and the hub.
//!
//! Ten of a hundred subscribers are agents that are frozen (SIGSTOP) every other block of rounds;
//! the other ninety are measured. Blocks alternate, so that both cases are measured on the same
//! machine in the same minute.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::json;
use testbed::{Agent, Functions};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::memory::resident_mib;
use super::report::{Figure, Report, Times};
use super::subscriber::{Subscriber, Subscription};

const AGENTS: usize = 10;
const MEASURED: usize = 90;
const BLOCKS: u64 = 6;
/// Of one update. More than the system's own buffers of a socket goes to each in a block, so what
/// the hub kept for those who do not read would show.
const UPDATE_BYTES: usize = 64 << 10;
/// Blocks before the hub's memory counts as settled although it still grows.
const MOST_SETTLING: u64 = 16;
/// Blocks in a row that may take no more memory than this.
const QUIET_BLOCKS: u32 = 3;
const SETTLED_MIB: f64 = 1.0;
const PATIENCE: Duration = Duration::from_secs(30);

/// When an update came to somebody: the cursor that it led to, and the moment.
type Arrival = (u64, Instant);

struct Bench {
    functions: Functions,
    token: String,
    data: String,
    arrivals: mpsc::UnboundedReceiver<Arrival>,
}

pub(crate) async fn measure(report: &mut Report, rounds: u64) -> Result<()> {
    let functions = Functions::start().await?;
    let token = functions.mint("datasource", json!({"ttl": 86_400})).await?;
    let client = functions.mint("client", json!({"ttl": 86_400})).await?;
    let mut agents = Vec::with_capacity(AGENTS);
    for _ in 0..AGENTS {
        agents
            .push(Agent::builder(functions.url(), client.clone()).topics(["slow"]).start().await?);
    }
    for agent in &agents {
        agent.wait_live(PATIENCE).await?;
    }
    let (sender, arrivals) = mpsc::unbounded_channel();
    let subscription = Subscription { url: functions.ws_url(), token: client, topic: "slow" };
    for number in 0..MEASURED {
        let subscriber = subscription.open(number, 0).await?;
        tokio::spawn(follow(subscriber, sender.clone()));
    }
    let data = "x".repeat(UPDATE_BYTES);
    let mut bench = Bench { functions, token, data, arrivals };

    let pid = bench.functions.pid();
    let before = settled(report, &mut bench, rounds).await?;
    let mut most = before;
    let (mut all, mut without) = (Vec::new(), Vec::new());
    for block in 0..BLOCKS {
        let freeze = block % 2 == 1;
        if freeze {
            for agent in &mut agents {
                agent.freeze().await?;
            }
        }
        let mut last = 0;
        for round in 0..rounds {
            let (seq, times) = bench.round().await?;
            last = seq;
            let into = if freeze { &mut without } else { &mut all };
            into.extend(times);
            most = most.max(resident_mib(pid)?);
            report.progress(block * rounds + round + 1, BLOCKS * rounds, "rounds");
        }
        for agent in &mut agents {
            agent.thaw().await?;
            agent.wait_cursor(last, PATIENCE).await?;
        }
    }

    let published = rounds as f64 * UPDATE_BYTES as f64 * AGENTS as f64 / f64::from(1 << 20);
    let (all, without) = (Times::new(all), Times::new(without));
    let peer = Figure::milliseconds("peer: none frozen, p99", all.percentile(99));
    let p99 = Figure::milliseconds("10 of 100 frozen, p99", without.percentile(99));
    let ratio = without.percentile(99).as_secs_f64() / all.percentile(99).as_secs_f64();
    report.add(p99.beside(&peer));
    report.add(Figure::new("p99, frozen over none frozen", ratio, "×").target(1.2));
    report.add(peer);
    report.add(Figure::milliseconds("10 of 100 frozen, p50", without.median()));
    report.add(Figure::milliseconds("none frozen, p50", all.median()));
    let more = Figure::new("hub's memory since some were frozen", most - before, "MiB more");
    report.add(more.target(8.0));
    report.add(Figure::new("hub's memory before", before, "MiB"));
    report.add(Figure::new("sent to the frozen ones in a block", published, "MiB"));
    Ok(())
}

/// The hub's most memory under this load with nobody frozen. What a process has once taken from
/// the system it seldom gives back, and JavaScript's heap grows for a while: blocks of rounds run
/// until some in a row take no more.
async fn settled(report: &Report, bench: &mut Bench, rounds: u64) -> Result<f64> {
    let pid = bench.functions.pid();
    let (mut most, mut quiet) = (0.0_f64, 0);
    for block in 0..MOST_SETTLING {
        let before = most;
        for round in 0..rounds {
            bench.round().await?;
            most = most.max(resident_mib(pid)?);
            let done = block * rounds + round + 1;
            report.progress(done, MOST_SETTLING * rounds, "rounds at most to settle");
        }
        quiet = if most - before < SETTLED_MIB { quiet + 1 } else { 0 };
        if quiet == QUIET_BLOCKS {
            break;
        }
    }
    Ok(most)
}

/// Tells each arrival until the socket ends.
async fn follow(mut subscriber: Subscriber, arrivals: mpsc::UnboundedSender<Arrival>) {
    while let Ok(cursor) = subscriber.advance().await {
        if arrivals.send((cursor, Instant::now())).is_err() {
            return;
        }
    }
}

impl Bench {
    /// Publishes once, and gives how long it took to each of those who are measured.
    async fn round(&mut self) -> Result<(u64, Vec<Duration>)> {
        let update = json!({"entries": [
            {"topics": ["slow"], "dst_path": "/slow", "data": {"text": self.data}},
        ]});
        let began = Instant::now();
        let seq = self.functions.publish_ok(&self.token, &update).await?;
        let mut times = Vec::with_capacity(MEASURED);
        while times.len() < MEASURED {
            let arrival = timeout(PATIENCE, self.arrivals.recv()).await;
            let arrival = arrival.with_context(|| format!("{} have update {seq}", times.len()))?;
            match arrival {
                Some((cursor, at)) if cursor == seq => times.push(at - began),
                Some(_) => {}
                None => bail!("every socket ended"),
            }
        }
        Ok((seq, times))
    }
}
