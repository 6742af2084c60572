//! Sources with certificates of their own authority, which may want to see one, too; and proxies.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::net::Tls;
use crate::net::authority::Authority;
use crate::settings::{FetchSettings, Secret};

/// A source that answers `[1]` to whoever shows a certificate, if it wants one.
async fn source(ours: &Authority, wants_certificate: bool) -> SocketAddr {
    let acceptor = ours.acceptor(wants_certificate);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut stream = acceptor.accept(stream).await?;
                let mut asked = [0; 4096];
                let _ = stream.read(&mut asked).await?;
                let answer =
                    b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\n[1]";
                stream.write_all(answer).await?;
                stream.shutdown().await
            });
        }
    });
    address
}

fn settings(proxy: Option<&str>) -> FetchSettings {
    FetchSettings {
        allow: vec![],
        deny: vec![],
        max_bytes: 1 << 20,
        ca_file: None,
        cert_file: None,
        key_file: None,
        proxy: proxy.map(|url| Secret::new(url.to_owned())),
    }
}

fn with(ca: Option<&Path>, shown: Option<(&Path, &Path)>, settings: &FetchSettings) -> HttpFetcher {
    let tls = Tls::new(ca, shown.map(|it| it.0), shown.map(|it| it.1)).unwrap();
    HttpFetcher::new(Means::new(settings, &tls, Duration::from_secs(10)).unwrap())
}

async fn got(fetcher: &HttpFetcher, url: &str) -> Result<String, String> {
    let data = fetcher.fetch(&Source { url: url.to_owned(), config: None }).await;
    data.map(|data| data.get().to_owned()).map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_source_of_ones_own_authority_is_trusted_if_the_settings_name_it() {
    let (ours, strangers) = (Authority::new(), Authority::new());
    let url = format!("https://localhost:{}/", source(&ours, false).await.port());
    let (ca, other) = (ours.file("ca.pem"), strangers.file("ca.pem"));
    assert_eq!(got(&with(Some(&ca), None, &settings(None)), &url).await.as_deref(), Ok("[1]"));
    for ca in [None, Some(other.as_path())] {
        let error = got(&with(ca, None, &settings(None)), &url).await.unwrap_err();
        assert!(error.contains("certificate"), "{error}");
    }
}

#[tokio::test]
async fn the_certificate_of_the_settings_is_shown_to_who_asks() {
    let ours = Authority::new();
    ours.sign("client");
    let url = format!("https://127.0.0.1:{}/", source(&ours, true).await.port());
    let (ca, certificate, key) =
        (ours.file("ca.pem"), ours.file("client.pem"), ours.file("client.key"));
    let shown = Some((certificate.as_path(), key.as_path()));
    let fetcher = with(Some(&ca), shown, &settings(None));
    assert_eq!(got(&fetcher, &url).await.as_deref(), Ok("[1]"));
    assert!(got(&with(Some(&ca), None, &settings(None)), &url).await.is_err());
}

#[tokio::test]
async fn the_hub_is_trusted_by_the_same_authority_and_not_shown_what_is_for_sources() {
    let ours = Authority::new();
    ours.sign("client");
    let (ca, certificate, key) =
        (ours.file("ca.pem"), ours.file("client.pem"), ours.file("client.key"));
    let tls = Tls::new(Some(&ca), Some(&certificate), Some(&key)).unwrap();
    let trusting = rustls::ClientConfig::clone(tls.trusting());
    let hub = crate::http::client_with(trusting, Duration::from_secs(5)).unwrap();
    for (wants_certificate, answers) in [(false, true), (true, false)] {
        let url = format!("https://localhost:{}/", source(&ours, wants_certificate).await.port());
        assert_eq!(hub.get(&url).send().await.is_ok(), answers);
    }
}

#[test]
fn files_that_cannot_be_used_are_named_with_their_setting() {
    let ours = Authority::new();
    ours.sign("a");
    ours.sign("b");
    std::fs::write(ours.file("secret.txt"), "secret").unwrap();
    std::fs::write(ours.file("broken.pem"), "-----BEGIN CERTIFICATE-----\nsecret!\n").unwrap();
    let (nowhere, text, broken) =
        (ours.file("nowhere"), ours.file("secret.txt"), ours.file("broken.pem"));
    let (a, b, key) = (ours.file("a.pem"), ours.file("b.key"), ours.file("a.key"));
    for (ca, certificate, shown_key, words) in [
        (Some(&nowhere), None, None, "fetch_ca_file: "),
        (Some(&nowhere), None, None, "nowhere: cannot be read: No such file"),
        (Some(&text), None, None, "secret.txt: holds no certificate in PEM"),
        (Some(&broken), None, None, "broken.pem: is not PEM"),
        (None, Some(&key), Some(&key), "fetch_cert_file: "),
        (None, Some(&a), Some(&a), "a.pem: holds no key in PEM"),
        (None, Some(&a), Some(&b), "b.key: is not the key of fetch_cert_file"),
        (None, Some(&a), None, "fetch_cert_file and fetch_key_file belong together"),
        (None, None, Some(&b), "fetch_cert_file and fetch_key_file belong together"),
    ] {
        let path = |path: Option<&PathBuf>| path.cloned();
        let tls =
            Tls::new(path(ca).as_deref(), path(certificate).as_deref(), path(shown_key).as_deref());
        let error = tls.err().expect(words).to_string();
        assert!(error.contains(words) && !error.contains("secret!"), "{error}");
    }
    assert!(Tls::new(None, Some(&a), Some(&key)).is_ok());
}

/// A proxy that answers `["proxied"]` to plain questions and carries what is secret; it notes
/// what it was asked.
async fn proxy() -> (Arc<Mutex<Vec<String>>>, SocketAddr) {
    let asked = Arc::new(Mutex::new(vec![]));
    let noted = Arc::clone(&asked);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let noted = Arc::clone(&noted);
            tokio::spawn(async move {
                let mut head = vec![];
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await?);
                }
                let head = String::from_utf8(head).unwrap();
                noted.lock().unwrap().push(head.clone());
                match head.strip_prefix("CONNECT ") {
                    Some(rest) => {
                        let mut to = TcpStream::connect(rest.split(' ').next().unwrap()).await?;
                        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
                        tokio::io::copy_bidirectional(&mut stream, &mut to).await.map(drop)
                    }
                    None => {
                        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\nconnection: close\r\n\r\n[\"proxied\"]";
                        stream.write_all(answer).await
                    }
                }
            });
        }
    });
    (asked, address)
}

#[tokio::test]
async fn fetches_go_through_the_proxy_of_the_settings_with_its_password() {
    let (asked, address) = proxy().await;
    let ours = Authority::new();
    let secret = format!("https://127.0.0.1:{}/", source(&ours, false).await.port());
    let own = format!("http://me:pw@{address}");
    let fetcher = with(Some(&ours.file("ca.pem")), None, &settings(Some(&own)));
    // The proxy resolves the name, which exists nowhere.
    assert_eq!(got(&fetcher, "http://db.invalid/x").await.as_deref(), Ok("[\"proxied\"]"));
    assert_eq!(got(&fetcher, &secret).await.as_deref(), Ok("[1]"));
    let asked = asked.lock().unwrap().clone();
    assert!(asked[0].starts_with("GET http://db.invalid/x HTTP/1.1\r\n"), "{asked:?}");
    assert!(asked[1].starts_with("CONNECT 127.0.0.1:"), "{asked:?}");
    for head in asked {
        assert!(head.to_lowercase().contains("proxy-authorization: basic bwu6chc="), "{head}");
    }
}

#[tokio::test]
async fn what_a_proxy_would_resolve_is_held_to_the_rules_by_its_name() {
    let (asked, address) = proxy().await;
    let own = format!("http://{address}");
    let refused = [
        ("http://169.254.169.254/", "link-local or metadata"),
        ("http://metadata.google.internal/", "name of a metadata service"),
        ("http://other.invalid/", "fetch_allow does not have it"),
        ("http://denied.invalid/", "fetch_deny has it"),
    ];
    let rules = FetchSettings {
        allow: vec![
            "db.invalid".to_owned(),
            "10.0.0.0/8".to_owned(),
            "*.denied.invalid".to_owned(),
        ],
        deny: vec!["denied.invalid".to_owned()],
        ..settings(Some(&own))
    };
    let fetcher = with(None, None, &rules);
    for (url, words) in refused {
        let error = got(&fetcher, url).await.unwrap_err();
        assert!(error.contains(words), "{error}");
    }
    assert!(asked.lock().unwrap().is_empty());
    assert!(got(&fetcher, "http://db.invalid/").await.is_ok());
}

#[tokio::test]
async fn a_proxy_that_is_a_name_is_found_though_the_rules_are_about_others() {
    let (_, address) = proxy().await;
    let own = format!("http://localhost:{}", address.port());
    let rules = FetchSettings { allow: vec!["db.invalid".to_owned()], ..settings(Some(&own)) };
    assert!(got(&with(None, None, &rules), "http://db.invalid/").await.is_ok());
}
