//! A commit that changes one file: what is fetched for it, and how soon an engine decides by it.

use std::time::Instant;

use anyhow::Result;
use testbed::{Engine, Opa, Part};

use super::{Decider, FEW, Stage, until_decided};
use crate::bench::report::{Figure, Report, Times};

pub(super) async fn measure(report: &mut Report, stage: &mut Stage, commits: u64) -> Result<()> {
    let agent = stage.agent(Engine::Regorus).await?;
    let embedded = with(report, stage, commits, agent, "embedded").await?;
    if Part::Opa.find().is_ok() {
        let alone = stage.opa().await?;
        let alone = with(report, stage, commits, alone, "OPA alone, by its bundle").await?;
        report.add(alone.beside(&embedded));
        let mut few = Stage::start(FEW).await?;
        let opa = Opa::start().await?;
        let agent = few.agent(Engine::Opa(opa.url().to_owned())).await?;
        let name = format!("agent and OPA, {FEW} policies");
        let beside = with(report, &mut few, commits, agent, &name).await?;
        report.add(beside.beside(&embedded));
    }
    report.add(embedded);
    Ok(())
}

/// The median of one who decides; the rest is added here.
async fn with(
    report: &mut Report,
    stage: &mut Stage,
    commits: u64,
    decider: Decider,
    name: &str,
) -> Result<Figure> {
    stage.until_all_are_at(&decider, Instant::now()).await?;
    let (mut times, mut most) = (Vec::new(), 0);
    for round in 0..commits {
        let commit = stage.commit().await?;
        let (fetched, began) = (stage.git.bytes_sent(), Instant::now());
        let ((), took) = tokio::try_join!(
            stage.hook(stage.functions.url()),
            until_decided(&decider, &commit.path, &commit.value, began),
        )?;
        times.push(took);
        most = most.max(stage.git.bytes_sent() - fetched);
        report.progress(round + 1, commits, &format!("commits, {name}"));
    }
    let times = Times::new(times);
    let bytes = format!("bytes from git for one file changed, max, {name}");
    report.add(Figure::new(bytes, most as f64 / 1_000.0, "KB").target(50.0));
    let most = Figure::milliseconds(format!("webhook → decided by it, max, {name}"), times.max());
    report.add(most);
    let median = format!("webhook → decided by it, median, {name}");
    Ok(Figure::milliseconds(median, times.median()).target(300.0))
}
