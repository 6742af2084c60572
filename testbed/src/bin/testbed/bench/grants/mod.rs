//! Grants: what a check takes, how soon a revoked one is refused everywhere, and what a proxy adds.
//!
//! | question | file |
//! |---|---|
//! | What does one check take? | `check.rs` |
//! | How soon is a revoked token refused by every agent? | `revocation.rs` |
//! | What does a proxy in front of an application add? | `proxy.rs` |

mod check;
mod proxy;
mod revocation;

use anyhow::{Result, anyhow};
use reqwest::Method;
use serde_json::{Value, json};
use testbed::{Functions, FunctionsBuilder};

use super::report::Report;

/// The header that carries a grant's token.
const HEADER: &str = "X-OPV-GRANT-TOKEN";

pub(super) async fn measure(report: &mut Report, rounds: u64) -> Result<()> {
    check::measure(report).await?;
    revocation::measure(report, rounds.min(200)).await?;
    proxy::measure(report, rounds).await
}

/// Functions that can keep facts.
fn functions() -> Result<FunctionsBuilder> {
    let keys = "k1:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    Ok(Functions::builder()?.var("GIRASOL_FACTS_KEYS", keys))
}

/// Makes a grant that every agent has; its id and its token.
async fn grant(functions: &Functions, methods: Value, paths: Value) -> Result<(String, String)> {
    let body = json!({
        "domain": "sandbox.example.com", "allowed_http_methods": methods, "paths": paths });
    let master = Some(functions.master_token());
    let path = "/api/v1/grants?wait=all";
    let made = functions.request(Method::POST, path, master, Some(&body)).await?.ok()?;
    let text = |member: &str| {
        let text = made.get(member).and_then(Value::as_str).map(str::to_owned);
        text.ok_or_else(|| anyhow!("no {member} in the answer to POST /api/v1/grants"))
    };
    Ok((text("id")?, text("token")?))
}
