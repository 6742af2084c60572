//! Policies and requests that would take all there is: each ends with an error and without a
//! decision, and the agent goes on.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;
use testbed::{Agent, Functions};

use crate::ask::{self, Ask};
use crate::world::{SOON, can_run};

/// A way to take time or memory, twice: as a program of regorus's machine, and with a rule that
/// only its interpreter carries out.
const GREEDY: &str = r#"package greedy

ok := true

long := concat("", [sprintf("%999d", [1]) | some _ in numbers.range(1, 100)])

numbers_of_a_range := numbers.range(1, 100000)

loops if {
	some a in numbers_of_a_range
	some b in numbers_of_a_range
	a + b < 0
}

loops_interpreted if {
	some a in numbers_of_a_range
	some b in numbers_of_a_range
	sprintf("%d", [a + b]) == "x"
}

hoards := count([[a, b] |
	some a in numbers_of_a_range
	some b in numbers_of_a_range
])

hoards_interpreted := count([sprintf("%d-%s", [b, long]) |
	some _ in numbers_of_a_range
	some b in numbers_of_a_range
])

replaces := replace(long, " ", long)

pairs := x if {
	x1 := [long, long, long, long, long, long, long, long]
	x2 := [x1, x1, x1, x1, x1, x1, x1, x1]
	x3 := [x2, x2, x2, x2, x2, x2, x2, x2]
	x := [x3, x3, x3, x3, x3, x3, x3, x3]
}
"#;

struct Stage {
    _functions: Functions,
    agent: Agent,
    http: reqwest::Client,
    _policy: TempDir,
}

impl Stage {
    async fn start() -> Self {
        let policy = tempfile::tempdir().unwrap();
        fs::write(policy.path().join("greedy.rego"), GREEDY).unwrap();
        let functions = Functions::start().await.unwrap();
        let agent = agent(&functions, policy.path()).await;
        agent.wait_live(SOON).await.unwrap();
        Self { _functions: functions, agent, http: ask::http(), _policy: policy }
    }

    async fn ask(&self, ask: Ask) -> ask::Answer {
        ask.send(&self.http, self.agent.decision_url()).await
    }

    async fn goes_on(&self) {
        let answer = self.ask(Ask::post("/v1/data/greedy/ok", r#"{"input":{}}"#)).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "{\"result\":true}\n"));
    }
}

async fn agent(functions: &Functions, policy: &Path) -> Agent {
    let token = functions.mint("client", json!({})).await.unwrap();
    let agent = Agent::builder(functions.url(), token).policy_dir(policy);
    let agent = agent.var("GIRASOL_DECISION_TIMEOUT_SECONDS", "2");
    agent.var("GIRASOL_DECISION_MEMORY_LIMIT", "200MiB").start().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_that_take_all_there_is_are_given_up() {
    if !can_run() {
        return;
    }
    let stage = Stage::start().await;
    for (rule, reason) in [
        ("loops", "longer than it may"),
        ("loops_interpreted", "longer than it may"),
        ("hoards", "more memory than it may"),
        ("hoards_interpreted", "more memory than it may"),
        ("replaces", "it makes at most 67108864 bytes"),
        ("pairs", "the answer has more than"),
    ] {
        let answer = stage.ask(Ask::post(format!("/v1/data/greedy/{rule}"), "{}")).await;
        assert_eq!(answer.status, 500, "{rule}: {answer}");
        assert!(answer.body.contains(reason), "{rule}: {answer}");
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(body.get("result"), None, "{rule}");
        stage.goes_on().await;
    }
    // And nothing is left of it: there is as much room as before.
    let again = stage.ask(Ask::post("/v1/data/greedy/numbers_of_a_range", "{}")).await;
    assert_eq!(again.status, 200, "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_that_call_themselves_are_never_taken() {
    if !can_run() {
        return;
    }
    let functions = Functions::start().await.unwrap();
    let policy = tempfile::tempdir().unwrap();
    fs::write(policy.path().join("f.rego"), "package a\n\nf(x) := f(x + 1)\n\nx := f(1)\n")
        .unwrap();
    let token = functions.mint("client", json!({})).await.unwrap();
    let agent = Agent::builder(functions.url(), token).policy_dir(policy.path());
    // It listens before it has read its policies.
    let said = match agent.start().await {
        Ok(mut agent) => format!("{:#}", agent.ended().await),
        Err(error) => format!("{error:#}"),
    };
    assert!(said.contains("rule data.a.f is recursive"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_as_large_and_as_deep_as_they_may_be() {
    if !can_run() {
        return;
    }
    let stage = Stage::start().await;
    let input = |text: String| format!(r#"{{"input":{text}}}"#);
    let nested = |levels: usize| input(format!("{}{}", "[".repeat(levels), "]".repeat(levels)));
    let query =
        |bytes: usize| json!({"query": format!("x = \"{}\"", "y".repeat(bytes))}).to_string();
    for (what, ask, status) in [
        (
            "an input of 10 MB",
            Ask::post("/v1/data/greedy/ok", input(format!("\"{}\"", "x".repeat(10_000_000)))),
            200,
        ),
        (
            "an input of 17 MB",
            Ask::post("/v1/data/greedy/ok", input(format!("\"{}\"", "x".repeat(17 << 20)))),
            400,
        ),
        ("a deep input", Ask::post("/v1/data/greedy/ok", nested(100)), 200),
        ("one that is too deep", Ask::post("/v1/data/greedy/ok", nested(100_000)), 400),
        ("a query", Ask::post("/v1/query", query(1_000)), 200),
        ("one that is too long", Ask::post("/v1/query", query(65 << 10)), 400),
    ] {
        let answer = stage.ask(ask).await;
        assert_eq!(answer.status, status, "{what}: {answer}");
        stage.goes_on().await;
    }
}
