//! Engines that are late, gone, emptied, in doubt.

use edge_agent::core::{Effect, Input, Report};
use edge_agent::engine::{EngineError, EngineState};
use protocol::Seq;
use serde_json::json;

use crate::rig::{Rig, path_written, resumes, update, write};

#[test]
fn an_entry_that_the_engine_refuses_is_given_up_and_shown() {
    let mut rig = Rig::live(0);
    let ready = write(&rig.deliver(0, 1, &[("/a", json!({}))])).unwrap();
    rig.step(Input::Written(ready.job, Err(EngineError::Rejected("no such parent".to_owned()))));
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
    assert!(matches!(effects[..], [Effect::PrepareEngine]), "{effects:?}");
    assert_eq!(path_written(&rig.step(Input::Prepared(Ok(())))), Some("/a".to_owned()));
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
fn an_engine_that_went_away_gets_the_write_again() {
    let mut rig = Rig::live(0);
    let ready = write(&rig.deliver(0, 1, &[("/a", json!({}))])).unwrap();
    let down = EngineError::Unavailable("connection refused".to_owned());
    let effects = rig.step(Input::Written(ready.job, Err(down)));
    let [Effect::Report(Report::EngineDown(_, wait))] = effects[..] else { panic!("{effects:?}") };
    assert!(!rig.status().healthy && !rig.status().ready);
    let effects = rig.tick(rig.now.plus(wait));
    assert!(matches!(effects[..], [Effect::ProbeEngine]), "{effects:?}");
    assert_eq!(write(&rig.step(Input::Probed(Ok(EngineState::Filled)))).unwrap().job, ready.job);
}

#[test]
fn an_emptied_engine_is_noticed_and_filled_again_from_the_beginning() {
    let mut rig = Rig::live(0);
    let ready = write(&rig.deliver(0, 1, &[("/a", json!({}))])).unwrap();
    rig.written(ready.job);
    assert!(rig.status().ready);
    let at = rig.core.next_tick().unwrap();
    assert!(matches!(rig.tick(at)[..], [Effect::ProbeEngine]));
    let effects = rig.step(Input::Probed(Ok(EngineState::Empty)));
    assert!(effects.iter().any(|it| matches!(it, Effect::PrepareEngine)));
    assert_eq!(resumes(&effects), [Seq(0)]);
    assert!(!rig.status().ready);
    rig.step(Input::Prepared(Ok(())));
    assert!(!rig.status().ready, "policies alone do not make it ready");
    assert!(write(&rig.frame(&json!({"updates": [update(0, 1, &[("/a", json!({}))])]}))).is_some());
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
    assert_eq!(new.data.get(), r#"{"new":1}"#);
}

#[test]
fn a_patch_of_which_nobody_knows_whether_it_was_applied_is_not_applied_again() {
    let mut rig = Rig::live(0);
    let effects = rig.frame(&json!({"updates": [{"seq": 1, "prev": 0, "id": "p", "at": 0, "entries": [
        {"topics": ["users"], "dst_path": "/l", "save_method": "PATCH", "data": [{"op": "add", "path": "/-", "value": 1}]}]}]}));
    let patch = write(&effects).unwrap();
    let no_answer = EngineError::Unavailable("no answer in time".to_owned());
    rig.step(Input::Written(patch.job, Err(no_answer)));
    let at = rig.core.next_tick().unwrap();
    assert!(matches!(rig.tick(at)[..], [Effect::ProbeEngine]));
    let effects = rig.step(Input::Probed(Ok(EngineState::Filled)));
    assert_eq!((path_written(&effects), resumes(&effects)), (None, vec![Seq(0)]));
}
