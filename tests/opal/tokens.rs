//! The real opal-client with a token that does not do: it must not hammer at the functions.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use reqwest::Method;
use serde_json::json;
use testbed::{Functions, Opa, OpalClient, OpalPeer, Proxy, Source};

use crate::behaviours::Behaviours;
use crate::support::{
    SOON, Stage, base_data, functions, inline, published, push_policy, subscriber, wait_data,
    wait_for,
};

const WATCHED: Duration = Duration::from_secs(5);
/// Two sockets, each with a random exponential wait from 0.1 s on, and some requests. A client that
/// is refused with 403 comes 740 times.
const FEW: u64 = 60;

pub(crate) async fn run(_: Arc<Stage>, behaviours: Behaviours) -> Result<()> {
    let source = Source::start(&json!({"from": "base"}))?;
    let base = base_data(&source);
    let functions = functions()?.var(base.0, base.1).start().await?;
    let ds = functions.mint("datasource", json!({})).await?;
    let policy = ("app/rbac.rego", "package app.rbac\n\ndefault allow = false\n");
    push_policy(functions.api(), &ds, "/policy", &[policy]).await?;
    let opa = Opa::start().await?;
    behaviours.show("a wrong token: few attempts", wrong(&functions, &opa)).await;
    behaviours
        .show(
            "a revoked token: nothing comes any more, few attempts",
            revoked(&functions, &opa, &ds),
        )
        .await;
    behaviours.show("an expired token: its socket is closed", expired(&functions)).await;
    Ok(())
}

async fn wrong(functions: &Functions, opa: &Opa) -> Result<()> {
    let proxy = Proxy::start(functions.port()).await?;
    let client = OpalClient::builder(&proxy.url(), "wrong", opa.url()).spawn()?;
    wait_for("its first attempt", client.logs(), async || {
        Ok((proxy.connections() > 0).then_some(()).ok_or(json!(0)))
    })
    .await?;
    few(&proxy).await
}

/// Nothing is awaited here: it is watched for how much happens.
async fn few(proxy: &Proxy) -> Result<()> {
    let before = proxy.connections();
    tokio::time::sleep(WATCHED).await;
    let attempts = proxy.connections() - before;
    ensure!(attempts <= FEW, "{attempts} connections in {WATCHED:?}");
    Ok(())
}

async fn revoked(functions: &Functions, opa: &Opa, ds: &str) -> Result<()> {
    let token = functions.mint("client", json!({})).await?;
    let proxy = Proxy::start(functions.port()).await?;
    let client = OpalClient::builder(&proxy.url(), &token, opa.url()).start().await?;
    published(functions.api(), ds, &inline("policy_data", "/before", &json!({"n": 1}))).await?;
    wait_data(opa, "before", &json!({"n": 1}), client.logs()).await?;
    let (master, body) = (Some(functions.master_token()), json!({ "token": token }));
    functions.request(Method::POST, "/token/revoke", master, Some(&body)).await?.ok()?;
    published(functions.api(), ds, &inline("policy_data", "/after", &json!({"n": 1}))).await?;
    few(&proxy).await?;
    ensure!(opa.data("after").await?.is_null(), "an update came after the revocation");
    Ok(())
}

async fn expired(functions: &Functions) -> Result<()> {
    let token = functions.mint("client", json!({"ttl": 2})).await?;
    let mut peer = OpalPeer::connect(&functions.ws_url(), Some(&token)).await?.open()?;
    peer.subscribe(&["policy_data"]).await?;
    match peer.hear(SOON).await? {
        testbed::Heard::Closed(Some(1008), _) => {}
        other => anyhow::bail!("{other:?}, not a close with 1008"),
    }
    // Somebody else's token is good for as long as it is.
    subscriber(functions.api(), &["policy_data"]).await.map(drop)
}
