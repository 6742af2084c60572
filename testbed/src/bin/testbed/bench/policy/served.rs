//! From the webhook until the bundle has the new commit: the functions, and a real opal-server that
//! follows the same repository at the same address.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::json;
use testbed::{Api, OpalServer, Part};
use tokio::time::sleep;

use super::{PATIENCE, PAUSE, Stage};
use crate::bench::report::{Figure, Report, Times};

pub(super) async fn measure(report: &mut Report, stage: &mut Stage, commits: u64) -> Result<()> {
    let ours = stage.functions.api().clone();
    let times = served(report, stage, commits, &ours, "functions").await?;
    let figure = Figure::milliseconds("webhook → bundle served, median", times.median());
    let most = Figure::milliseconds("webhook → bundle served, max", times.max());
    if Part::Opal.find().is_err() {
        report.add(figure);
        report.add(most);
        return Ok(());
    }
    let server = OpalServer::builder()
        .secure()?
        .var("OPAL_POLICY_REPO_URL", stage.url.clone())
        // The webhook alone makes it look.
        .var("OPAL_POLICY_REPO_POLLING_INTERVAL", "0")
        .start()
        .await?;
    let theirs = served(report, stage, commits, server.api(), "opal-server").await?;
    let name = "opal-server: webhook → bundle served";
    let peer = Figure::milliseconds(format!("{name}, median"), theirs.median());
    report.add(figure.beside(&peer));
    report.add(most);
    report.add(peer);
    report.add(Figure::milliseconds(format!("{name}, max"), theirs.max()));
    Ok(())
}

async fn served(
    report: &Report,
    stage: &mut Stage,
    commits: u64,
    api: &Api,
    name: &str,
) -> Result<Times> {
    let token = api.mint("client", json!({})).await?;
    let mut before = stage.repository.head().await?;
    until_served(api, &token, &before, &before, Instant::now()).await?;
    let mut times = Vec::new();
    for round in 0..commits {
        let commit = stage.commit().await?;
        let began = Instant::now();
        let ((), took) = tokio::try_join!(
            stage.hook(api.url()),
            until_served(api, &token, &before, &commit.hash, began),
        )?;
        times.push(took);
        before = commit.hash;
        report.progress(round + 1, commits, &format!("bundles of {name}"));
    }
    Ok(Times::new(times))
}

/// Asks for what has changed, so that answering costs either of them little.
async fn until_served(
    api: &Api,
    token: &str,
    before: &str,
    hash: &str,
    since: Instant,
) -> Result<Duration> {
    let path = format!("/policy?base_hash={before}");
    loop {
        let bundle = api.get(&path, Some(token)).await?.ok()?;
        let took = since.elapsed();
        if bundle.get("hash") == Some(&json!(hash)) {
            return Ok(took);
        }
        if took > PATIENCE {
            bail!("{} still serves {:?}, not {hash}", api.url(), bundle.get("hash"));
        }
        sleep(PAUSE).await;
    }
}
