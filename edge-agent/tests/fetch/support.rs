//! What the tests share: fetching as the agent does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use edge_agent::fetch::{FetchError, Fetchers, Means, Source};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::Value;
use testbed::Authority;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

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

/// The address of a server that answers the first thing it is sent with these bytes, and then with `more` again
/// and again.
pub(crate) async fn stranger(first: Vec<u8>, more: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (first, more) = (first.clone(), more.clone());
            tokio::spawn(async move {
                let mut asked = [0; 1024];
                let _ = stream.read(&mut asked).await;
                let _ = stream.write_all(&first).await;
                while !more.is_empty() && stream.write_all(&more).await.is_ok() {}
                let _ = stream.read_to_end(&mut vec![]).await;
            });
        }
    });
    address
}
