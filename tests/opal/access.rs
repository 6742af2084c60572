//! Who may ask what of the functions: role × route × topic, as one table of statuses
//! (`spec/opal-protocol.md` §2, §3).

use std::sync::Arc;

use anyhow::{Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use testbed::{Api, Functions, Keys};

use crate::behaviours::Behaviours;
use crate::support::{Stage, functions};

/// Who asks, in the order of a row's statuses.
const ROLES: [&str; 8] =
    ["nobody", "garbage", "expired", "other key", "client", "datasource", "listener", "narrow"];

/// A route, a body, and what each role is answered.
struct Row {
    method: &'static str,
    path: &'static str,
    body: &'static str,
    statuses: [u16; 8],
}

const fn row(
    method: &'static str,
    path: &'static str,
    body: &'static str,
    statuses: [u16; 8],
) -> Row {
    Row { method, path, body, statuses }
}

const OPEN: [u16; 8] = [200; 8];
/// Any valid token.
const ANY: [u16; 8] = [401, 401, 401, 401, 200, 200, 200, 200];
/// A datasource's token.
const DS: [u16; 8] = [401, 401, 401, 401, 401, 200, 401, 200];
const UPDATE: &str = r#"{"entries":[{"url":"","topics":["allowed"],"dst_path":"/a","data":{}}]}"#;
const OUTSIDE: &str = r#"{"entries":[{"url":"","topics":["other"],"dst_path":"/a","data":{}}]}"#;
const SOURCES: &str = r#"{"config":{"entries":[]}}"#;
const REPORT: &str = r#"{"update_id":null,"reports":[],"policy_hash":null,"user_data":{}}"#;
const FILES: &str = r#"{"files":{"a.rego":"package a\n"}}"#;
const SCOPE: &str = r#"{"scope_id":"s1","policy":{"source_type":"git","url":"file:///x","auth":{"auth_type":"none"}},"data":{"entries":[]}}"#;

const ROWS: &[Row] = &[
    row("GET", "/", "", OPEN),
    row("GET", "/healthcheck", "", OPEN),
    row("GET", "/.well-known/jwks.json", "", OPEN),
    row("GET", "/openapi.json", "", OPEN),
    row("GET", "/docs", "", OPEN),
    row("GET", "/policy-data", "", OPEN),
    row("GET", "/nowhere", "", [404; 8]),
    row("PATCH", "/data/config", "", [405; 8]),
    // None of them is the master token.
    row("POST", "/token", "{}", [401; 8]),
    row("PUT", "/policy", FILES, DS),
    row("GET", "/policy", "", ANY),
    row("GET", "/policy?path=nowhere", "", [401, 401, 401, 401, 404, 404, 404, 404]),
    row("GET", "/data/config", "", ANY),
    row("PUT", "/data/config", SOURCES, DS),
    row("DELETE", "/data/config", "", DS),
    row("POST", "/data/config", UPDATE, DS),
    row("POST", "/data/config", OUTSIDE, [401, 401, 401, 401, 401, 200, 401, 401]),
    row("POST", "/data/config", "{}", [401, 401, 401, 401, 401, 422, 401, 422]),
    row("POST", "/data/callback_report", REPORT, ANY),
    row("GET", "/pubsub_client_info", "", ANY),
    row("GET", "/statistics", "", ANY),
    row("GET", "/stats", "", ANY),
    row("GET", "/loadlimit", "", ANY),
    row("PUT", "/scopes", SCOPE, [401, 401, 401, 401, 401, 201, 401, 201]),
    row("GET", "/scopes", "", DS),
    row("GET", "/scopes/s1", "", DS),
    row("GET", "/scopes/nowhere", "", [401, 401, 401, 401, 401, 404, 401, 404]),
    row("GET", "/scopes/s1/data", "", [401, 401, 401, 401, 403, 403, 403, 403]),
    row("GET", "/scopes/s1/policy", "", [401, 401, 401, 401, 403, 403, 403, 403]),
    row("PUT", "/scopes/s1/policy", FILES, DS),
    row("POST", "/scopes/s1/data/update", UPDATE, DS),
    row("DELETE", "/scopes/s1", "", [401, 401, 401, 401, 401, 204, 401, 204]),
];

pub(crate) async fn run(_: Arc<Stage>, behaviours: Behaviours) -> Result<()> {
    let functions = functions()?.var("OPAL_STATISTICS_ENABLED", "true").start().await?;
    let tokens = tokens(&functions).await?;
    for row in ROWS {
        let what = match row.body {
            "" => String::new(),
            body if body == OUTSIDE => " outside permitted_topics".to_owned(),
            "{}" => " with an empty body".to_owned(),
            _ => String::new(),
        };
        let name = format!("{} {}{what}", row.method, row.path);
        behaviours.show(&name, asked(functions.api(), row, &tokens)).await;
    }
    Ok(())
}

async fn tokens(functions: &Functions) -> Result<[Option<String>; 8]> {
    let narrow = json!({"claims": {"permitted_topics": ["allowed"]}});
    // A token of the same claims that another key signed.
    let stranger = Functions::builder()?.keys(&Keys::other_for_tests()).start().await?;
    let expired = functions.mint("datasource", json!({"ttl": 1})).await?;
    tokio::time::sleep(std::time::Duration::from_millis(2_100)).await;
    Ok([
        None,
        Some("garbage".to_owned()),
        Some(expired),
        Some(stranger.mint("datasource", json!({})).await?),
        Some(functions.mint("client", json!({})).await?),
        Some(functions.mint("datasource", json!({})).await?),
        Some(functions.mint("listener", json!({})).await?),
        Some(functions.mint("datasource", narrow).await?),
    ])
}

async fn asked(api: &Api, row: &Row, tokens: &[Option<String>; 8]) -> Result<()> {
    let body: Option<Value> =
        if row.body.is_empty() { None } else { Some(serde_json::from_str(row.body)?) };
    let method: Method = row.method.parse()?;
    let mut wrong = Vec::new();
    for ((role, token), status) in ROLES.iter().zip(tokens).zip(row.statuses) {
        let token = token.as_deref();
        let answer = api.request(method.clone(), row.path, token, body.as_ref()).await?;
        if answer.status != status {
            wrong.push(format!("{role}: {} {}, not {status}", answer.status, answer.body));
        }
        if let Some(token) = token {
            ensure!(!answer.body.to_string().contains(token), "{role}'s token is in {answer:?}");
        }
        if answer.status == 401 {
            let error = answer.body.pointer("/detail/error");
            ensure!(error.is_some_and(Value::is_string), "{role}: {answer:?} has no detail.error");
        }
        if answer.status == 422 {
            let first = answer.body.pointer("/detail/0");
            let members = ["loc", "msg", "type"];
            let has = |member: &&str| first.is_some_and(|first| first.get(member).is_some());
            ensure!(members.iter().all(has), "{role}: {answer:?} is no list of what is wrong");
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
