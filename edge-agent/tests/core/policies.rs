//! The hub's policies on their way into the engine, and the switch of the connection.

use edge_agent::core::status::ConnectionState;
use edge_agent::core::{Effect, Input, Kept, PolicyNews, Report, Restored};
use edge_agent::engine::EngineError;
use edge_agent::policy::{PolicyModule, PolicySet};
use serde_json::json;

use crate::rig::{Rig, is_disconnect, path_written, write};

fn set(revision: &str) -> PolicySet {
    let module = PolicyModule { id: "a.rego".to_owned(), rego: format!("package {revision}") };
    PolicySet { revision: Some(revision.to_owned()), modules: [module].into() }
}

fn loaded(revision: &str) -> Input {
    Input::Policy(PolicyNews::Loaded(set(revision)))
}

/// The revision that is given to the engine.
fn given(effects: &[Effect]) -> Option<String> {
    effects.iter().find_map(|effect| match effect {
        Effect::SetPolicies(set) => set.revision.clone(),
        _ => None,
    })
}

fn kept(effects: &[Effect]) -> Option<String> {
    effects.iter().find_map(|effect| match effect {
        Effect::KeepPolicies(set) => set.revision.clone(),
        _ => None,
    })
}

#[test]
fn an_agent_is_not_ready_before_it_has_the_policies_that_the_hub_has() {
    let mut rig = Rig::live(0);
    assert!(rig.status().ready);
    rig.step(Input::Policy(PolicyNews::Expected));
    let status = rig.status();
    assert!(!status.ready && !status.healthy);
    assert_eq!(status.problems, ["no policies have been loaded yet"]);
    assert_eq!(given(&rig.step(loaded("r1"))), Some("r1".to_owned()));
    assert!(!rig.status().ready);
    assert_eq!(kept(&rig.step(Input::PoliciesSet(Ok(())))), Some("r1".to_owned()));
    let status = rig.status();
    assert!(status.ready && status.healthy, "{:?}", status.problems);
    assert_eq!(status.policy_revision.as_deref(), Some("r1"));
}

#[test]
fn nothing_is_written_while_policies_change_and_they_wait_for_a_write() {
    let mut rig = Rig::live(0);
    let first = write(&rig.deliver(0, 1, &[("/a", json!({}))])).unwrap();
    assert_eq!(given(&rig.step(loaded("r1"))), None);
    let effects = rig.deliver(1, 2, &[("/b", json!({}))]);
    assert_eq!(path_written(&effects), None);
    let effects = rig.written(first.job);
    assert_eq!((given(&effects), path_written(&effects)), (Some("r1".to_owned()), None));
    let effects = rig.step(Input::PoliciesSet(Ok(())));
    assert_eq!(path_written(&effects), Some("/b".to_owned()));
}

#[test]
fn refused_policies_are_shown_and_the_last_good_ones_are_put_back() {
    let mut rig = Rig::live(0);
    rig.step(loaded("r1"));
    rig.step(Input::PoliciesSet(Ok(())));
    rig.step(loaded("r2"));
    let effects =
        rig.step(Input::PoliciesSet(Err(EngineError::Rejected("a.rego:1: oops".to_owned()))));
    assert!(effects.iter().any(|it| matches!(it, Effect::PrepareEngine(_))), "{effects:?}");
    assert_eq!(kept(&effects), None);
    rig.step(Input::Prepared(Ok(Restored::default())));
    let status = rig.status();
    assert_eq!(status.policy_revision.as_deref(), Some("r1"));
    assert_eq!(status.policy_error.as_deref(), Some("a.rego:1: oops"));
    assert!(status.ready && !status.healthy && status.problems[0].contains("a.rego:1: oops"));
    assert_eq!(given(&rig.step(loaded("r3"))), Some("r3".to_owned()));
    rig.step(Input::PoliciesSet(Ok(())));
    assert!(rig.status().healthy, "{:?}", rig.status().problems);
}

#[test]
fn policies_survive_an_engine_that_goes_away_while_it_gets_them() {
    let mut rig = Rig::live(0);
    rig.step(loaded("r1"));
    let effects = rig.step(Input::PoliciesSet(Err(EngineError::Unavailable("refused".to_owned()))));
    let [Effect::Report(Report::EngineDown(_, wait))] = effects[..] else { panic!("{effects:?}") };
    rig.tick(rig.now.plus(wait));
    assert_eq!(given(&rig.step(Input::Prepared(Ok(Restored::default())))), Some("r1".to_owned()));
}

#[test]
fn newer_policies_take_the_place_of_those_that_wait() {
    let mut rig = Rig::before_engine();
    rig.step(loaded("r1"));
    rig.step(loaded("r2"));
    assert_eq!(given(&rig.step(Input::Prepared(Ok(Restored::default())))), Some("r2".to_owned()));
    assert_eq!(given(&rig.step(loaded("r3"))), None);
    assert_eq!(given(&rig.step(Input::PoliciesSet(Ok(())))), Some("r3".to_owned()));
}

#[test]
fn policies_from_disk_count_and_are_not_put_in_again() {
    let mut rig = Rig::started_with(Kept { last_good: Some(set("r1")), ..Kept::default() });
    rig.step(Input::Prepared(Ok(Restored::default())));
    rig.step(Input::Policy(PolicyNews::Failed("answered 503".to_owned())));
    assert!(rig.status().problems.iter().any(|it| it.contains("answered 503")));
    assert_eq!(given(&rig.step(loaded("r1"))), None);
    assert_eq!(rig.status().policy_error, None);
}

#[test]
fn a_connection_that_is_switched_off_stays_so_until_it_is_switched_on() {
    let mut rig = Rig::live(0);
    assert!(is_disconnect(&rig.step(Input::Connectivity(false))));
    let effects = rig.step(Input::LinkDown("closed".to_owned()));
    assert!(effects.is_empty(), "{effects:?}");
    rig.tick(rig.now.plus(3_600_000));
    let status = rig.status();
    assert_eq!(status.connection.state, ConnectionState::Off);
    assert!(status.ready && !status.healthy);
    let effects = rig.step(Input::Connectivity(true));
    assert!(effects.iter().any(|it| matches!(it, Effect::Connect)), "{effects:?}");
    // Off again before the socket is open: it is closed as soon as it is.
    rig.step(Input::Connectivity(false));
    assert!(is_disconnect(&rig.step(Input::LinkUp)));
}
