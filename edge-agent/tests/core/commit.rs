//! Commits of policy: parts, markers, and what the engine says of them.

use edge_agent::core::queue::ReadyCommit;
use edge_agent::core::status::PendingState;
use edge_agent::core::{Effect, Input, Kept, Report, Restored, WriteError};
use edge_agent::engine::EngineError;
use edge_agent::policy::{PolicyModule, PolicySet};
use edge_agent::store::{Mark, Tag, Written};
use protocol::commit;
use protocol::opal::data_files::Change;
use protocol::socket::AgentFrame;
use protocol::{DataPath, Entry, SaveMethod, Seq};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::rig::{Rig, fetches, path_written, rejected, unavailable, write};

fn module(path: &str, rego: Option<&str>) -> Entry {
    commit::module(path, rego).unwrap()
}

fn data(folder: &str, text: Option<&str>) -> Vec<Entry> {
    let place = DataPath::parse(folder).unwrap();
    let data = text.map(|text| RawValue::from_string(text.to_owned()).unwrap());
    commit::data(Change { folder: place.clone(), place, data })
}

fn marker(hash: &str) -> Entry {
    commit::marker(&commit::Marker { hash: hash.to_owned(), old_hash: None }).unwrap()
}

fn update(prev: u64, seq: u64, entries: &[Entry]) -> Value {
    let places: Vec<usize> = (0..entries.len()).collect();
    json!({"seq": seq, "prev": prev, "id": format!("policy:{seq}"), "at": 0, "entries": entries, "places": places})
}

/// An update of parts arrives.
fn deliver(rig: &mut Rig, prev: u64, seq: u64, entries: &[Entry]) -> Vec<Effect> {
    rig.frame(&json!({"updates": [update(prev, seq, entries)]}))
}

/// A commit of one module.
fn simple(hash: &str) -> Vec<Entry> {
    vec![module("a.rego", Some(&format!("package {hash}"))), marker(hash)]
}

fn taken(effects: &[Effect]) -> Option<(ReadyCommit, PolicySet)> {
    effects.iter().find_map(|effect| match effect {
        Effect::Commit(commit, set, _) => Some((commit.clone(), set.clone())),
        _ => None,
    })
}

fn revision(effects: &[Effect]) -> Option<String> {
    taken(effects).map(|(commit, _)| commit.revision)
}

/// The modules of a set, `id=text`.
fn modules(set: &PolicySet) -> Vec<String> {
    set.modules.iter().map(|it| format!("{}={}", it.id, it.rego)).collect()
}

fn kept(effects: &[Effect]) -> Option<PolicySet> {
    effects.iter().find_map(|effect| match effect {
        Effect::KeepPolicies(set) => Some(set.clone()),
        _ => None,
    })
}

fn prepared_with(effects: &[Effect]) -> Option<PolicySet> {
    effects.iter().find_map(|effect| match effect {
        Effect::PrepareEngine(set) => Some(set.clone()),
        _ => None,
    })
}

fn set(revision: &str) -> PolicySet {
    let module = PolicyModule { id: "a.rego".to_owned(), rego: format!("package {revision}") };
    PolicySet { revision: Some(revision.to_owned()), modules: [module].into() }
}

fn receipts(effects: &[Effect]) -> Vec<(u64, bool)> {
    let receipt = |it: &Effect| match it {
        Effect::Send(AgentFrame::Receipt(receipt)) => Some((receipt.seq.0, receipt.applied)),
        _ => None,
    };
    effects.iter().filter_map(receipt).collect()
}

#[test]
fn parts_wait_for_the_marker_and_are_written_together() {
    let mut rig = Rig::live(0);
    let parts = [&[module("a.rego", Some("1")), module("b.rego", Some("1"))][..]].concat();
    let effects = deliver(&mut rig, 0, 1, &parts);
    assert!(taken(&effects).is_none() && path_written(&effects).is_none(), "{effects:?}");
    assert!(!rig.status().ready, "the hub has policies");
    let rest = [data("app", Some(r#"{"k":1}"#)), vec![marker("r1")]].concat();
    let effects = deliver(&mut rig, 1, 2, &rest);
    assert_eq!(path_written(&effects), None);
    let (commit, set) = taken(&effects).unwrap();
    assert_eq!(commit.records.len(), 4);
    assert_eq!(modules(&set), ["a.rego=1", "b.rego=1"]);
    let effects = rig.written(commit.job);
    assert_eq!(kept(&effects), Some(set));
    assert_eq!((rig.core.cursor(), rig.core.progress().at), (Seq(2), Some(Seq(2))));
    let status = rig.status();
    assert!(status.ready && status.healthy, "{:?}", status.problems);
    assert_eq!(status.policy_revision.as_deref(), Some("r1"));
}

#[test]
fn a_commit_changes_what_the_one_before_it_made() {
    let mut rig = Rig::live(0);
    let all = [module("a.rego", Some("1")), module("b.rego", Some("1")), marker("r1")];
    let commit = taken(&deliver(&mut rig, 0, 1, &all)).unwrap().0;
    rig.written(commit.job);
    let change = [module("a.rego", None), module("c.rego", Some("2")), marker("r2")];
    let (commit, set) = taken(&deliver(&mut rig, 1, 2, &change)).unwrap();
    assert_eq!(modules(&set), ["b.rego=1", "c.rego=2"]);
    rig.written(commit.job);
    let (_, set) = taken(&deliver(&mut rig, 2, 3, &[marker("r3")])).unwrap();
    assert_eq!((modules(&set).len(), set.revision.as_deref()), (2, Some("r3")));
}

#[test]
fn a_commit_waits_for_unfinished_data_before_it_at_its_places_and_for_no_other() {
    let mut rig = Rig::live(0);
    let above = fetches(&rig.deliver(0, 1, &[("/app/x", Value::Null)]))[0];
    fetches(&rig.deliver(1, 2, &[("/other", Value::Null)]));
    let parts = [data("app/x/y", Some("{}")), simple("r1")].concat();
    assert_eq!(revision(&deliver(&mut rig, 2, 3, &parts)), None);
    let effects = rig.fetched(above, "{}");
    let ready = write(&effects).unwrap();
    assert_eq!((ready.record.path.to_string().as_str(), revision(&effects)), ("/app/x", None));
    assert_eq!(revision(&rig.written(ready.job)), Some("r1".to_owned()));
}

#[test]
fn a_document_of_a_commit_frees_a_source_that_does_not_answer() {
    let mut rig = Rig::live(0);
    let stuck = fetches(&rig.deliver(0, 1, &[("/app/x", Value::Null)]))[0];
    rig.fetch_failed(stuck);
    let parts = [data("app", Some("{}")), simple("r1")].concat();
    let commit = taken(&deliver(&mut rig, 1, 2, &parts)).unwrap().0;
    rig.written(commit.job);
    assert_eq!(rig.core.cursor(), Seq(2));
    assert_eq!(path_written(&rig.fetched(stuck, "{}")), None);
}

#[test]
fn what_follows_a_commit_at_its_places_waits_for_it_and_nothing_else_does() {
    let mut rig = Rig::new();
    rig.step(Input::LinkUp);
    deliver(&mut rig, 0, 1, &[data("app", Some("{}")), simple("r1")].concat());
    assert_eq!(path_written(&rig.deliver(1, 2, &[("/app/x", json!({}))])), None);
    let other = write(&rig.deliver(2, 3, &[("/b", json!({}))])).unwrap();
    assert_eq!(other.record.path.to_string(), "/b");
    rig.written(other.job);
    let effects = rig.frame(&json!({"caught_up": {"seq": 3, "digests": {}}}));
    let commit = taken(&effects).unwrap().0;
    assert_eq!(path_written(&rig.written(commit.job)), Some("/app/x".to_owned()));
}

#[test]
fn what_a_replay_says_is_taken_at_its_end_as_one() {
    let mut rig = Rig::new();
    rig.step(Input::LinkUp);
    // Of the first commit the log has only what the second did not replace.
    assert_eq!(
        revision(&deliver(&mut rig, 0, 1, &[module("b.rego", Some("1")), marker("r1")])),
        None
    );
    let rest = [module("a.rego", Some("2")), marker("r2")];
    assert_eq!(revision(&deliver(&mut rig, 1, 2, &rest)), None);
    assert_eq!(rig.status().pending[0].state, PendingState::Ready);
    let effects = rig.frame(&json!({"caught_up": {"seq": 2, "digests": {}}}));
    let (commit, set) = taken(&effects).unwrap();
    assert_eq!(modules(&set), ["a.rego=2", "b.rego=1"]);
    assert!(!rig.status().ready);
    rig.written(commit.job);
    assert!(rig.status().ready, "{:?}", rig.status().problems);
}

#[test]
fn a_commit_that_the_engine_refuses_leaves_the_old_one_and_goes_in_with_the_next() {
    let mut rig = Rig::live(0);
    let commit = taken(&deliver(&mut rig, 0, 1, &simple("r1"))).unwrap().0;
    rig.written(commit.job);
    let bad = [data("app", Some("{}")), vec![module("b.rego", Some("bad")), marker("r2")]].concat();
    let commit = taken(&deliver(&mut rig, 1, 2, &bad)).unwrap().0;
    rig.frame(&json!({"confirm": {"seq": 2}}));
    let tags: Vec<Tag> = commit.records.iter().map(|it| it.tag).collect();
    let effects = rig.step(Input::Written(commit.job, Err(rejected("b.rego:1:1: oops"))));
    let discards = |it: &Effect| matches!(it, Effect::Discard(discarded) if *discarded == tags);
    assert!(effects.iter().any(discards), "{effects:?}");
    assert_eq!((receipts(&effects), kept(&effects)), (vec![(2, false)], None));
    let status = rig.status();
    assert_eq!(status.policy_revision.as_deref(), Some("r1"));
    assert!(status.ready && !status.healthy, "{:?}", status.problems);
    assert_eq!(status.problems, ["the newest policies are not in: b.rego:1:1: oops"]);
    // Nobody waits for it, but a restart begins before it.
    assert_eq!((rig.core.progress().at, rig.core.cursor()), (Some(Seq(2)), Seq(1)));

    let other = write(&rig.deliver(2, 3, &[("/b", json!({}))])).unwrap();
    rig.written(other.job);
    assert_eq!((rig.core.progress().at, rig.core.cursor()), (Some(Seq(3)), Seq(1)));
    assert_eq!(
        path_written(&rig.deliver(3, 4, &[("/app/x", json!({}))])),
        None,
        "it would come before"
    );

    let effects = deliver(&mut rig, 4, 5, &[module("c.rego", Some("3")), marker("r3")]);
    let (commit, set) = taken(&effects).unwrap();
    assert_eq!(modules(&set), ["a.rego=package r1", "b.rego=bad", "c.rego=3"]);
    assert_eq!(commit.records.len(), 5, "with the data of the one that was refused");
    assert_eq!(path_written(&rig.written(commit.job)), Some("/app/x".to_owned()));
    assert_eq!(rig.status().policy_error, None);
    assert_eq!(rig.status().policy_revision.as_deref(), Some("r3"));
}

#[test]
fn a_first_commit_that_is_refused_leaves_an_agent_that_is_not_ready() {
    let mut rig = Rig::live(0);
    let commit = taken(&deliver(&mut rig, 0, 1, &simple("r1"))).unwrap().0;
    rig.step(Input::Written(commit.job, Err(rejected("oops"))));
    assert!(!rig.status().ready);
    assert_eq!(rig.status().problems, ["no policies have been loaded: oops"]);
}

#[test]
fn a_commit_in_doubt_is_given_with_what_the_store_has_and_is_not_done_again() {
    let mut rig = Rig::live(0);
    let commit = taken(&deliver(&mut rig, 0, 1, &simple("r1"))).unwrap().0;
    let effects = rig.step(Input::Written(commit.job, Err(unavailable("no answer"))));
    let [Effect::Report(Report::EngineDown(_, wait))] = effects[..] else { panic!("{effects:?}") };
    let effects = rig.tick(rig.now.plus(wait));
    assert_eq!(prepared_with(&effects).unwrap().revision.as_deref(), Some("r1"));
    let effects = rig.step(Input::Prepared(Ok(Restored::default())));
    assert_eq!((revision(&effects), rig.core.cursor()), (None, Seq(1)));
    assert_eq!(kept(&effects).unwrap().revision.as_deref(), Some("r1"));
    assert!(rig.status().ready);
}

#[test]
fn a_commit_in_doubt_that_is_refused_after_all_gives_way_to_the_one_before() {
    let mut rig = Rig::live(0);
    let commit = taken(&deliver(&mut rig, 0, 1, &simple("r1"))).unwrap().0;
    rig.written(commit.job);
    let commit = taken(&deliver(&mut rig, 1, 2, &simple("r2"))).unwrap().0;
    rig.step(Input::Written(commit.job, Err(unavailable("no answer"))));
    let at = rig.core.next_tick().unwrap();
    rig.tick(at);
    let effects = rig.step(Input::Prepared(Err(EngineError::Rejected("oops".to_owned()))));
    assert!(effects.iter().any(|it| matches!(it, Effect::Discard(tags) if tags.len() == 2)));
    assert_eq!(prepared_with(&effects).unwrap().revision.as_deref(), Some("r1"));
    rig.step(Input::Prepared(Ok(Restored::default())));
    let status = rig.status();
    assert_eq!(status.policy_revision.as_deref(), Some("r1"));
    assert!(status.ready && status.problems[0].contains("oops"), "{:?}", status.problems);
    assert_eq!(rig.core.progress().at, Some(Seq(2)));
}

#[test]
fn a_commit_that_cannot_be_recorded_is_tried_again() {
    let mut rig = Rig::live(0);
    let first = taken(&deliver(&mut rig, 0, 1, &simple("r1"))).unwrap().0;
    let full = WriteError::NotRecorded("no space left".to_owned());
    let effects = rig.step(Input::Written(first.job, Err(full)));
    let [Effect::Report(Report::NotRecorded(_, wait))] = effects[..] else { panic!("{effects:?}") };
    let again = taken(&rig.tick(rig.now.plus(wait))).unwrap().0;
    assert_eq!((again.job, again.records.len()), (first.job, 2));
    rig.written(again.job);
    assert!(rig.status().healthy, "{:?}", rig.status().problems);
}

#[test]
fn an_agent_that_was_restarted_decides_by_what_the_store_has() {
    let mark = Mark { cursor: Seq(5), settled: Seq(5), complete: true, ..Mark::default() };
    let written = vec![Written {
        tag: Tag { seq: Seq(6), place: 0 },
        path: module("a.rego", None).dst_path,
        save_method: SaveMethod::Put,
    }];
    let policies = Some(set("r6"));
    let mut rig = Rig::started_with(Kept { mark, written, policies, ..Kept::default() });
    rig.step(Input::Prepared(Ok(Restored::default())));
    assert_eq!(rig.status().policy_revision.as_deref(), Some("r6"));
    assert!(rig.status().ready);
    rig.step(Input::LinkUp);
    // What it has is not said to it again; what follows changes it.
    deliver(&mut rig, 5, 6, &[module("a.rego", Some("package r6"))]);
    deliver(&mut rig, 6, 7, &[module("b.rego", Some("7")), marker("r7")]);
    let effects = rig.frame(&json!({"caught_up": {"seq": 7, "digests": {}}}));
    let (commit, set) = taken(&effects).unwrap();
    assert_eq!(commit.records.len(), 2);
    assert_eq!(modules(&set), ["a.rego=package r6", "b.rego=7"]);
}

#[test]
fn what_the_engine_refuses_at_the_start_gives_way_to_what_it_took_last() {
    let (policies, last_good) = (Some(set("r2")), Some(set("r1")));
    let mut rig = Rig::started_with(Kept { policies, last_good, ..Kept::default() });
    let refuse = || Input::Prepared(Err(EngineError::Rejected("oops".to_owned())));
    let effects = rig.step(refuse());
    assert_eq!(prepared_with(&effects).unwrap().revision.as_deref(), Some("r1"));
    rig.step(Input::Prepared(Ok(Restored::default())));
    let status = rig.status();
    assert_eq!(status.policy_revision.as_deref(), Some("r1"));
    assert!(status.problems.iter().any(|it| it.contains("oops")), "{:?}", status.problems);
    rig.step(Input::LinkUp);
    rig.frame(&json!({"caught_up": {"seq": 0, "digests": {}}}));
    let next = [module("b.rego", Some("3")), marker("r3")];
    let (commit, next) = taken(&deliver(&mut rig, 0, 1, &next)).unwrap();
    assert_eq!(modules(&next), ["a.rego=package r2", "b.rego=3"], "it changes what the log says");
    rig.written(commit.job);
    assert!(rig.status().healthy, "{:?}", rig.status().problems);

    let mut rig = Rig::started_with(Kept { last_good: Some(set("r1")), ..Kept::default() });
    let effects = rig.step(refuse());
    assert_eq!(prepared_with(&effects), Some(PolicySet::default()));
    let effects = rig.step(refuse());
    assert!(matches!(&effects[..], [Effect::GiveUp(why)] if why == "oops"), "{effects:?}");
}

#[test]
fn after_a_reset_the_first_commit_says_everything() {
    let mut rig = Rig::live(0);
    let all = [module("a.rego", Some("1")), module("b.rego", Some("1")), marker("r1")];
    let commit = taken(&deliver(&mut rig, 0, 1, &all)).unwrap().0;
    rig.written(commit.job);
    rig.frame(&json!({"reset": {"reason": "another log"}}));
    deliver(&mut rig, 0, 1, &[module("b.rego", Some("2")), marker("n1")]);
    assert_eq!(rig.status().policy_revision.as_deref(), Some("r1"), "until then the old ones");
    let effects = rig.frame(&json!({"caught_up": {"seq": 1, "digests": {}}}));
    assert_eq!(modules(&taken(&effects).unwrap().1), ["b.rego=2"]);
}

#[test]
fn a_commit_under_way_when_the_log_begins_anew_is_what_the_engine_has_and_no_more() {
    let mut rig = Rig::live(0);
    let commit = taken(&deliver(&mut rig, 0, 1, &simple("r1"))).unwrap().0;
    rig.frame(&json!({"reset": {"reason": "another log"}}));
    deliver(&mut rig, 0, 1, &[module("b.rego", Some("2")), marker("n1")]);
    rig.written(commit.job);
    assert_eq!(rig.status().policy_revision.as_deref(), Some("r1"));
    let effects = rig.frame(&json!({"caught_up": {"seq": 1, "digests": {}}}));
    assert_eq!(modules(&taken(&effects).unwrap().1), ["b.rego=2"]);
}

#[test]
fn a_commit_of_any_size_leaves_room_and_what_waits_for_one_without_a_marker_does_not_take_it_all() {
    let mut rig = Rig::new();
    rig.step(Input::LinkUp);
    let parts: Vec<Entry> = (0..200).map(|n| module(&format!("{n}.rego"), Some(""))).collect();
    deliver(&mut rig, 0, 1, &parts);
    deliver(&mut rig, 1, 2, &data("app", Some("{}")));
    // Each patch waits for the commit's data.
    let mut seq = 2;
    while path_written(&{
        let patch = json!({"topics": ["users"], "dst_path": "/app", "save_method": "PATCH",
            "data": [{"op": "add", "path": format!("/k{seq}"), "value": 1}]});
        let patch = json!({"seq": seq + 1, "prev": seq, "id": format!("p{seq}"), "at": 0,
            "entries": [patch], "places": [0]});
        seq += 1;
        rig.frame(&json!({"updates": [patch]}))
    })
    .is_none()
    {
        assert!(seq < 2_000, "it never goes on");
    }
    assert!(seq > 1_000, "as long as there is room it waits: {seq}");
}

#[test]
fn data_between_two_commits_comes_between_them_if_it_depends_on_the_first() {
    let mut rig = Rig::live(0);
    let busy = write(&rig.deliver(0, 1, &[("/z", json!({}))])).unwrap();
    deliver(&mut rig, 1, 2, &[data("app/x", Some("{}")), simple("r1")].concat());
    let patch = json!({"seq": 3, "prev": 2, "id": "p", "at": 0, "places": [0], "entries": [{
        "topics": ["users"], "dst_path": "/app", "save_method": "PATCH",
        "data": [{"op": "add", "path": "/k", "value": 1}]}]});
    rig.frame(&json!({"updates": [patch]}));
    deliver(&mut rig, 3, 4, &[data("app/x", Some("{}")), simple("r2")].concat());
    let first = taken(&rig.written(busy.job)).unwrap().0;
    assert_eq!(first.revision, "r1");
    let patch = write(&rig.written(first.job)).unwrap();
    assert_eq!(revision(&rig.written(patch.job)), Some("r2".to_owned()));
}
