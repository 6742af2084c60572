//! Who may ask, if not everybody: `data.system.authz.allow`. And that nothing that goes wrong is
//! taken for leave.

use std::fs;
use std::path::Path;

use serde_json::json;
use tempfile::TempDir;
use testbed::{Agent, Functions, Opa};

use crate::ask::{self, Ask};
use crate::same::difference;
use crate::world::{SOON, bundle, can_run, guarded};

/// Everybody may ask for health; the rest is by token, path, method, parameter, header and body.
const AUTHZ: &str = r#"package system.authz

default allow := false

allow if input.path == ["health"]

allow if input.identity == "root"

allow if {
	input.identity == "reader"
	input.method == "GET"
	input.path = ["v1", "data", "open", _]
}

allow if {
	input.identity == "asker"
	input.body.input.please == true
}

allow if input.params.key == ["sesame"]

allow if input.headers["X-Sesame"] == ["open"]

allow if input.path == ["v1", "data", "a/b"]
"#;

const OPEN: &str = "package open\nrule := 1\nother := 2\nby_body := input.please\n";

struct Guarded {
    _functions: Functions,
    agent: Agent,
    opa: Opa,
    http: reqwest::Client,
    _folders: [TempDir; 2],
}

impl Guarded {
    async fn start(authz: &str) -> Self {
        let policy = tempfile::tempdir().unwrap();
        fs::write(policy.path().join("authz.rego"), authz).unwrap();
        fs::write(policy.path().join("open.rego"), OPEN).unwrap();
        let functions = Functions::start().await.unwrap();
        let agent = agent(&functions, policy.path()).await;
        let bundle = bundle(policy.path(), &["open", "system/authz", "a/b"]);
        let opa = guarded(bundle.path()).await;
        let _folders = [policy, bundle];
        Self { _functions: functions, agent, opa, http: ask::http(), _folders }
    }
}

async fn agent(functions: &Functions, policy: &Path) -> Agent {
    let token = functions.mint("client", json!({})).await.unwrap();
    let agent = Agent::builder(functions.url(), token).policy_dir(policy);
    let agent = agent.arg("--decision-authentication").arg("token");
    let agent = agent.arg("--decision-authorization").arg("basic").start().await.unwrap();
    agent.wait_live(SOON).await.unwrap();
    agent
}

#[tokio::test]
async fn the_policy_about_access_is_asked_as_opa_asks_it() {
    if !can_run() {
        return;
    }
    let guarded = Guarded::start(AUTHZ).await;
    let bearer = |ask: Ask, token: &str| ask.header("authorization", format!("Bearer {token}"));
    let rule = || Ask::get("/v1/data/open/rule");
    let please = r#"{"input":{"please":true}}"#;
    let asks = [
        Ask::get("/health"),
        rule(),
        Ask::get("/v1/data"),
        Ask::get("/v1/policies"),
        Ask::get("/v1/query?q=x%3D1"),
        Ask::new("DELETE", "/v1/policies/authz.rego"),
        Ask::new("PUT", "/v1/data/x").body("1"),
        Ask::new("HEAD", "/v1/data/open/rule"),
        Ask::get("/nowhere"),
        Ask::get("//v1/data/open/rule"),
        Ask::get("/v1/data/open/rule/"),
        bearer(rule(), "root"),
        bearer(rule(), "reader"),
        bearer(Ask::get("/v1/data/open"), "reader"),
        bearer(Ask::get("/v1/data/open%2Frule"), "reader"),
        bearer(Ask::post("/v1/data/open/rule", "{}"), "reader"),
        bearer(Ask::get("/v1/policies"), "reader"),
        bearer(Ask::post("/v1/data/open/by_body", please), "asker"),
        bearer(Ask::post("/v1/data/open/by_body", r#"{"input":{"please":false}}"#), "asker"),
        bearer(Ask::post("/v1/data/open/by_body", ""), "asker"),
        // What is decided on is what the policy was shown.
        bearer(
            Ask::post(
                "/v1/data/open/by_body",
                r#"{"input":{"please":true},"Input":{"please":"another"}}"#,
            ),
            "asker",
        ),
        bearer(Ask::post("/v1/data/open/by_body", r#"{"INPUT":{"please":true}}"#), "asker"),
        bearer(
            Ask::post(
                "/v1/query",
                r#"{"query":"x = input","QUERY":"x = data.open","input":{"please":true}}"#,
            ),
            "asker",
        ),
        bearer(Ask::post("/v1/query", r#"{"query":"x=input","input":{"please":true}}"#), "asker"),
        bearer(Ask::new("PUT", "/v1/data/x").body(please), "asker"),
        bearer(rule(), "nobody"),
        bearer(rule(), ""),
        bearer(rule(), "root extra"),
        rule().header("authorization", "bearer root"),
        rule().header("authorization", "BEARER root"),
        rule().header("authorization", "Bearer   root"),
        rule().header("authorization", "Bearer\troot"),
        rule().header("authorization", "Basic root"),
        rule().header("authorization", "root"),
        Ask::get("/v1/data/open/rule?key=sesame"),
        Ask::get("/v1/data/open/rule?key=sesame&key=more"),
        Ask::get("/v1/data/open/rule?key=no"),
        rule().header("x-sesame", "open"),
        rule().header("X-SESAME", "open"),
        rule().header("x-sesame", "closed"),
        Ask::get("/v1/data/a%2Fb"),
        Ask::get("/v1/data/a/b"),
        Ask::post("/v1/data/open/rule", "{"),
        Ask::post("/", ""),
    ];
    let mut differences = vec![];
    for ask in asks {
        let (opas, ours) = tokio::join!(
            ask.send(&guarded.http, guarded.opa.url()),
            ask.send(&guarded.http, guarded.agent.decision_url())
        );
        differences.extend(difference(&ask, &opas, &ours));
    }
    assert!(differences.is_empty(), "not as OPA's:\n  {}", differences.join("\n  "));
}

/// Policies about access that say nothing, or nothing that is understood.
const MISTAKEN: &[(&str, &str)] = &[
    ("undefined", "allow if input.path == [\"health\"]"),
    (
        "an error",
        "allow := true if input.path == [\"health\"]\nallow := false if input.path == [\"health\"]\nallow := true if input.method\nallow := 2 if input.path != [\"health\"]\nallow := 3 if input.path != [\"health\"]",
    ),
    (
        "a text",
        "allow := \"true\" if input.path != [\"health\"]\nallow := true if input.path == [\"health\"]",
    ),
    (
        "a number",
        "allow := 1 if input.path != [\"health\"]\nallow := true if input.path == [\"health\"]",
    ),
    (
        "null",
        "allow := null if input.path != [\"health\"]\nallow := true if input.path == [\"health\"]",
    ),
    (
        "a list",
        "allow := [true] if input.path != [\"health\"]\nallow := true if input.path == [\"health\"]",
    ),
    (
        "an empty object",
        "allow := {} if input.path != [\"health\"]\nallow := true if input.path == [\"health\"]",
    ),
    (
        "allowed is a text",
        "allow := {\"allowed\": \"true\"} if input.path != [\"health\"]\nallow := true if input.path == [\"health\"]",
    ),
    (
        "a reason",
        "allow := {\"allowed\": false, \"reason\": \"<not> today\"} if input.path != [\"health\"]\nallow := true if input.path == [\"health\"]",
    ),
    (
        "a reason that is none",
        "allow := {\"allowed\": false, \"reason\": 5} if input.path != [\"health\"]\nallow := true if input.path == [\"health\"]",
    ),
    (
        "a division",
        "allow := 1 / 0 if input.path != [\"health\"]\nallow := true if input.path == [\"health\"]",
    ),
];

#[tokio::test]
async fn a_policy_about_access_that_is_mistaken_lets_nobody_in() {
    if !can_run() {
        return;
    }
    let functions = Functions::start().await.unwrap();
    let http = ask::http();
    for (name, rules) in MISTAKEN {
        let policy = tempfile::tempdir().unwrap();
        fs::write(policy.path().join("authz.rego"), format!("package system.authz\n{rules}\n"))
            .unwrap();
        fs::write(policy.path().join("open.rego"), OPEN).unwrap();
        let agent = agent(&functions, policy.path()).await;
        for ask in [
            Ask::get("/v1/data/open/rule"),
            Ask::post("/v0/data/open/rule", "{}"),
            Ask::post("/v1/query", r#"{"query":"x=1"}"#),
            Ask::new("PUT", "/v1/data/mine").body("1"),
        ] {
            let answer = ask.send(&http, agent.decision_url()).await;
            assert!([401, 500].contains(&answer.status), "{name}: {} {answer}", ask.name());
            assert!(!answer.body.contains("result"), "{name}: {answer}");
        }
    }
}

/// Rules that have no decision, each for another reason.
const NO_DECISION: &str = r#"package none

allow := true if input.missing
conflict := true if input.x
conflict := false if input.x
endless := count([1 | some a in numbers.range(1, 100000); some b in numbers.range(1, 100000); a == b + 200000])
"#;

#[tokio::test]
async fn what_goes_wrong_allows_nothing() {
    if !can_run() {
        return;
    }
    let policy = tempfile::tempdir().unwrap();
    fs::write(policy.path().join("none.rego"), NO_DECISION).unwrap();
    let functions = Functions::start().await.unwrap();
    let token = functions.mint("client", json!({})).await.unwrap();
    let agent = Agent::builder(functions.url(), token).policy_dir(policy.path());
    let agent = agent.start().await.unwrap();
    agent.wait_live(SOON).await.unwrap();
    let http = ask::http();
    let x = r#"{"input":{"x":1}}"#;
    let large = format!(r#"{{"input":"{}"}}"#, "x".repeat((16 << 20) + 1));
    let query = json!({"query": format!("x := \"{}\"", "y".repeat(70_000))}).to_string();
    for (ask, status) in [
        (Ask::post("/v1/data/none/allow", x), 200),
        (Ask::post("/v1/data/none/nobody", x), 200),
        (Ask::post("/v0/data/none/allow", "{}"), 404),
        (Ask::post("/v1/data/none/conflict", x), 500),
        (Ask::post("/v1/data/none/endless", x), 500),
        (Ask::post("/v1/data/none/allow", "{"), 400),
        (Ask::post("/v1/data/none/allow", large), 400),
        (Ask::post("/v1/data/none/allow", "x").header("content-encoding", "gzip"), 400),
        (Ask::post("/v1/data/none/allow", x).header("content-encoding", "br"), 400),
        (Ask::post("/v1/data/none/allow", "input: 1").header("content-type", "text/yaml"), 400),
        (Ask::post("/v1/data/none/%22", x), 500),
        (Ask::post("/v1/data/none/%ff", x), 500),
        (Ask::post("/v1/data/none/allow?explain=full", x), 501),
        (Ask::post("/v1/compile", "{}"), 501),
        (Ask::post("/v1/query", query), 400),
        (Ask::post("/v1/query", r#"{"query":"data.none.conflict","input":{"x":1}}"#), 500),
        (Ask::post("/", "{}"), 404),
        (Ask::get("/v1/data/none/allow").header("x-girasol-at-least", "no number"), 400),
        (
            Ask::get("/v1/data/none/allow")
                .header("x-girasol-at-least", "1000000")
                .header("x-girasol-timeout", "0"),
            503,
        ),
    ] {
        let answer = ask.send(&http, agent.decision_url()).await;
        let name: String = ask.name().chars().take(100).collect();
        assert_eq!(answer.status, status, "{name}: {answer}");
        assert!(!answer.body.contains("\"result\""), "{name}: {answer}");
        assert!(!["true\n", "true"].contains(&answer.body.as_str()), "{name}: {answer}");
    }
}

#[tokio::test]
async fn an_input_of_ten_megabytes_is_decided_on_also_when_it_is_compressed() {
    if !can_run() {
        return;
    }
    let policy = tempfile::tempdir().unwrap();
    fs::write(policy.path().join("size.rego"), "package size\nn := count(input)\n").unwrap();
    let functions = Functions::start().await.unwrap();
    let token = functions.mint("client", json!({})).await.unwrap();
    let agent = Agent::builder(functions.url(), token).policy_dir(policy.path());
    let agent = agent.start().await.unwrap();
    let input = vec!["0123456789"; 900_000];
    let body = json!({"input": input}).to_string();
    assert!(body.len() > 10 << 20);
    let url = format!("{}/v1/data/size/n", agent.decision_url());
    let http = ask::http();
    let plain = http.post(&url).body(body.clone()).send().await.unwrap();
    assert_eq!(plain.text().await.unwrap(), "{\"result\":900000}\n");
    let mut packed = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, body.as_bytes()).unwrap();
    let packed = packed.finish().unwrap();
    let packed = http.post(&url).header("content-encoding", "gzip").body(packed);
    assert_eq!(packed.send().await.unwrap().text().await.unwrap(), "{\"result\":900000}\n");
}
