use protocol::internal::LogPage;
use protocol::opal::policy::{Files, Revision};
use protocol::socket::Delivery;
use protocol::{Claims, Entry, Millis};

use super::*;

mod random;

fn claims(permitted: Option<&[&str]>) -> Claims {
    Claims {
        sub: String::new(),
        jti: None,
        exp: 1,
        iat: None,
        peer_type: None,
        permitted_topics: permitted.map(|all| all.iter().map(ToString::to_string).collect()),
        allowed_scopes: None,
    }
}

fn recipe(query: &str) -> Recipe {
    Recipe::parse(query, &claims(None)).unwrap()
}

fn policy(all: &[(&str, &str)]) -> Policy {
    let files: Files = all.iter().map(|(path, text)| ((*path).into(), (*text).into())).collect();
    Policy { revision: Revision::of(&files), files, base: None }
}

/// A log of updates of one entry each, with these numbers.
fn log(floor: u64, updates: &[(u64, Value)]) -> LogPage {
    let delivery = |(seq, entry): &(u64, Value)| {
        let entry: Entry = serde_json::from_str(&entry.to_string()).unwrap();
        Delivery {
            seq: Seq(*seq),
            prev: Seq(0),
            id: seq.to_string(),
            at: Millis(0),
            reason: None,
            entries: vec![entry],
            places: vec![0],
            callback: None,
        }
    };
    LogPage {
        epoch: "e1".to_owned(),
        head: Seq(99),
        floor: Seq(floor),
        updates: updates.iter().map(delivery).collect(),
        next: None,
        digests: std::collections::BTreeMap::new(),
    }
}

fn put(path: &str, data: Value) -> Value {
    let mut entry = json!({ "dst_path": path });
    entry["data"] = data;
    entry
}

fn patch(path: &str, operations: Value) -> Value {
    let mut entry = put(path, operations);
    entry["save_method"] = json!("PATCH");
    entry
}

fn made<'p>(recipe: &'p Recipe, policy: Option<&'p Policy>, page: LogPage) -> Made<'p> {
    let mut replay = Replay::default();
    assert_eq!(replay.take(page).unwrap(), None);
    Made::new(recipe, policy, replay, Mark::default()).unwrap()
}

fn files(answer: Answer) -> (Tag, Files) {
    match answer {
        Answer::Bundle(tag, bytes) => {
            (tag, archive::read(&bytes, &archive::Limits::default()).unwrap())
        }
        Answer::Unchanged(tag) => panic!("{tag}"),
    }
}

fn json_of(files: &Files, path: &str) -> Value {
    serde_json::from_str(&files[path]).unwrap()
}

const FILES: [(&str, &str); 4] = [
    ("app/rbac.rego", "package app.rbac\nx := 1\n"),
    ("app/data.json", r#"{"limit": 5}"#),
    ("data.json", r#"{"app":{"name":"n"},"users":{"bob":1}}"#),
    ("README.md", "no"),
];

#[test]
fn a_snapshot_has_modules_and_one_data_document() {
    let (recipe, policy) = (recipe(""), policy(&FILES));
    let (tag, files) =
        files(made(&recipe, Some(&policy), log(0, &[])).answer(None, true, None).unwrap());
    assert_eq!(files.keys().collect::<Vec<_>>(), [".manifest", "app/rbac.rego", "data.json"]);
    assert_eq!(files["data.json"], r#"{"app":{"limit":5,"name":"n"},"users":{"bob":1}}"#);
    let manifest = json_of(&files, ".manifest");
    assert_eq!(manifest["revision"], json!(policy.revision.hash));
    assert_eq!(manifest["roots"], json!([""]));
    assert_eq!(manifest["rego_version"], 1);
    assert_eq!(manifest["metadata"]["girasol"], json!({"policy": policy.revision.hash}));
    assert_eq!(tag.mark.policy, policy.revision.mark::<&str>(&[]));
}

#[test]
fn the_same_content_is_the_same_bytes_however_the_log_was_compacted() {
    let recipe = recipe("data=true");
    let policy = policy(&FILES);
    let whole = [
        (1, put("/a/b", json!({"x": {"y": 1}}))),
        (2, put("/f/g/h", json!({}))),
        (3, json!({"dst_path": "/f/g/h", "url": "http://h/x"})),
        (4, patch("/a/b", json!([{"op": "remove", "path": "/nothing"}]))),
        (5, put("/a", json!({"b": {"z": [1, {"k": 2}]}}))),
        (6, patch("/a/b", json!([{"op": "add", "path": "/z/-", "value": 3}]))),
    ];
    let compacted = [whole[2].clone(), whole[4].clone(), whole[5].clone()];
    let bytes = |updates: &[(u64, Value)]| {
        made(&recipe, Some(&policy), log(0, updates)).answer(None, false, None).unwrap()
    };
    assert_eq!(bytes(&whole), bytes(&compacted));
    let (tag, files) = files(bytes(&whole));
    assert_eq!(tag.mark.seq, Seq(6));
    let data = json_of(&files, "data.json");
    assert_eq!(data["a"], json!({"b": {"z": [1, {"k": 2}, 3]}}));
    assert_eq!(data["f"], json!({"g": {}}), "what is fetched is not there, its parents are");
    assert_eq!(data["users"], json!({"bob": 1}));
}

#[test]
fn what_the_edge_cannot_fetch_is_named_without_credentials() {
    let recipe = recipe("data=only");
    let entry = json!({"dst_path": "/users", "url": "http://me:secret@h/x?key=secret"});
    let answer = made(&recipe, None, log(0, &[(4, entry)])).answer(None, false, None).unwrap();
    let manifest = json_of(&files(answer).1, ".manifest");
    let about = &manifest["metadata"]["girasol"];
    assert_eq!(about["left_out"][0]["path"], "/users");
    assert_eq!(about["left_out_count"], 1);
    assert!(!about.to_string().contains("secret"), "{about}");
}

#[test]
fn entries_that_are_policy_are_not_data() {
    let recipe = recipe("data=only");
    let mut entry = put("/girasol/policy/modules/x", json!("package x"));
    entry["topics"] = json!(["policy:."]);
    let answer = made(&recipe, None, log(0, &[(1, entry)])).answer(None, false, None).unwrap();
    assert_eq!(files(answer).1["data.json"], "{}");
}

#[test]
fn a_delta_tells_what_is_now_at_the_places_that_were_touched() {
    let (recipe, policy) = (recipe("data=true"), policy(&FILES));
    let before = [
        (1, put("/a", json!({"b": 1, "l": [1, 2]}))),
        (2, put("/gone", json!({"x": 1}))),
        (3, put("/odd", json!({}))),
    ];
    let known = made(&recipe, Some(&policy), log(0, &before)).tag;
    let mut now = before.to_vec();
    now.extend([
        (4, patch("/a", json!([{"op": "add", "path": "/l/0", "value": 0}]))),
        (5, put("/a/c/d", json!({"é": "\u{2028}"}))),
        (6, patch("", json!([{"op": "remove", "path": "/gone"}]))),
        (7, put("/a/c", json!({"d": {"k": 1}}))),
        (8, patch("/never", json!([{"op": "remove", "path": "/there"}]))),
        (9, patch("/odd", json!([{"op": "add", "path": "/a~1b~0c", "value": true}]))),
        (10, json!({"dst_path": "/users/bob", "url": "http://h"})),
    ]);
    let (tag, delta) =
        files(made(&recipe, Some(&policy), log(0, &now)).answer(Some(&known), true, None).unwrap());
    assert_eq!(delta.keys().collect::<Vec<_>>(), [".manifest", "patch.json"]);
    assert_eq!(tag.mark.seq, Seq(10));
    let remove = |path: &str| {
        [
            json!({"op": "upsert", "path": path, "value": null}),
            json!({"op": "remove", "path": path}),
        ]
    };
    let mut expected = vec![
        json!({"op": "upsert", "path": "/a/c", "value": {"d": {"k": 1}}}),
        json!({"op": "upsert", "path": "/a/l", "value": [0, 1, 2]}),
    ];
    expected.extend(remove("/gone"));
    expected.extend(remove("/never"));
    expected.push(json!({"op": "upsert", "path": "/odd/a~1b~0c", "value": true}));
    expected.extend(remove("/users/bob"));
    assert_eq!(json_of(&delta, "patch.json"), json!({ "data": expected }));
    // Who takes none gets everything, of the same tag.
    let (same, snapshot) = files(
        made(&recipe, Some(&policy), log(0, &now)).answer(Some(&known), false, None).unwrap(),
    );
    assert_eq!(same, tag);
    assert!(snapshot.contains_key("data.json"));
}

#[test]
fn a_delta_is_never_empty() {
    let recipe = recipe("data=true");
    let policy = policy(&FILES);
    let before = [(1, put("/a", json!({})))];
    let known = made(&recipe, Some(&policy), log(0, &before)).tag;
    let mut entry = put("/girasol/policy/modules/x", json!("package x"));
    entry["topics"] = json!(["policy:."]);
    let fetched = json!({"dst_path": "/a", "url": "http://h", "save_method": "PATCH"});
    for entry in [entry, fetched] {
        let now = [before[0].clone(), (2, entry)];
        let made = made(&recipe, Some(&policy), log(0, &now));
        let Answer::Unchanged(tag) = made.answer(Some(&known), true, None).unwrap() else {
            panic!("nothing changed");
        };
        assert_eq!(tag.mark.seq, Seq(2));
    }
}

#[test]
fn what_a_delta_cannot_say_is_a_snapshot() {
    let policy_of = policy(&FILES);
    let is_snapshot = |query: &str,
                       floor,
                       policy: Option<&Policy>,
                       before: &[(u64, Value)],
                       now: &[(u64, Value)]| {
        let recipe = recipe(query);
        let known = made(&recipe, policy.map(|_| &policy_of), log(0, before)).tag;
        let answer = made(&recipe, policy, log(floor, now)).answer(Some(&known), true, None);
        files(answer.unwrap()).1.contains_key("data.json")
    };
    let one = (1, put("/a", json!({})));
    let two = (2, put("/b", json!({})));
    let both = [one.clone(), two.clone()];
    let before = std::slice::from_ref(&one);
    assert!(!is_snapshot("data=true", 0, Some(&policy_of), before, &both));
    assert!(is_snapshot("data=true", 2, Some(&policy_of), before, &both), "retention");
    let other = policy(&[("x.rego", "package x")]);
    assert!(is_snapshot("data=true", 0, Some(&other), before, &both), "the policy");
    let nameless = |path| patch("/", json!([{"op": "add", "path": path, "value": 1}]));
    assert!(is_snapshot(
        "data=true",
        0,
        Some(&policy_of),
        before,
        &[one.clone(), (2, nameless("/"))]
    ));
    assert!(!is_snapshot(
        "data=true",
        0,
        Some(&policy_of),
        before,
        &[one.clone(), (2, nameless("/a/"))]
    ));
    let root = [one.clone(), (2, put("/", json!({"c": 1})))];
    assert!(is_snapshot("data=true", 0, Some(&policy_of), before, &root), "the root");
    assert!(is_snapshot("data=only", 0, None, before, &both), "the roots");
    assert!(!is_snapshot("data=only&roots=a,b", 0, None, before, &both));
}

#[test]
fn who_has_it_gets_nothing() {
    let recipe = recipe("");
    let policy = policy(&FILES);
    let known = made(&recipe, Some(&policy), log(0, &[])).tag;
    let again = made(&recipe, Some(&policy), log(0, &[]));
    assert_eq!(again.answer(Some(&known), true, None).unwrap(), Answer::Unchanged(known));
}

#[test]
fn roots_are_given_or_follow_from_the_content() {
    let policy = policy(&FILES);
    let roots = |query: &str, policy: Option<&Policy>| {
        let recipe = recipe(query);
        let page = log(0, &[(1, put("/billing/x", json!({})))]);
        made(&recipe, policy, page).manifest()["roots"].clone()
    };
    assert_eq!(roots("", Some(&policy)), json!([""]));
    assert_eq!(roots("roots=auto", Some(&policy)), json!(["app", "billing", "users"]));
    assert_eq!(roots("data=only", None), json!(["billing"]));
    assert_eq!(roots("data=only&roots=/b/,a/x", None), json!(["a/x", "b"]));
}

#[test]
fn a_signature_covers_every_file() {
    let recipe = recipe("data=true");
    let policy = policy(&FILES);
    let sign = |claims: Value| Ok(claims.to_string());
    let made = made(&recipe, Some(&policy), log(0, &[]));
    let (_, files) = files(made.answer(None, false, Some(&sign)).unwrap());
    let signatures = json_of(&files, ".signatures.json");
    let listed: Value =
        serde_json::from_str(signatures["signatures"][0].as_str().unwrap()).unwrap();
    let listed = listed["files"].as_array().unwrap();
    let names: Vec<_> = listed.iter().map(|file| file["name"].as_str().unwrap()).collect();
    assert_eq!(names, [".manifest", "data.json", "app/rbac.rego"]);
    assert_eq!(listed[0]["hash"].as_str().unwrap().len(), 64);
}

#[test]
fn a_query_says_what_is_wanted_and_a_wrong_one_names_the_parameter() {
    let all = recipe("data&path=/app/&path=b&topics=users");
    assert!(all.policy && all.data);
    assert_eq!(all.folders, ["app", "b"]);
    assert!(recipe("topics=users").data, "who names topics wants data");
    assert!(!recipe("data=false").data);
    assert_ne!(recipe("data=true").digest(), recipe("").digest());
    let permitted = Recipe::parse("data=true", &claims(Some(&["users"]))).unwrap();
    assert_ne!(permitted.digest(), recipe("data=true").digest());
    assert_eq!(permitted, recipe("data=true&topics=users"));
    for (query, name) in [
        ("data=maybe", "data: "),
        ("topics=", "topics: "),
        ("roots=a//b", "roots: "),
        ("rego_version=2", "rego_version: "),
        ("deltas=some", "deltas: "),
    ] {
        let problem = Recipe::parse(query, &claims(None)).unwrap_err();
        assert!(problem.detail.starts_with(name), "{problem}");
    }
    let many = "path=a".to_owned() + &"&path=x".repeat(10);
    assert_eq!(recipe(&many).folders, ["a", "x"]);
    for name in ["a", "authz.tar.gz", "A-1_x.y"] {
        assert!(query::check_name(name).is_ok());
    }
    for name in ["", ".tar.gz", "a b", "a\u{e9}"] {
        assert_eq!(query::check_name(name).unwrap_err().status, 404);
    }
}

#[test]
fn opas_preference_is_understood() {
    let of = |header: &str| {
        let it = query::Preference::parse(header);
        (it.delta, it.wait, it.wait_ms())
    };
    assert_eq!(of("modes=snapshot,delta;wait=30"), (true, Some(30), 30_000));
    assert_eq!(of("modes=snapshot,delta"), (true, None, 0));
    assert_eq!(of("modes=snapshot;wait=600"), (false, Some(600), 60_000));
    assert_eq!(of("wait=1, modes=\"delta\""), (true, Some(1), 1_000));
    assert_eq!(of("delta;wait=x"), (false, None, 0));
}

#[test]
fn a_data_file_that_is_no_object_is_named() {
    let recipe = recipe("");
    for (text, words) in
        [("[1]", "`a/data.json` is not an object"), ("{", "`a/data.json` is not JSON")]
    {
        let policy = policy(&[("a/data.json", text)]);
        let replay = Replay::default();
        let problem = Made::new(&recipe, Some(&policy), replay, Mark::default()).unwrap_err();
        assert!(problem.detail.contains(words), "{problem}");
    }
}

#[test]
fn more_data_than_a_bundle_takes_is_refused() {
    let large = "x".repeat(9 << 20);
    let page = |seq| log(0, &[(seq, put("/a", json!({ "k": large })))]);
    let mut replay = Replay::default();
    assert_eq!(replay.take(page(1)).unwrap(), None);
    assert_eq!(replay.take(page(2)).unwrap_err().status, 413);
    let mut other = page(3);
    other.epoch = "e2".to_owned();
    assert_eq!(replay.take(other).unwrap_err().status, 503);
}
