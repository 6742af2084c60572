//! A new agent with an empty disk: from the start of its process to a decision by the last of all
//! policies.

use anyhow::Result;
use serde_json::json;
use testbed::{Engine, Opa, Part};

use super::{LAST, Stage, decision, until_decided};
use crate::bench::report::{Figure, Report, Times};

const STARTS: u64 = 5;

pub(super) async fn measure(report: &mut Report, stage: &Stage) -> Result<()> {
    let mut times = Vec::new();
    for start in 0..STARTS {
        times.push(once(stage, Engine::Regorus).await?);
        report.progress(start + 1, STARTS, "new agents");
    }
    let (embedded, unit) = (Times::new(times).median(), "1,000 policies to a new agent, median");
    let embedded = Figure::milliseconds(format!("{unit}, embedded"), embedded).target(1_000.0);
    if Part::Opa.find().is_ok() {
        // Once: it may take a minute.
        let opa = Opa::start().await?;
        let took = once(stage, Engine::Opa(opa.url().to_owned())).await?;
        let figure = Figure::milliseconds("1,000 policies to a new agent, OPA", took);
        let figure = figure.target(1_000.0);
        report.add(figure.beside(&embedded));
    }
    report.add(embedded);
    Ok(())
}

async fn once(stage: &Stage, engine: Engine) -> Result<std::time::Duration> {
    let agent = stage.agent(engine).await?;
    until_decided(&agent, &decision(LAST), &json!(0), agent.started()).await
}
