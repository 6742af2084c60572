//! Somebody new with an empty disk: all policies.

use std::time::{Duration, Instant};

use anyhow::Result;
use testbed::{Engine, Opa, Part};

use super::{Decider, FEW, Stage};
use crate::bench::report::{Figure, Report, Times};

const STARTS: u64 = 5;

pub(super) async fn measure(report: &mut Report, stage: &Stage) -> Result<()> {
    let mut times = Vec::new();
    for start in 0..STARTS {
        times.push(once(stage, async || stage.agent(Engine::Regorus).await).await?);
        report.progress(start + 1, STARTS, "new agents");
    }
    let unit = "policies to somebody new";
    let embedded = Figure::milliseconds(
        format!("1,000 {unit}, agent with the embedded engine, median"),
        Times::new(times).median(),
    )
    .target(1_000.0);
    if Part::Opa.find().is_ok() {
        let took = once(stage, async || stage.opa().await).await?;
        let alone = Figure::milliseconds(format!("1,000 {unit}, OPA alone, by its bundle"), took);
        report.add(alone.target(1_000.0).beside(&embedded));
        let few = Stage::start(FEW).await?;
        let opa = Opa::start().await?;
        let with_opa = async || few.agent(Engine::Opa(opa.url().to_owned())).await;
        let took = once(&few, with_opa).await?;
        report.add(Figure::milliseconds(format!("{FEW} {unit}, agent and OPA"), took));
    }
    report.add(embedded);
    Ok(())
}

/// From the start of its process to a decision by the last of all policies.
async fn once(stage: &Stage, start: impl AsyncFn() -> Result<Decider>) -> Result<Duration> {
    let began = Instant::now();
    let decider = start().await?;
    stage.until_all_are_at(&decider, began).await
}
