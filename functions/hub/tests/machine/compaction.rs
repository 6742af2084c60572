//! What the log drops, and what it keeps. That a replay of what is left gives the same as the
//! whole history, whatever was published, is the simulation's to show.

use serde_json::{Value, json};

use crate::rig::Rig;

/// Publishes updates, each a list of (topic, path, PATCH operations or PUT data), and says
/// which entries are left: `seq.place`.
fn left(updates: &[&[(&str, &str, Value)]]) -> Vec<String> {
    let mut rig = Rig::new();
    for (at, entries) in updates.iter().enumerate() {
        let entry = |(topic, path, data): &(&str, &str, Value)| match data {
            // A source, whose answer nobody knows.
            Value::String(method) => {
                json!({"topics": [topic], "dst_path": path, "save_method": method, "url": "http://h"})
            }
            Value::Array(_) => {
                json!({"topics": [topic], "dst_path": path, "save_method": "PATCH", "data": data})
            }
            _ => json!({"topics": [topic], "dst_path": path, "data": data}),
        };
        let entries: Vec<Value> = entries.iter().map(entry).collect();
        rig.publish(&json!({"id": format!("u{at}"), "entries": entries})).0.unwrap();
    }
    let places = |stored: &hub::memory_log::Stored| {
        let seq = stored.record.seq;
        stored.record.places.iter().map(|place| format!("{seq}.{place}")).collect::<Vec<_>>()
    };
    rig.log.records.iter().flat_map(places).collect()
}

fn add(path: &str) -> Value {
    json!([{"op": "add", "path": path, "value": 1}])
}

#[test]
fn a_document_makes_up_for_what_it_covers() {
    let document = || ("t", "/a", json!({}));
    assert_eq!(left(&[&[document()], &[document()]]), ["2.0"]);
    assert_eq!(left(&[&[("t", "/a/b", json!({}))], &[document()]]), ["2.0"]);
    assert_eq!(left(&[&[document()], &[("t", "/a/b", json!({}))]]), ["1.0", "2.0"]);
    assert_eq!(left(&[&[document()], &[("t", "/a", add("/x"))], &[document()]]), ["3.0"]);
    assert_eq!(left(&[&[document(), ("t", "/b", json!({}))], &[document()]]), ["1.1", "2.0"]);
}

#[test]
fn a_patch_makes_up_for_nothing() {
    assert_eq!(left(&[&[("t", "/a", json!({}))], &[("t", "/a", add("/x"))]]), ["1.0", "2.0"]);
}

#[test]
fn who_does_not_get_the_newer_document_keeps_the_older_one() {
    let (all, eu) = (("users", "/a", json!({})), ("users/eu", "/a", json!({})));
    assert_eq!(left(&[std::slice::from_ref(&eu), std::slice::from_ref(&all)]), ["1.0", "2.0"]);
    assert_eq!(left(&[&[all], &[eu]]), ["2.0"]);
}

#[test]
fn a_patch_in_between_keeps_what_it_may_need() {
    // `/a` is there because of 1; 3 does not cover the patch.
    let first = || ("t", "/a/b", json!({}));
    assert_eq!(left(&[&[first()], &[("t", "/a", add("/c"))], &[first()]]), ["1.0", "2.0", "3.0"]);
    // The same within one update.
    assert_eq!(left(&[&[first()], &[("t", "/a", add("/c")), first()]]), ["1.0", "2.0", "2.1"]);
    // A patch of a source's may be one of the whole place, which needs the place above.
    let fetched = ("t", "/a/c", json!("PATCH"));
    assert_eq!(left(&[&[first()], &[fetched], &[first()]]), ["1.0", "2.0", "3.0"]);
    // One elsewhere is in nobody's way.
    assert_eq!(left(&[&[first()], &[("t", "/x", add("/c"))], &[first()]]), ["2.0", "3.0"]);
}

#[test]
fn a_patch_of_what_its_own_update_put_there_keeps_nothing_older() {
    let there = |name: &'static str| ("t", name, json!({}));
    let remove = || json!([{"op": "remove", "path": ""}]);
    let (a, b) = (|| there("/d/a"), || there("/d/b"));
    let gone_a = [a(), ("t", "/d/a", remove())];
    let gone_b = [b(), ("t", "/d/b", remove())];
    assert_eq!(left(&[&[a()], &[b()], &gone_a, &gone_b]), ["3.0", "3.1", "4.0", "4.1"]);
    // Both in one update.
    let both = [gone_a.clone(), gone_b.clone()].concat();
    assert_eq!(left(&[&[a()], &[b()], &both]), ["3.0", "3.1", "3.2", "3.3"]);
    // It keeps what made the parent of something that no document of its update covers,
    let beside = [a(), ("t", "/d/c", remove())];
    assert_eq!(left(&[&[b()], &beside, &[b()]]), ["1.0", "2.0", "2.1", "3.0"]);
    // or only one that others get, too,
    let others = [("u", "/d/a", json!({})), ("t", "/d/a", remove())];
    assert_eq!(left(&[&[b()], &others, &[b()]]), ["1.0", "2.0", "2.1", "3.0"]);
    // or one that comes after it, or that a source may never give.
    let after = [("t", "/d/a", remove()), a()];
    assert_eq!(left(&[&[b()], &after, &[b()]]), ["1.0", "2.0", "2.1", "3.0"]);
    let fetched = [("t", "/d/a", json!("PUT")), ("t", "/d/a", remove())];
    assert_eq!(left(&[&[b()], &fetched, &[b()]]), ["1.0", "2.0", "2.1", "3.0"]);
}
