//! One way to talk HTTP to the parts.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// How long a connection without a request is kept. workerd closes one after five seconds; a `POST`
/// that is sent at that moment would fail, and nobody may send it again.
const KEPT_IDLE: Duration = Duration::from_secs(2);

/// An HTTP answer, read to its end.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body: parsed when it is JSON, `null` when empty, otherwise its text as a JSON string.
    pub body: Value,
}

/// A client for loopback. Clients are not shared between the parts, because a pooled connection
/// ends with the runtime of the test that opened it.
///
/// # Errors
/// The client could not be built.
pub fn http_client() -> Result<reqwest::Client> {
    http_client_within(Duration::from_secs(60))
}

/// The same, with another time than a minute for an answer.
///
/// # Errors
/// The client could not be built.
pub fn http_client_within(timeout: Duration) -> Result<reqwest::Client> {
    http_client_builder()?.timeout(timeout).build().context("building the HTTP client")
}

/// The same, for who wants more than another time.
///
/// # Errors
/// TLS could not be set up.
pub fn http_client_builder() -> Result<reqwest::ClientBuilder> {
    // Nothing here speaks TLS; an empty trust store spares reading the machine's certificates.
    let tls = rustls::ClientConfig::builder_with_provider(
        rustls::crypto::ring::default_provider().into(),
    )
    .with_safe_default_protocol_versions()?
    .with_root_certificates(rustls::RootCertStore::empty())
    .with_no_client_auth();
    Ok(reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .pool_idle_timeout(KEPT_IDLE))
}

// === impl Answer ===

impl Answer {
    /// Sends a request and reads the whole answer, whatever its status.
    ///
    /// # Errors
    /// Nobody answered, or the answer broke off.
    pub async fn of(request: reqwest::RequestBuilder) -> Result<Self> {
        let response = request.send().await?;
        let status = response.status().as_u16();
        let text = response.text().await?;
        let body = match text.as_str() {
            "" => Value::Null,
            text => serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned())),
        };
        Ok(Self { status, body })
    }

    /// The body of a 2xx answer.
    ///
    /// # Errors
    /// The status is another one; the message has the status and the body.
    pub fn ok(self) -> Result<Value> {
        if !(200..300).contains(&self.status) {
            bail!("answered {}: {}", self.status, self.body);
        }
        Ok(self.body)
    }
}
