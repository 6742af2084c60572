//! The HTTP clients of a process, and TLS for everything that connects out.
//!
//! A client follows no redirects: only a fetch has a reason to, and it looks at every
//! step ([`crate::fetch`]). A client connects to no name that resolves to an address that
//! [`Reach`] refuses. Literal addresses are not resolved, so a client cannot tell: whoever
//! takes addresses from others, as a fetch does, asks [`Reach::check`] first. The addresses
//! of the settings are the operator's own word.

pub(crate) mod hops;

use std::{error::Error, sync::Arc, time::Duration};

use crate::net::{Proxies, Reach, reach, tls};

/// Why there is no client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the HTTP client cannot be set up: {0}")]
pub struct HttpError(pub(crate) String);

/// Connecting takes longer only if nobody will answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection without a request is kept. workerd closes one after five seconds, and what
/// is sent at that moment fails without having been read.
const KEPT_IDLE: Duration = Duration::from_secs(3);

/// A client whose requests end after `timeout` unless they say otherwise.
///
/// # Errors
/// The TLS library cannot be set up.
pub fn client(timeout: Duration) -> Result<reqwest::Client, HttpError> {
    client_with(tls::config()?, timeout)
}

/// The same with TLS as the settings have it.
///
/// # Errors
/// The client cannot be set up.
pub fn client_with(
    tls: rustls::ClientConfig,
    timeout: Duration,
) -> Result<reqwest::Client, HttpError> {
    build(reqwest::Client::builder(), tls, Arc::default(), vec![], timeout)
}

/// The same for a neighbour: it takes no proxy from the environment, which would see what
/// is said to it.
///
/// # Errors
/// The TLS library cannot be set up.
pub fn direct_client(timeout: Duration) -> Result<reqwest::Client, HttpError> {
    let builder = reqwest::Client::builder().no_proxy();
    build(builder, tls::config()?, Arc::default(), vec![], timeout)
}

/// A client for fetches, which connects where `reach` lets it.
///
/// # Errors
/// The client cannot be set up.
pub(crate) fn fetching_client(
    reach: Arc<Reach>,
    tls: rustls::ClientConfig,
    proxies: &Proxies,
    timeout: Duration,
) -> Result<reqwest::Client, HttpError> {
    let builder = proxies.apply(reqwest::Client::builder())?;
    build(builder, tls, reach, proxies.hosts(), timeout)
}

fn build(
    builder: reqwest::ClientBuilder,
    tls: rustls::ClientConfig,
    reach: Arc<Reach>,
    proxies: Vec<String>,
    timeout: Duration,
) -> Result<reqwest::Client, HttpError> {
    builder
        .tls_backend_preconfigured(tls)
        .dns_resolver(reach::GuardedResolver { reach, proxies })
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(KEPT_IDLE)
        .timeout(timeout)
        .user_agent(concat!("girasol-edge-agent/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| HttpError(reason(&error.without_url())))
}

/// TLS as the client uses it, for the websocket.
///
/// # Errors
/// The TLS library cannot be set up.
pub fn tls_config() -> Result<Arc<rustls::ClientConfig>, HttpError> {
    tls::config().map(Arc::new)
}

/// Why a request got no answer, in one line and without its address: an address can hold
/// a password, and whoever asks names the address in a way that is safe to show.
#[must_use]
pub fn failure(error: reqwest::Error) -> String {
    let error = error.without_url();
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    reason(&error)
}

/// What the functions say in the body of a refusal, after a colon; nothing if the body is
/// not one of theirs.
#[must_use]
pub fn detail(body: &[u8]) -> String {
    let Ok(body) = serde_json::from_slice::<serde_json::Value>(body) else {
        return String::new();
    };
    let detail = body.get("detail").unwrap_or(&body);
    let detail = detail.get("error").unwrap_or(detail);
    format!(": {}", detail.as_str().map_or_else(|| detail.to_string(), str::to_owned))
}

/// The innermost cause: "connection refused" rather than "error sending request".
pub(crate) fn reason(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let text = innermost.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

/// An address that can be shown: no user, no password, no query.
#[must_use]
pub fn display(url: &url::Url) -> String {
    let mut shown = url.clone();
    // These fail only for addresses that cannot have what is removed.
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    shown.set_query(None);
    shown.set_fragment(None);
    shown.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_address_has_no_secrets() {
        let url = url::Url::parse("https://me:secret@host:8443/a/b?key=secret#part").unwrap();
        assert_eq!(display(&url), "https://host:8443/a/b");
    }

    #[tokio::test]
    async fn a_failure_is_one_line_without_the_address() {
        let client = client(Duration::from_millis(300)).unwrap();
        let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = closed.local_addr().unwrap().port();
        let silent = format!("http://127.0.0.1:{port}/?key=secret");
        let error = client.get(&silent).send().await.unwrap_err();
        assert_eq!(failure(error), "no answer in time");
        drop(closed);
        let error = client.get(&silent).send().await.unwrap_err();
        assert_eq!(failure(error), "Connection refused");
    }
}
