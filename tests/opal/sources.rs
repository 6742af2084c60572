//! Base data sources (`spec/opal-protocol.md` §2.2): from the setting, from elsewhere, and changed
//! while the functions run, which OPAL cannot.

use std::sync::Arc;

use anyhow::{Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use testbed::{Functions, Opa, OpalClient, Reply, Source};

use crate::behaviours::Behaviours;
use crate::support::{Stage, base_data, expect_status, functions, push_policy, wait_data};

pub(crate) async fn run(_: Arc<Stage>, behaviours: Behaviours) -> Result<()> {
    behaviours.show("a client follows to an external source", external()).await;
    behaviours.show("the sources change at run time, and go back", changed()).await;
    behaviours.show("without a setting there are none", nothing()).await;
    Ok(())
}

async fn external() -> Result<()> {
    let source = Source::start(&json!({"from": "elsewhere"}))?;
    let entry = json!({"url": source.url("/data"), "topics": ["policy_data"], "dst_path": "/far"});
    source.reply_at("/ext", Reply::json(&json!({ "entries": [entry] })));
    let setting = json!({"external_source_url": source.url("/ext?a=b")}).to_string();
    let functions = functions()?.var("OPAL_DATA_CONFIG_SOURCES", setting).start().await?;
    let ds = functions.mint("datasource", json!({})).await?;
    let policy = ("app/rbac.rego", "package app.rbac\n\ndefault allow = false\n");
    push_policy(functions.api(), &ds, "/policy", &[policy]).await?;
    let token = functions.mint("client", json!({})).await?;
    let opa = Opa::start().await?;
    let client = OpalClient::builder(functions.url(), &token, opa.url()).start().await?;
    wait_data(&opa, "far", &json!({"from": "elsewhere"}), client.logs()).await?;
    let received = source.received();
    let asked = received.iter().find(|request| request.path.starts_with("/ext"));
    let path = asked.map(|request| request.path.as_str()).unwrap_or_default();
    ensure!(path.starts_with("/ext?a=b&token="), "it was asked for {path}");
    ensure!(!path.contains(&token), "the client's own token is in an address");
    Ok(())
}

async fn changed() -> Result<()> {
    let source = Source::start(&json!({}))?;
    let (name, setting) = base_data(&source);
    let functions = functions()?.var(name, setting).start().await?;
    let ds = functions.mint("datasource", json!({})).await?;
    let at_first = urls(&functions).await?;
    ensure!(at_first == [json!(source.url("/base"))], "{at_first:?}");
    let put = async |body: &Value| {
        functions.request(Method::PUT, "/data/config", Some(&ds), Some(body)).await
    };
    let other = json!({"url": source.url("/other"), "topics": ["policy_data"], "dst_path": "/o"});
    put(&json!({"config": {"entries": [other]}})).await?.ok()?;
    let then = urls(&functions).await?;
    ensure!(then == [json!(source.url("/other"))], "{then:?}");
    for wrong in [
        json!({}),
        json!({"config": {"entries": [{"topics": ["a"]}]}}),
        json!({"config": {"entries": []}, "external_source_url": "http://127.0.0.1/x"}),
    ] {
        expect_status(&put(&wrong).await?, 422)?;
    }
    functions.request(Method::DELETE, "/data/config", Some(&ds), None).await?.ok()?;
    let again = urls(&functions).await?;
    ensure!(again == at_first, "{again:?}");
    Ok(())
}

/// OPAL's own default is a placeholder that answers 401 or empties the engine.
async fn nothing() -> Result<()> {
    let functions = functions()?.start().await?;
    let none = urls(&functions).await?;
    ensure!(none.is_empty(), "{none:?}");
    Ok(())
}

/// Where the base data comes from, as a client is told.
async fn urls(functions: &Functions) -> Result<Vec<Value>> {
    let token = functions.mint("client", json!({})).await?;
    let config = functions.api().get("/data/config", Some(&token)).await?.ok()?;
    let entries = config["entries"].as_array().cloned().unwrap_or_default();
    Ok(entries.into_iter().map(|entry| entry["url"].clone()).collect())
}
