//! Fetches from real servers on loopback.

use std::time::{Duration, Instant};

use axum::{
    Router,
    body::Body,
    extract::Request as Asked,
    response::{IntoResponse, Redirect, Response},
    routing::any,
};

use super::*;

mod bodies;
mod cached;
mod refused;
mod tls;

/// Answers what it was asked.
async fn echo(asked: Asked) -> impl IntoResponse {
    let (parts, body) = asked.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let header =
        |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    axum::Json(serde_json::json!({
        "method": parts.method.as_str(),
        "authorization": header("authorization"),
        "x-api-key": header("x-api-key"),
        "content-type": header("content-type"),
        "body": String::from_utf8(body.to_vec()).unwrap(),
    }))
}

fn answer(status: u16, kind: &'static str, body: &'static str) -> axum::routing::MethodRouter {
    any(move || async move {
        Response::builder()
            .status(status)
            .header("content-type", kind)
            .body(Body::from(body))
            .unwrap()
    })
}

async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

async fn source() -> String {
    let elsewhere = serve(Router::new().route("/echo", any(echo))).await;
    let moved = format!("{elsewhere}/echo");
    let router = Router::new()
        .route("/echo", any(echo))
        .route(
            "/object",
            answer(200, "application/json", r#" {"n":1.0,"big":12345678901234567890123,"n":2} "#),
        )
        .route("/list", answer(200, "text/plain", "[1]"))
        .route("/html", answer(200, "text/html; charset=utf-8", "<html>secret</html>"))
        .route("/empty", answer(200, "application/json", " \n"))
        .route("/no-content", answer(204, "application/json", ""))
        .route("/null", answer(200, "application/json", "null"))
        .route("/scalar", answer(200, "application/json", "\"secret\""))
        .route("/broken", answer(200, "application/json", r#"{"a":"secret""#))
        .route(
            "/large",
            answer(200, "application/json", r#"{"a":"0123456789012345678901234567890123456789"}"#),
        )
        .route("/not-found", answer(404, "application/json", r#"{"detail":"secret"}"#))
        .route("/error", answer(500, "text/plain", "secret"))
        .route(
            "/slow",
            any(|| async {
                tokio::time::sleep(Duration::from_secs(30)).await;
            }),
        )
        .route(
            "/streamed",
            any(|| async {
                let chunks = (0..100).map(|_| Ok::<_, std::io::Error>("[0123456789"));
                Body::from_stream(futures::stream::iter(chunks))
            }),
        )
        .route("/see-other", any(|| async { Redirect::to("/echo") }))
        .route("/temporary", any(|| async { Redirect::temporary("/echo") }))
        .route("/away", any(move || async move { Redirect::temporary(&moved) }))
        .route("/loop", any(|| async { Redirect::temporary("/loop") }))
        .route(
            "/metadata",
            any(|| async { Redirect::temporary("http://169.254.169.254/latest?x=secret") }),
        )
        .route("/file", any(|| async { Redirect::temporary("file:///etc/passwd") }));
    serve(router).await
}

fn fetcher() -> HttpFetcher {
    let means = Means::standard(Duration::from_millis(500)).unwrap();
    let mut means = means;
    means.max_bytes = 256;
    HttpFetcher::new(means)
}

async fn fetch(url: &str, config: &str) -> Result<String, FetchError> {
    let config = Some(RawValue::from_string(config.to_owned()).unwrap());
    let source = Source { url: url.to_owned(), config };
    let data = fetcher().fetch(&source).await;
    data.map(|data| data.get().to_owned())
}

async fn echoed(url: &str, config: &str) -> serde_json::Value {
    serde_json::from_str(&fetch(url, config).await.unwrap()).unwrap()
}

#[tokio::test]
async fn json_is_taken_verbatim_whatever_its_content_type() {
    let base = source().await;
    let object = fetch(&format!("{base}/object"), "{}").await.unwrap();
    assert_eq!(object, r#"{"n":1.0,"big":12345678901234567890123,"n":2}"#);
    assert_eq!(fetch(&format!("{base}/list"), "null").await.unwrap(), "[1]");
}

#[tokio::test]
async fn method_headers_and_body_are_sent_as_configured() {
    let base = source().await;
    let got = echoed(
        &format!("{base}/echo"),
        r#"{"method":"post","headers":{"Authorization":"Bearer t","X-API-Key":7},"data":{"a":"b"}}"#,
    )
    .await;
    assert_eq!(
        got,
        serde_json::json!({
            "method": "POST", "authorization": "Bearer t", "x-api-key": "7",
            "content-type": "application/x-www-form-urlencoded", "body": "a=b",
        })
    );
    let with_user = base.replace("http://", "http://me:pw@");
    let got = echoed(&format!("{with_user}/echo"), "{}").await;
    assert_eq!(got["authorization"], "Basic bWU6cHc=");
}

#[tokio::test]
async fn text_becomes_a_json_string_when_it_is_said_to_be_text() {
    let base = source().await;
    let html = fetch(&format!("{base}/html"), r#"{"is_json":false}"#).await.unwrap();
    assert_eq!(html, r#""<html>secret</html>""#);
}

#[tokio::test]
async fn every_failure_says_what_came_and_nothing_of_what_was_in_it() {
    let base = source().await;
    for (path, words) in [
        ("/html", "answered text/html that is not JSON"),
        ("/empty", "answered without a body"),
        ("/no-content", "answered without a body"),
        ("/null", "Fetched data is empty"),
        ("/scalar", "a bare JSON value"),
        ("/broken", "that is not JSON: EOF"),
        ("/large", "more than the limit of 32 bytes"),
        ("/streamed", "more than the limit of 32 bytes"),
        ("/not-found", "answered 404 Not Found"),
        ("/error", "answered 500 Internal Server Error"),
        ("/slow", "no answer in time"),
        ("/loop", "more than 5 redirects"),
        ("/metadata", "169.254.169.254 is a link-local or metadata address"),
        ("/file", "`file` is not fetched from"),
    ] {
        let url = format!("{}{path}?key=secret", base.replace("http://", "http://me:secret@"));
        let source = Source { url, config: None };
        let mut fetcher = fetcher();
        fetcher.means.max_bytes = 32;
        let error = fetcher.fetch(&source).await.unwrap_err();
        assert!(!error.is_permanent(), "{path}");
        let error = error.to_string();
        assert!(error.contains(words) && !error.contains("secret"), "{path}: {error}");
    }
}

#[tokio::test]
async fn a_source_that_is_not_there_is_named_with_its_reason() {
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let error = fetch(&format!("http://{address}/x?k=secret"), "{}").await.unwrap_err();
    assert_eq!(error, FetchError::new(format!("http://{address}/x: Connection refused")));
    for (url, words) in [
        ("postgres://u:secret@h/db", "`postgres` is not fetched from"),
        ("not an address", "url: relative URL without a base"),
        ("http://169.254.169.254/latest", "link-local or metadata"),
        ("http://[::ffff:169.254.169.254]/latest", "link-local or metadata"),
    ] {
        let begun = Instant::now();
        let error = fetch(url, "{}").await.unwrap_err();
        assert!(error.is_permanent(), "{url}");
        let error = error.to_string();
        assert!(error.contains(words) && !error.contains("secret"), "{url}: {error}");
        assert!(begun.elapsed() < Duration::from_millis(400), "{url} was connected to");
    }
}

#[tokio::test]
async fn a_redirect_keeps_headers_at_home_and_drops_all_of_them_abroad() {
    let base = source().await;
    let config =
        r#"{"method":"put","headers":{"Authorization":"Bearer t","X-API-Key":"k"},"data":"b"}"#;
    let got = echoed(&format!("{base}/temporary"), config).await;
    assert_eq!(
        (&got["method"], &got["authorization"], &got["body"]),
        (&"PUT".into(), &"Bearer t".into(), &"b".into())
    );
    let got = echoed(&format!("{base}/away"), config).await;
    assert_eq!((&got["authorization"], &got["x-api-key"]), (&().into(), &().into()));
    assert_eq!(got["body"], "");
    let got = echoed(&format!("{base}/see-other"), config).await;
    assert_eq!((&got["method"], &got["body"]), (&"GET".into(), &"".into()));
}
