//! Events a second at 100 subscribers of OPAL's dialect, from a publish to the last of them, and
//! what one costs the others that is frozen.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use testbed::{Api, Functions, OpalServer, http_client};

use super::audience::{Audience, TOPIC, subscribe};
use crate::bench::report::{Figure, Report, Times};

const SUBSCRIBERS: usize = 100;
const IN_FLIGHT: u64 = 32;
const ROUNDS: usize = 3;
/// After so long an opal-server has given up a subscriber that does not answer, and a little more.
const GIVEN_UP: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(120);

/// How much each side is given to do. A round of a slow one should not take longer than that of a
/// fast one.
struct Load {
    publishes: u64,
    latencies: u64,
    frozen: u64,
}

const OURS: Load = Load { publishes: 2_000, latencies: 200, frozen: 100 };
const THEIRS: Load = Load { publishes: 40, latencies: 15, frozen: 1 };

/// What was measured at one side.
struct Measured {
    rate: f64,
    last: Times,
    frozen: Times,
}

pub(super) async fn measure(report: &mut Report) -> Result<()> {
    let functions = Functions::start().await?;
    let ours = side(report, functions.api(), &OURS).await;
    let ours = ours.with_context(|| format!("workerd wrote:\n{}", functions.logs()))?;
    drop(functions);
    let server = OpalServer::builder().secure()?.start().await?;
    let theirs = side(report, server.api(), &THEIRS).await?;
    drop(server);

    let peer = Figure::new("opal-server: events to 100 subscribers", theirs.rate, "/s");
    let rate = Figure::new("events to 100 subscribers", ours.rate, "/s").beside(&peer);
    let ratio = rate.ratio().unwrap_or_default();
    report.add(rate);
    report.add(peer);
    report.add(Figure::new("events, over opal-server's", ratio, "×").at_least(25.0));

    let peer =
        Figure::milliseconds("opal-server: publish → last of 100, p50", theirs.last.median());
    report
        .add(Figure::milliseconds("publish → last of 100, p50", ours.last.median()).beside(&peer));
    let ratio = ours.last.median().as_secs_f64() / theirs.last.median().as_secs_f64();
    report.add(peer);
    report.add(Figure::new("publish → last, over opal-server's", ratio, "×").target(0.05));

    let without = ours.last.median().as_secs_f64();
    let held_up = Figure::milliseconds(
        "opal-server: one frozen, publish → last of the others",
        theirs.frozen.max(),
    );
    report.add(
        Figure::milliseconds("one frozen, publish → last of the others, p50", ours.frozen.median())
            .beside(&held_up),
    );
    report.add(held_up);
    let ratio = ours.frozen.median().as_secs_f64() / without;
    report.add(Figure::new("p50, one frozen over none", ratio, "×").target(1.2));
    Ok(())
}

async fn side(report: &Report, api: &Api, load: &Load) -> Result<Measured> {
    let ds = api.mint("datasource", json!({})).await?;
    let client = api.mint("client", json!({})).await?;
    let mut audience = Audience::gather(api, &client, SUBSCRIBERS).await?;

    burst(api, &ds, &mut audience, load.publishes.div_ceil(4)).await?;
    let mut rates = Vec::new();
    for round in 0..ROUNDS {
        rates.push(burst(api, &ds, &mut audience, load.publishes).await?);
        report.progress((round + 1) as u64, ROUNDS as u64, "rounds");
    }
    rates.sort_by(f64::total_cmp);
    let rate = rates.get(ROUNDS / 2).copied().unwrap_or_default();
    let last = single(api, &ds, &mut audience, load.latencies, PATIENCE).await?;
    drop(audience);

    // The frozen one is the first of the topic's subscribers: an opal-server goes through them in turn.
    let frozen = subscribe(api, &client).await?;
    let mut audience = Audience::gather(api, &client, SUBSCRIBERS - 1).await?;
    let times = single(api, &ds, &mut audience, load.frozen, GIVEN_UP).await?;
    drop(frozen);
    Ok(Measured { rate, last, frozen: times })
}

/// Publishes with 32 in flight; gives events a second, from the first request until each subscriber
/// has heard of everything.
async fn burst(api: &Api, token: &str, audience: &mut Audience, publishes: u64) -> Result<f64> {
    let http = http_client()?;
    let next = AtomicU64::new(0);
    let publisher = || async {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= publishes {
                return Ok(());
            }
            publish(api, &http, token, number).await?;
        }
    };
    let began = Instant::now();
    let publishing = futures::future::try_join_all((0..IN_FLIGHT).map(|_| publisher()));
    let count = usize::try_from(publishes)?;
    let (_, last) = tokio::try_join!(publishing, audience.hear(count, PATIENCE))?;
    Ok(publishes as f64 / (last - began).as_secs_f64())
}

/// Publishes one after the other; each time is that from the request to the last subscriber.
async fn single(
    api: &Api,
    token: &str,
    audience: &mut Audience,
    rounds: u64,
    within: Duration,
) -> Result<Times> {
    let http = http_client()?;
    let mut times = Vec::new();
    for number in 0..rounds {
        let began = Instant::now();
        publish(api, &http, token, number).await?;
        times.push(audience.hear(1, within).await? - began);
    }
    Ok(Times::new(times))
}

async fn publish(api: &Api, http: &reqwest::Client, token: &str, number: u64) -> Result<()> {
    let request = http.post(format!("{}/data/config", api.url())).bearer_auth(token);
    let answer = request.json(&update(number)).send().await?;
    if !answer.status().is_success() {
        bail!("answered {}: {}", answer.status(), answer.text().await?);
    }
    answer.bytes().await?;
    Ok(())
}

/// A small change at one of a thousand paths, as a source with many records makes it.
fn update(number: u64) -> Value {
    let path = format!("/records/{}", number % 1_000);
    let data = json!({"number": number, "plan": "enterprise", "seats": 25, "active": true});
    json!({"entries": [{"url": "", "topics": [TOPIC], "dst_path": path, "data": data}]})
}
