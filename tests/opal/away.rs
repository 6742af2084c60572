//! What the real opal-client gets that was published while it was away, or its hub was. It has no
//! cursor: what it missed it gets with the base data when it connects.

use std::sync::Arc;

use anyhow::{Result, ensure};
use serde_json::json;
use testbed::{Functions, Opa, OpalClient, Source};

use crate::behaviours::Behaviours;
use crate::support::{Stage, base_data, functions, inline, published, push_policy, wait_data};

const POLICY: (&str, &str) = ("app/rbac.rego", "package app.rbac\n\ndefault allow = false\n");

pub(crate) async fn run(_: Arc<Stage>, behaviours: Behaviours) -> Result<()> {
    let source = Source::start(&json!({"from": "base"}))?;
    let base = base_data(&source);
    let mut functions = functions()?.var(base.0, base.1).start().await?;
    let ds = functions.mint("datasource", json!({})).await?;
    let token = functions.mint("client", json!({})).await?;
    push_policy(functions.api(), &ds, "/policy", &[POLICY]).await?;
    let mut opa = Opa::start().await?;
    let mut client = OpalClient::builder(functions.url(), &token, opa.url()).start().await?;

    behaviours
        .show(
            "nothing is lost over a restart of the hub",
            restarted(&mut functions, &ds, &opa, &client),
        )
        .await;
    client.stop().await?;
    opa.restart().await?;
    let late = async {
        published(functions.api(), &ds, &inline("policy_data", "/late", &json!({"n": 1}))).await?;
        client = OpalClient::builder(functions.url(), &token, opa.url()).start().await?;
        wait_data(&opa, "late", &json!({"n": 1}), client.logs()).await?;
        wait_data(&opa, "restarted/r3", &json!({"n": 3}), client.logs()).await
    };
    behaviours.show("a new client with an empty OPA gets what there is", late).await;
    let other = async {
        published(functions.api(), &ds, &inline("others", "/others", &json!({"n": 1}))).await?;
        let config = functions.api().get("/data/config", Some(&token)).await?.ok()?;
        ensure!(config["entries"].is_array(), "{config}");
        Ok(())
    };
    behaviours.show("the base data has what was published", other).await;
    Ok(())
}

/// The hub is killed and comes back; what it accepts before the client is there again must arrive.
async fn restarted(
    functions: &mut Functions,
    ds: &str,
    opa: &Opa,
    client: &OpalClient,
) -> Result<()> {
    for round in 0..4 {
        let path = format!("restarted/r{round}");
        let update = |path: &str| inline("policy_data", &format!("/{path}"), &json!({"n": round}));
        published(functions.api(), ds, &update(&format!("{path}_before"))).await?;
        functions.kill().await?;
        functions.restart().await?;
        published(functions.api(), ds, &update(&path)).await?;
        wait_data(opa, &path, &json!({"n": round}), client.logs()).await?;
        wait_data(opa, &format!("{path}_before"), &json!({"n": round}), client.logs()).await?;
    }
    Ok(())
}
