//! A publish that waits until every agent has applied it.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use reqwest::Method;
use serde_json::json;
use testbed::{Agent, Functions};

use super::report::{Figure, Report, Times};

const WARM_UP: u64 = 20;
const PATIENCE: Duration = Duration::from_secs(30);
const FEW: usize = 1;
const MANY: usize = 10;

pub(crate) async fn measure(report: &mut Report, rounds: u64) -> Result<()> {
    let functions = Functions::start().await?;
    let token = functions.mint("datasource", json!({})).await?;
    let client = functions.mint("client", json!({})).await?;
    let mut agents = Vec::with_capacity(MANY);
    for count in [FEW, MANY] {
        while agents.len() < count {
            let name = format!("agent-{}", agents.len());
            let agent = Agent::builder(functions.url(), client.clone()).topics(["wait"]);
            let agent = agent.arg("--agent-name").arg(name).start().await?;
            agent.wait_live(PATIENCE).await?;
            agents.push(agent);
        }
        let plain = times(report, &functions, &token, "/data/config", None, rounds).await?;
        let path = "/data/config?wait=all&timeout=10";
        let waited = times(report, &functions, &token, path, Some(count), rounds).await?;
        let floor = format!("floor: without waiting, {count} subscribed, p50");
        let floor = Figure::milliseconds(floor, plain.median());
        let p50 = Figure::milliseconds(format!("wait=all over {count}, p50"), waited.median());
        let p99 = waited.percentile(99);
        report.add(p50.beside(&floor));
        report.add(Figure::milliseconds(format!("wait=all over {count}, p99"), p99));
        report.add(floor);
    }
    Ok(())
}

/// Publishes again and again; with `receipts`, so many must be in each answer.
async fn times(
    report: &Report,
    functions: &Functions,
    token: &str,
    path: &str,
    receipts: Option<usize>,
    rounds: u64,
) -> Result<Times> {
    let mut times = Vec::new();
    for round in 0..WARM_UP + rounds {
        let update = json!({"entries": [
            {"topics": ["wait"], "dst_path": "/round", "data": {"n": round}},
        ]});
        let began = Instant::now();
        let answer = functions.request(Method::POST, path, Some(token), Some(&update)).await?;
        let took = began.elapsed();
        let answer = answer.ok()?;
        if let Some(count) = receipts {
            let told = answer.get("receipts").and_then(|it| it.as_array());
            if told.is_none_or(|told| told.len() != count) {
                bail!("{count} receipts were waited for, the answer is {answer}");
            }
        }
        if let Some(counted) = round.checked_sub(WARM_UP) {
            times.push(took);
            report.progress(counted + 1, rounds, "rounds");
        }
    }
    Ok(Times::new(times))
}
