//! From the request that revokes a grant to the moment from which every agent refuses its token.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use futures::future::try_join_all;
use reqwest::Method;
use serde_json::json;
use testbed::{Agent, Functions, http_client};

use super::super::report::{Figure, Report, Times};
use super::{HEADER, functions, grant};

const AGENTS: usize = 10;
const PATIENCE: Duration = Duration::from_secs(30);
/// A path that the agent answers by itself.
const PATH: &str = "/api/v1/proxies/bench";

pub(super) async fn measure(report: &mut Report, rounds: u64) -> Result<()> {
    let functions = functions()?.start().await?;
    let client = functions.mint("client", json!({})).await?;
    let mut agents = Vec::with_capacity(AGENTS);
    for number in 0..AGENTS {
        let agent = Agent::builder(functions.url(), client.clone()).topics(["bench"]);
        let agent = agent.arg("--agent-name").arg(format!("agent-{number}")).data_plane();
        let agent = agent.start().await?;
        agent.wait_live(PATIENCE).await?;
        agents.push(agent);
    }
    let planes: Vec<&str> = agents.iter().filter_map(Agent::data_plane_url).collect();
    let http = http_client()?;
    let mut times = Vec::new();
    for round in 0..rounds {
        times.push(revoked(&functions, &http, &planes).await?);
        report.progress(round + 1, rounds, "revocations");
    }
    let times = Times::new(times);
    let name = |what: &str| format!("revoked → refused by {AGENTS} agents, {what}");
    report.add(Figure::milliseconds(name("p50"), times.median()));
    report.add(Figure::milliseconds(name("p99"), times.percentile(99)).target(1_000.0));
    Ok(())
}

/// One grant, revoked: every agent is asked without a pause until it refuses.
async fn revoked(
    functions: &Functions,
    http: &reqwest::Client,
    planes: &[&str],
) -> Result<Duration> {
    let (id, token) = grant(functions, json!(["GET"]), json!([PATH])).await?;
    for plane in planes {
        if status(http, plane, &token).await? != 200 {
            bail!("{plane} does not take a grant that it has");
        }
    }
    let began = Instant::now();
    let revoke = async {
        let (path, master) = (format!("/api/v1/grants/{id}"), Some(functions.master_token()));
        functions.request(Method::DELETE, &path, master, None).await?.ok()
    };
    let refused = try_join_all(planes.iter().map(|plane| refused(http, plane, &token, began)));
    let (_, refused) = tokio::try_join!(revoke, refused)?;
    Ok(refused.into_iter().max().unwrap_or_default())
}

/// Asks one agent until it refuses.
async fn refused(
    http: &reqwest::Client,
    plane: &str,
    token: &str,
    began: Instant,
) -> Result<Duration> {
    while status(http, plane, token).await? != 401 {
        if began.elapsed() > PATIENCE {
            bail!("{plane} still takes a revoked grant");
        }
    }
    Ok(began.elapsed())
}

async fn status(http: &reqwest::Client, plane: &str, token: &str) -> Result<u16> {
    let asked = http.get(format!("{plane}{PATH}")).header(HEADER, token).send().await?;
    Ok(asked.status().as_u16())
}
