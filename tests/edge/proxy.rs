//! `edge-agent proxy` between real clients and an application, with real facts, a real agent that
//! decides, and grants that come and go.

use std::fs;
use std::time::Duration;

use reqwest::header::HeaderValue;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use testbed::{Agent, Functions, Guard, Proxy, Reply, Source, http_client};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::plane::{DOMAIN, Made, ask, control, grant, keep, make, until};
use crate::support::{SOON, agent, can_run, with_facts};

const POLICY: &str = r#"package proxy

default allow := false

allow if input.method in {"GET", "PUT"}

# A decision about the value that the application never gets.
allow if {
    input.method == "POST"
    input.path == ["users"]
    endswith(input.body.email, "@example.com")
}

allow if input.headers.authorization == "Bearer robot"

allow if input.headers["x-role"] == "user, admin"
"#;

/// Everything that a proxy stands between.
struct Scene {
    functions: Functions,
    agent: Agent,
    application: Source,
    guard: Guard,
    /// The proxy's grant: its id and its token.
    grant: String,
    token: String,
    http: reqwest::Client,
    _policy: TempDir,
}

impl Scene {
    async fn set() -> Self {
        let functions = with_facts().start().await.unwrap();
        let policy = TempDir::new().unwrap();
        fs::write(policy.path().join("proxy.rego"), POLICY).unwrap();
        let agent = agent(&functions, &["facts:."]).await.data_plane();
        let agent = agent.policy_dir(policy.path()).start().await.unwrap();
        agent.wait_live(SOON).await.unwrap();
        let application = Source::start(&json!({})).unwrap();
        let made = make(&functions, &for_proxy()).await;
        settled(&functions, &agent).await;
        let guard = Guard::start(&config(&agent, &application), &made.token).await.unwrap();
        let http = http_client().unwrap();
        let Made { id: grant, token } = made;
        Self { functions, agent, application, guard, grant, token, http, _policy: policy }
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> (StatusCode, Value) {
        let mut request = self.http.request(method, self.guard.url(path));
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status();
        (status, answer.json().await.unwrap_or_default())
    }

    /// The body that the application got last.
    fn received(&self) -> Value {
        let received = self.application.received();
        serde_json::from_slice(&received.last().unwrap().body).unwrap()
    }
}

/// What a proxy's grant has to allow.
fn for_proxy() -> Value {
    let paths = ["/api/v1/proxies/billing", "/api/v1/facts", "/api/v1/facts/*"];
    grant(&["PUT", "POST", "GET"], &paths)
}

/// The agent has every grant that was made.
async fn settled(functions: &Functions, agent: &Agent) {
    let token = functions.mint("client", json!({})).await.unwrap();
    let page = functions.request(Method::GET, "/log?after=0", Some(&token), None).await.unwrap();
    agent.wait_cursor(page.body["head"].as_u64().unwrap(), SOON).await.unwrap();
}

fn config(agent: &Agent, application: &Source) -> String {
    format!(
        r#"
        name = "billing"
        upstream = "{}"
        data_plane = "{}"
        decision = "{}/v1/data/proxy/allow"
        max_body_bytes = 20000
        grant_check_ms = 100

        [[routes]]
        method = "POST"
        path = "/users"
        [[routes.request]]
        pointer = "/email"
        fact_type = "email"
        scope = "/id"
        [[routes.request]]
        pointer = "/phones/*"
        fact_type = "phone"
        [[routes.response]]
        pointer = "/email"

        [[routes]]
        path = "/notes"
        [[routes.request]]
        pointer = "/to/*"
        fact_type = "any"
        [[routes.response]]
        pointer = "/to/*"

        [[routes]]
        path = "/drafts"
        accept_ids = true
        [[routes.request]]
        pointer = "/to/*"
        fact_type = "any"
        [[routes.response]]
        pointer = "/to/*"

        [[routes]]
        path = "/users/:id"
        [[routes.response]]
        pointer = "/email"
        [[routes.response]]
        pointer = "/phones/*"
        "#,
        application.url("").trim_end_matches('/'),
        agent.data_plane_url().unwrap(),
        agent.decision_url(),
    )
}

#[tokio::test]
async fn the_application_has_ids_and_its_clients_have_values() {
    if !can_run(&[]) {
        return;
    }
    let scene = Scene::set().await;
    let user = json!({
        "id": "u-7", "email": "ada@example.com", "phones": ["+49 30 1234567", null], "n": 1.50 });
    scene.application.reply(Reply::json(&json!({"saved": true})));

    let (status, _) = scene.ask(Method::POST, "/users", Some(&user)).await;

    assert_eq!(status, 200);
    let stored = scene.received();
    let (email, phone) = (stored["email"].as_str().unwrap(), stored["phones"][0].as_str().unwrap());
    assert!(email.starts_with("fact_") && phone.starts_with("fact_"), "{stored}");
    assert_eq!(stored["phones"][1], Value::Null);
    assert_eq!((&stored["id"], &stored["n"]), (&json!("u-7"), &json!(1.5)));
    let raw = String::from_utf8(scene.application.received().last().unwrap().body.clone()).unwrap();
    assert!(!raw.contains("ada@") && !raw.contains("1234567"), "{raw}");

    // The way back: what the application stored is what its clients gave.
    scene.application.reply(Reply::json(&stored));
    let (status, shown) = scene.ask(Method::GET, "/users/u-7", None).await;
    assert_eq!(status, 200);
    assert_eq!((&shown["email"], &shown["phones"][0]), (&user["email"], &user["phones"][0]));
    // Where nothing is restored, ids stay; and so does an id that is none of ours.
    let (_, listed) = scene.ask(Method::GET, "/lists", None).await;
    assert_eq!(listed["email"], stored["email"]);
    let strange = json!({"email": "fact_AAAAAAAAAAAAAAAAAAAA"});
    scene.application.reply(Reply::json(&strange));
    assert_eq!(scene.ask(Method::GET, "/users/u-8", None).await.1, strange);
    assert!(!scene.guard.logs().to_string().contains("ada@"), "{}", scene.guard.logs());
}

#[tokio::test]
async fn a_request_that_is_sent_again_hands_on_the_same_id() {
    if !can_run(&[]) {
        return;
    }
    let scene = Scene::set().await;
    let user = json!({"id": "u-7", "email": "ada@example.com"});
    let mut handed_on = vec![];
    for _ in 0..2 {
        assert_eq!(scene.ask(Method::POST, "/users", Some(&user)).await.0, 200);
        handed_on.push(scene.received());
    }
    assert_eq!(handed_on[0], handed_on[1]);
    // In another scope the value is another fact.
    let other = json!({"id": "u-8", "email": "ada@example.com"});
    assert_eq!(scene.ask(Method::POST, "/users", Some(&other)).await.0, 200);
    assert_ne!(scene.received()["email"], handed_on[0]["email"]);
}

#[tokio::test]
async fn an_id_of_a_clients_own_is_text_unless_the_route_takes_ids() {
    if !can_run(&[]) {
        return;
    }
    let scene = Scene::set().await;
    // Somebody else's, whose id has become known.
    let foreign = json!({"fact_type_slug": "email", "value": "ada@example.com"});
    let id = keep(&scene.functions, &scene.token, &foreign).await;
    for (path, is_taken) in [("/notes", false), ("/drafts", true)] {
        let note = json!({"to": ["+49 30 1234567", id]});
        let (status, told) = scene.ask(Method::PUT, path, Some(&note)).await;
        assert_eq!(status, 200, "{told}");
        let stored = scene.received();
        assert_eq!(stored["to"][1] == json!(id), is_taken, "{path}: {stored}");
        assert!(stored["to"][0].as_str().unwrap().starts_with("fact_"), "{stored}");
        scene.application.reply(Reply::json(&stored));
        let (_, shown) = scene.ask(Method::GET, path, None).await;
        let value = if is_taken { "ada@example.com" } else { &id };
        assert_eq!(shown, json!({"to": ["+49 30 1234567", value]}), "{path}");
    }
}

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
async fn what_is_not_rewritten_passes_as_it_is() {
    if !can_run(&[]) {
        return;
    }
    let scene = Scene::set().await;
    let bytes: Vec<u8> = (0..200_000_u32).map(|it| it.to_le_bytes()[0]).collect();
    let answer = Reply::bytes("application/octet-stream", bytes.clone());
    scene.application.reply(answer.header("x-app", "1").status(201));
    let request = scene.http.post(scene.guard.url("/upload?x=%2F&y")).body(bytes.clone());
    let request = request.header("Authorization", "Bearer robot").header("X-Mine", "1");
    let answer = request.header("X-OPV-GRANT-TOKEN", "v1:a:b").send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["x-app"].to_str().unwrap()), (201, "1"));
    assert_eq!(answer.bytes().await.unwrap(), bytes);
    let received = scene.application.received().pop().unwrap();
    assert_eq!((received.method.as_str(), received.path.as_str()), ("POST", "/upload?x=%2F&y"));
    assert_eq!(received.body, bytes);
    assert_eq!(received.header("x-mine"), Some("1"));
    assert_eq!(received.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(received.header("x-opv-grant-token"), None);
    let upgrade = scene.http.get(scene.guard.url("/ws")).header("Connection", "upgrade");
    let upgrade = upgrade.header("Upgrade", "websocket").send().await.unwrap();
    assert_eq!(upgrade.status(), 501);
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

#[tokio::test]
async fn without_a_grant_there_is_no_proxy() {
    if !can_run(&[]) {
        return;
    }
    let scene = Scene::set().await;
    let other = make(&scene.functions, &grant(&["GET"], &["/api/v1/facts/*"])).await;
    settled(&scene.functions, &scene.agent).await;
    for token in [other.token.as_str(), "v1:sandbox.example.com:nobody", "nonsense"] {
        let config = config(&scene.agent, &scene.application);
        let wrote = Guard::ends(&config, token).await.unwrap();
        assert!(wrote.contains("/api/v1/proxies/billing") && wrote.contains("401"), "{wrote}");
        assert!(!wrote.contains(&other.token), "{wrote}");
    }
    // Who runs it sees what is there.
    let reader = make(&scene.functions, &grant(&["GET"], &["/api/v1/proxies"])).await.token;
    let shown = ask(&scene.functions, &reader, Method::GET, "/api/v1/proxies", None).await;
    let shown = shown.ok().unwrap();
    assert_eq!((&shown[0]["name"], &shown[0]["domain"]), (&json!("billing"), &json!(DOMAIN)));
    let route = &shown[0]["routes"]["routes"][0];
    assert_eq!((&route["method"], &route["path"]), (&json!("POST"), &json!("/users")));
    let logs = scene.guard.logs().to_string();
    let told = r#""method":"POST","path":"/users","replaced":"/email (email), /phones/* (phone)""#;
    assert!(logs.contains(told), "{logs}");
}

#[tokio::test]
async fn an_agent_that_has_not_caught_up_is_waited_for_but_not_for_ever() {
    if !can_run(&[]) {
        return;
    }
    let functions = with_facts().start().await.unwrap();
    let made = make(&functions, &for_proxy()).await;
    let way = Proxy::start(functions.port()).await.unwrap();
    way.refuse(true);
    let client = functions.mint("client", json!({})).await.unwrap();
    let agent = Agent::builder(way.url(), client).topics(["facts:."]).data_plane();
    let agent = agent.start().await.unwrap();
    let application = Source::start(&json!({})).unwrap();
    let config = config(&agent, &application);
    let impatient = format!("catch_up_seconds = 1\n{config}");
    let wrote = Guard::ends(&impatient, &made.token).await.unwrap();
    assert!(wrote.contains("caught up with the hub within 1 s"), "{wrote}");
    assert!(wrote.contains("catch_up_seconds") && !wrote.contains("a grant such as"), "{wrote}");

    let refused = async || {
        let audits = agent.get("/api/v1/api_audits").await.unwrap().ok().unwrap();
        audits.as_array().unwrap().iter().filter(|it| it["http_method"] == "PUT").count()
    };
    let before = refused().await;
    let mended = async {
        until("a proxy asks", async || refused().await > before).await;
        way.refuse(false);
    };
    let (guard, ()) = tokio::join!(Guard::start(&config, &made.token), mended);
    let logs = guard.unwrap().logs().to_string();
    assert!(logs.contains("the agent has not caught up"), "{logs}");
}

#[tokio::test]
async fn a_revoked_grant_and_a_dead_engine_let_nothing_pass() {
    if !can_run(&[]) {
        return;
    }
    let mut scene = Scene::set().await;
    assert_eq!(scene.ask(Method::GET, "/x", None).await.0, 200);
    let revoke = format!("/api/v1/grants/{}?wait=all", scene.grant);
    control(&scene.functions, Method::DELETE, &revoke, None).await.ok().unwrap();
    let refused = async {
        loop {
            let (status, told) = scene.ask(Method::GET, "/x", None).await;
            if status != 200 {
                return (status, told);
            }
        }
    };
    let (status, told) = tokio::time::timeout(Duration::from_secs(1), refused).await.unwrap();
    assert_eq!(status, 503, "{told}");
    assert!(told["message"].as_str().unwrap().contains("revoked"), "{told}");

    let made = make(&scene.functions, &for_proxy()).await;
    settled(&scene.functions, &scene.agent).await;
    let config = config(&scene.agent, &scene.application);
    scene.guard = Guard::start(&config, &made.token).await.unwrap();
    assert_eq!(scene.ask(Method::GET, "/x", None).await.0, 200);
    let before = scene.application.count();
    // It has the engine and the data plane in it.
    scene.agent.kill().await.unwrap();
    let (status, told) = scene.ask(Method::GET, "/x", None).await;
    assert_eq!((status.as_u16(), scene.application.count()), (503, before), "{told}");
    assert!(scene.guard.terminate().await.unwrap());
}
