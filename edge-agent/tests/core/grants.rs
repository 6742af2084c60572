//! Grants in the log: beside the data, in order, and not held up by an engine.

use edge_agent::core::{Effect, Input, Kept, Report, Restored, WriteError};
use edge_agent::engine::EngineError;
use edge_agent::store::{Mark, Tag, Written};
use protocol::{DataPath, Millis, SaveMethod, Seq};
use serde_json::{Value, json};

use crate::rig::{Rig, fetches, path_written, rejected, unavailable, write};

const GRANT: &str = "/girasol/grants/grant_1";

/// Finds the engine down: until when it is left alone.
fn lose_engine(rig: &mut Rig) -> Millis {
    let effects = rig.tick(rig.core.next_tick().unwrap());
    assert!(effects.iter().any(|it| matches!(it, Effect::ProbeEngine)), "{effects:?}");
    let down = EngineError::Unavailable("connection refused".to_owned());
    let effects = rig.step(Input::Probed(Err(down)));
    let [Effect::Report(Report::EngineDown(_, wait))] = effects[..] else { panic!("{effects:?}") };
    rig.now.plus(wait)
}

#[test]
fn a_new_document_of_the_root_leaves_a_grant_that_is_on_its_way() {
    let mut rig = Rig::live(0);
    // It is being fetched, and it is about the whole data.
    let patch = json!({"updates": [{"seq": 1, "prev": 0, "id": "u", "at": 0, "places": [0],
        "entries": [{"url": "http://s/x", "topics": ["users"], "dst_path": "/",
            "save_method": "PATCH"}]}]});
    let slow = fetches(&rig.frame(&patch));
    assert_eq!(slow.len(), 1);
    let busy = write(&rig.deliver(1, 2, &[(GRANT, json!({}))])).unwrap();
    assert_eq!(rig.core.cursor(), Seq(0), "a source that is slow holds up no grant");
    // The grant is not written yet when the root is to be replaced.
    rig.deliver(2, 3, &[("/", json!({"a": 1}))]);
    let next = rig.written(busy.job);
    assert_eq!(path_written(&next), Some("/".to_owned()));
    assert!(!rig.core.owes_grants());
}

#[test]
fn a_root_that_the_store_has_already_does_not_end_an_older_grant() {
    let tag = Tag { seq: Seq(3), place: 0 };
    let root = Written { tag, path: DataPath::default(), save_method: SaveMethod::Put };
    let mark = Mark { cursor: Seq(1), settled: Seq(1), complete: true, ..Mark::default() };
    let mut rig = Rig::started_with(Kept { mark, written: vec![root], ..Kept::default() });
    rig.step(Input::Prepared(Ok(Restored::default())));
    rig.step(Input::LinkUp);
    let revoked = write(&rig.deliver(1, 2, &[(GRANT, json!({}))])).unwrap();
    assert_eq!(path_written(&rig.deliver(2, 3, &[("/", json!({}))])), None);
    assert!(rig.core.owes_grants());
    rig.written(revoked.job);
    assert!(!rig.core.owes_grants());
}

#[test]
fn grants_and_revocations_are_written_in_the_order_of_the_log() {
    let mut rig = Rig::live(0);
    let made = write(&rig.deliver(0, 1, &[(GRANT, json!({"id": "grant_1"}))])).unwrap();
    assert_eq!(path_written(&rig.deliver(1, 2, &[(GRANT, json!({}))])), None);
    let revoked = write(&rig.written(made.job)).unwrap();
    assert_eq!(revoked.record.data.get(), "{}");
    assert!(rig.core.owes_grants(), "it is under way");
    rig.written(revoked.job);
    assert!(!rig.core.owes_grants());
}

#[test]
fn a_revocation_does_not_wait_for_an_engine_that_is_down() {
    let mut rig = Rig::live(0);
    lose_engine(&mut rig);
    let effects = rig.deliver(0, 1, &[("/a", json!({}))]);
    assert_eq!(path_written(&effects), None);
    let revoked = write(&rig.deliver(1, 2, &[(GRANT, json!({}))])).unwrap();
    assert_eq!(revoked.record.path.to_string(), GRANT);
    assert!(rig.core.owes_grants());
    rig.written(revoked.job);
    assert!(!rig.core.owes_grants());
    assert_eq!(rig.core.cursor(), Seq(0), "the data before it waits");
}

#[test]
fn the_engine_gets_the_data_once_it_is_up_whatever_was_written_meanwhile() {
    let mut rig = Rig::live(0);
    let retry = lose_engine(&mut rig);
    rig.deliver(0, 1, &[("/a", json!({}))]);
    let revoked = write(&rig.deliver(1, 2, &[(GRANT, json!({}))])).unwrap();
    let effects = rig.tick(retry);
    assert!(matches!(effects[..], [Effect::PrepareEngine(_)]), "{effects:?}");
    // The engine is there before the store has the grant: still one write at a time.
    assert_eq!(path_written(&rig.step(Input::Prepared(Ok(Restored::default())))), None);
    assert_eq!(path_written(&rig.written(revoked.job)), Some("/a".to_owned()));
}

#[test]
fn a_grant_waits_for_what_is_in_doubt_and_the_agent_knows_that_it_owes_it() {
    let mut rig = Rig::live(0);
    let doubtful = write(&rig.deliver(0, 1, &[("/a", json!({}))])).unwrap();
    rig.step(Input::Written(doubtful.job, Err(unavailable("connection refused"))));
    // What was recorded last is what can be discarded.
    assert_eq!(path_written(&rig.deliver(1, 2, &[(GRANT, json!({}))])), None);
    assert!(rig.core.owes_grants());
}

#[test]
fn a_grant_that_cannot_be_recorded_is_owed_until_it_is() {
    let mut rig = Rig::live(0);
    let ready = write(&rig.deliver(0, 1, &[(GRANT, json!({}))])).unwrap();
    let full = WriteError::NotRecorded("no space left".to_owned());
    let effects = rig.step(Input::Written(ready.job, Err(full)));
    let [Effect::Report(Report::NotRecorded(_, wait))] = effects[..] else { panic!("{effects:?}") };
    assert!(rig.core.owes_grants());
    let again = write(&rig.tick(rig.now.plus(wait))).unwrap();
    rig.written(again.job);
    assert!(!rig.core.owes_grants());
}

#[test]
fn another_log_owes_nothing_of_the_last_one() {
    let mut rig = Rig::live(0);
    let busy = write(&rig.deliver(0, 1, &[("/a", json!({}))])).unwrap();
    rig.deliver(1, 2, &[(GRANT, json!({}))]);
    assert!(rig.core.owes_grants());
    rig.frame(&json!({"reset": {"reason": "another epoch"}}));
    assert!(!rig.core.owes_grants());
    rig.step(Input::Written(busy.job, Err(rejected("no"))));
    assert_eq!(rig.deliver(0, 1, &[("/b", Value::Null)]).len(), 1);
}
