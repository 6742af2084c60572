//! Requests that the policy does not allow, that cannot be rewritten, or that could be read in two ways:
//! the application never has them.

use reqwest::Method;
use reqwest::header::HeaderValue;
use serde_json::json;
use testbed::Guard;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Scene, config};
use crate::support::{SOON, can_run};

#[tokio::test]
async fn what_the_policy_does_not_allow_reaches_nobody() {
    if !can_run(&[]) {
        return;
    }
    let scene = Scene::set().await;
    let elsewhere = json!({"id": "u", "email": "eve@elsewhere.org"});
    for (method, path, body, expected) in [
        (Method::DELETE, "/users/u-7", None, 403),
        // The policy sees the value.
        (Method::POST, "/users", Some(&elsewhere), 403),
        (Method::GET, "/a//b", None, 400),
        (Method::GET, "/a/%2e%2e%2fb", None, 400),
    ] {
        let (status, told) = scene.ask(method.clone(), path, body).await;
        assert_eq!(status, expected, "{method} {path}: {told}");
        assert!(told["message"].is_string(), "{told}");
    }
    assert_eq!(scene.application.count(), 0);
    // No fact was kept for somebody who may not pass.
    let seen = scene.agent.decide("girasol/facts", &json!({})).await.unwrap();
    assert!(seen.get("result").is_none(), "{seen}");
}

#[tokio::test]
async fn a_body_that_cannot_be_rewritten_reaches_nobody() {
    if !can_run(&[]) {
        return;
    }
    let scene = Scene::set().await;
    let robot = |request: reqwest::RequestBuilder| {
        request.header("Authorization", "Bearer robot").header("Content-Type", "application/json")
    };
    let large = json!({"email": "x".repeat(30_000)}).to_string();
    for (body, kind, expected, why) in [
        ("{", "application/json", 400, "not valid JSON"),
        (r#"{"email":7}"#, "application/json", 422, "/email: give a text"),
        (r#"{"email":"nobody"}"#, "application/json", 400, "/email: Validation Error"),
        (r#"{"email":"a@example.com"}"#, "text/plain", 415, "send JSON"),
        (large.as_str(), "application/json", 413, "20000"),
    ] {
        let request = scene.http.post(scene.guard.url("/users")).body(body.to_owned());
        let mut request = robot(request).build().unwrap();
        request.headers_mut().insert("content-type", kind.parse().unwrap());
        let answer = scene.http.execute(request).await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert_eq!(status, expected, "{text}");
        assert!(text.contains(why) && !text.contains("nobody\""), "{text}");
    }
    assert_eq!(scene.application.count(), 0);
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for_for_ever() {
    if !can_run(&[]) {
        return;
    }
    let scene = Scene::set().await;
    let config = config(&scene.agent, &scene.application);
    let impatient = format!("body_timeout_seconds = 1\n{config}");
    let guard = Guard::start(&impatient, &scene.token).await.unwrap();
    let address = guard.url("").replace("http://", "");
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let head = "POST /users HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\
                Content-Length: 100\r\n\r\n{\"email\"";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 1024];
    let read = tokio::time::timeout(SOON, stream.read(&mut answer)).await.unwrap().unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("within 1 s"), "{answer}");
    assert_eq!(scene.application.count(), 0);
}

#[tokio::test]
async fn engine_and_application_have_the_same_headers() {
    if !can_run(&[]) {
        return;
    }
    let scene = Scene::set().await;
    let ask = async |lines: &[(&'static str, &str)]| {
        let mut request = scene.http.delete(scene.guard.url("/x")).build().unwrap();
        for (name, value) in lines {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            request.headers_mut().append(*name, value);
        }
        let answer = scene.http.execute(request).await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    for (lines, expected, why) in [
        // The engine goes by what the application would get, which is nothing.
        (vec![("x-role", "user, admin"), ("connection", "x-role")], 403, "policy"),
        (vec![("x-role", "admin"), ("x-role", "user")], 403, "policy"),
        (vec![("authorization", "Bearer robot"), ("authorization", "Bearer eve")], 400, "twice"),
        (vec![("authorization", "Bearer robot"), ("x-name", "J\u{fc}rgen")], 400, "x-name"),
        (vec![("authorization", "Bearer robot"), ("connection", "host")], 400, "host"),
    ] {
        let (status, text) = ask(&lines).await;
        assert_eq!(status, expected, "{lines:?}: {text}");
        assert!(text.contains(why) && !text.contains("eve"), "{text}");
    }
    assert_eq!(scene.application.count(), 0);

    let (status, text) = ask(&[("x-role", "user"), ("x-role", "admin")]).await;
    assert_eq!(status, 200, "{text}");
    let received = scene.application.received().pop().unwrap();
    let role: Vec<_> = received.headers.iter().filter(|(name, _)| name == "x-role").collect();
    assert_eq!(role, [&("x-role".to_owned(), "user, admin".to_owned())]);
}
