//! A commit that changes one file: what is fetched for it, and how soon an engine decides by it.

use std::time::Instant;

use anyhow::Result;
use serde_json::json;
use testbed::{Engine, Opa, Part};

use super::{LAST, Stage, decision, until_decided};
use crate::bench::report::{Figure, Report, Times};

pub(super) async fn measure(report: &mut Report, stage: &mut Stage, commits: u64) -> Result<()> {
    let embedded = with(report, stage, commits, Engine::Regorus, "embedded").await?;
    if Part::Opa.find().is_ok() {
        let opa = Opa::start().await?;
        let engine = Engine::Opa(opa.url().to_owned());
        let beside = with(report, stage, commits, engine, "OPA").await?;
        report.add(beside.beside(&embedded));
    }
    report.add(embedded);
    Ok(())
}

/// The median with one engine; the rest is added here.
async fn with(
    report: &mut Report,
    stage: &mut Stage,
    commits: u64,
    engine: Engine,
    name: &str,
) -> Result<Figure> {
    let agent = stage.agent(engine).await?;
    until_decided(&agent, &decision(LAST), &json!(0), Instant::now()).await?;
    let (mut times, mut most) = (Vec::new(), 0);
    for round in 0..commits {
        let commit = stage.commit().await?;
        let (fetched, began) = (stage.git.bytes_sent(), Instant::now());
        let ((), took) = tokio::try_join!(
            stage.hook(stage.functions.url()),
            until_decided(&agent, &commit.path, &commit.value, began),
        )?;
        times.push(took);
        most = most.max(stage.git.bytes_sent() - fetched);
        report.progress(round + 1, commits, &format!("commits, {name}"));
    }
    let times = Times::new(times);
    let bytes = format!("bytes from git for one of 1,000 files, max, {name}");
    report.add(Figure::new(bytes, most as f64 / 1_000.0, "KB").target(50.0));
    let most = Figure::milliseconds(format!("webhook → decided by it, max, {name}"), times.max());
    report.add(most);
    let median = format!("webhook → decided by it, median, {name}");
    Ok(Figure::milliseconds(median, times.median()).target(300.0))
}
