//! Bodies: compressed, endless, slow, broken, and sources that want to be left alone.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::routing::get;
use tokio::io::AsyncReadExt as _;

use super::*;

const LIMIT: usize = 1 << 20;

fn limited() -> HttpFetcher {
    let means = Means::standard(Duration::from_secs(20)).unwrap();
    HttpFetcher::new(Means { max_bytes: LIMIT, ..means })
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::best());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn zstd(plain: &[u8]) -> Vec<u8> {
    ::zstd::bulk::compress(plain, 3).unwrap()
}

/// Answers with these bytes as they are.
async fn serving(headers: &'static [(&'static str, &'static str)], body: Vec<u8>) -> String {
    let answer = move || {
        let mut response = Response::builder();
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        let response = response.body(Body::from(body.clone())).unwrap();
        async move { response }
    };
    serve(Router::new().route("/", get(answer))).await
}

async fn got(fetcher: &HttpFetcher, url: String) -> Result<String, FetchError> {
    let data = fetcher.fetch(&Source { url, config: None }).await;
    data.map(|data| data.get().to_owned())
}

#[tokio::test]
async fn compressed_data_is_read_and_its_limit_is_of_what_comes_out() {
    let plain = format!("[{}0]", "1,".repeat(200_000));
    let bomb = vec![b' '; 16 << 20];
    type Compress = fn(&[u8]) -> Vec<u8>;
    let ways: [(&'static [(&str, &str)], Compress); 2] =
        [(&[("content-encoding", "gzip")], gzip), (&[("content-encoding", "zstd")], zstd)];
    for (headers, compress) in ways {
        let compressed = compress(plain.as_bytes());
        assert!(compressed.len() < plain.len() / 20);
        assert_eq!(got(&limited(), serving(headers, compressed).await).await.unwrap(), plain);

        let compressed = compress(&bomb);
        assert!(compressed.len() < LIMIT / 4, "the bomb is {} bytes", compressed.len());
        let error = got(&limited(), serving(headers, compressed).await).await.unwrap_err();
        assert!(error.to_string().contains("more than the limit of 1048576 bytes"), "{error}");

        let mut broken = compress(plain.as_bytes());
        broken.truncate(broken.len() / 2);
        let error = got(&limited(), serving(headers, broken).await).await.unwrap_err();
        assert!(error.to_string().contains("broke off"), "{error}");
    }
    let error = got(&limited(), serving(&[("content-encoding", "br")], vec![1, 2]).await).await;
    assert!(error.unwrap_err().to_string().contains("compressed with br; gzip and zstd"));
}

#[tokio::test]
async fn a_client_says_that_it_reads_both_ways_of_compressing() {
    let ask = |asked: Asked| async move {
        let accepted = asked.headers().get("accept-encoding").unwrap().to_str().unwrap().to_owned();
        axum::Json(serde_json::json!([accepted]))
    };
    let base = serve(Router::new().route("/", get(ask))).await;
    let accepted = got(&limited(), base).await.unwrap();
    assert!(accepted.contains("gzip") && accepted.contains("zstd"), "{accepted}");
}

#[tokio::test]
async fn an_endless_body_is_cut_off_at_the_limit() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let endless = move || {
        let counted = Arc::clone(&counted);
        async move {
            let chunks = futures::stream::repeat_with(move || {
                counted.fetch_add(1 << 10, Ordering::SeqCst);
                Ok::<_, std::io::Error>([b' '; 1 << 10].to_vec())
            });
            Body::from_stream(chunks)
        }
    };
    let base = serve(Router::new().route("/", get(endless))).await;
    let error = got(&limited(), base).await.unwrap_err();
    assert!(error.to_string().contains("more than the limit"), "{error}");
    assert!(sent.load(Ordering::SeqCst) < 64 * LIMIT);
}

#[tokio::test]
async fn a_body_that_trickles_is_given_up() {
    let slow = || async {
        let chunks = futures::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Some((Ok::<_, std::io::Error>(" "), ()))
        });
        Body::from_stream(chunks)
    };
    let base = serve(Router::new().route("/", get(slow))).await;
    let begun = Instant::now();
    let error = fetch(&base, "{}").await.unwrap_err();
    assert!(error.to_string().contains("no answer in time"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_server_that_breaks_off_or_talks_another_language_is_an_error() {
    for (answer, words) in [
        (&b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"a\":1}"[..], "broke off"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n{", "more than the limit"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "invalid HTTP version"),
        (b"", "connection closed"),
    ] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut asked = [0; 1024];
                let _ = stream.read(&mut asked).await;
                let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await;
            }
        });
        let error = got(&limited(), base).await.unwrap_err();
        assert!(error.to_string().contains(words) && !error.is_permanent(), "{error}");
    }
}

#[tokio::test]
async fn lines_become_a_list() {
    for kind in ["application/x-ndjson", "application/jsonl"] {
        let headers: &'static [(&str, &str)] = match kind {
            "application/jsonl" => &[("content-type", "application/jsonl")],
            _ => &[("content-type", "application/x-ndjson"), ("content-encoding", "gzip")],
        };
        let body = b"{\"id\":1.50}\n{\"id\":2}\n".to_vec();
        let body = if headers.len() == 2 { gzip(&body) } else { body };
        let list = got(&limited(), serving(headers, body).await).await.unwrap();
        assert_eq!(list, r#"[{"id":1.50},{"id":2}]"#);
    }
}

#[tokio::test]
async fn a_source_says_how_long_it_wants_to_be_left_alone() {
    for (status, value, wait) in [
        (429, Some("30"), Some(30)),
        (503, Some("7"), Some(7)),
        (429, None, None),
        (500, Some("30"), None),
        (401, Some("30"), None),
    ] {
        let answer = move || async move {
            let response = Response::builder().status(status);
            let response = match value {
                Some(value) => response.header("retry-after", value),
                None => response,
            };
            response.body(Body::from("secret")).unwrap()
        };
        let base = serve(Router::new().route("/", get(answer))).await;
        let error = got(&limited(), base.clone()).await.unwrap_err();
        assert_eq!(error.wanted_wait(), wait.map(Duration::from_secs), "{status} {error}");
        assert!(!error.is_permanent() && !error.to_string().contains("secret"), "{error}");
        let sent = limited().send(&base, None, "{}").await;
        // A callback is a POST, which the route does not have.
        assert!(sent.unwrap_err().to_string().contains("405 Method Not Allowed"));
    }
}

#[tokio::test]
async fn statuses_are_explained() {
    for (status, words) in [
        (401, "answered 401 Unauthorized; are there credentials in config.headers"),
        (403, "answered 403 Forbidden; the credentials in config.headers do not allow"),
        (404, "answered 404 Not Found; is url right?"),
        (302, "answered 302 Found; it does not say where to go"),
        (418, "answered 418 I'm a teapot"),
        (502, "answered 502 Bad Gateway"),
    ] {
        let base = serve(Router::new().route("/", answer(status, "text/html", "<secret>"))).await;
        let error = got(&limited(), base).await.unwrap_err().to_string();
        assert!(error.contains(words) && !error.contains("secret"), "{error}");
    }
}

#[tokio::test]
async fn members_of_opals_settings_that_change_nothing_here_are_taken() {
    let base = serving(&[("content-type", "application/json")], b"[1]".to_vec()).await;
    let config = r#"{"fetcher":"HttpFetchProvider","process_data":false,"is_json":true}"#;
    assert_eq!(fetch(&base, config).await.unwrap(), "[1]");
}
