//! What the scenarios share.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use testbed::{
    Answer, Api, Functions, FunctionsBuilder, Keys, Logs, Opa, OpalPeer, OpalServer, Source,
};
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};

/// Nothing on loopback takes this long unless it is broken.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Parts that several scenarios use and none changes.
#[derive(Debug, Default)]
pub(crate) struct Stage {
    server: OnceCell<OpalServer>,
}

// === impl Stage ===

impl Stage {
    /// An opal-server with keys and a master token. Not with statistics: with those a connection
    /// that it wants to close before the peer has said its channel's id hangs for 40 s.
    pub(crate) async fn server(&self) -> Result<&OpalServer> {
        self.server.get_or_try_init(async || OpalServer::builder().secure()?.start().await).await
    }
}

/// An update of one entry with inline data.
pub(crate) fn inline(topic: &str, path: &str, data: &Value) -> Value {
    json!({"entries": [{"url": "", "topics": [topic], "dst_path": path, "data": data}]})
}

/// Waits until OPA has `wanted` at a path.
pub(crate) async fn wait_data(opa: &Opa, path: &str, wanted: &Value, logs: &Logs) -> Result<()> {
    wait_for(&format!("data at {path} to be {wanted}"), logs, async || {
        let data = opa.data(path).await?;
        Ok((data == *wanted).then_some(()).ok_or(data))
    })
    .await
}

/// Asks again and again until `look` gives `Ok`; what it gave instead is in the error.
pub(crate) async fn wait_for<T>(
    what: &str,
    logs: &Logs,
    mut look: impl AsyncFnMut() -> Result<Result<T, Value>>,
) -> Result<T> {
    let deadline = Instant::now() + SOON;
    loop {
        match look().await? {
            Ok(found) => return Ok(found),
            Err(instead) if Instant::now() > deadline => {
                bail!("waited {SOON:?} for {what}, it is {instead}; the log:\n{logs}")
            }
            Err(_) => sleep(Duration::from_millis(10)).await,
        }
    }
}

/// Functions with the RSA key of the opal-servers here, so that a token of one is good at the other.
pub(crate) fn functions() -> Result<FunctionsBuilder> {
    Ok(Functions::builder()?.keys(&Keys::rsa_for_tests()))
}

/// A setting of the functions or of an opal-server: base data that is fetched from `source` and put
/// at `/base`. An opal-client that has no data to load is never ready.
pub(crate) fn base_data(source: &Source) -> (&'static str, String) {
    let entry = json!({"url": source.url("/base"), "topics": ["policy_data"], "dst_path": "/base"});
    ("OPAL_DATA_CONFIG_SOURCES", json!({"config": {"entries": [entry]}}).to_string())
}

/// A socket of a client that has subscribed to these topics.
pub(crate) async fn subscriber(api: &Api, topics: &[&str]) -> Result<OpalPeer> {
    let token = api.mint("client", json!({})).await?;
    let mut peer = OpalPeer::connect(&api.ws_url(), Some(&token)).await?.open()?;
    peer.subscribe(topics).await?;
    Ok(peer)
}

/// Publishes, and fails unless it was accepted.
pub(crate) async fn published(api: &Api, token: &str, update: &Value) -> Result<()> {
    api.publish(token, update).await?.ok().map(drop)
}

/// Gives the functions a policy (`PUT /policy`, or that of a scope) and its hash.
pub(crate) async fn push_policy(
    api: &Api,
    token: &str,
    route: &str,
    files: &[(&str, &str)],
) -> Result<String> {
    let files: serde_json::Map<_, _> =
        files.iter().map(|(path, text)| ((*path).to_owned(), json!(text))).collect();
    let body = json!({ "files": files });
    let answer = api.request(Method::PUT, route, Some(token), Some(&body)).await?.ok()?;
    let hash = answer["hash"].as_str().unwrap_or_default();
    let is_hash = hash.len() == 40 && hash.bytes().all(|digit| digit.is_ascii_hexdigit());
    ensure!(is_hash && answer["status"] == "ok", "PUT {route} was answered {answer}");
    Ok(hash.to_owned())
}

/// Fails unless the answer has this status.
pub(crate) fn expect_status(answer: &Answer, status: u16) -> Result<()> {
    ensure!(answer.status == status, "answered {} {}, not {status}", answer.status, answer.body);
    Ok(())
}

/// An update that the functions accept, and that is too large for one frame of an opal-client with
/// what its topics are expanded to: at `/{path}/text` [`TEXT_BYTES`] bytes, and at `/{path}/n0` …
/// small documents.
pub(crate) fn oversized(topic: &str, path: &str) -> Value {
    let below = format!("{topic}/{}/a/b/c", "x".repeat(200));
    let entry = |at: &str, data: Value| json!({"url": "", "topics": [below], "dst_path": format!("/{path}/{at}"), "data": data});
    let text = entry("text", json!({"text": "x".repeat(TEXT_BYTES)}));
    let small = (0..400).map(|number| entry(&format!("n{number}"), json!({"n": number})));
    json!({"entries": small.chain([text]).collect::<Vec<_>>()})
}

/// Bytes of the text in [`oversized`].
pub(crate) const TEXT_BYTES: usize = 800_000;
