//! An agent that comes back where nobody can be reached: from the start of its process to the
//! first right decision, from what it has on disk.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};
use testbed::{Agent, Engine, Functions, Opa, Part, Source, command};

use super::document::{TEN_MEGABYTES, large};
use super::report::{Figure, Report, Times};

const PATIENCE: Duration = Duration::from_secs(60);
/// What it adds to a figure at most.
const PAUSE: Duration = Duration::from_millis(2);
/// An agent that has lost its state would never answer rightly.
const GIVE_UP: Duration = Duration::from_secs(10);

pub(crate) async fn measure(report: &mut Report, starts: u64) -> Result<()> {
    let mut bare = Vec::new();
    for _ in 0..starts {
        let began = Instant::now();
        command(Part::Agent.find()?).arg("--version").output().await?;
        bare.push(began.elapsed());
    }
    let floor = Times::new(bare).median();
    let floor = Figure::milliseconds("floor: edge-agent --version, median", floor);

    let one = embedded(report, starts, 1, TEN_MEGABYTES).await?;
    let median = Figure::milliseconds("10 MB in one document, median", one.median());
    report.add(median.target(100.0).beside(&floor));
    report.add(Figure::milliseconds("10 MB in one document, max", one.max()).target(100.0));
    let many = embedded(report, starts, 100, TEN_MEGABYTES / 100).await?;
    report.add(Figure::milliseconds("10 MB in 100 documents, median", many.median()));
    report.add(Figure::milliseconds("10 MB in 100 documents, max", many.max()));
    let small = embedded(report, starts, 1, 10).await?;
    report.add(Figure::milliseconds("1 KB, median", small.median()));
    if Part::Opa.find().is_ok() {
        let opa = beside_opa(report, starts).await?;
        report.add(Figure::milliseconds("10 MB into an empty OPA, median", opa.median()));
        report.add(Figure::milliseconds("10 MB into an empty OPA, max", opa.max()));
    }
    report.add(floor);
    Ok(())
}

/// With the embedded engine, and so many documents of so many keys.
async fn embedded(report: &Report, starts: u64, documents: usize, keys: usize) -> Result<Times> {
    let mut agent = filled(Engine::Regorus, documents, keys).await?;
    let mut times = Vec::new();
    for start in 0..starts {
        agent.restart().await?;
        times.push(until_right(&agent, documents).await?);
        report.progress(start + 1, starts, "starts");
    }
    Ok(Times::new(times))
}

/// Beside an OPA that has lost everything too.
async fn beside_opa(report: &Report, starts: u64) -> Result<Times> {
    let mut opa = Opa::start().await?;
    let mut agent = filled(Engine::Opa(opa.url().to_owned()), 1, TEN_MEGABYTES).await?;
    let mut times = Vec::new();
    for start in 0..starts {
        agent.kill().await?;
        opa.kill().await?;
        opa.restart().await?;
        agent.restart().await?;
        times.push(until_right(&agent, 1).await?);
        report.progress(start + 1, starts, "starts beside OPA");
    }
    Ok(Times::new(times))
}

/// An agent that has its state, and neither hub nor source any more.
async fn filled(engine: Engine, documents: usize, keys: usize) -> Result<Agent> {
    let functions = Functions::start().await?;
    let token = functions.mint("datasource", json!({})).await?;
    let client = functions.mint("client", json!({})).await?;
    let source = Source::start(&large(keys))?;
    let agent = Agent::builder(functions.url(), client).topics(["large"]).engine(engine);
    let agent = agent.start().await?;
    agent.wait_live(PATIENCE).await?;
    let entry = |number: usize| {
        let (path, url) = (format!("/large/{number}"), source.url(&format!("/{number}")));
        json!({"url": url, "topics": ["large"], "dst_path": path})
    };
    let entries: Vec<Value> = (0..documents).map(entry).collect();
    let seq = functions.publish_ok(&token, &json!({ "entries": entries })).await?;
    agent.wait_cursor(seq, PATIENCE).await?;
    Ok(agent)
}

/// From the start of the agent's process to the first answer with the data in it. Between two
/// questions there is a pause: on two cores an agent that reads has both.
async fn until_right(agent: &Agent, documents: usize) -> Result<Duration> {
    let path = format!("large/{}/user-000003/level", documents - 1);
    let (nobody, level) = (json!({}), json!(3));
    loop {
        let right = agent.wait_decision(&path, &nobody, &level, Duration::ZERO).await;
        let took = agent.started().elapsed();
        match right {
            Ok(()) => return Ok(took),
            Err(error) if took > GIVE_UP => {
                return Err(error.context("its state should be on its disk"));
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}
