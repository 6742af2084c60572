//! The Worker decides by itself, as an OPA does; what it cannot decide as an agent would is an
//! error that says so.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use reqwest::Method;
use serde_json::{Value, json};
use testbed::{Functions, Part};

use crate::ask::{Answer, Ask, Side};
use crate::known::KNOWN;
use crate::reading::{RANDOM, SEED, hold};
use crate::world::{self, SOON};
use crate::{queries, random, requests};

/// Functions that look at the log for each decision, and whoever may ask and publish.
pub(crate) struct Edge {
    pub(crate) functions: Functions,
    pub(crate) publisher: String,
    pub(crate) ours: Side,
}

fn can_run() -> bool {
    testbed::require(&[Part::Workerd, Part::WorkerConfig, Part::Opa]).unwrap()
}

impl Edge {
    pub(crate) async fn start() -> Self {
        let functions = Functions::builder().unwrap().var("GIRASOL_DECIDE_MAX_AGE_MS", "0");
        let functions = functions.start().await.unwrap();
        let publisher = functions.mint("datasource", json!({})).await.unwrap();
        let client = functions.mint("client", json!({})).await.unwrap();
        let ours = Side::guarded(functions.url(), &client);
        Self { functions, publisher, ours }
    }

    async fn push(&self, files: &BTreeMap<String, String>) {
        let token = Some(self.publisher.as_str());
        let policy = json!({ "files": files });
        let pushed = self.functions.request(Method::PUT, "/policy", token, Some(&policy)).await;
        let pushed = pushed.unwrap();
        assert_eq!(pushed.status, 200, "{pushed:?}");
    }

    /// One module is all of the policy.
    async fn push_one(&self, rego: &str) {
        self.push(&BTreeMap::from([("a.rego".to_owned(), rego.to_owned())])).await;
    }

    async fn decide(&self, path: &str, input: &Value) -> Answer {
        let body = json!({ "input": input }).to_string();
        self.ours.answer(&Ask::post(format!("/v1/data{path}"), body)).await
    }

    /// The document at a path.
    async fn result(&self, path: &str) -> Value {
        let answer = self.decide(path, &json!({})).await;
        assert_eq!(answer.status, 200, "{answer}");
        serde_json::from_str::<Value>(&answer.body).unwrap()["result"].take()
    }
}

/// The modules that everybody decides by.
fn modules() -> BTreeMap<String, String> {
    let files = fs::read_dir(world::policy()).unwrap().map(|file| file.unwrap());
    let modules = files.filter(|file| file.path().extension().is_some_and(|it| it == "rego"));
    let module = |file: fs::DirEntry| {
        let name = file.file_name().into_string().unwrap();
        (name, fs::read_to_string(file.path()).unwrap())
    };
    modules.map(module).collect()
}

/// True for what the Worker answers in OPA's place: the rest of its paths are its own.
fn is_served(ask: &Ask) -> bool {
    let path = ask.path.split('?').next().unwrap_or_default();
    let is_at_or_below = |root: &str| {
        path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    match ask.method {
        "GET" if path == "/health" => true,
        "GET" => is_at_or_below("/v1/data") || path == "/v1/query",
        "POST" => {
            ["/", "/v1/query"].contains(&path)
                || ["/v1/data", "/v0/data"].into_iter().any(is_at_or_below)
        }
        _ => false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_worker_answers_as_opa_does() {
    if !can_run() {
        return;
    }
    let (edge, (_bundle, opa)) = tokio::join!(Edge::start(), world::opa());
    edge.push(&modules()).await;
    edge.functions.publish_ok(&edge.publisher, &world::update(&world::data())).await.unwrap();
    let opa = Side::open(opa.url());
    let mut asks = requests::all();
    asks.extend(queries::all());
    asks.retain(is_served);
    assert!(asks.len() >= 500, "{} requests are too few", asks.len());
    // What differs at an agent, and nothing else.
    hold(&opa, &edge.ours, asks, KNOWN).await;
    hold(&opa, &edge.ours, random::all(SEED, RANDOM), &[]).await;
}

#[tokio::test]
async fn what_the_worker_does_not_serve_of_opa_is_refused() {
    if !can_run() {
        return;
    }
    let edge = Edge::start().await;
    edge.push_one("package app\nallow := true").await;
    for (method, path, status) in [
        ("PUT", "/v1/data/app/x", 405),
        ("PATCH", "/v1/data/app", 405),
        ("DELETE", "/v1/data/app", 405),
        ("GET", "/v0/data/app", 405),
        ("PUT", "/v1/query", 405),
        ("GET", "/v1/policies", 404),
        ("GET", "/v1/policies/a.rego", 404),
        ("PUT", "/v1/policies/a.rego", 404),
        ("DELETE", "/v1/policies/a.rego", 404),
        ("POST", "/v1/compile", 404),
        ("GET", "/v1/config", 404),
        ("GET", "/v1/status", 404),
        ("GET", "/health/live", 404),
    ] {
        let answer = edge.ours.answer(&Ask::new(method, path).body("{}")).await;
        assert_eq!(answer.status, status, "{method} {path}: {answer}");
    }
    assert_eq!(edge.result("/app").await, json!({"allow": true}));
}

#[tokio::test]
async fn a_policy_that_calls_what_only_agents_have_is_a_501_that_names_it() {
    if !can_run() {
        return;
    }
    let edge = Edge::start().await;
    for (function, call) in [
        ("yaml.unmarshal", "yaml.unmarshal(input.x)"),
        ("uuid.rfc4122", "uuid.rfc4122(input.x)"),
        ("rand.intn", "rand.intn(input.x, 5)"),
        ("crypto.sha256", "crypto.sha256(input.x)"),
        ("io.jwt.decode", "io.jwt.decode(input.x)"),
        ("graphql.is_valid", "graphql.is_valid(input.x, input.x)"),
    ] {
        edge.push_one(&format!("package app\nallow if {call}\nother := 1")).await;
        for path in ["/app/allow", "/app/other", ""] {
            let answer = edge.decide(path, &json!({})).await;
            assert_eq!(answer.status, 501, "{call} {path}: {answer}");
            assert!(answer.body.contains(&format!("undefined function {function}")), "{answer}");
        }
    }
    edge.push_one("package app\nother := 1").await;
    assert_eq!(edge.result("/app/other").await, json!(1));
    // A query that calls one is a mistake, as that of any function that is not there.
    let query = json!({"query": "x := crypto.sha256(\"\")"}).to_string();
    let answer = edge.ours.answer(&Ask::post("/v1/query", query)).await;
    assert_eq!(answer.status, 400, "{answer}");
    // One that is there, and needs a network, is an error of the decision that comes to it.
    edge.push_one("package app\nother := 1\nsent := http.send({\"method\": \"get\", \"url\": \"http://127.0.0.1:9/\"})").await;
    assert_eq!(edge.result("/app/other").await, json!(1));
    let answer = edge.decide("/app/sent", &json!({})).await;
    assert_eq!(answer.status, 500, "{answer}");
}

#[tokio::test]
async fn what_is_deep_is_decided_or_refused_and_the_next_decision_is_made() {
    if !can_run() {
        return;
    }
    let edge = Edge::start().await;
    // As many rules as may depend on each other in a row, each a function, a list and a loop.
    let rules = (1..=38).map(|number| {
        let next = number + 1;
        format!("f{number}(x) := [y | some z in [f{next}(x)]; y := z][0] if {{ every it in [x] {{ it == x }} }}\n")
    });
    let rules: String = rules.collect();
    let nested = format!("{}1{}", "[".repeat(12), "]".repeat(12));
    let rego = format!(
        "package app\nx := f1(7)\n{rules}f39(x) := x\nnested := {nested}\nseen := input\nwalked := count([p | walk(input, [p, _])])\n"
    );
    edge.push_one(&rego).await;
    assert_eq!(edge.result("/app/x").await, json!(7));
    assert_eq!(edge.result("/app/nested").await.to_string(), nested);
    for (levels, status) in [(100, 200), (200, 400), (20_000, 400), (1_000_000, 400)] {
        let input = format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        for path in ["seen", "walked"] {
            let body = format!("{{\"input\":{input}}}");
            let answer = edge.ours.answer(&Ask::post(format!("/v1/data/app/{path}"), body)).await;
            assert_eq!(answer.status, status, "{levels} levels, {path}: {answer}");
        }
        assert_eq!(edge.result("/app/x").await, json!(7));
    }
}

#[tokio::test]
async fn a_policy_reads_the_clock_anew_for_each_decision() {
    if !can_run() {
        return;
    }
    let edge = Edge::start().await;
    edge.push_one("package app\nnow := time.now_ns()\nsame if time.now_ns() == time.now_ns()")
        .await;
    assert_eq!(edge.result("/app/same").await, json!(true));
    let first = edge.result("/app/now").await.as_u64().unwrap();
    let here = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let difference = here.as_nanos().abs_diff(first.into());
    assert!(difference < SOON.as_nanos(), "{difference} ns");
    let began = Instant::now();
    while edge.result("/app/now").await.as_u64().unwrap() <= first {
        assert!(began.elapsed() < SOON, "time stands still");
    }
}
