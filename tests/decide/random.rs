//! Requests that a seed makes up.

use fastrand::Rng;
use serde_json::{Value, json};

use crate::ask::Ask;
use crate::requests::escaped;

const PACKAGES: &[&str] = &["rules", "sets", "numbers", "texts", "roles", "app/api/v1"];
const NAMES: &[&str] = &[
    "allow",
    "chain",
    "fallback",
    "reached",
    "reasons",
    "of_input",
    "q",
    "object",
    "partial",
    "y",
    "str",
    "whole_input",
    "every_listed",
    "walked",
    "counted",
];
const WORDS: &[&str] =
    &["a", "ann", "bob", "é<&>", "", "x y", "\u{2028}", "\"q\"", "🌻", "read", "document"];

/// As many as wanted, always the same for a seed.
pub(crate) fn all(seed: u64, count: usize) -> Vec<Ask> {
    let mut rng = Rng::with_seed(seed);
    (0..count).map(|_| one(&mut rng)).collect()
}

fn one(rng: &mut Rng) -> Ask {
    let path = path(rng);
    let input = input(rng);
    let pretty = if rng.bool() { "?pretty" } else { "" };
    match rng.u8(..8) {
        0 => Ask::get(format!("/v1/data{path}{pretty}")),
        1 => Ask::get(format!("/v1/data{path}?input={}", escaped(&input.to_string()))),
        2 | 3 => Ask::post(format!("/v0/data{path}{pretty}"), input.to_string()),
        _ => Ask::post(format!("/v1/data{path}{pretty}"), json!({"input": input}).to_string()),
    }
}

fn path(rng: &mut Rng) -> String {
    let mut path = match rng.u8(..4) {
        0 => format!(
            "/base/{}",
            escaped(pick(rng, &["y", "0", "7", "a b", "a/b", "str", "grants", "nothing"]))
        ),
        1 => {
            format!("/users/by_name/{}", escaped(pick(rng, &["ann", "bob", "cy", "d|e", "nobody"])))
        }
        _ => format!("/{}/{}", pick(rng, PACKAGES), pick(rng, NAMES)),
    };
    while rng.u8(..3) == 0 {
        let segment = match rng.u8(..3) {
            0 => rng.u8(..4).to_string(),
            1 => escaped(pick(rng, NAMES)),
            _ => pick(rng, &["roles", "k", "nested", "list", "r", "s", "b", "action"]).to_owned(),
        };
        path = format!("{path}/{segment}");
    }
    path
}

fn input(rng: &mut Rng) -> Value {
    let x = value(rng, 3);
    json!({
        "x": x,
        "user": pick(rng, &["ann", "bob", "cy", "root", "d|e"]),
        "action": pick(rng, &["read", "write", "list", "delete"]),
        "type": pick(rng, &["document", "folder"]),
        "list": (0..rng.u8(..4)).map(|_| rng.i8(-2..5)).collect::<Vec<_>>(),
        "tree": value(rng, 3),
    })
}

/// Any value, of so many levels.
fn value(rng: &mut Rng, levels: u8) -> Value {
    match rng.u8(..if levels == 0 { 6 } else { 8 }) {
        0 => Value::Null,
        1 => Value::from(rng.bool()),
        2 => Value::from(rng.i64(-5..7)),
        3 => Value::from(rng.i64(..)),
        4 => Value::from(f64::from(rng.i32(..)) / 8.0),
        5 => Value::from(pick(rng, WORDS)),
        6 => (0..rng.u8(..4)).map(|_| value(rng, levels - 1)).collect(),
        _ => {
            let members =
                (0..rng.u8(..4)).map(|_| (pick(rng, WORDS).to_owned(), value(rng, levels - 1)));
            Value::Object(members.collect())
        }
    }
}

fn pick<'t>(rng: &mut Rng, of: &[&'t str]) -> &'t str {
    of[rng.usize(..of.len())]
}
