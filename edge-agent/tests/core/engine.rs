//! Engines that are late, gone, emptied, in doubt.

use edge_agent::core::{Effect, Input, Report, Restored};
use edge_agent::engine::{EngineError, EngineState};
use edge_agent::store::Tag;
use protocol::{DataPath, Seq};
use serde_json::json;

use crate::rig::{Rig, path_written, rejected, resumes, unavailable, write};

#[test]
fn an_entry_that_the_engine_refuses_is_given_up_and_shown() {
    let mut rig = Rig::live(0);
    let ready = write(&rig.deliver(0, 1, &[("/a", json!({}))])).unwrap();
    rig.step(Input::Written(ready.job, Err(rejected("no such parent"))));
    assert_eq!(rig.core.cursor(), Seq(1));
    let status = rig.status();
    assert!(
        !status.healthy && status.problems[0].contains("no such parent"),
        "{:?}",
        status.problems
    );
    let ready = write(&rig.deliver(1, 2, &[("/a", json!({}))])).unwrap();
    rig.written(ready.job);
    assert!(rig.status().healthy, "a good update after it");
}

#[test]
fn nothing_is_written_before_the_engine_has_its_policies() {
    let mut rig = Rig::before_engine();
    rig.step(Input::LinkUp);
    assert_eq!(path_written(&rig.deliver(0, 1, &[("/a", json!({}))])), None);
    let effects = rig.step(Input::Prepared(Err(EngineError::Unavailable("refused".to_owned()))));
    let [Effect::Report(Report::EngineDown(_, wait))] = effects[..] else { panic!("{effects:?}") };
    assert!(rig.status().problems.iter().any(|it| it.contains("refused")));
    let effects = rig.tick(rig.now.plus(wait));
    assert!(matches!(effects[..], [Effect::PrepareEngine(_)]), "{effects:?}");
    assert_eq!(
        path_written(&rig.step(Input::Prepared(Ok(Restored::default())))),
        Some("/a".to_owned())
    );
}

#[test]
fn policies_that_the_engine_refuses_at_the_start_end_the_agent() {
    let mut rig = Rig::before_engine();
    let effects = rig.step(Input::Prepared(Err(EngineError::Rejected("p.rego:3".to_owned()))));
    assert!(
        matches!(&effects[..], [Effect::GiveUp(reason)] if reason == "p.rego:3"),
        "{effects:?}"
    );
}

#[test]
fn an_engine_that_went_away_gets_everything_that_is_recorded_and_the_write_has_ended() {
    let mut rig = Rig::live(0);
    let ready = write(&rig.deliver(0, 1, &[("/a", json!({}))])).unwrap();
    let effects = rig.step(Input::Written(ready.job, Err(unavailable("connection refused"))));
    let [Effect::Report(Report::EngineDown(_, wait))] = effects[..] else { panic!("{effects:?}") };
    assert!(!rig.status().healthy && !rig.status().ready);
    assert_eq!((rig.core.cursor(), rig.core.progress().at), (Seq(0), None));
    let effects = rig.tick(rig.now.plus(wait));
    assert!(matches!(effects[..], [Effect::PrepareEngine(_)]), "{effects:?}");
    let effects = rig.step(Input::Prepared(Ok(Restored::default())));
    assert_eq!(path_written(&effects), None, "the store had it, and so has the engine");
    assert_eq!((rig.core.cursor(), rig.core.progress().at), (Seq(1), Some(Seq(1))));
}

#[test]
fn a_write_in_doubt_that_cannot_be_restored_is_given_up() {
    let doubtful = |restored: &dyn Fn(Tag) -> Restored| {
        let mut rig = Rig::live(0);
        let ready = write(&rig.deliver(0, 1, &[("/a", json!({}))])).unwrap();
        rig.step(Input::Written(ready.job, Err(unavailable("no answer"))));
        let at = rig.core.next_tick().unwrap();
        rig.tick(at);
        let effects = rig.step(Input::Prepared(Ok(restored(ready.record.tag))));
        let discarded =
            |it: &Effect| matches!(it, Effect::Discard(tags) if *tags == [ready.record.tag]);
        assert!(effects.iter().any(discarded), "{effects:?}");
        let given_up =
            |it: &Effect| matches!(it, Effect::Report(Report::GivenUp(Seq(1), why)) if why == "no");
        assert!(effects.iter().any(given_up), "{effects:?}");
        assert_eq!(rig.core.cursor(), Seq(1));
    };
    doubtful(&|tag| Restored { refused: vec![(tag, "no".to_owned())], ..Restored::default() });
    doubtful(&|_| Restored {
        refused_places: vec![(DataPath::parse("/a").unwrap(), "no".to_owned())],
        ..Restored::default()
    });
}

#[test]
fn an_emptied_or_altered_engine_is_given_what_is_recorded_and_nobody_is_asked() {
    for state in [EngineState::Empty, EngineState::Altered] {
        let mut rig = Rig::live(0);
        let ready = write(&rig.deliver(0, 1, &[("/a", json!({}))])).unwrap();
        rig.written(ready.job);
        assert!(rig.status().ready);
        let at = rig.core.next_tick().unwrap();
        assert!(matches!(rig.tick(at)[..], [Effect::ProbeEngine, ..]));
        let effects = rig.step(Input::Probed(Ok(state)));
        assert!(effects.iter().any(|it| matches!(it, Effect::PrepareEngine(_))));
        assert_eq!(resumes(&effects), []);
        assert!(!rig.status().ready && rig.core.progress().at.is_none());
        rig.step(Input::Prepared(Ok(Restored::default())));
        assert!(rig.status().ready);
    }
}

#[test]
fn a_place_that_the_engine_refuses_to_take_back_is_shown() {
    let mut rig = Rig::before_engine();
    let refused = vec![(DataPath::parse("/a").unwrap(), "it collides with a rule".to_owned())];
    let restored = Restored { refused_places: refused, ..Restored::default() };
    let effects = rig.step(Input::Prepared(Ok(restored)));
    let reported = |it: &Effect| matches!(it, Effect::Report(Report::NotRestored(..)));
    assert!(effects.iter().any(reported), "{effects:?}");
    assert!(rig.status().problems.iter().any(|it| it.contains("it collides with a rule")));
}

#[test]
fn a_probe_that_is_due_waits_for_the_write_that_is_under_way() {
    let mut rig = Rig::live(0);
    let ready = write(&rig.deliver(0, 1, &[("/a", json!({}))])).unwrap();
    assert!(rig.tick(rig.now.plus(60_000)).is_empty());
    assert!(rig.written(ready.job).iter().any(|it| matches!(it, Effect::ProbeEngine)));
}

#[test]
fn there_is_never_a_second_write_also_when_the_log_begins_anew() {
    let mut rig = Rig::live(0);
    let old = write(&rig.deliver(0, 1, &[("/a", json!({"old": 1}))])).unwrap();
    rig.frame(&json!({"reset": {"reason": "new epoch"}}));
    assert!(!rig.status().ready);
    assert_eq!(path_written(&rig.deliver(0, 1, &[("/a", json!({"new": 1}))])), None);
    let new = write(&rig.written(old.job)).unwrap();
    assert_eq!(new.record.data.get(), r#"{"new":1}"#);
}

#[test]
fn a_patch_of_which_nobody_knows_whether_it_was_applied_is_not_applied_again() {
    let mut rig = Rig::live(0);
    let effects = rig.frame(&json!({"updates": [{"seq": 1, "prev": 0, "id": "p", "at": 0, "entries": [
        {"topics": ["users"], "dst_path": "/l", "save_method": "PATCH", "data": [{"op": "add", "path": "/-", "value": 1}]}], "places": [0]}]}));
    let patch = write(&effects).unwrap();
    rig.step(Input::Written(patch.job, Err(unavailable("no answer in time"))));
    let at = rig.core.next_tick().unwrap();
    assert!(matches!(rig.tick(at)[..], [Effect::PrepareEngine(_)]));
    assert_eq!(path_written(&rig.step(Input::Prepared(Ok(Restored::default())))), None);
}
