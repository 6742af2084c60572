//! What is fetched and written, and when.

use edge_agent::core::status::PendingState;
use edge_agent::core::{Effect, Input, Report};
use protocol::{Millis, Seq};
use serde_json::{Value, json};

use crate::rig::{Rig, fetches, path_written, rejected, write};

#[test]
fn an_inline_update_is_written_and_the_cursor_follows() {
    let mut rig = Rig::live(0);
    let ready = write(&rig.deliver(0, 1, &[("/a", json!({"k": 1}))])).unwrap();
    assert_eq!(
        (ready.record.path.to_string().as_str(), ready.record.data.get()),
        ("/a", r#"{"k":1}"#)
    );
    assert_eq!(rig.core.cursor(), Seq(0));
    let effects = rig.written(ready.job);
    assert!(matches!(&effects[..], [Effect::Report(Report::Applied(Seq(1), _))]), "{effects:?}");
    assert_eq!(rig.core.cursor(), Seq(1));
}

#[test]
fn fetches_run_in_parallel_and_overlapping_writes_stay_in_order() {
    let mut rig = Rig::live(0);
    let first = fetches(&rig.deliver(0, 1, &[("/a", Value::Null)]))[0];
    let second = fetches(&rig.deliver(1, 2, &[("/a/b", Value::Null)]))[0];
    let third = fetches(&rig.deliver(2, 3, &[("/c", Value::Null)]))[0];
    assert_eq!(path_written(&rig.fetched(second, "{}")), None, "/a comes first");
    assert_eq!(path_written(&rig.fetched(third, "{}")), Some("/c".to_owned()), "/c is free");
    assert_eq!(path_written(&rig.fetched(first, "{}")), None, "one at a time");
    assert_eq!(path_written(&rig.written(third)), Some("/a".to_owned()));
    assert_eq!(rig.core.cursor(), Seq(0), "3 is done, 1 is not");
    assert_eq!(path_written(&rig.written(first)), Some("/a/b".to_owned()));
    rig.written(second);
    assert_eq!(rig.core.cursor(), Seq(3));
}

#[test]
fn a_failed_source_is_tried_again_and_holds_back_only_its_own_paths() {
    let mut rig = Rig::live(0);
    let job = fetches(&rig.deliver(0, 1, &[("/a", Value::Null)]))[0];
    let effects = rig.fetch_failed(job);
    let [Effect::Report(Report::FetchFailed(Seq(1), _, wait))] = effects[..] else {
        panic!("{effects:?}")
    };
    let other = write(&rig.deliver(1, 2, &[("/b", json!({}))])).unwrap();
    rig.written(other.job);
    let status = rig.status();
    assert!(!status.healthy && status.problems[0].contains("it is down"), "{:?}", status.problems);
    assert_eq!((status.pending[0].state, status.pending[0].attempts), (PendingState::Retrying, 1));
    assert_eq!(rig.core.cursor(), Seq(0));

    let at = rig.now.plus(wait);
    assert_eq!(fetches(&rig.tick(Millis(at.0 - 1))), []);
    assert_eq!(fetches(&rig.tick(at)), [job]);
    let ready = write(&rig.fetched(job, "{}")).unwrap();
    rig.written(ready.job);
    assert_eq!(rig.core.cursor(), Seq(2));
    assert!(rig.status().healthy, "{:?}", rig.status().problems);
}

#[test]
fn a_newer_document_for_the_same_place_frees_a_source_that_does_not_answer() {
    let mut rig = Rig::live(0);
    let stuck = fetches(&rig.deliver(0, 1, &[("/a/b", Value::Null)]))[0];
    rig.fetch_failed(stuck);
    let ready = write(&rig.deliver(1, 2, &[("/a", json!({}))])).unwrap();
    rig.written(ready.job);
    assert_eq!(rig.core.cursor(), Seq(2));
    assert_eq!(path_written(&rig.fetched(stuck, "{}")), None, "too late, and for nobody");
}

#[test]
fn a_newer_patch_or_a_deeper_document_does_not_free_an_older_one() {
    let mut rig = Rig::live(0);
    rig.deliver(0, 1, &[("/a", Value::Null)]);
    assert_eq!(path_written(&rig.deliver(1, 2, &[("/a/b", json!({}))])), None);
    let patch = json!({"updates": [{"seq": 3, "prev": 2, "id": "p", "at": 0, "entries": [
        {"topics": ["users"], "dst_path": "/a", "save_method": "PATCH", "data": [{"op": "add", "path": "/k", "value": 1}]}], "places": [0]}]});
    assert_eq!(path_written(&rig.frame(&patch)), None);
    assert_eq!(rig.status().pending.len(), 3);
}

#[test]
fn a_retry_that_is_due_waits_for_a_place_among_the_fetches() {
    let mut rig = Rig::live(0);
    let names: Vec<String> = (0..9).map(|n| format!("/d{n}")).collect();
    let entries: Vec<(&str, Value)> =
        names.iter().map(|name| (name.as_str(), Value::Null)).collect();
    let started = fetches(&rig.deliver(0, 1, &entries));
    assert_eq!(started.len(), 8, "of one source");
    assert_eq!(fetches(&rig.fetch_failed(started[0])).len(), 1, "its place is taken by the 9th");
    assert_eq!(fetches(&rig.tick(rig.now.plus(60_000))), []);
    assert_eq!(fetches(&rig.fetched(started[1], "{}")), [started[0]]);
}

#[test]
fn a_source_that_hangs_does_not_hold_up_another_one() {
    let mut rig = Rig::live(0);
    let names: Vec<String> = (0..100).map(|n| format!("/d{n}")).collect();
    let entries: Vec<(&str, Value)> =
        names.iter().map(|name| (name.as_str(), Value::Null)).collect();
    rig.deliver(0, 1, &entries);
    let other = json!({"updates": [{"seq": 2, "prev": 1, "id": "o", "at": 0, "entries": [
        {"url": "http://other/x", "topics": ["users"], "dst_path": "/o"}], "places": [0]}]});
    assert_eq!(fetches(&rig.frame(&other)).len(), 1);
}

#[test]
fn a_newer_document_that_is_refused_leaves_the_older_one_in_its_place() {
    let mut rig = Rig::live(0);
    let slow = fetches(&rig.deliver(0, 1, &[("/a", Value::Null)]))[0];
    let newer = write(&rig.deliver(1, 2, &[("/", json!({}))])).unwrap();
    rig.step(Input::Written(newer.job, Err(rejected("no"))));
    assert_eq!(path_written(&rig.fetched(slow, "{}")), Some("/a".to_owned()));
}

#[test]
fn a_patch_of_a_document_that_never_came_ends_with_it() {
    let mut rig = Rig::live(0);
    rig.deliver(0, 1, &[("/a", Value::Null)]);
    let patch = json!({"updates": [{"seq": 2, "prev": 1, "id": "p", "at": 0, "entries": [
        {"topics": ["users"], "dst_path": "/a", "save_method": "PATCH", "data": [{"op": "add", "path": "/k", "value": 1}]}], "places": [0]}]});
    assert_eq!(path_written(&rig.frame(&patch)), None);
    let newer = write(&rig.deliver(2, 3, &[("/a", json!({"new": 1}))])).unwrap();
    assert_eq!(newer.record.data.get(), r#"{"new":1}"#);
    assert_eq!(path_written(&rig.written(newer.job)), None, "the patch is not applied to it");
    assert_eq!(rig.core.cursor(), Seq(3));
}

#[test]
fn a_patch_of_the_whole_place_waits_for_what_makes_its_parent() {
    let mut rig = Rig::live(0);
    let source = fetches(&rig.deliver(0, 1, &[("/a/b", Value::Null)]))[0];
    let patch = json!({"seq": 2, "prev": 1, "id": "u2", "at": 0, "places": [0], "entries": [{
        "url": "", "topics": ["users"], "dst_path": "/a/c", "save_method": "PATCH",
        "data": [{"op": "add", "path": "", "value": {}}],
    }]});
    assert_eq!(path_written(&rig.frame(&json!({"updates": [patch]}))), None);
    let made = write(&rig.fetched(source, "{}")).unwrap();
    assert_eq!(path_written(&rig.written(made.job)), Some("/a/c".to_owned()));
}
