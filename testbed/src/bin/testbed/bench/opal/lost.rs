//! Accepted updates with inline data that are not in an OPA in the end, with real opal-clients,
//! when the hub is restarted while there is publishing.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::{Value, json};
use testbed::{Answer, Api, Functions, Opa, OpalClient, OpalServer, Source, http_client_within};
use tokio::time::sleep;

use crate::bench::report::{Figure, Report};

const CLIENTS: usize = 2;
const RESTARTS: u64 = 3;
/// Accepted between two restarts.
const EACH: u64 = 30;
/// From the end of one publish to the next: a stream, not a burst.
const PAUSE: Duration = Duration::from_millis(10);
/// Without a change for so long, nothing is on its way any more. An opal-client may wait some
/// seconds before it connects again.
const SETTLED: Duration = Duration::from_secs(20);
const SOURCES: &str = "OPAL_DATA_CONFIG_SOURCES";
const POLICY: &str = "package app.rbac\n\ndefault allow = false\n";

/// Real opal-clients, each beside an OPA of its own.
struct Fleet(Vec<(Opa, OpalClient)>);

pub(super) async fn measure(report: &mut Report) -> Result<()> {
    // An opal-client that has no data to load is never ready.
    let source = Source::start(&json!({}))?;
    let entry = json!({"url": source.url("/"), "topics": ["policy_data"], "dst_path": "/base"});
    let base = json!({"config": {"entries": [entry]}}).to_string();
    let mut functions = Functions::builder()?.var(SOURCES, &base).start().await?;
    let ds = functions.mint("datasource", json!({})).await?;
    let files = json!({"files": {"app/rbac.rego": POLICY}});
    let put = reqwest::Method::PUT;
    functions.request(put, "/policy", Some(&ds), Some(&files)).await?.ok()?;
    let fleet = Fleet::start(functions.api()).await?;
    let mut accepted = Vec::new();
    for restart in 0..=RESTARTS {
        stream(functions.api(), &ds, &mut accepted).await?;
        if restart < RESTARTS {
            functions.kill().await?;
            functions.restart().await?;
        }
    }
    let lost = fleet.lost(&accepted).await?;
    drop((fleet, functions));

    let mut server = OpalServer::builder().secure()?.var(SOURCES, base).start().await?;
    let ds = server.api().mint("datasource", json!({})).await?;
    let fleet = Fleet::start(server.api()).await?;
    let mut accepted_there = Vec::new();
    for restart in 0..=RESTARTS {
        stream(server.api(), &ds, &mut accepted_there).await?;
        if restart < RESTARTS {
            server.restart().await?;
        }
    }
    let lost_there = fleet.lost(&accepted_there).await?;

    let of = |accepted: &[u64]| format!("of {} × {CLIENTS}", accepted.len());
    report.add(
        Figure::new(format!("lost over {RESTARTS} restarts, {}", of(&accepted)), lost as f64, "")
            .target(0.0),
    );
    let name = format!("opal-server: lost over {RESTARTS} restarts, {}", of(&accepted_there));
    report.add(Figure::new(name, lost_there as f64, ""));
    Ok(())
}

/// Publishes until so many more are accepted.
async fn stream(api: &Api, token: &str, accepted: &mut Vec<u64>) -> Result<()> {
    let http = http_client_within(Duration::from_secs(5))?;
    let deadline = Instant::now() + Duration::from_secs(60);
    for _ in 0..EACH {
        let number = accepted.len() as u64;
        let path = format!("/numbers/n{number}");
        let update = json!({"entries": [
            {"url": "", "topics": ["policy_data"], "dst_path": path, "data": {"n": number}},
        ]});
        let url = format!("{}/data/config", api.url());
        loop {
            let answer = Answer::of(http.post(&url).bearer_auth(token).json(&update)).await;
            match answer {
                Ok(answer) if answer.status == 200 => break,
                answer if Instant::now() > deadline => bail!("nothing is accepted: {answer:?}"),
                _ => sleep(PAUSE).await,
            }
        }
        accepted.push(number);
        sleep(PAUSE).await;
    }
    Ok(())
}

// === impl Fleet ===

impl Fleet {
    async fn start(api: &Api) -> Result<Self> {
        let mut members = Vec::with_capacity(CLIENTS);
        for _ in 0..CLIENTS {
            let opa = Opa::start().await?;
            let token = api.mint("client", json!({})).await?;
            let client = OpalClient::builder(api.url(), &token, opa.url()).start().await?;
            members.push((opa, client));
        }
        Ok(Self(members))
    }

    /// How many of those accepted are missing, in all OPAs together.
    async fn lost(&self, accepted: &[u64]) -> Result<usize> {
        let mut lost = 0;
        for (opa, _) in &self.0 {
            let missing = |there: &Value| {
                let is_missing = |number: &&u64| {
                    let at = format!("/n{number}/n");
                    there.pointer(&at).and_then(Value::as_u64) != Some(**number)
                };
                accepted.iter().filter(is_missing).count()
            };
            let (mut left, mut since) = (usize::MAX, Instant::now());
            while left > 0 && since.elapsed() < SETTLED {
                let now = missing(&opa.data("numbers").await?);
                if now != left {
                    (left, since) = (now, Instant::now());
                }
                sleep(PAUSE).await;
            }
            lost += left;
        }
        Ok(lost)
    }
}
