//! Requests as nobody's client would write them, byte by byte.

use serde_json::Value;
use testbed::Agent;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{started, token};
use crate::support::{can_run, functions};

/// Sends a request line as it is: the status, and the body if it is JSON.
async fn send(agent: &Agent, method: &str, target: &str, token: &str) -> (u16, Value) {
    let address = agent.data_plane_url().unwrap().trim_start_matches("http://");
    let mut socket = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: {address}\r\nX-OPV-GRANT-TOKEN: {token}\r\n\
         Connection: close\r\n\r\n"
    );
    // Who is refused early may have closed.
    let _ = socket.write_all(request.as_bytes()).await;
    let mut answer = vec![];
    let _ = socket.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split(' ').nth(1).and_then(|it| it.parse().ok());
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let status = status.unwrap_or_else(|| panic!("{target}: no status in {answer:?}"));
    (status, serde_json::from_str(body).unwrap_or_default())
}

#[tokio::test]
async fn a_path_that_could_be_read_in_two_ways_is_refused_before_any_grant_is_looked_at() {
    if !can_run(&[]) {
        return;
    }
    let (functions, _) = functions().await;
    let agent = started(&functions, &["t"]).await;
    let (_, token) = token(&functions, &["*"]).await;
    let long = format!("/{}", "a".repeat(50_000));
    for target in [
        "/api/v1/facts%2Fx",
        "/api/v1/facts%2fx",
        "/api/v1/facts%252Fx",
        "/api/v1/../v1/facts",
        "/api/v1/%2e%2e/v1/facts",
        "/api/v1/./facts",
        "/api/v1/..",
        "/api/v1//facts",
        "//api/v1/facts",
        "/api/v1/facts//",
        "/api/v1/facts%0A",
        "/api/v1/facts%0D%0Ax",
        "/api/v1/facts%00",
        "/api/v1/facts\\x",
        "/api/v1/facts%5Cx",
        "/api/v1/facts%FF",
        "/api/v1/facts%",
        "*",
        long.as_str(),
    ] {
        let method = if target == "*" { "OPTIONS" } else { "GET" };
        let (status, body) = send(&agent, method, target, &token).await;
        let shown = target.get(..40).unwrap_or(target);
        assert_eq!((status, &body["message"]), (400, &"invalid path".into()), "{shown}");
        assert!(body["detail"].is_string(), "{shown}: {body}");
    }
    // That long it is not read to its end.
    let huge = format!("/{}", "a".repeat(100 << 10));
    let (status, _) = send(&agent, "GET", &huge, &token).await;
    assert!([400, 414, 431].contains(&status), "{status}");
    assert_eq!(send(&agent, "GET", "/api/v1/x", &token).await.0, 404, "it goes on");
}

#[tokio::test]
async fn methods_and_paths_are_taken_as_they_are_written() {
    if !can_run(&[]) {
        return;
    }
    let (functions, _) = functions().await;
    let agent = started(&functions, &["t"]).await;
    let get = serde_json::json!({"allowed_http_methods": ["GET"], "paths": ["/api/v1/a"]});
    let (_, get) = super::grant(&functions, &get).await;
    let (_, all) = token(&functions, &["*"]).await;
    for (method, target, token, status) in [
        ("GET", "/api/v1/a", &get, 404),
        ("GET", "/api/v1/a/", &get, 404),
        ("GET", "/api/v1/%61", &get, 404),
        ("GET", "/api/v1/a?x=/../..", &get, 404),
        ("GET", "/api/v1/A", &get, 401),
        ("GET", "/API/v1/a", &get, 401),
        ("get", "/api/v1/a", &get, 401),
        ("XGET", "/api/v1/a", &get, 401),
        ("GETX", "/api/v1/a", &get, 401),
        ("HEAD", "/api/v1/a", &get, 404),
        ("OPTIONS", "/api/v1/a", &get, 401),
        ("BREW", "/api/v1/a", &get, 401),
        // It may pass, and workerd knows no such method.
        ("BREW", "/api/v1/a", &all, 501),
        ("get", "/api/v1/healthz", &all, 501),
    ] {
        let (found, body) = send(&agent, method, target, token).await;
        assert_eq!(found, status, "{method} {target}: {body}");
    }
    for bad in ["v1", "v1:sandbox.example.com", "v1:a:b:c", "v2:a:b", " :a:b"] {
        let (status, body) = send(&agent, "GET", "/api/v1/a", bad).await;
        assert_eq!((status, &body["message"]), (401, &"invalid key".into()), "{bad}");
    }
}
