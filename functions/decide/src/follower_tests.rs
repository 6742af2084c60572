//! What the log comes to, and what it does not.

use protocol::Millis;
use protocol::commit::{self, Marker};
use protocol::socket::Delivery;
use serde_json::{Value as Json, json};

use super::*;

fn entry(value: Json) -> Entry {
    serde_json::from_value(value).unwrap()
}

/// What was read up to this update, which has these entries.
fn read(seq: u64, entries: Vec<Entry>) -> Read {
    let delivery = Delivery {
        seq: Seq(seq),
        prev: Seq(seq - 1),
        id: seq.to_string(),
        at: Millis(0),
        reason: None,
        places: (0..).take(entries.len()).collect(),
        entries,
        callback: None,
    };
    Read { epoch: "e".into(), at: Seq(seq), updates: vec![delivery] }
}

fn policy(text: &str) -> Vec<Entry> {
    let marker = commit::marker(&Marker { hash: "h".into(), old_hash: None }).unwrap();
    vec![commit::module("app.rego", Some(text)).unwrap(), marker]
}

fn follower(all: Vec<Read>) -> Follower {
    let mut follower = Follower::new(Language::V1, 1_000);
    all.into_iter().for_each(|read| follower.take(read));
    follower
}

fn ask(follower: &Follower, path: &str, body: &str) -> (u16, String) {
    let body = body.as_bytes();
    let request = Request {
        method: "POST",
        path,
        query: "",
        content_type: None,
        if_none_match: None,
        body,
        is_checked: false,
    };
    let reply = follower.answer(request);
    (reply.status, reply.body)
}

const RULE: &str = "package app\nallow if data.users[input.user].admin";

#[test]
fn policy_and_data_of_the_log_decide() {
    let user =
        json!({"topics": ["policy_data"], "dst_path": "/users/ada", "data": {"admin": true}});
    let mut follower = follower(vec![read(1, policy(RULE)), read(2, vec![entry(user)])]);
    assert_eq!(follower.at(), Seq(2));
    let ask = |follower: &Follower, user: &str| {
        let body = json!({"input": {"user": user}}).to_string();
        ask(follower, "/v1/data/app/allow", &body)
    };
    assert_eq!(ask(&follower, "ada"), (200, "{\"result\":true}\n".into()));
    assert_eq!(ask(&follower, "eve"), (200, "{}\n".into()));
    let gone = json!({"topics": ["policy_data"], "dst_path": "/users", "save_method": "PATCH",
        "data": [{"op": "remove", "path": "/ada"}]});
    follower.take(read(3, vec![entry(gone)]));
    assert_eq!(ask(&follower, "ada"), (200, "{}\n".into()));
}

#[test]
fn modules_count_when_their_commit_is_complete() {
    let mut parts = policy(RULE);
    let marker = parts.pop().unwrap();
    let mut follower = follower(vec![read(1, parts)]);
    assert_eq!(ask(&follower, "/v1/data/app", "{\"input\":1}").1, "{}\n");
    follower.take(read(2, vec![marker]));
    assert_eq!(ask(&follower, "/v1/data/app", "{\"input\":1}").1, "{\"result\":{}}\n");
}

#[test]
fn what_the_edge_cannot_do_is_told_and_decides_nothing() {
    let fetched = json!({"topics": ["policy_data"], "dst_path": "/users", "url": "http://x/"});
    let large = json!({"topics": ["policy_data"], "dst_path": "/large", "data": "x".repeat(2_000)});
    let unknown = "package app\nallow if rego.parse_module(\"a\", \"package a\")";
    for (entries, reason) in [
        (vec![entry(fetched.clone())], "what is at /users is fetched by agents alone"),
        (vec![entry(large.clone())], "the data has more than 1000 bytes"),
        (policy(unknown), "the policy does not run at the edge"),
        (policy("package app\nallow if"), "the policy does not run at the edge"),
    ] {
        let follower = follower(vec![read(1, policy(RULE)), read(2, entries)]);
        let (status, body) = ask(&follower, "/v1/data/app/allow", "{}");
        assert_eq!(status, 501, "{reason}: {body}");
        assert!(body.contains(reason), "{reason}: {body}");
    }
    // What takes its place mends it.
    let inline = json!({"topics": ["policy_data"], "dst_path": "/", "data": {}});
    for before in [fetched, large] {
        let all = vec![read(1, vec![entry(before)]), read(2, vec![entry(inline.clone())])];
        assert_eq!(ask(&follower(all), "/v1/data/app", "{}").0, 200);
    }
}

#[test]
fn a_policy_reads_how_old_its_data_is() {
    let rule = "package app\nallow if data.girasol.lag_seconds < 5";
    let root = json!({"topics": ["policy_data"], "dst_path": "/", "data": {"a": 1}});
    let follower = follower(vec![read(1, policy(rule)), read(2, vec![entry(root)])]);
    assert_eq!(ask(&follower, "/v1/data/app/allow", "{}").0, 200);
    assert!(ask(&follower, "/v1/data/app/allow", "{}").1.contains("\"result\":true"));
}

// === what an agent takes and refuses ===

fn put(place: &str, data: impl Into<Json>) -> Entry {
    entry(json!({"topics": ["policy_data"], "dst_path": place, "data": data.into()}))
}

fn patch(place: &str, operations: impl Into<Json>) -> Entry {
    entry(json!({"topics": ["policy_data"], "dst_path": place, "save_method": "PATCH",
        "data": operations.into()}))
}

fn fetched(place: &str) -> Entry {
    entry(json!({"topics": ["policy_data"], "dst_path": place, "url": "http://x/"}))
}

/// What a `data.json` puts at a place.
fn part(place: &str, data: Json) -> Entry {
    Entry { topics: vec!["policy:.".into()], ..put(place, data) }
}

fn module(path: &str, rego: &str) -> Entry {
    commit::module(path, Some(rego)).unwrap()
}

fn marker() -> Entry {
    commit::marker(&Marker { hash: "h".into(), old_hash: None }).unwrap()
}

/// The document at a path after these entries, or the status.
fn after(entries: Vec<Entry>, path: &str) -> Json {
    let follower =
        follower(entries.into_iter().zip(1..).map(|(it, seq)| read(seq, vec![it])).collect());
    match ask(&follower, &format!("/v1/data{path}"), r#"{"input":{}}"#) {
        (200, body) => serde_json::from_str::<Json>(&body).unwrap()["result"].take(),
        (status, _) => json!(status),
    }
}

#[test]
fn the_last_update_of_a_place_counts_and_one_that_is_refused_has_no_effect() {
    let remove = |path: &str| json!([{"op": "remove", "path": path}]);
    for (entries, path, document) in [
        (vec![put("/a", json!(1)), put("/a", json!(2))], "/a", json!(2)),
        (vec![put("/a/b", json!(1)), put("/a", json!({"c": 2}))], "/a", json!({"c": 2})),
        (vec![put("/a", json!({"c": 2})), put("/a/b", json!(1))], "/a", json!({"b": 1, "c": 2})),
        (vec![put("/a", json!({"b": 1})), patch("/a", remove("/b"))], "/a", json!({})),
        (vec![put("/a", json!([1, 2])), patch("/a", remove("/0"))], "/a", json!([2])),
        (vec![put("/a/b", json!(1)), patch("/a", remove(""))], "/a", json!(null)),
        (vec![put("/a", json!(1)), put("/a/b", json!(2))], "/a", json!(1)),
        (vec![put("/a", json!(1)), patch("/a/b", remove(""))], "/a", json!(1)),
        (vec![put("/a", json!({"b": 1})), patch("/a", remove("/c"))], "/a", json!({"b": 1})),
        (vec![put("/a", json!(1)), put("/", json!(5))], "/a", json!(1)),
        (vec![put("/a", json!(1)), put("/", json!([5]))], "/a", json!(null)),
        (vec![put("/a", json!(1)), put("/", json!([5]))], "/items", json!([5])),
        (vec![put("/a", json!(1)), put("/", json!({"b": 2}))], "/a", json!(null)),
    ] {
        let shown = format!("{entries:?}");
        assert_eq!(after(entries, path), document, "{shown}");
    }
    // All operations of a patch, or none.
    let half = patch(
        "/a",
        json!([{"op": "add", "path": "/c", "value": 1}, {"op": "remove", "path": "/d"}]),
    );
    assert_eq!(after(vec![put("/a", json!({"b": 1})), half], "/a"), json!({"b": 1}));
}

#[test]
fn a_write_of_everything_leaves_the_age_of_the_data_in_its_place() {
    let whole = json!([{"op": "replace", "path": "", "value": {"b": 1}}]);
    for last in [
        put("/", json!({"b": 1})),
        put("/", json!({"b": 1, "girasol": {"lag_seconds": 9}})),
        put("/", json!({"b": 1, "girasol": 5})),
        patch("/", whole),
    ] {
        let shown = format!("{last:?}");
        let all = after(vec![put("/a", json!(1)), last], "");
        assert_eq!(all, json!({"b": 1, "girasol": {"lag_seconds": 0}}), "{shown}");
    }
}

#[test]
fn data_that_would_hide_a_rule_is_refused_wherever_it_is_written() {
    let rule = || vec![module("app.rego", "package app\nallow := false"), marker()];
    let add = json!([{"op": "add", "path": "/allow", "value": true}]);
    for hiding in [
        put("/app/allow", json!(true)),
        put("/app", json!({"allow": true})),
        put("/", json!({"app": {"allow": true}})),
        patch("/app", add),
    ] {
        let shown = format!("{hiding:?}");
        let beside = put("/app/other", json!(1));
        let entries = rule().into_iter().chain([beside, hiding]).collect();
        assert_eq!(after(entries, "/app"), json!({"allow": false, "other": 1}), "{shown}");
    }
    // Where the data was there first, agents refuse the policy, and which one they have nobody knows.
    let entries = [put("/app/allow", json!(true))].into_iter().chain(rule()).collect();
    assert_eq!(after(entries, "/app/allow"), json!(501));
}

#[test]
fn a_commit_brings_modules_and_data_at_one_moment() {
    let first = || vec![module("a.rego", "package a\nx := data.b.y"), part("/b", json!({"y": 1}))];
    let with = |more: Vec<Entry>| [first(), vec![marker()], more].concat();
    assert_eq!(after(first(), "/a"), json!(null));
    assert_eq!(after(first(), "/b"), json!(null));
    assert_eq!(after(with(vec![]), "/a"), json!({"x": 1}));
    assert_eq!(after(with(vec![put("/b", json!({"y": 2}))]), "/a"), json!({"x": 2}), "it is over");
    // What was a rule becomes data, and the other way round.
    let gone = commit::module("a.rego", None).unwrap();
    let rule = module("b.rego", "package b\ny := 3");
    let removed = Entry {
        topics: vec!["policy:.".into()],
        ..patch("/b", json!([{"op": "remove", "path": ""}]))
    };
    let turned = vec![gone, part("/a", json!({"x": 2})), rule, part("/b", json!({})), removed];
    assert_eq!(after(with(turned.clone()), "/a"), json!({"x": 1}), "not before the marker");
    let turned = [turned, vec![marker()]].concat();
    assert_eq!(after(with(turned.clone()), "/a"), json!({"x": 2}));
    assert_eq!(after(with(turned), "/b"), json!({"y": 3}));
}

#[test]
fn what_is_written_while_a_commit_is_on_its_way_comes_after_it_or_at_once() {
    let begun = || vec![part("/b", json!({"y": 1, "z": 1}))];
    let with = |more: Vec<Entry>| [begun(), more].concat();
    // At another place, at once.
    assert_eq!(after(with(vec![put("/c", json!(2))]), "/c"), json!(2));
    // At the same one, after it.
    let later = || vec![put("/b/y", json!(2)), marker()];
    assert_eq!(after(with(later()), "/b"), json!({"y": 2, "z": 1}));
    assert_eq!(after(with(vec![put("/b/y", json!(2))]), "/b"), json!(null));
    // In the place of it, at once, and it never comes.
    let instead = || put("/b", json!({"y": 3}));
    assert_eq!(after(with(vec![instead()]), "/b"), json!({"y": 3}));
    assert_eq!(after(with(vec![instead(), marker()]), "/b"), json!({"y": 3}));
    // Where the commit has a rule, by whichever of the two agents decide.
    let rule = module("c.rego", "package b\nx := 1");
    assert_eq!(after(with(vec![rule, put("/b/x", json!(1)), marker()]), "/b"), json!(501));
    assert_eq!(after(with(vec![fetched("/b/y"), marker()]), "/b"), json!(501));
    assert_eq!(after(vec![fetched("/b/y"), begun().remove(0), marker()], "/b/y"), json!(1));
}

#[test]
fn a_commit_that_agents_refuse_decides_nothing_until_one_that_they_take() {
    let good = || vec![module("a.rego", "package a\nx := 1"), part("/b", json!(1)), marker()];
    let bad =
        || vec![module("a.rego", "package a\nx := nobody(1)"), part("/b", json!(2)), marker()];
    let mended = || vec![module("a.rego", "package a\nx := 3"), marker()];
    assert_eq!(after([good(), bad()].concat(), "/a/x"), json!(501));
    assert_eq!(after([good(), bad(), vec![put("/c", json!(1))]].concat(), "/c"), json!(501));
    assert_eq!(after([good(), bad(), mended()].concat(), "/a/x"), json!(3));
    // What the refused one brought comes with the next.
    assert_eq!(after([good(), bad(), mended()].concat(), "/b"), json!(2));
    // Data is refused by the policy that agents have, which is the one before.
    let hiding = vec![put("/a/x", json!(9))];
    let moved = vec![module("a.rego", "package moved\nx := 3"), marker()];
    assert_eq!(after([good(), bad(), hiding, moved].concat(), "/a"), json!(null));
}

#[test]
fn a_policy_that_only_agents_can_run_is_in_the_way_of_data_as_it_is_there() {
    let here = || vec![module("a.rego", "package a\nx := 1"), marker()];
    let there =
        || vec![module("a.rego", "package a\ny := rego.parse_module(\"\", \"\")"), marker()];
    let writes = || vec![put("/a/y", json!(9)), put("/b", json!(9))];
    assert_eq!(after([there(), writes()].concat(), "/b"), json!(501));
    assert_eq!(after([there(), writes(), here()].concat(), "/a"), json!({"x": 1}));
    assert_eq!(after([there(), writes(), here()].concat(), "/b"), json!(9));
}

#[test]
fn a_part_of_a_newer_version_decides_nothing_until_this_one_is_newer_too() {
    let mut newer = module("a.rego", "package a");
    newer.dst_path = DataPath::parse("/girasol/policy/settings").unwrap();
    assert_eq!(
        after(vec![newer, module("a.rego", "package a\nx := 1"), marker()], "/a/x"),
        json!(501)
    );
}

#[test]
fn grants_are_no_data_and_facts_are() {
    let apart = |place: &str, topic: &str| Entry {
        topics: vec![topic.into()],
        ..put(place, json!({"value": "v"}))
    };
    let entries =
        || vec![apart("/girasol/grants/g", "grants:."), apart("/girasol/facts/d/f", "facts:.")];
    assert_eq!(after(entries(), "/girasol/grants"), json!(null));
    assert_eq!(after(entries(), "/girasol/facts"), json!({"d": {"f": {"value": "v"}}}));
}

#[test]
fn fetched_data_is_unknown_until_something_takes_its_whole_place() {
    let x = || json!({"x": 1});
    for (entries, is_known) in [
        (vec![fetched("/a")], false),
        (vec![fetched("/a"), put("/a/b", x())], false),
        (vec![fetched("/a"), put("/b", x())], false),
        (vec![fetched("/a"), put("/a", x())], true),
        (vec![fetched("/a/b"), put("/a", x())], true),
        (vec![fetched("/a/b"), put("/", x())], true),
        (vec![put("/a", x()), fetched("/a/b")], false),
        (vec![fetched("/a"), patch("/a", json!([{"op": "add", "path": "/c", "value": 1}]))], false),
        // Refused, so that it takes the place of nothing.
        (vec![fetched("/a"), put("/", json!(5))], false),
    ] {
        let shown = format!("{entries:?}");
        assert_eq!(after(entries, "/x") != json!(501), is_known, "{shown}");
    }
}

#[test]
fn queries_are_answered_by_the_same_policy_and_data() {
    let follower = follower(vec![
        read(1, policy("package app\nmay contains name if data.users[name].admin")),
        read(2, vec![put("/users", json!({"ada": {"admin": true}, "eve": {}}))]),
    ]);
    let query = |text: &str| ask(&follower, "/v1/query", &json!({"query": text}).to_string());
    assert_eq!(query("data.app.may[x]"), (200, "{\"result\":[{\"x\":\"ada\"}]}\n".into()));
    assert_eq!(query("data.users.eve.admin"), (200, "{}\n".into()));
    assert_eq!(query("x =").0, 400);
}
