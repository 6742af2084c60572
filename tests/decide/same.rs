//! How answers are compared: byte for byte, but for a list of parts that nobody can promise.

use serde_json::Value;

use crate::ask::{Answer, Ask};

/// A part that may differ.
struct Normalisation {
    #[expect(dead_code, reason = "it says why, to who reads the table")]
    reason: &'static str,
    /// Whether it is about this request and its answer.
    when: fn(&Ask, &Answer) -> bool,
    change: fn(&mut Value),
}

const NORMALISATIONS: &[Normalisation] = &[
    Normalisation {
        reason: "times and counts are everybody's own; that there are some is compared",
        when: |ask, answer| answer.status == 200 && (has(ask, "metrics") || has(ask, "instrument")),
        change: |body| {
            if let Some(metrics) = body.get_mut("metrics") {
                *metrics = Value::from(metrics.as_object().is_some_and(|it| !it.is_empty()));
            }
        },
    },
    Normalisation {
        reason: "versions and revisions are everybody's own",
        when: |ask, answer| answer.status == 200 && has(ask, "provenance"),
        change: |body| {
            let provenance = body.get_mut("provenance").and_then(Value::as_object_mut);
            for (_, value) in provenance.into_iter().flatten() {
                match value.pointer_mut("/girasol/revision") {
                    Some(revision) => *revision = Value::from(revision.is_string()),
                    None => *value = Value::from(value.is_string()),
                }
            }
        },
    },
    Normalisation {
        reason: "an agent says in its data how fresh it is; OPA has nothing there",
        when: |ask, answer| answer.status == 200 && is_root(ask),
        change: |body| {
            let root =
                if body.get("result").is_some() { body.get_mut("result") } else { Some(body) };
            if let Some(root) = root.and_then(Value::as_object_mut) {
                root.remove("girasol");
                // What differs by itself is compared at its own place.
                root.remove("apart");
            }
        },
    },
    Normalisation {
        reason: "OPA keeps how a number is written, the embedded engine what it is",
        when: |_, answer| answer.status == 200,
        change: numbers,
    },
    Normalisation {
        reason: "what a parser or an evaluator says is not OPA's; code, status and line are",
        when: |_, answer| answer.status >= 400,
        change: |body| {
            let message = body.get("message").and_then(Value::as_str).map(cut);
            if let (Some(message), Some(body)) = (message, body.as_object_mut()) {
                body.insert("message".to_owned(), Value::from(message));
            }
            let errors = body.get_mut("errors").and_then(Value::as_array_mut);
            for error in errors.into_iter().flatten().filter_map(Value::as_object_mut) {
                for name in ["message", "details", "stack_trace"] {
                    error.remove(name);
                }
                // Where in the line an expression begins is told in two ways.
                if let Some(location) = error.get_mut("location").and_then(Value::as_object_mut) {
                    location.remove("col");
                    // A bundle's files are below its root.
                    let file = location.get("file").and_then(Value::as_str).unwrap_or_default();
                    let file = file.trim_start_matches('/').to_owned();
                    location.insert("file".to_owned(), Value::from(file));
                }
            }
            // OPA goes on and tells of what follows from the first.
            if let Some(errors) = body.get_mut("errors").and_then(Value::as_array_mut) {
                errors.truncate(1);
            }
        },
    },
    Normalisation {
        reason: "which of the rules that contradict each other is named is by chance",
        when: |_, answer| answer.status == 500,
        change: |body| {
            if let Some(location) = body.pointer_mut("/errors/0/location") {
                location.as_object_mut().and_then(|it| it.remove("row"));
            }
        },
    },
    Normalisation {
        reason: "no order of a query's answers is promised",
        when: |ask, answer| answer.status == 200 && ask.path.starts_with("/v1/query"),
        change: |body| {
            if let Some(results) = body.get_mut("result").and_then(Value::as_array_mut) {
                results.sort_by_key(Value::to_string);
            }
        },
    },
    Normalisation {
        reason: "the syntax tree is regorus's, so it is left out; a bundle's modules have its name",
        when: |ask, answer| answer.status == 200 && ask.path.starts_with("/v1/policies"),
        change: |body| {
            let one = |policy: &mut Value| {
                if let Some(policy) = policy.as_object_mut() {
                    policy.remove("ast");
                    let id = policy.get("id").and_then(Value::as_str).unwrap_or_default();
                    let id = id.strip_prefix("girasol/").unwrap_or(id).to_owned();
                    policy.insert("id".to_owned(), Value::from(id));
                }
            };
            match body.get_mut("result") {
                Some(Value::Array(policies)) => {
                    policies.iter_mut().for_each(one);
                    policies.sort_by_key(|policy| policy["id"].to_string());
                }
                Some(policy) => one(policy),
                None => {}
            }
        },
    },
];

/// Numbers by what they are.
fn numbers(value: &mut Value) {
    match value {
        Value::Number(number) => *value = Value::from(number.as_f64()),
        Value::Array(items) => items.iter_mut().for_each(numbers),
        Value::Object(members) => members.values_mut().for_each(numbers),
        _ => {}
    }
}

/// What precedes a parser's own words.
const BEFORE_WORDS: &[&str] = &["malformed input document: ", "while decoding request: "];
/// What a syntax error is said to be about, in Go's words.
const SYNTAX: &[&str] = &[
    "invalid character",
    "json: cannot unmarshal",
    "expected ",
    "not a list of JSON Patch operations",
];

fn cut(message: &str) -> String {
    for before in BEFORE_WORDS {
        if let Some(at) = message.find(before) {
            return message[..at + before.len()].to_owned();
        }
    }
    // OPA names all of the rules that data would hide.
    if let Some(at) = message.find(" occurred:") {
        return message[at..at + " occurred".len()].to_owned();
    }
    if SYNTAX.iter().any(|words| message.starts_with(words)) {
        return "(syntax)".to_owned();
    }
    message.to_owned()
}

fn has(ask: &Ask, parameter: &str) -> bool {
    ask.path.split_once('?').is_some_and(|(_, query)| query.contains(parameter))
}

fn is_root(ask: &Ask) -> bool {
    let path = ask.path.split('?').next().unwrap_or_default();
    ["/v1/data", "/v0/data"].contains(&path)
}

/// None if both answered the same, else what differs.
pub(crate) fn difference(ask: &Ask, opas: &Answer, ours: &Answer) -> Option<String> {
    if opas == ours {
        return None;
    }
    let (left, right) = (normalised(ask, opas), normalised(ask, ours));
    if left == right {
        return None;
    }
    let at = left.body.bytes().zip(right.body.bytes()).take_while(|(a, b)| a == b).count();
    let from = |text: &str| text.chars().skip(at.saturating_sub(60)).take(160).collect::<String>();
    let (there, here) = (from(&left.body), from(&right.body));
    let name = ask.name();
    Some(format!(
        "{name}\n    OPA:  {opas}\n    ours: {ours}\n    that is {there}\n    not     {here}"
    ))
}

fn normalised(ask: &Ask, answer: &Answer) -> Answer {
    let rules: Vec<_> = NORMALISATIONS.iter().filter(|rule| (rule.when)(ask, answer)).collect();
    let mut answer = answer.clone();
    if let (false, Ok(mut body)) = (rules.is_empty(), serde_json::from_str::<Value>(&answer.body)) {
        rules.iter().for_each(|rule| (rule.change)(&mut body));
        answer.body = body.to_string();
    }
    answer
}
