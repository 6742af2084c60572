//! What is published, and what the sources have.

use fastrand::Rng;
use serde_json::{Value, json};

/// The topics of all runs; one is below another.
pub(crate) const TOPICS: [&str; 4] = ["users", "users/eu", "users/us", "billing"];

/// Sources of each kind: so few that entries have equal ones.
const SOURCES: u64 = 12;

/// What the source at an address has after so many changes: data, or the operations of a
/// patch; some of the latter do not exist.
#[must_use]
pub(crate) fn fetched(url: &str, version: u64) -> Option<Value> {
    let (kind, number) = url.strip_prefix("http://source/")?.split_once('/')?;
    let number: u64 = number.parse().ok()?;
    let mut rng = Rng::with_seed(number + SOURCES * version);
    match kind {
        "data" => Some(data(&mut rng)),
        _ if number.is_multiple_of(7) => None,
        _ => Some(operations(&mut rng)),
    }
}

/// The members of an update, without its id.
pub(crate) fn update(rng: &mut Rng) -> Value {
    let count = if rng.u8(..4) == 0 { 2 } else { 1 };
    let entries: Vec<Value> = (0..count).map(|_| entry(rng)).collect();
    json!({ "entries": entries })
}

/// An update that leaves something new at a place of its own for a topic.
#[must_use]
pub(crate) fn last_word(topic: &str) -> Value {
    let place = topic.replace('/', "-");
    json!({"entries": [{"topics": [topic], "dst_path": format!("/last/{place}"), "data": {}}]})
}

fn entry(rng: &mut Rng) -> Value {
    let patch = rng.u8(..3) == 0;
    let topics: Vec<&str> =
        (0..rng.usize(1..=2)).map(|_| TOPICS[rng.usize(..TOPICS.len())]).collect();
    let mut entry = json!({
        "topics": topics,
        "dst_path": path(rng),
        "save_method": if patch { "PATCH" } else { "PUT" },
    });
    if rng.u8(..4) == 0 {
        let kind = if patch { "patch" } else { "data" };
        entry["url"] = format!("http://source/{kind}/{}", rng.u64(..SOURCES)).into();
    } else {
        entry["data"] = if patch { operations(rng) } else { data(rng) };
    }
    entry
}

fn path(rng: &mut Rng) -> String {
    // Few and short, so that they meet.
    let depth = [1, 1, 1, 2, 2, 3][rng.usize(..6)];
    (0..depth).map(|_| format!("/{}", rng.choice(["a", "b"]).unwrap_or("a"))).collect()
}

fn data(rng: &mut Rng) -> Value {
    let n = rng.u32(..1_000);
    match rng.u8(..6) {
        0 => json!([]),
        1 => json!([n]),
        2 => json!({"a": {"a": n}, "b": {}}),
        3 => json!({"a": n}),
        _ => json!({"n": n, "a": {}}),
    }
}

fn operations(rng: &mut Rng) -> Value {
    let n = rng.u32(..1_000);
    let count = if rng.u8(..5) == 0 { 2 } else { 1 };
    let operation = |rng: &mut Rng| match rng.u8(..9) {
        0 | 1 => json!({"op": "add", "path": "/-", "value": n}),
        2 => json!({"op": "add", "path": "/a", "value": n}),
        3 => json!({"op": "add", "path": "/a/b", "value": {"n": n}}),
        4 => json!({"op": "remove", "path": "/a"}),
        5 => json!({"op": "replace", "path": "/a", "value": [n]}),
        6 => json!({"op": "add", "path": "", "value": {"p": n}}),
        7 => json!({"op": "remove", "path": ""}),
        _ => json!({"op": "add", "path": "/b", "value": {"n": n}}),
    };
    (0..count).map(|_| operation(rng)).collect()
}
