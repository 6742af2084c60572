//! Policy in the log.

use std::collections::BTreeMap;

use hub::log::{Log as _, Retention};
use hub::machine::{Effect, Machine, Settings};
use protocol::commit::Part;
use protocol::internal::{HubAnswer, HubRequest, Quorum, Wait};
use protocol::opal::policy::Files;
use protocol::socket::HubFrame;
use protocol::topic::TopicSet;
use protocol::{Problem, SaveMethod, Seq};
use serde_json::{Value, json};

use crate::rig::{Rig, frames, outline, session};

/// What a subscriber of all policies makes of the log.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    revision: Option<String>,
    modules: BTreeMap<String, String>,
    data: BTreeMap<String, String>,
}

fn files(all: &[(&str, &str)]) -> Files {
    all.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
}

fn set(name: Option<&str>, files: Files) -> HubRequest {
    let (claims, revision) = (Some(session(None).claims), name.map(str::to_owned));
    HubRequest::SetPolicy { claims, revision, files, wait: None }
}

/// A policy's hash, whether files changed, and its number.
type Answer = (String, bool, Seq);

/// Sets a policy.
fn push(
    rig: &mut Rig,
    name: Option<&str>,
    all: &[(&str, &str)],
) -> (Result<Answer, Problem>, Vec<Effect>) {
    let mut effects = rig.ask(set(name, files(all)));
    let Effect::Answer(_, answer) = effects.remove(0) else { panic!("the answer comes first") };
    let read = |answer| match answer {
        HubAnswer::PolicySet { hash, changed, seq, receipts: None } => (hash, changed, seq),
        other => panic!("{other:?}"),
    };
    (answer.map(read), effects)
}

/// The log, from the beginning, without what comes after the last marker.
fn seen(rig: &Rig, topic: &str) -> Seen {
    let topics = TopicSet::new([topic.to_owned(), "policy:..".to_owned()]).unwrap();
    let (mut now, mut complete) = (Seen::default(), Seen::default());
    for record in rig.log.read(Some(&topics), Seq::ZERO, usize::MAX).unwrap() {
        for entry in record.entries_for(Some(&topics)).0 {
            let data = entry.inline().unwrap().get();
            match Part::read(&entry.dst_path, data).unwrap() {
                Part::Module(path, Some(rego)) => drop(now.modules.insert(path, rego)),
                Part::Module(path, None) => drop(now.modules.remove(&path)),
                Part::Data => {
                    let place = entry.dst_path.to_string();
                    match entry.save_method {
                        SaveMethod::Put => {
                            now.data.retain(|it, _| !it.starts_with(&format!("{place}/")));
                            now.data.insert(place, data.to_owned());
                        }
                        SaveMethod::Patch => assert!(now.data.remove(&place).is_some(), "{place}"),
                    }
                }
                Part::Marker(marker) => {
                    now.revision = Some(marker.hash);
                    let Seen { revision, modules, data } = &now;
                    complete = Seen {
                        revision: revision.clone(),
                        modules: modules.clone(),
                        data: data.clone(),
                    };
                }
            }
        }
    }
    complete
}

/// What there should be to see of files of one member each in the root's `data.json`.
fn expected(revision: &str, all: &[(&str, &str)]) -> Seen {
    let mut expected = Seen { revision: Some(revision.to_owned()), ..Seen::default() };
    for (path, text) in all {
        match path.strip_suffix("data.json") {
            Some("") => {
                let members: BTreeMap<String, Value> = serde_json::from_str(text).unwrap();
                let members = members.into_iter();
                expected
                    .data
                    .extend(members.map(|(name, it)| (format!("/{name}"), it.to_string())));
            }
            Some(folder) => {
                let place = format!("/{}", folder.trim_end_matches('/'));
                expected.data.insert(place, (*text).to_owned());
            }
            None => drop(expected.modules.insert((*path).to_owned(), (*text).to_owned())),
        }
    }
    expected
}

/// The places of what one socket was told, update by update.
fn places(effects: &[Effect], socket: u64) -> Vec<Vec<String>> {
    let updates = frames(effects, socket).into_iter().filter_map(|frame| match frame {
        HubFrame::Updates(updates) => Some(updates),
        _ => None,
    });
    updates
        .flatten()
        .map(|update| update.entries.iter().map(|it| it.dst_path.to_string()).collect())
        .collect()
}

const A: &[(&str, &str)] = &[
    ("app/a.rego", "package a"),
    ("b.rego", "package b"),
    ("data.json", r#"{"x":1}"#),
    ("app/data.json", "{}"),
];
const B: &[(&str, &str)] = &[
    ("app/a.rego", "package a2"),
    ("c.rego", "package c"),
    ("data.json", r#"{"y":2}"#),
    ("app/sub/data.json", r#"{"k":1}"#),
];
const C: &[(&str, &str)] = &[("b.rego", "package b3"), ("app/sub/data.json", r#"{"k":2}"#)];

#[test]
fn a_change_is_told_in_parts_of_which_the_marker_is_the_last() {
    let mut rig = Rig::new();
    rig.hello(1, &["policy:.", "policy:.."], 0);
    let (answer, effects) = push(&mut rig, Some("r1"), &[("app/a.rego", "1"), ("b.rego", "1")]);
    assert_eq!(answer, Ok(("r1".to_owned(), true, Seq(1))));
    let module = |name: &str| format!("/girasol/policy/modules/{name}");
    let marker = "/girasol/policy/revision".to_owned();
    assert_eq!(places(&effects, 1), [[module("app~1a.rego"), module("b.rego"), marker.clone()]]);
    let (_, effects) = push(&mut rig, Some("r2"), &[("app/a.rego", "1"), ("b.rego", "2")]);
    assert_eq!(places(&effects, 1), [[module("b.rego"), marker.clone()]]);
    let (answer, effects) = push(&mut rig, Some("r2"), &[("app/a.rego", "1"), ("b.rego", "2")]);
    assert_eq!(answer, Ok(("r2".to_owned(), false, Seq(2))));
    assert!(effects.is_empty(), "{effects:?}");
    // A revision that comes back is another update.
    let (answer, effects) = push(&mut rig, Some("r1"), &[("app/a.rego", "1"), ("b.rego", "1")]);
    assert_eq!(answer, Ok(("r1".to_owned(), true, Seq(3))));
    assert_eq!(places(&effects, 1), [[module("b.rego"), marker]]);
    assert_eq!(seen(&rig, "policy:."), expected("r1", &[("app/a.rego", "1"), ("b.rego", "1")]));
}

#[test]
fn modules_and_data_come_and_go() {
    let mut rig = Rig::new();
    for (name, all) in [("a", A), ("b", B), ("c", C), ("a", A), ("b", B)] {
        push(&mut rig, Some(name), all).0.unwrap();
        assert_eq!(seen(&rig, "policy:."), expected(name, all));
    }
}

#[test]
fn another_name_for_the_same_files_is_a_marker_and_no_news_for_clients_of_opal() {
    let mut rig = Rig::new();
    let first = push(&mut rig, None, A).0.unwrap();
    rig.hello(1, &["policy:app", "policy:.."], 1);
    let (answer, effects) = push(&mut rig, Some("r2"), A);
    assert_eq!(answer, Ok(("r2".to_owned(), false, Seq(2))));
    assert_eq!(places(&effects, 1), [["/girasol/policy/revision"]]);
    assert_eq!(effects.len(), 1, "{effects:?}");
    let asked = HubRequest::Policy { claims: session(None).claims, base: Some(first.0.clone()) };
    let Effect::Answer(_, Ok(HubAnswer::Policy(Some(policy)))) = rig.ask(asked).remove(0) else {
        panic!()
    };
    assert_eq!((policy.revision.hash, policy.base.unwrap().hash), ("r2".to_owned(), first.0));
}

#[test]
fn a_name_that_means_other_files_already_is_a_conflict() {
    let mut rig = Rig::new();
    push(&mut rig, Some("r1"), A).0.unwrap();
    assert_eq!(push(&mut rig, Some("r1"), B).0.unwrap_err().status, 409);
    push(&mut rig, Some("r2"), B).0.unwrap();
    assert_eq!(push(&mut rig, Some("r1"), C).0.unwrap_err().status, 409);
    assert_eq!(seen(&rig, "policy:."), expected("r2", B));
    for name in ["", "a b", "a:b", &"x".repeat(129)] {
        assert_eq!(push(&mut rig, Some(name), C).0.unwrap_err().status, 422, "{name:?}");
    }
}

#[test]
fn storage_that_refuses_half_way_leaves_nothing_that_the_next_commit_does_not_put_right() {
    for next in [("b", B), ("c", C), ("a", A)] {
        for takes in 0..24 {
            let mut rig = Rig::new();
            push(&mut rig, Some("a"), A).0.unwrap();
            rig.hello(1, &["policy:.", "policy:.."], 1);
            rig.log.takes = Some(takes);
            let (answer, effects) = push(&mut rig, Some("b"), B);
            rig.log.takes = None;
            let reached = if answer.is_ok() { expected("b", B) } else { seen(&rig, "policy:.") };
            // Nothing half published: one of the two.
            assert!(
                [expected("a", A), expected("b", B)].contains(&reached),
                "{takes}: {reached:?}"
            );
            // What is in the log is told, so that nobody has a hole.
            let told = places(&effects, 1).len();
            assert_eq!(rig.log.records.len() - 1, told, "{takes}");
            let (name, all) = next;
            push(&mut rig, Some(name), all).0.unwrap();
            assert_eq!(seen(&rig, "policy:."), expected(name, all), "{takes} then {name}");
            push(&mut rig, Some("b2"), B).0.unwrap();
            assert_eq!(seen(&rig, "policy:."), expected("b2", B), "{takes} then {name}");
        }
    }
}

#[test]
fn a_commit_that_storage_refuses_half_way_takes_nothing_from_the_one_before() {
    let mut half = 0;
    for takes in 0..24 {
        let mut rig = Rig::new();
        rig.machine = Machine::new(Settings { commit_parts: 1, ..Settings::default() });
        push(&mut rig, Some("a"), A).0.unwrap();
        let before = rig.log.records.len();
        rig.log.takes = Some(takes);
        let (answer, _) = push(&mut rig, Some("b"), B);
        rig.log.takes = None;
        // Whoever comes now finds one of the two, as a whole.
        let reached = seen(&rig, "policy:.");
        assert!([expected("a", A), expected("b", B)].contains(&reached), "{takes}: {reached:?}");
        half += usize::from(answer.is_err() && rig.log.records.len() > before);
        push(&mut rig, Some("c"), C).0.unwrap();
        assert_eq!(seen(&rig, "policy:."), expected("c", C), "{takes}");
    }
    assert!(half > 0);
}

#[test]
fn what_an_unfinished_commit_may_have_said_is_noted_once_however_often_storage_refuses() {
    let mut noted = false;
    for takes in 0..24 {
        let mut rig = Rig::new();
        push(&mut rig, Some("a"), A).0.unwrap();
        let mut refused = || {
            rig.log.takes = Some(takes);
            let is_refused = push(&mut rig, Some("b"), B).0.is_err();
            rig.log.takes = None;
            let note = rig.log.document("policy/logged").unwrap();
            note.filter(|note| is_refused && note.contains("unfinished"))
        };
        let (first, _) = (refused(), refused());
        let third = refused();
        if let (Some(first), Some(third)) = (first, third) {
            noted = true;
            assert!(third.len() <= 2 * first.len(), "{takes}: {first} {third}");
            assert_eq!(refused(), Some(third), "{takes}");
        }
    }
    assert!(noted);
}

#[test]
fn a_policy_from_before_it_was_in_the_log_gets_there_with_the_next_request() {
    let mut rig = Rig::new();
    push(&mut rig, None, A).0.unwrap();
    rig.log.records.clear();
    rig.log.keep("policy/logged", None).unwrap();
    let (hash, changed, seq) = push(&mut rig, None, A).0.unwrap();
    assert_eq!((changed, seq), (false, Seq(1)));
    assert_eq!(seen(&rig, "policy:."), expected(&hash, A));
}

#[test]
fn a_policy_from_before_it_was_in_the_log_gets_there_when_somebody_connects() {
    let mut rig = Rig::new();
    let (hash, ..) = push(&mut rig, None, A).0.unwrap();
    rig.log.records.clear();
    rig.log.keep("policy/logged", None).unwrap();
    rig.open(1, session(None));
    assert_eq!(seen(&rig, "policy:."), expected(&hash, A));
    let records = rig.log.records.len();
    rig.open(2, session(None));
    assert_eq!(rig.log.records.len(), records, "once");
}

#[test]
fn a_policy_that_the_log_could_not_keep_is_refused() {
    let mut rig = Rig::new();
    let retention = Retention { max_bytes: 1_000, ..Retention::default() };
    rig.machine = Machine::new(Settings { retention, ..Settings::default() });
    let large = format!("package a\n# {}", "x".repeat(500));
    assert_eq!(push(&mut rig, None, &[("a.rego", &large)]).0.unwrap_err().status, 413);
    assert!(push(&mut rig, None, A).0.is_ok());
}

#[test]
fn a_large_commit_is_several_updates_and_compaction_leaves_the_whole_policy() {
    let mut rig = Rig::new();
    let names: Vec<String> = (0..150).map(|n| format!("m{n}/x.rego")).collect();
    let large = "x".repeat(4_000);
    let all = |version: &str| -> Vec<(String, String)> {
        names.iter().map(|name| (name.clone(), format!("{large}{version}"))).collect()
    };
    let texts = [all("1"), all("2"), all("3")];
    for (name, all) in ["r1", "r2", "r3"].iter().zip(&texts) {
        let all: Vec<(&str, &str)> =
            all.iter().map(|(at, it)| (at.as_str(), it.as_str())).collect();
        push(&mut rig, Some(name), &all).0.unwrap();
        assert_eq!(seen(&rig, "policy:."), expected(name, &all));
    }
    let left: usize = rig.log.records.iter().map(|it| it.record.places.len()).sum();
    assert_eq!(left, 151, "each module once, and one marker");
    assert!(rig.log.records.iter().all(|it| it.bytes < 256 << 10));
    assert!(rig.log.records.len() >= 6, "{}", rig.log.records.len());
    let one: Vec<(&str, &str)> = vec![("m7/x.rego", "1")];
    push(&mut rig, Some("r4"), &one).0.unwrap();
    assert_eq!(seen(&rig, "policy:m7"), expected("r4", &one));
}

#[test]
fn a_part_that_retention_gives_up_is_said_again() {
    let mut rig = Rig::new();
    let retention = Retention { max_bytes: 4_000, max_age: None };
    rig.machine = Machine::new(Settings { retention, ..Settings::default() });
    push(&mut rig, Some("a"), A).0.unwrap();
    rig.hello(1, &["policy:.", "policy:.."], 1);
    let mut told = 0;
    for at in 0..40 {
        let data = json!({"large": "x".repeat(300)});
        let entry = json!({"topics": ["t"], "dst_path": format!("/d{at}"), "data": data});
        let (seq, effects) = rig.publish(&json!({"id": format!("u{at}"), "entries": [entry]}));
        seq.unwrap();
        told += places(&effects, 1).len();
        assert_eq!(seen(&rig, "policy:."), expected("a", A), "{at}");
    }
    assert!(told > 0 && rig.log.floor() > Seq::ZERO);
}

#[test]
fn a_folder_has_its_own_subscribers_and_everybody_hears_of_the_revision() {
    let mut rig = Rig::new();
    rig.hello(1, &["policy:app", "policy:.."], 0);
    let (_, effects) = push(&mut rig, Some("a"), A);
    assert_eq!(
        places(&effects, 1),
        [["/girasol/policy/modules/app~1a.rego", "/app", "/girasol/policy/revision"]]
    );
    let other: Vec<_> = A.iter().copied().chain([("z/z.rego", "package z")]).collect();
    let (_, effects) = push(&mut rig, Some("z"), &other);
    assert_eq!(places(&effects, 1), [["/girasol/policy/revision"]]);
}

#[test]
fn policies_are_for_every_subscriber_and_for_no_publisher() {
    let mut rig = Rig::new();
    rig.open(1, session(Some(&["users"])));
    let topics = ["users", "policy:.", "policy:.."];
    let effects = rig.say(1, &json!({"hello": {"agent": "a", "topics": topics}}));
    assert_eq!(outline(&effects, 1), ["welcome e1/0", "caught up 0"]);
    let (_, effects) = push(&mut rig, None, A);
    assert_eq!(places(&effects, 1).len(), 1);
    let read = |topics: &[&str], permitted| HubRequest::Read {
        claims: session(permitted).claims,
        topics: Some(TopicSet::new(topics.iter().map(ToString::to_string)).unwrap()),
        after: Seq::ZERO,
        bytes: None,
    };
    let Effect::Answer(_, Ok(HubAnswer::Log(page))) =
        rig.ask(read(&["policy:app"], Some(&["users"]))).remove(0)
    else {
        panic!()
    };
    assert_eq!(page.updates[0].entries.len(), 2);
    // A topic that becomes one of policies in the hub's scope.
    let body = json!({"id": "u", "entries": [{"topics": ["users"], "data": {}}]});
    let HubRequest::Append { mut update, claims, wait } = crate::rig::append(&body) else {
        panic!()
    };
    update.entries[0].topics = vec!["policy:app".to_owned()];
    let effects = rig.ask(HubRequest::Append { update, claims, wait });
    let [Effect::Answer(_, Err(problem))] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(problem.status, 422);
}

#[test]
fn policy_is_no_part_of_the_data_that_a_client_of_opal_fetches() {
    let mut rig = Rig::new();
    rig.put("u", "users");
    push(&mut rig, None, A).0.unwrap();
    for topics in [None, Some("policy:.")] {
        let topics = topics.map(|it| TopicSet::new([it.to_owned()]).unwrap());
        let is_all = topics.is_none();
        let claims = session(None).claims;
        let (after, inline_bytes, origin) = (Seq::ZERO, 1_000_000, "http://hub".to_owned());
        let asked = HubRequest::Snapshot { claims, topics, after, inline_bytes, origin };
        let Effect::Answer(_, Ok(HubAnswer::Snapshot(snapshot))) = rig.ask(asked).remove(0) else {
            panic!()
        };
        assert_eq!(snapshot.entries.len(), usize::from(is_all));
    }
}

#[test]
fn who_gives_a_policy_may_wait_for_the_agents() {
    let mut rig = Rig::new();
    rig.hello(1, &["policy:app", "policy:.."], 0);
    rig.hello(2, &["users"], 0);
    let wait = Some(Wait { agents: Quorum::All, timeout_ms: 1_000 });
    let claims = Some(session(None).claims);
    let asked =
        || HubRequest::SetPolicy { claims: claims.clone(), revision: None, files: files(A), wait };
    for changed in [true, false] {
        let effects = rig.ask(asked());
        assert!(!effects.iter().any(|it| matches!(it, Effect::Answer(..))), "{effects:?}");
        assert!(outline(&effects, 1).contains(&"confirm 1".to_owned()));
        assert!(outline(&effects, 2).is_empty());
        let effects = rig.say(1, &json!({"receipt": {"seq": 1, "applied": true}}));
        let [Effect::Answer(_, Ok(HubAnswer::PolicySet { receipts: Some(said), changed: it, .. }))] =
            &effects[..]
        else {
            panic!("{effects:?}")
        };
        assert!(said.complete && said.expected == 1 && *it == changed, "{said:?}");
    }
}
