//! An agent and the Worker follow the same log: whatever is published, they decide on the same, or
//! the Worker decides nothing.

use fastrand::Rng;
use reqwest::Method;
use serde_json::{Value, json};
use testbed::Agent;

use crate::ask::{Ask, Side};
use crate::at_the_edge::Edge;
use crate::world::can_run;

const STEPS: usize = 150;

/// Places of data, one in another; and some where policies have rules, or data of their own.
const PLACES: &[&str] =
    &["/a", "/a/b", "/a/b/c", "/a/0", "/list/0", "/list", "/lib", "/lib/n", "/lib/n/x", "/"];
const HIDING: &[&str] = &["/app", "/app/allow", "/app/x/y", "/a/rule"];

/// Files of policies. Of those with one name the last that is taken counts.
const FILES: &[(&str, &str)] = &[
    ("app.rego", "package app\nallow if data.a.b\nseen := data.lib"),
    ("app.rego", "package app\nallow if data.list[0]"),
    ("app.rego", "package app.x\ny := data.lib.n"),
    ("a.rego", "package a\nrule := data.app"),
    ("lib.rego", "package other\nlib := data.lib"),
    ("lib/data.json", r#"{"n": 1}"#),
    ("lib/data.json", r#"{"n": {"x": 2}, "m": [1]}"#),
    ("more/data.json", r#"{"z": 3}"#),
    ("more.rego", "package more\nn := data.more.z"),
    ("yaml.rego", "package only_agents\nx := yaml.marshal(data.a)"),
];

#[tokio::test]
async fn whatever_is_published_an_agent_and_the_worker_decide_on_the_same() {
    if can_run() {
        for seed in 1..=3 {
            follow(seed, HIDING).await;
        }
    }
}

#[tokio::test]
async fn a_decider_that_was_put_away_decides_on_the_same_as_an_agent_that_was_not() {
    if can_run() {
        // Data that a policy refused is in the log, and may be taken when that policy is not.
        follow(1, &[]).await;
    }
}

/// Publishes what the seed makes up, also where there may be rules. If there may be none, the
/// decider is put away now and then.
async fn follow(seed: u64, hiding: &[&str]) {
    let mut edge = Edge::start().await;
    let client = edge.functions.mint("client", json!({})).await.unwrap();
    let agent = Agent::builder(edge.functions.url(), client).start().await.unwrap();
    let agents = Side::open(agent.decision_url());
    let places = [PLACES, hiding].concat();
    let (mut rng, mut compared, mut steps) = (Rng::with_seed(seed), 0, vec![]);
    for step in 0..STEPS {
        steps.push(publish(&edge, &mut rng, &places).await);
        let tick = json!({"entries": [{"dst_path": "/tick", "data": {"step": step}}]});
        let seq = edge.functions.publish_ok(&edge.publisher, &tick).await.unwrap();
        if hiding.is_empty() && rng.u8(..10) == 0 {
            edge.functions.kill().await.unwrap();
            edge.functions.restart().await.unwrap();
        }
        let ask = Ask::get("/v1/data").header("x-girasol-at-least", seq.to_string());
        let ours = edge.ours.answer(&ask).await;
        if ours.status == 501 {
            if rng.bool() {
                steps.push(mend(&edge).await);
            }
            continue;
        }
        assert_eq!(ours.status, 200, "{ours}\n{steps:#?}");
        let theirs = agents.answer(&ask).await;
        assert_eq!(theirs.status, 200, "{theirs}\n{steps:#?}");
        assert_eq!(data(&ours.body), data(&theirs.body), "the Worker, and the agent\n{steps:#?}");
        compared += 1;
    }
    println!("seed {seed}: {compared} of {STEPS} were decided at the edge");
    assert!(compared > STEPS / 2, "{compared} are too few to say anything");
}

/// Publishes a policy that nothing is in the way of.
async fn mend(edge: &Edge) -> String {
    let nothing = json!({"entries": [{"dst_path": "/", "data": {}}]});
    edge.functions.publish_ok(&edge.publisher, &nothing).await.unwrap();
    push(edge, &json!({"files": {"app.rego": "package app\nseen := data.lib"}})).await
}

async fn push(edge: &Edge, policy: &Value) -> String {
    let token = Some(edge.publisher.as_str());
    let answer = edge.functions.request(Method::PUT, "/policy", token, Some(policy)).await;
    format!("{} {policy}", answer.unwrap().status)
}

/// All of the data but how fresh it is.
fn data(body: &str) -> Value {
    let mut body: Value = serde_json::from_str(body).unwrap();
    let mut data = body["result"].take();
    data.as_object_mut().unwrap().remove("girasol");
    data
}

/// Publishes something, which may be refused, and says what.
async fn publish(edge: &Edge, rng: &mut Rng, places: &[&str]) -> String {
    if rng.u8(..5) == 0 {
        let files = FILES.iter().filter(|_| rng.bool()).copied();
        let files: serde_json::Map<String, Value> =
            files.map(|(name, text)| (name.to_owned(), json!(text))).collect();
        return push(edge, &json!({ "files": files })).await;
    }
    let entries: Vec<Value> = (0..=rng.usize(..3)).map(|_| entry(rng, places)).collect();
    let update = json!({ "entries": entries });
    let answer = edge.functions.publish(&edge.publisher, &update).await.unwrap();
    format!("{} {update}", answer.status)
}

fn entry(rng: &mut Rng, places: &[&str]) -> Value {
    let place = pick(rng, places);
    if rng.bool() {
        return json!({"dst_path": place, "data": document(rng)});
    }
    let operation = |rng: &mut Rng| {
        let path = pick(rng, &["", "/b", "/b/c", "/0", "/-", "/n", "/allow", "/girasol/x"]);
        match rng.u8(..4) {
            0 => json!({"op": "remove", "path": path}),
            1 => json!({"op": "replace", "path": path, "value": value(rng)}),
            2 => json!({"op": "move", "from": "/b", "path": path}),
            _ => json!({"op": "add", "path": path, "value": value(rng)}),
        }
    };
    let operations: Vec<Value> = (0..=rng.usize(..2)).map(|_| operation(rng)).collect();
    json!({"dst_path": place, "save_method": "PATCH", "data": operations})
}

/// What may be published whole: an object, or a list.
fn document(rng: &mut Rng) -> Value {
    let documents = [
        json!({}),
        json!({"b": {"c": 1}}),
        json!({"b": 1}),
        json!({"n": 5, "allow": true}),
        json!([1, {"b": 2}]),
        json!({"a": {"b": 1}, "lib": {"n": 7}, "girasol": 5}),
    ];
    documents[rng.usize(..documents.len())].clone()
}

fn value(rng: &mut Rng) -> Value {
    let scalars = [json!(1), json!(true), json!("text"), Value::Null];
    if rng.bool() { scalars[rng.usize(..scalars.len())].clone() } else { document(rng) }
}

fn pick<'a>(rng: &mut Rng, from: &[&'a str]) -> &'a str {
    from[rng.usize(..from.len())]
}
