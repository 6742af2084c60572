//! Fifty sources, each at an address of its own; from a publish of one's address to the decision
//! that shows its new data, while another one hangs and while it does not. The two are measured in
//! turns, a block each, so that what else happens on the machine meets both.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};
use testbed::{Agent, Functions, Reply, Source};

use crate::bench::report::{Figure, Report, Times};

const SOURCES: usize = 50;
const TOPIC: &str = "sources";
const POLICY: &str = "package bench\n\nimport rego.v1\n\nround := data.sources[input.of].round\n";
const BLOCKS: u64 = 10;
const PATIENCE: Duration = Duration::from_secs(30);
/// Longer than any fetch may take.
const HANGS: Duration = Duration::from_secs(3_600);

struct Rig {
    functions: Functions,
    agent: Agent,
    token: String,
    sources: Vec<Source>,
    round: u64,
}

pub(super) async fn measure(report: &mut Report, rounds: u64) -> Result<()> {
    let policy = tempfile::tempdir()?;
    fs::write(policy.path().join("bench.rego"), POLICY)?;
    let functions = Functions::start().await?;
    let token = functions.mint("client", json!({})).await?;
    let agent = Agent::builder(functions.url(), token)
        .topics([TOPIC])
        .policy_dir(policy.path())
        .start()
        .await?;
    agent.wait_live(PATIENCE).await?;
    let sources =
        (0..SOURCES).map(|_| Source::start(&json!({"round": 0}))).collect::<Result<_>>()?;
    let token = functions.mint("datasource", json!({})).await?;
    let mut rig = Rig { functions, agent, token, sources, round: 0 };

    let each = rounds.div_ceil(BLOCKS).max(SOURCES as u64 - 1);
    rig.block(each).await?;
    let (mut calm, mut hanging) = (Vec::new(), Vec::new());
    for block in 0..BLOCKS {
        calm.extend(rig.block(each).await?);
        rig.hang().await?;
        hanging.extend(rig.block(each).await?);
        rig.come_back().await?;
        report.progress(block + 1, BLOCKS, "blocks");
    }

    let (calm, hanging) = (Times::new(calm), Times::new(hanging));
    for (percent, name) in [(50, "p50"), (99, "p99")] {
        let without = Figure::milliseconds(
            format!("{SOURCES} sources: publish → decision, {name}"),
            calm.percentile(percent),
        );
        let with = Figure::milliseconds(
            format!("{SOURCES} sources, one hangs: publish → decision, {name}"),
            hanging.percentile(percent),
        );
        report.add(with.beside(&without));
        report.add(without);
        let ratio =
            hanging.percentile(percent).as_secs_f64() / calm.percentile(percent).as_secs_f64();
        let figure = Figure::new(format!("{name}, one hangs over none"), ratio, "×");
        report.add(if percent == 99 { figure.target(1.1) } else { figure });
    }
    Ok(())
}

impl Rig {
    /// All sources but the first in turn.
    async fn block(&mut self, rounds: u64) -> Result<Vec<Duration>> {
        let mut times = Vec::new();
        for at in (1..self.sources.len()).cycle().take(usize::try_from(rounds)?) {
            let began = self.publish(at, Reply::json).await?;
            self.until_decided(at).await?;
            times.push(began.elapsed());
        }
        Ok(times)
    }

    /// The first source hangs, and is being asked.
    async fn hang(&mut self) -> Result<()> {
        let asked = self.sources.first().map_or(0, Source::count);
        self.publish(0, |data| Reply::json(data).delay(HANGS)).await?;
        let Some(source) = self.sources.first() else { return Ok(()) };
        source.wait_for_requests(asked + 1, PATIENCE).await
    }

    /// It does not hang any more, and what it was asked for has come.
    async fn come_back(&mut self) -> Result<()> {
        if let Some(source) = self.sources.first_mut() {
            // Whoever waits for it is told at once.
            source.stop();
            source.restart()?;
        }
        self.publish(0, Reply::json).await?;
        self.until_decided(0).await
    }

    /// Has a source fetched; answers with when the publish began.
    async fn publish(&mut self, at: usize, reply: impl Fn(&Value) -> Reply) -> Result<Instant> {
        self.round += 1;
        let url = self.sources.get(at).map(|source| {
            source.reply(reply(&json!({"round": self.round})));
            source.url("/data")
        });
        let update = json!({"entries": [
            {"url": url, "topics": [TOPIC], "dst_path": format!("/sources/{at}")},
        ]});
        let began = Instant::now();
        self.functions.publish_ok(&self.token, &update).await?;
        Ok(began)
    }

    async fn until_decided(&self, at: usize) -> Result<()> {
        let (input, round) = (json!({"of": at.to_string()}), json!(self.round));
        self.agent.wait_decision("bench/round", &input, &round, PATIENCE).await
    }
}
