//! What the tests share: fetching as the agent does.

use std::sync::Arc;
use std::time::Duration;

use edge_agent::fetch::{FetchError, Fetchers, Means, Source};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::Value;
use testbed::Authority;

/// Fetches once, as the agent would.
pub(crate) async fn fetch(url: &str, config: &Value) -> Result<Value, FetchError> {
    fetch_with(&Means::standard(Duration::from_secs(10)).unwrap(), url, config).await
}

/// The same with means of the test's own.
pub(crate) async fn fetch_with(
    means: &Means,
    url: &str,
    config: &Value,
) -> Result<Value, FetchError> {
    let config = serde_json::value::to_raw_value(config).unwrap();
    let source = Source { url: url.to_owned(), config: Some(config) };
    let data = Fetchers::standard(means).fetch(&source).await?;
    Ok(serde_json::from_str(data.get()).unwrap())
}

/// Means that trust the certificates of one authority, and of no other.
pub(crate) fn trusting(authority: &Authority) -> Means {
    let mut means = Means::standard(Duration::from_secs(10)).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    let pem = authority.pem().as_bytes();
    roots.add(CertificateDer::from_pem_slice(pem).unwrap()).unwrap();
    let config = rustls::ClientConfig::builder().with_root_certificates(roots);
    means.files.ca = Some(authority.file());
    means.tls = Arc::new(config.with_no_client_auth());
    means
}
