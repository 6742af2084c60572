//! The edge agent and opal-client of the same opal-server: memory, and from the start until the
//! server has the subscription.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::{Value, json};
use testbed::{Agent, Opa, OpalClient, OpalServer};
use tokio::time::sleep;

use crate::bench::memory::resident_mib;
use crate::bench::report::{Figure, Report, Times};

/// A topic of its own for each start, so that an earlier one's subscription is not taken for it.
const TOPIC: &str = "start";
const PATIENCE: Duration = Duration::from_secs(60);
/// What a process takes in its first moments it may give back.
const IDLE: Duration = Duration::from_secs(2);
/// Starts of opal-client, each of some seconds.
const MOST_OF_CLIENT: u64 = 5;

pub(super) async fn measure(report: &mut Report, starts: u64) -> Result<()> {
    let server = OpalServer::builder().secure()?.start().await?;
    let token = server.api().mint("client", json!({})).await?;
    let (mut ours, mut memory) = (Vec::new(), 0.0_f64);
    for start in 0..starts {
        let topic = format!("{TOPIC}-ours-{start}");
        let agent =
            Agent::builder(server.api().url(), &token).topics([topic.as_str()]).start().await?;
        ours.push(subscribed(&server, &token, &topic, agent.started()).await?);
        agent.wait_live(PATIENCE).await?;
        if start + 1 == starts {
            sleep(IDLE).await;
            memory = resident_mib(agent.pid())?;
        }
        report.progress(start + 1, starts, "starts of the agent");
    }
    let (mut theirs, mut their_memory) = (Vec::new(), 0.0_f64);
    let opa = Opa::start().await?;
    let starts = starts.min(MOST_OF_CLIENT);
    for start in 0..starts {
        let topic = format!("{TOPIC}-theirs-{start}");
        let client = OpalClient::builder(server.api().url(), &token, opa.url()).topics(&[&topic]);
        let client = client.spawn()?;
        theirs.push(subscribed(&server, &token, &topic, client.started()).await?);
        if start + 1 == starts {
            sleep(IDLE).await;
            their_memory = resident_mib(client.pid())?;
        }
        report.progress(start + 1, starts, "starts of opal-client");
    }
    let peer = Figure::new("opal-client: resident memory", their_memory, "MiB");
    report.add(
        Figure::new("agent: resident memory", memory, "MiB")
            .target((their_memory / 6.0).round())
            .beside(&peer),
    );
    report.add(peer);
    let (ours, theirs) = (Times::new(ours), Times::new(theirs));
    let peer = Figure::milliseconds("opal-client: start → subscribed, median", theirs.median());
    let figure = Figure::milliseconds("agent: start → subscribed, median", ours.median());
    report
        .add(figure.target((theirs.median().as_secs_f64() * 1_000.0 / 20.0).round()).beside(&peer));
    report.add(peer);
    Ok(())
}

/// How long after `started` the server has the topic. The server is asked, so both are seen a few
/// milliseconds late.
async fn subscribed(
    server: &OpalServer,
    token: &str,
    topic: &str,
    started: Instant,
) -> Result<Duration> {
    loop {
        let info = server.api().get("/pubsub_client_info", Some(token)).await?.ok()?;
        let has = |peer: &Value| {
            let topics = peer.get("subscribed_topics").and_then(Value::as_array);
            topics.is_some_and(|topics| topics.iter().any(|it| it == topic))
        };
        if info.as_object().is_some_and(|peers| peers.values().any(has)) {
            return Ok(started.elapsed());
        }
        if started.elapsed() > PATIENCE {
            bail!("{topic} was not subscribed to in {PATIENCE:?}: {info}");
        }
    }
}
