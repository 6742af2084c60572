//! The agent's idle memory, and how long it takes from its start until it is subscribed.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::json;
use testbed::{Agent, Functions, Opa, Part, checkout, command};

use super::memory::resident_mib;
use super::report::{Figure, Report, Times};

const PATIENCE: Duration = Duration::from_secs(15);
/// What a started program needs to give back what it only needed to start.
const SETTLE: Duration = Duration::from_secs(2);

pub(crate) async fn measure(report: &mut Report, starts: u64) -> Result<()> {
    let functions = Functions::start().await?;
    let token = functions.mint("client", json!({})).await?;
    let (mut subscribed, mut bare) = (Vec::new(), Vec::new());
    let mut memory = 0.0;
    for start in 0..starts {
        let began = Instant::now();
        command(Part::Agent.find()?).arg("--version").output().await?;
        bare.push(began.elapsed());

        let agent = Agent::builder(functions.url(), token.clone())
            .topics(["billing"])
            .policy_dir(checkout().join("examples/billing/policy"))
            .start()
            .await?;
        subscribed.push(until_subscribed(&agent).await?);
        if start + 1 == starts {
            tokio::time::sleep(SETTLE).await;
            memory = resident_mib(agent.pid())?;
        }
        report.progress(start + 1, starts, "starts");
    }
    let (subscribed, bare) = (Times::new(subscribed), Times::new(bare));
    let floor = Figure::milliseconds("floor: edge-agent --version, median", bare.median());
    let median = Figure::milliseconds("start to subscribed, median", subscribed.median());
    report.add(median.target(50.0).beside(&floor));
    report.add(Figure::milliseconds("start to subscribed, max", subscribed.max()));
    report.add(floor);

    let idle = Figure::new("idle resident memory", memory, "MiB").target(15.0);
    if Part::Opa.find().is_ok() {
        let opa = Opa::start().await?;
        tokio::time::sleep(SETTLE).await;
        let peer = Figure::new("peer: an empty OPA, idle", resident_mib(opa.pid())?, "MiB");
        report.add(idle.beside(&peer));
        report.add(peer);
    } else {
        report.add(idle);
    }
    Ok(())
}

/// From the start of the process until it logs that it has caught up.
async fn until_subscribed(agent: &Agent) -> Result<Duration> {
    let subscribed = |line: &str| line.contains("subscribed and caught up").then(Instant::now);
    let when = tokio::time::timeout(PATIENCE, agent.logs().wait_for(subscribed)).await;
    match when {
        Ok(Some(when)) => Ok(when - agent.started()),
        _ => bail!("the agent did not subscribe; it wrote:\n{}", agent.logs()),
    }
}
