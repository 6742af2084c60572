//! A directory in memory, asked as over HTTP, with an agent that follows it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    reason = "a test fails by panicking"
)]

mod bad_input;
mod documents;
mod lists;
mod random;
mod things;

use std::collections::BTreeMap;

use protocol::{Millis, Problem, SaveMethod};
use serde_json::{Value, json};

use crate::{Document, Store, carry_out, read};

#[derive(Default)]
struct Memory(BTreeMap<String, String>);

impl Store for Memory {
    fn document(&self, name: &str) -> Result<Option<String>, Problem> {
        Ok(self.0.get(name).cloned())
    }

    fn names_after(&self, prefix: &str, after: &str, most: usize) -> Result<Vec<String>, Problem> {
        let names = self.0.range(prefix.max(after).to_owned()..).map(|(name, _)| name);
        let names = names.take_while(|name| name.starts_with(prefix));
        Ok(names.filter(|name| name.as_str() > after).take(most).cloned().collect())
    }

    fn count(&self, prefix: &str) -> Result<usize, Problem> {
        self.names_after(prefix, "", usize::MAX).map(|names| names.len())
    }
}

/// A directory, and the data of an agent that was told everything.
#[derive(Default)]
struct Desk {
    kept: Memory,
    now: u64,
    /// `data.<place>.<key>`.
    data: BTreeMap<String, BTreeMap<String, Value>>,
    /// How many documents the last call told of.
    told: usize,
}

impl Desk {
    /// Asks; status and body. A path's segments are written as they are after decoding, apart
    /// from `%2F`.
    fn ask(&mut self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let segments: Vec<String> = path.split('/').map(|it| it.replace("%2F", "/")).collect();
        let done = read(method, &segments, query, body.as_bytes())
            .and_then(|call| carry_out(&self.kept, "default", Millis(self.now), call));
        self.now += 1_000;
        let done = match done {
            Ok(done) => done,
            Err(refusal) => return (refusal.status(), refusal.body()),
        };
        for (name, text) in done.rows {
            match text {
                Some(text) => self.kept.0.insert(name, text),
                None => self.kept.0.remove(&name),
            };
        }
        self.told = done.told.len();
        for entry in done.told.into_iter().flat_map(|(_, entries)| entries) {
            let [place, key] = entry.dst_path.segments() else { panic!("{}", entry.dst_path) };
            let documents = self.data.entry(place.clone()).or_default();
            match entry.save_method {
                SaveMethod::Put => {
                    let text = entry.inline().unwrap().get();
                    documents.insert(key.clone(), serde_json::from_str(text).unwrap());
                }
                // The only patch that there is takes a document away.
                SaveMethod::Patch => drop(documents.remove(key).unwrap()),
            }
        }
        let body = done.body.map_or(Value::Null, |it| serde_json::from_str(it.get()).unwrap());
        (done.status, body)
    }

    /// Asks for what has to work.
    fn ok(&mut self, method: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.ask(method, path, &body.to_string());
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    /// A document of the agent's.
    fn data(&self, place: &str, key: &str) -> Value {
        let documents = self.data.get(place);
        documents.and_then(|it| it.get(key)).cloned().unwrap_or(Value::Null)
    }

    /// What an agent has that is told every document as it is now.
    fn told_anew(&self) -> BTreeMap<String, BTreeMap<String, Value>> {
        let mut data: BTreeMap<String, BTreeMap<String, Value>> = BTreeMap::new();
        let places =
            ["users", "role_assignments", "tenants", "resource_instances", "relationships"];
        let keys = self.kept.0.keys().filter_map(|name| {
            let (kind, key) = name.strip_prefix("directory/")?.split_once('/')?;
            (kind != "of").then_some(key)
        });
        for key in keys {
            for place in places {
                let document = Document::of_name(&format!("{place}/{key}")).unwrap();
                if let Some(entry) = document.entry(&self.kept).unwrap() {
                    let [_, key] = entry.dst_path.segments() else { panic!() };
                    let value = serde_json::from_str(entry.inline().unwrap().get()).unwrap();
                    data.entry(place.to_owned()).or_default().insert(key.clone(), value);
                }
            }
        }
        data
    }
}

/// A desk with users `a` and `b`, the tenant `t`, and nothing else.
fn desk() -> Desk {
    let mut desk = Desk::default();
    for key in ["a", "b"] {
        desk.ok("POST", "users", json!({ "key": key }));
    }
    desk.ok("POST", "tenants", json!({ "key": "t", "name": "T" }));
    desk
}
