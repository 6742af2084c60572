//! From the start of a publish to the first decision that shows it.
//!
//! The publisher waits for its answer before it asks for decisions, and asks again as soon as it
//! has one; the time is that of the first answer with the new value, so it is never too short.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;
use testbed::{Agent, Functions};

use super::report::{Figure, Report, Times};

const WARM_UP: u64 = 50;
const PATIENCE: Duration = Duration::from_secs(15);
const POLICY: &str = "package bench\n\nimport rego.v1\n\nvalue := data.round.n\n";

pub(crate) async fn measure(report: &mut Report, rounds: u64) -> Result<()> {
    let functions = Functions::start().await?;
    let token = functions.mint("datasource", json!({})).await?;
    let policy = tempfile::tempdir()?;
    fs::write(policy.path().join("bench.rego"), POLICY)?;
    let agent = Agent::builder(functions.url(), functions.mint("client", json!({})).await?)
        .topics(["bench"])
        .policy_dir(policy.path())
        .start()
        .await?;
    agent.wait_live(PATIENCE).await?;

    let (mut accepted, mut changed) = (Vec::new(), Vec::new());
    for round in 0..WARM_UP + rounds {
        let update = json!({"entries": [
            {"url": "", "topics": ["bench"], "dst_path": "/round", "data": {"n": round}},
        ]});
        let began = Instant::now();
        functions.publish_ok(&token, &update).await?;
        let answered = began.elapsed();
        agent.wait_decision("bench/value", &json!({}), &json!(round), PATIENCE).await?;
        if let Some(counted) = round.checked_sub(WARM_UP) {
            accepted.push(answered);
            changed.push(began.elapsed());
            report.progress(counted + 1, rounds, "rounds");
        }
    }

    let (mut health, mut decision) = (Vec::new(), Vec::new());
    for _ in 0..rounds.min(300) {
        let began = Instant::now();
        functions.get("/healthcheck").await?.ok()?;
        health.push(began.elapsed());
        let began = Instant::now();
        agent.decide("bench/value", &json!({})).await?;
        decision.push(began.elapsed());
    }
    let (health, decision) = (Times::new(health), Times::new(decision));
    let (accepted, changed) = (Times::new(accepted), Times::new(changed));

    let ways = health.median() + decision.median();
    let floor = Figure::milliseconds("floor: one healthcheck and one decision", ways);
    report.add(Figure::milliseconds("p50", changed.median()).beside(&floor));
    report.add(Figure::milliseconds("p99", changed.percentile(99)).target(15.0).beside(&floor));
    report.add(Figure::milliseconds("max", changed.max()));
    report.add(Figure::milliseconds("publish answered, p50", accepted.median()));
    report.add(Figure::milliseconds("publish answered, p99", accepted.percentile(99)));
    report.add(Figure::milliseconds("healthcheck, p50", health.median()));
    report.add(Figure::milliseconds("decision, p50", decision.median()));
    report.add(floor);
    Ok(())
}
