//! Objects of S3-compatible storage, on versitygw.

use std::io::Write as _;
use std::time::Duration;

use edge_agent::fetch::{Fetchers, Means, Source};
use edge_agent::net::Tls;
use edge_agent::settings::FetchSettings;
use serde_json::{Value, json, value::to_raw_value};
use testbed::{Authority, Part, S3, require};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::{fetch, fetch_with};

async fn store() -> Option<S3> {
    if !require(&[Part::Versitygw]).unwrap() {
        return None;
    }
    Some(S3::start().await.unwrap())
}

/// The settings that open the store.
fn config(store: &S3) -> Value {
    let (id, secret) = store.keys();
    json!({
        "fetcher": "S3FetchProvider",
        "endpoint": store.endpoint(),
        "access_key_id": id,
        "secret_access_key": secret,
    })
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn an_object_is_the_data_however_its_key_is_written() {
    let Some(store) = store().await else { return };
    for (encoded, key) in [
        ("users.json", "users.json"),
        ("a%20b/%C3%BC%2B%26%3D%3F%23%25.json", "a b/ü+&=?#%.json"),
        ("it%27s%20%28%21%29%2A%3A%40%2C%3B%24", "it's (!)*:@,;$"),
    ] {
        let body = format!("{{\"key\":1.0,\"of\":\"{encoded}\"}}");
        store.put(encoded, &[("content-type", "application/json")], body.as_bytes()).await.unwrap();
        let source = Source {
            url: format!("s3://data/{key}"),
            config: Some(to_raw_value(&config(&store)).unwrap()),
        };
        let means = Means::standard(Duration::from_secs(10)).unwrap();
        let data = Fetchers::standard(&means).fetch(&source).await.unwrap();
        assert_eq!(data.get(), body, "as it was put, with its numbers");
    }
}

#[tokio::test]
async fn an_object_is_unpacked_as_its_key_or_its_encoding_says() {
    let Some(store) = store().await else { return };
    let document = br#"{"a":[1,2]}"#;
    let lines = b"{\"a\":1}\n{\"a\":2}\n";
    let zstd = zstd::bulk::compress(document, 1).unwrap();
    let encoded = [("content-type", "application/json"), ("content-encoding", "gzip")];
    let (one, two) = (json!({ "a": [1, 2] }), json!([{ "a": 1 }, { "a": 2 }]));
    for (key, headers, body, expected) in [
        ("d.json.gz", &[][..], gzip(document), &one),
        ("d.json.zst", &[], zstd, &one),
        ("encoded.json", &encoded, gzip(document), &one),
        ("both.json.gz", &encoded, gzip(document), &one),
        ("l.ndjson", &[], lines.to_vec(), &two),
        ("l.jsonl.gz", &[], gzip(lines), &two),
        ("l", &[("content-type", "application/x-ndjson")], lines.to_vec(), &two),
    ] {
        store.put(key, headers, &body).await.unwrap();
        let data = fetch(&format!("s3://data/{key}"), &config(&store)).await;
        assert_eq!(data.as_ref(), Ok(expected), "{key}");
    }
}

#[tokio::test]
async fn an_object_that_has_not_changed_is_not_sent_again() {
    let Some(store) = store().await else { return };
    let means = Means::standard(Duration::from_secs(10)).unwrap();
    let fetchers = Fetchers::standard(&means);
    let config = Some(to_raw_value(&config(&store)).unwrap());
    let source = Source { url: "s3://data/users.json".to_owned(), config };
    let unchanged = |store: &S3| {
        let lines = store.logs().to_string();
        lines.lines().filter(|line| line.contains("GET") && line.contains("| 304 |")).count()
    };
    store.put("users.json", &[], b"[1]").await.unwrap();
    for _ in 0..3 {
        assert_eq!(fetchers.fetch(&source).await.unwrap().get(), "[1]");
    }
    store.put("users.json", &[], b"[2]").await.unwrap();
    assert_eq!(fetchers.fetch(&source).await.unwrap().get(), "[2]");
    // The store writes of a request when it has answered.
    let told = store.logs().wait_for(|line| line.contains("| 304 |").then_some(()));
    tokio::time::timeout(Duration::from_secs(5), told).await.expect("nothing was unchanged");
    assert!((1..=2).contains(&unchanged(&store)), "{}", store.logs());
}

#[tokio::test]
async fn a_refusal_is_told_with_its_code_and_what_to_do() {
    let Some(store) = store().await else { return };
    store.put("users.json", &[], b"[1]").await.unwrap();
    let good = config(&store);
    let with = |changes: Value| {
        let mut config = good.clone();
        for (key, value) in changes.as_object().unwrap() {
            config[key] = value.clone();
        }
        config
    };
    let object = "s3://data/users.json";
    for (url, config, words) in [
        ("s3://data/none.json", good.clone(), "404 Not Found (NoSuchKey); there is no such object"),
        ("s3://none/users.json", good.clone(), "404 Not Found (NoSuchBucket)"),
        (object, with(json!({ "secret_access_key": "s3cret" })), "(SignatureDoesNotMatch)"),
        (object, with(json!({ "access_key_id": "s3cret" })), "answered 4"),
        (object, json!({ "fetcher": "S3FetchProvider", "endpoint": store.endpoint() }), "403"),
        (object, with(json!({ "region": "eu-nowhere-1" })), "400 Bad Request"),
    ] {
        let error = fetch(url, &config).await.expect_err(words);
        assert!(!error.is_permanent(), "keys and objects come and go: {error}");
        let error = error.to_string();
        let path = url.trim_start_matches("s3:/");
        assert!(error.starts_with(&format!("{}{path} answered ", store.endpoint())), "{error}");
        assert!(error.contains(words), "{error}");
        assert!(!error.contains("s3cret") && !error.contains(store.keys().1), "{error}");
    }
}

#[tokio::test]
async fn objects_larger_than_the_limit_are_refused_packed_or_not() {
    let Some(store) = store().await else { return };
    let large = format!("[\"{}\"]", "x".repeat(100_000));
    store.put("large.json", &[], large.as_bytes()).await.unwrap();
    store.put("large.json.gz", &[], &gzip(large.as_bytes())).await.unwrap();
    let mut small = Means::standard(Duration::from_secs(10)).unwrap();
    small.max_bytes = 50_000;
    for key in ["large.json", "large.json.gz"] {
        let url = format!("s3://data/{key}");
        let error = fetch_with(&small, &url, &config(&store)).await.unwrap_err().to_string();
        assert!(error.contains("more than the limit of 50000 bytes"), "{error}");
        assert!(fetch(&url, &config(&store)).await.is_ok());
    }
}

#[tokio::test]
async fn tls_is_the_agents_own() {
    if !require(&[Part::Versitygw]).unwrap() {
        return;
    }
    let authority = Authority::new().unwrap();
    let store = S3::start_with_tls(&authority).await.unwrap();
    store.put("users.json", &[], b"[1]").await.unwrap();
    let error = fetch("s3://data/users.json", &config(&store)).await.unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");

    let settings = FetchSettings {
        allow: vec![],
        deny: vec![],
        max_bytes: 1_000,
        ca_file: Some(authority.file()),
        cert_file: None,
        key_file: None,
        proxy: None,
    };
    let tls = Tls::new(settings.ca_file.as_deref(), None, None).unwrap();
    let trusting = Means::new(&settings, &tls, Duration::from_secs(10)).unwrap();
    let data = fetch_with(&trusting, "s3://data/users.json", &config(&store)).await;
    assert_eq!(data, Ok(json!([1])));
}

#[tokio::test]
async fn endpoints_that_no_update_may_choose_are_refused() {
    for endpoint in ["http://169.254.169.254", "http://[fd00:ec2::254]", "http://2852039166/"] {
        let config = json!({ "fetcher": "S3FetchProvider", "endpoint": endpoint });
        let error = fetch("s3://latest/meta-data", &config).await.expect_err(endpoint);
        assert!(error.is_permanent(), "{error}");
        assert!(error.to_string().contains("link-local or metadata"), "{error}");
    }
}

#[tokio::test]
async fn a_signature_does_not_follow_a_redirect_to_another_host() {
    let (here, there) = (
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
    );
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
    let elsewhere = format!(
        "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1:{}/x\r\n\
         content-length: 0\r\nconnection: close\r\n\r\n",
        port(&there)
    );
    let config = json!({
        "fetcher": "S3FetchProvider", "endpoint": format!("http://127.0.0.1:{}", port(&here)),
        "access_key_id": "ID", "secret_access_key": "s3cret", "session_token": "t0ken",
    });
    let served = async {
        let first = heard(&here, &elsewhere).await;
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n[]";
        (first, heard(&there, answer).await)
    };
    let (data, (first, second)) = tokio::join!(fetch("s3://data/k", &config), served);
    assert_eq!(data, Ok(json!([])));
    assert!(
        first.contains("authorization: aws4-hmac-sha256") && first.contains("t0ken"),
        "{first}"
    );
    assert!(!second.contains("authorization") && !second.contains("t0ken"), "{second}");
}

/// Answers one request; what it was, in lower case.
async fn heard(listener: &TcpListener, answer: &str) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        assert!(stream.read_buf(&mut request).await.unwrap() > 0);
    }
    stream.write_all(answer.as_bytes()).await.unwrap();
    String::from_utf8(request).unwrap().to_lowercase()
}
