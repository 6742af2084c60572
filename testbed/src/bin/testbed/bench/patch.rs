//! What one changed key in a large document costs on the wire.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use testbed::{Agent, Functions, Proxy, Source};

use super::document::{TEN_MEGABYTES, large};
use super::report::{Figure, Report, Times};

const AGENTS: usize = 3;
const WARM_UP: u64 = 3;
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn measure(report: &mut Report, rounds: u64) -> Result<()> {
    let functions = Functions::start().await?;
    let token = functions.mint("datasource", json!({})).await?;
    let client = functions.mint("client", json!({})).await?;
    let document = large(TEN_MEGABYTES);
    let bytes = document.to_string().len();
    let source = Source::start(&document)?;
    let mut agents = Vec::with_capacity(AGENTS);
    for _ in 0..AGENTS {
        let link = Proxy::start(functions.port()).await?;
        let agent = Agent::builder(link.url(), client.clone()).topics(["large"]).start().await?;
        agent.wait_live(PATIENCE).await?;
        agents.push((agent, link));
    }
    let fetched = json!({"entries": [
        {"url": source.url("/large"), "topics": ["large"], "dst_path": "/large"},
    ]});
    let seq = functions.publish_ok(&token, &fetched).await?;
    for (agent, _) in &agents {
        agent.wait_cursor(seq, PATIENCE).await?;
    }

    let fetches = source.count();
    let (mut wire, mut times) = (0, Vec::new());
    for round in 0..WARM_UP + rounds {
        let before: Vec<u64> = agents.iter().map(|(_, link)| link.bytes_down()).collect();
        let key = format!("user-{:06}", round * 37 % TEN_MEGABYTES as u64);
        let operations =
            json!([{"op": "replace", "path": format!("/{key}/level"), "value": round + 1_000}]);
        let update = json!({"entries": [{
            "topics": ["large"], "dst_path": "/large", "save_method": "PATCH", "data": operations,
        }]});
        let began = std::time::Instant::now();
        let seq = functions.publish_ok(&token, &update).await?;
        for (agent, _) in &agents {
            agent.wait_cursor(seq, PATIENCE).await?;
        }
        let took = began.elapsed();
        for ((agent, link), before) in agents.iter().zip(before) {
            let path = format!("large/{key}/level");
            let wanted = Value::from(round + 1_000);
            agent.wait_decision(&path, &json!({}), &wanted, PATIENCE).await?;
            if round >= WARM_UP {
                wire = wire.max(link.bytes_down() - before);
            }
        }
        if round >= WARM_UP {
            times.push(took);
            report.progress(round - WARM_UP + 1, rounds, "patches");
        }
    }
    let times = Times::new(times);
    let whole = Figure::new("peer: the whole document", bytes as f64, "bytes");
    let most = Figure::new("to one agent for one patch, max", wire as f64, "bytes");
    report.add(most.target(1_024.0).beside(&whole));
    report.add(whole);
    let again = (source.count() - fetches) as f64;
    report.add(Figure::new("fetches at the source for all patches", again, "").target(0.0));
    report.add(Figure::milliseconds("publish to applied by 3 agents, p50", times.median()));
    report.add(Figure::milliseconds("publish to applied by 3 agents, p99", times.percentile(99)));
    Ok(())
}
