//! What the agent had on disk, and what it keeps there.

use edge_agent::core::{Effect, Input, Kept, Report, Restored, WriteError};
use edge_agent::engine::EngineState;
use edge_agent::store::{Mark, Tag, Written};
use protocol::socket::AgentFrame;
use protocol::{DataPath, SaveMethod, Seq};
use serde_json::{Value, json};

use crate::rig::{Rig, fetches, path_written, rejected, write};

fn written(seq: u64, place: u32, path: &str, save_method: SaveMethod) -> Written {
    let tag = Tag { seq: Seq(seq), place };
    Written { tag, path: DataPath::parse(path).unwrap(), save_method }
}

/// An agent that had everything up to 5, and some of what follows.
fn restarted(written: Vec<Written>) -> Rig {
    let mark = Mark {
        cursor: Seq(5),
        settled: Seq(5),
        epoch: Some("e1".to_owned()),
        complete: true,
        generation: 3,
    };
    let mut rig = Rig::started_with(Kept { mark, written, ..Kept::default() });
    rig.step(Input::Prepared(Ok(Restored::default())));
    let effects = rig.step(Input::LinkUp);
    let [Effect::Send(AgentFrame::Hello(hello))] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!((hello.cursor, hello.epoch.as_deref()), (Seq(5), Some("e1")));
    rig
}

#[test]
fn an_agent_with_complete_state_is_ready_without_the_hub() {
    let mark = Mark { cursor: Seq(5), settled: Seq(5), complete: true, ..Mark::default() };
    let mut rig = Rig::started_with(Kept { mark, ..Kept::default() });
    assert!(!rig.status().ready, "the engine has nothing yet");
    rig.step(Input::Prepared(Ok(Restored::default())));
    let status = rig.status();
    assert!(status.ready && !status.healthy, "{:?}", status.problems);
    assert_eq!(rig.core.progress().at, Some(Seq(5)));
}

#[test]
fn what_the_store_has_is_not_written_again() {
    let mut rig = restarted(vec![written(7, 1, "/b", SaveMethod::Patch)]);
    let first = write(&rig.deliver(5, 7, &[("/a", json!({})), ("/b", json!({}))])).unwrap();
    assert_eq!(first.record.path.to_string(), "/a");
    assert_eq!(path_written(&rig.written(first.job)), None);
    assert_eq!(rig.core.cursor(), Seq(7));
}

#[test]
fn an_older_entry_does_not_undo_a_newer_document_of_the_store() {
    let mut rig = restarted(vec![written(7, 0, "/a", SaveMethod::Put)]);
    assert_eq!(fetches(&rig.deliver(5, 6, &[("/a/b", Value::Null)])), []);
    assert_eq!(path_written(&rig.deliver(6, 7, &[("/a", json!({}))])), None);
    assert_eq!(rig.core.cursor(), Seq(7));
    assert_eq!(path_written(&rig.deliver(7, 8, &[("/a/b", json!({}))])), Some("/a/b".to_owned()));
}

#[test]
fn an_entry_that_had_ended_before_a_newer_one_is_not_written_again() {
    // The engine had refused 6, or the store would have it; now it would not.
    let mut rig = restarted(vec![written(7, 1, "/a/b", SaveMethod::Patch)]);
    let entries = [("/a", json!({})), ("/c", json!({}))];
    assert_eq!(path_written(&rig.deliver(5, 6, &entries)), Some("/c".to_owned()));
    assert_eq!(path_written(&rig.deliver(6, 7, &[("/a/b/c", json!({}))])), None);
}

#[test]
fn what_the_engine_did_not_take_back_is_written_again_and_hides_nothing() {
    let mark = Mark { cursor: Seq(5), ..Mark::default() };
    let had = vec![written(7, 0, "/a", SaveMethod::Put), written(8, 0, "/b", SaveMethod::Patch)];
    let mut rig = Rig::started_with(Kept { mark, written: had, ..Kept::default() });
    rig.step(Input::Prepared(Ok(Restored {
        refused: vec![(Tag { seq: Seq(8), place: 0 }, "no".to_owned())],
        refused_places: vec![(DataPath::parse("/a").unwrap(), "no".to_owned())],
    })));
    rig.step(Input::LinkUp);
    let older = write(&rig.deliver(5, 6, &[("/a/b", json!({}))])).unwrap();
    let effects = rig.written(older.job);
    assert_eq!(path_written(&effects), None);
    let newer = write(&rig.deliver(6, 7, &[("/a", json!({}))])).unwrap();
    rig.written(newer.job);
    assert_eq!(path_written(&rig.deliver(7, 8, &[("/b", json!({}))])), Some("/b".to_owned()));
}

#[test]
fn numbers_of_another_log_are_not_those_of_the_store() {
    let mut rig = restarted(vec![written(7, 0, "/a", SaveMethod::Put)]);
    let effects = rig.frame(&json!({"reset": {"reason": "another epoch"}}));
    let [Effect::Report(Report::Reset(_)), Effect::BeginAgain(mark)] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert_eq!((mark.cursor, mark.generation, mark.complete), (Seq(0), 4, false));
    assert_eq!(path_written(&rig.deliver(0, 7, &[("/a", json!({}))])), Some("/a".to_owned()));
    assert_eq!(rig.status().fresh_start, Some("another epoch".to_owned()));
}

#[test]
fn every_write_carries_the_mark_of_its_moment() {
    let mut rig = Rig::live(3);
    let effects = rig.deliver(3, 4, &[("/a", json!({}))]);
    let mark = effects.iter().find_map(|it| match it {
        Effect::Write(_, mark) => Some(mark.clone()),
        _ => None,
    });
    assert_eq!(mark.unwrap().cursor, Seq(3), "it does not count what is being written");
}

#[test]
fn a_mark_that_moved_without_a_write_is_saved_a_moment_later() {
    let mut rig = Rig::live(0);
    rig.frame(&json!({"updates": [{"seq": 4, "prev": 0, "id": "u", "at": 0, "entries": [], "places": []}]}));
    let saved = |effects: &[Effect]| {
        effects.iter().find_map(|it| match it {
            Effect::Save(mark) => Some((mark.cursor, mark.complete)),
            _ => None,
        })
    };
    let effects = rig.tick(rig.now.plus(1_000));
    assert_eq!(saved(&effects), Some((Seq(4), true)));
    assert_eq!(saved(&rig.tick(rig.now.plus(10_000))), None, "once");
}

#[test]
fn what_cannot_be_recorded_is_not_written_and_tried_again() {
    let mut rig = Rig::live(0);
    let ready = write(&rig.deliver(0, 1, &[("/a", json!({}))])).unwrap();
    let full = WriteError::NotRecorded("no space left".to_owned());
    let effects = rig.step(Input::Written(ready.job, Err(full)));
    let [Effect::Report(Report::NotRecorded(_, wait))] = effects[..] else { panic!("{effects:?}") };
    assert!(rig.status().problems.iter().any(|it| it.contains("no space left")));
    assert_eq!(path_written(&rig.deliver(1, 2, &[("/b", json!({}))])), None, "not now");
    let again = write(&rig.tick(rig.now.plus(wait))).unwrap();
    assert_eq!(again.job, ready.job);
    rig.written(again.job);
    assert!(rig.status().problems.is_empty(), "{:?}", rig.status().problems);
}

#[test]
fn what_the_engine_refuses_leaves_the_store() {
    let mut rig = Rig::live(0);
    let ready = write(&rig.deliver(0, 1, &[("/a", json!({}))])).unwrap();
    let effects = rig.step(Input::Written(ready.job, Err(rejected("no"))));
    let discarded =
        |it: &Effect| matches!(it, Effect::Discard(tags) if *tags == [ready.record.tag]);
    assert!(effects.iter().any(discarded), "{effects:?}");
}

#[test]
fn why_the_agent_started_anew_is_shown() {
    let fresh = Some("the state file was cut short".to_owned());
    let rig = Rig::started_with(Kept { fresh: fresh.clone(), ..Kept::default() });
    assert_eq!(rig.status().fresh_start, fresh);
}

#[test]
fn a_replay_counts_when_all_of_it_has_taken_effect() {
    // The log has dropped 6 for 9: at 7 the agent lacks what 6 said.
    let mut rig = restarted(vec![]);
    rig.frame(&json!({"confirm": {"seq": 6}}));
    let seventh = write(&rig.deliver(5, 7, &[("/b", json!({}))])).unwrap();
    let effects = rig.written(seventh.job);
    assert!(!effects.iter().any(|it| matches!(it, Effect::Send(_))), "no receipt: {effects:?}");
    assert_eq!((rig.core.cursor(), rig.core.progress().at), (Seq(7), Some(Seq(5))));
    let ninth = fetches(&rig.deliver(7, 9, &[("/a", Value::Null)]))[0];
    let effects = rig.frame(&json!({"caught_up": {"seq": 9, "digests": {}}}));
    assert!(!effects.iter().any(|it| matches!(it, Effect::Send(_))), "no receipt: {effects:?}");
    let saved = rig.tick(rig.now.plus(1_000));
    let mark = saved.iter().find_map(|it| if let Effect::Save(it) = it { Some(it) } else { None });
    assert_eq!(mark.map(|it| (it.cursor, it.settled)), Some((Seq(8), Seq(5))));
    rig.step(Input::Probed(Ok(EngineState::Filled)));
    // What is pushed after the replay does not wait for it.
    rig.frame(&json!({"confirm": {"seq": 10}}));
    let tenth = write(&rig.deliver(9, 10, &[("/c", json!({}))])).unwrap();
    assert_eq!(receipts(&rig.written(tenth.job)), [Seq(10)]);

    let ready = write(&rig.fetched(ninth, "{}")).unwrap();
    assert_eq!(receipts(&rig.written(ready.job)), [Seq(6)]);
    assert_eq!(rig.core.progress().at, Some(Seq(10)));
}

#[test]
fn what_was_open_when_the_agent_ended_is_open_when_it_starts() {
    let mark = Mark { cursor: Seq(7), settled: Seq(5), complete: true, ..Mark::default() };
    let mut rig = Rig::started_with(Kept { mark, ..Kept::default() });
    rig.step(Input::Prepared(Ok(Restored::default())));
    assert_eq!(rig.core.progress().at, Some(Seq(5)));
    rig.step(Input::LinkUp);
    rig.frame(&json!({"caught_up": {"seq": 7, "digests": {}}}));
    assert_eq!(rig.core.progress().at, Some(Seq(7)));
}

fn receipts(effects: &[Effect]) -> Vec<Seq> {
    let receipt = |it: &Effect| match it {
        Effect::Send(AgentFrame::Receipt(receipt)) => Some(receipt.seq),
        _ => None,
    };
    effects.iter().filter_map(receipt).collect()
}
