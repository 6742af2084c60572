//! What the proxy adds to a request, beside the same request to the application itself.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use futures::future::try_join_all;
use serde_json::{Value, json};
use tempfile::TempDir;
use testbed::{Agent, Guard, Source, http_client};

use super::super::report::{Figure, Report, Times};
use super::{functions, grant};

const PATIENCE: Duration = Duration::from_secs(30);
const WARM_UP: u64 = 50;
const MANY: usize = 16;

pub(super) async fn measure(report: &mut Report, rounds: u64) -> Result<()> {
    let functions = functions()?.start().await?;
    let client = functions.mint("client", json!({})).await?;
    let policy = TempDir::new()?;
    fs::write(policy.path().join("proxy.rego"), "package proxy\n\nallow := true\n")?;
    let agent = Agent::builder(functions.url(), client).topics(["facts:."]).data_plane();
    let agent = agent.policy_dir(policy.path()).start().await?;
    agent.wait_live(PATIENCE).await?;
    let paths = json!(["/api/v1/proxies/bench", "/api/v1/facts", "/api/v1/facts/*"]);
    let (_, token) = grant(&functions, json!(["PUT", "POST", "GET"]), paths).await?;
    let application = Source::start(&json!({"ok": true}))?;
    let config = format!(
        "name = \"bench\"\nupstream = \"{}\"\ndata_plane = \"{}\"\n\
         decision = \"{}/v1/data/proxy/allow\"\n\
         [[routes]]\nmethod = \"POST\"\npath = \"/users\"\n\
         [[routes.request]]\npointer = \"/email\"\nfact_type = \"email\"\n",
        application.url("").trim_end_matches('/'),
        agent.data_plane_url().unwrap_or_default(),
        agent.decision_url(),
    );
    let guard = Guard::start(&config, &token).await?;

    let (direct, through) = (application.url("/plain"), guard.url("/plain"));
    for connections in [1, MANY] {
        let floor = times(&direct, None, connections, rounds).await?;
        let times = times(&through, None, connections, rounds).await?;
        let name = |what: &str| format!("{what}, {connections} at a time");
        let floor_figure =
            Figure::milliseconds(name("the application itself, p50"), floor.median());
        let added = |of: Duration, without: Duration| of.saturating_sub(without);
        let p50 = added(times.median(), floor.median());
        let p50 = Figure::milliseconds(name("added by the proxy, nothing rewritten, p50"), p50);
        report.add(if connections == 1 { p50.target(1.0) } else { p50 });
        let p99 = added(times.percentile(99), floor.percentile(99));
        let p99 = Figure::milliseconds(name("added by the proxy, nothing rewritten, p99"), p99);
        report.add(p99);
        report.add(floor_figure);
    }
    let body = json!({"email": "ada@example.com"});
    let rewritten = times(&guard.url("/users"), Some(&body), 1, rounds.min(300)).await?;
    report.add(Figure::milliseconds("with one value kept as a fact, p50", rewritten.median()));
    Ok(())
}

/// So many requests from each of so many clients.
async fn times(url: &str, body: Option<&Value>, connections: usize, rounds: u64) -> Result<Times> {
    let clients = (0..connections).map(|_| async {
        let http = http_client()?;
        let mut times = Vec::new();
        for round in 0..WARM_UP + rounds {
            let request = match body {
                Some(body) => http.post(url).json(body),
                None => http.get(url),
            };
            let began = Instant::now();
            let answer = request.send().await?;
            let status = answer.status();
            answer.bytes().await?;
            if !status.is_success() {
                bail!("{url} answered {status}");
            }
            if round >= WARM_UP {
                times.push(began.elapsed());
            }
        }
        Ok(times)
    });
    Ok(Times::new(try_join_all(clients).await?.into_iter().flatten().collect()))
}
