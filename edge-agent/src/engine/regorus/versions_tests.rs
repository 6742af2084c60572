//! Two copies are as good as one, and nobody waits.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

fn value(json: &str) -> Value {
    Value::from_json_str(json).unwrap()
}

fn segments(path: &str) -> Vec<String> {
    path.split('/').skip(1).map(str::to_owned).collect()
}

fn put(path: &str, json: &str) -> Change {
    Change::Put(segments(path), value(json))
}

fn patch(path: &str, json: &str) -> Change {
    Change::Patch(segments(path), Patch::parse(json).unwrap())
}

fn with_users() -> Versions {
    let versions = Versions::new(Policies::none(), value("{}"));
    let users: Vec<String> = (0..100).map(|n| format!(r#""u{n}":{{"n":{n}}}"#)).collect();
    versions.change(put("/users", &format!("{{{}}}", users.join(",")))).unwrap();
    versions
}

/// Where the object of all users is in memory.
fn users_at(versions: &Versions) -> usize {
    let current = versions.current();
    let users = document::get(&current.data, &segments("/users")).unwrap();
    std::ptr::from_ref(users.as_object().unwrap()).addr()
}

#[test]
fn writes_copy_nothing_when_nobody_decides_for_long() {
    let versions = with_users();
    let places: BTreeSet<usize> = (0..50)
        .map(|n| {
            let at = format!("/users/u{}/n", n % 7);
            let change = match n % 2 {
                0 => put(&at, "1"),
                _ => patch("/users", r#"[{"op":"replace","path":"/u3/n","value":4}]"#),
            };
            versions.change(change).unwrap();
            users_at(&versions)
        })
        .collect();
    assert_eq!(places.len(), 2);
}

#[test]
fn a_decision_that_takes_long_keeps_its_data_and_holds_up_no_write() {
    let versions = with_users();
    let held = versions.current();
    let before = held.data.clone();
    for n in 0..5 {
        versions.change(put("/users/u1/n", &format!("{}", 100 + n))).unwrap();
        let seen = document::get(&versions.current().data, &segments("/users/u1/n")).cloned();
        assert_eq!(seen, Some(Value::from(100 + n)));
    }
    assert_eq!(held.data, before);
}

#[test]
fn what_is_refused_changes_neither_copy() {
    let versions = with_users();
    let before = versions.current().data.clone();
    for change in [
        put("/users/u1/n/deeper", "1"),
        put("", "1"),
        patch("/users", r#"[{"op":"remove","path":"/u1"},{"op":"remove","path":"/nobody"}]"#),
        patch("/nowhere", r#"[{"op":"add","path":"/a","value":1}]"#),
    ] {
        versions.change(change).unwrap_err();
        assert_eq!(versions.current().data, before);
    }
    // Also the copy that was to be the next one.
    for n in [1, 2] {
        versions.change(put("/other", "1")).unwrap();
        let current = versions.current();
        assert_eq!(
            document::get(&current.data, &segments("/users")),
            document::get(&before, &segments("/users")),
            "{n}"
        );
    }
}

#[test]
fn two_copies_are_as_one_whatever_is_written_and_held() {
    let versions = with_users();
    let mut model = versions.current().data.clone();
    let mut held = vec![];
    let mut random = 12_345_u64;
    let mut next = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) % below
    };
    for n in 0..400 {
        let user = format!("/u{}", next(120));
        let change = match next(6) {
            0 => put(&format!("/users{user}"), &format!(r#"{{"n":{n},"tags":["a","b"]}}"#)),
            1 => put(&format!("/users{user}/n"), "{}"),
            2 => patch("/users", &format!(r#"[{{"op":"remove","path":"{user}"}}]"#)),
            3 => patch(
                "/users",
                &format!(
                    r#"[{{"op":"copy","from":"{user}","path":"/c{n}"}},{{"op":"add","path":"/c{n}/n","value":1}}]"#
                ),
            ),
            4 => patch(&format!("/users{user}/tags"), r#"[{"op":"add","path":"/-","value":"c"}]"#),
            _ => put("/large", &format!("[{}1]", "1,".repeat(5_000))),
        };
        let mut expected = model.clone();
        let refused = change.clone().apply(&mut expected).is_err();
        assert_eq!(versions.change(change).is_err(), refused);
        if !refused {
            model = expected;
        }
        assert_eq!(versions.current().data, model, "after {n} writes");
        match next(10) {
            0 => held.push(versions.current()),
            1..=3 => held.clear(),
            _ => {}
        }
    }
}

#[test]
fn writes_and_decisions_of_many_threads_are_each_whole() {
    let (versions, ended) = (with_users(), AtomicBool::new(false));
    let ones = ["/u1/n", "/u2/n"];
    let add = |path: &str, n: usize| format!(r#"{{"op":"add","path":"{path}","value":{n}}}"#);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    let current = versions.current();
                    let [one, two] = ones
                        .map(|at| document::get(&current.data, &segments(&format!("/users{at}"))));
                    // As they were before the first write they differ.
                    assert!(one == two || one == Some(&Value::from(1)), "{one:?} {two:?}");
                }
            });
        }
        for n in 0..2_000 {
            let both = ones.map(|at| add(at, n)).join(",");
            versions.change(patch("/users", &format!("[{both}]"))).unwrap();
        }
        ended.store(true, Ordering::Relaxed);
    });
}
