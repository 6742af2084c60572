//! Writes mean to a [`Document`] what they mean to the embedded engine.

use protocol::DataPath;
use regorus::Value;

use super::*;
use crate::engine::{Engine as _, EngineError, RegorusEngine, Write};

fn json(text: &str) -> Json {
    Json::known(text.to_owned())
}

fn path(text: &str) -> DataPath {
    DataPath::parse(text).unwrap()
}

fn put(document: &mut Document, at: &str, text: &str) {
    document.put(&path(at), Text::new(json(text))).unwrap();
}

/// The places and their texts; `-` where nothing may be.
fn owned(document: &Document) -> Vec<(String, String)> {
    let owned = document.clone().owned().into_iter().map(|(path, owned)| {
        (path.to_string(), owned.into_text().map_or("-".to_owned(), |text| text.get().to_owned()))
    });
    owned.collect()
}

fn expect(document: &Document, expected: &[(&str, &str)]) {
    let found = owned(document);
    let found: Vec<_> = found.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    assert_eq!(found, expected);
}

#[test]
fn what_was_written_is_owned_and_nothing_else() {
    let mut document = Document::default();
    put(&mut document, "/b/c", r#"{ "n" : 1.0 }"#);
    put(&mut document, "/a", "[1]");
    expect(&document, &[("/a", "[1]"), ("/b/c", r#"{ "n" : 1.0 }"#)]);
    put(&mut document, "/b/c/d", "2");
    expect(&document, &[("/a", "[1]"), ("/b/c", r#"{"d":2,"n":1.0}"#)]);
    put(&mut document, "/b", "{}");
    expect(&document, &[("/a", "[1]"), ("/b", "{}")]);
    put(&mut document, "/", "[1e3]");
    expect(&document, &[("/", r#"{"items":[1e3]}"#)]);
    assert!(document.put(&path("/"), Text::new(json("5"))).is_err());
}

#[test]
fn a_patch_of_what_is_not_ours_owns_only_what_it_writes() {
    let mut document = Document::default();
    let operations =
        r#"[{"op":"add","path":"/x~1y","value":{"k":1}},{"op":"add","path":"/z","value":0.10}]"#;
    document.patch(&path("/"), operations).unwrap();
    expect(&document, &[("/x%2Fy", r#"{"k":1}"#), ("/z", "0.10")]);
    assert_eq!(document.clone().owned()[0].0.segments(), ["x/y"]);
    document.patch(&path("/"), r#"[{"op":"remove","path":"/z"}]"#).unwrap();
    expect(&document, &[("/x%2Fy", r#"{"k":1}"#), ("/z", "-")]);
    put(&mut document, "/z/a", "1");
    expect(&document, &[("/x%2Fy", r#"{"k":1}"#), ("/z", r#"{"a":1}"#)]);
}

#[test]
fn an_insert_puts_back_what_was_owned_and_knows_what_is_new() {
    let mut document = Document::default();
    document.insert(&path("/a/b"), Some(Text::stored(json("1"), 7)));
    document.insert(&path("/a/c"), Some(Text::stored(json(r#"{"k":1}"#), 8)));
    document.insert(&path("/a/d"), None);
    put(&mut document, "/a/c/l", "2");
    let owned = document.owned();
    assert!(matches!(&owned[0].1, Owned::Stored(7, text) if text.get() == "1"));
    assert!(matches!(&owned[1].1, Owned::New(text) if text.get() == r#"{"k":1,"l":2}"#));
    assert!(matches!(&owned[2].1, Owned::Nothing));
}

/// Numbers that look random and are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % end
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    fn path(&mut self) -> String {
        let segments = ["a", "b", "c", "0", "1", "é"];
        (0..self.below(4)).map(|_| format!("/{}", self.pick(&segments))).collect()
    }

    fn pointer(&mut self) -> String {
        let segments = ["a", "b", "c", "0", "1", "2", "-", "01", "~1", "é"];
        (0..self.below(4)).map(|_| format!("/{}", self.pick(&segments))).collect()
    }

    fn value(&mut self) -> &'static str {
        self.pick(&[
            "{}",
            "[]",
            "1",
            "null",
            "1.0",
            r#""s""#,
            r#"{"a":{"b":[1,{"c":2}]},"0":3}"#,
            r#"[{"a":1},[2,3],"x"]"#,
            r#"{"b":{"a":[]},"c":1e2,"c":7}"#,
            r#"{"/":{"a":1}}"#,
        ])
    }

    fn operations(&mut self) -> String {
        let operations: Vec<String> = (0..=self.below(3))
            .map(|_| {
                let op = self.pick(&["add", "add", "remove", "replace", "move", "copy", "test"]);
                let (path, from, value) = (self.pointer(), self.pointer(), self.value());
                format!(r#"{{"op":"{op}","path":"{path}","from":"{from}","value":{value}}}"#)
            })
            .collect();
        format!("[{}]", operations.join(","))
    }
}

#[tokio::test]
async fn every_write_means_what_it_means_to_the_embedded_engine() {
    let (mut done, mut refused) = (0, 0);
    for seed in 1..=400_u64 {
        let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ (seed << 20));
        let (engine, mut document) = (RegorusEngine::new(), Document::default());
        for _ in 0..40 {
            let (at, text) = (path(&random.path()), random.value());
            let operations = random.operations();
            let (theirs, ours) = if random.below(3) == 0 {
                let data = json(text);
                let put = Write::Put { path: &at, data: &data };
                (engine.write(put).await, document.put(&at, Text::new(json(text))))
            } else {
                let operations = json(&operations);
                let patch = Write::Patch { path: &at, operations: &operations };
                (engine.write(patch).await, document.patch(&at, operations.get()))
            };
            let context = format!("seed {seed}, {at}: {operations} {theirs:?} {ours:?}");
            assert_eq!(theirs.is_ok(), ours.is_ok(), "{context}");
            assert!(!matches!(theirs, Err(EngineError::Unavailable(_))), "{context}");
            if ours.is_ok() {
                done += 1;
            } else {
                refused += 1;
            }
            let whole = document.clone().root.into_document().to_json();
            let there = Value::from_json_str(whole.get()).unwrap();
            assert_eq!(engine.decide(&[], None), Ok(Some(there)), "{context}");
        }
        // What is kept is all that is needed to make it again.
        let mut again = Document::default();
        for (path, owned) in document.clone().owned() {
            again.insert(&path, owned.into_text().map(Text::new));
        }
        assert_eq!(owned(&again), owned(&document));
    }
    assert!(done > 3_000 && refused > 3_000, "{done} {refused}");
}
