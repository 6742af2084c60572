//! `edge-agent proxy` between real clients and an application, with real facts, a real agent that
//! decides, and grants that come and go.
//!
//! | what is shown | file |
//! |---|---|
//! | values and ids, and what passes as it is | this one |
//! | requests that reach nobody | `proxy/refused.rs` |
//! | when there is a proxy, and when nothing passes | `proxy/deployed.rs` |

mod deployed;
mod refused;

use std::fs;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use testbed::{Agent, Functions, Guard, Reply, Source, http_client};

use crate::plane::{Made, grant, keep, make};
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
