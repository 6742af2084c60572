//! What arrives, what is missed, what is asked for.

use edge_agent::core::status::ConnectionState;
use edge_agent::core::{Effect, Input, Report};
use protocol::Seq;
use protocol::digest::TopicDigest;
use protocol::socket::{AgentFrame, HubFrame, SocketError};
use serde_json::{Value, json};

use crate::rig::{Rig, fetches, is_disconnect, path_written, resumes, update, write};

#[test]
fn hello_states_what_is_wanted_and_what_is_there() {
    let mut rig = Rig::new();
    let effects = rig.step(Input::LinkUp);
    let [Effect::Send(AgentFrame::Hello(hello))] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!((hello.agent.as_str(), hello.cursor, hello.epoch.clone()), ("a1", Seq(0), None));
    rig.frame(&json!({"welcome": {"scope": "default", "head": 7, "epoch": "e1"}}));
    rig.frame(&json!({"caught_up": {"seq": 7}}));
    rig.step(Input::LinkDown("cut".to_owned()));
    let effects = rig.step(Input::LinkUp);
    let [Effect::Send(AgentFrame::Hello(hello))] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!((hello.cursor, hello.epoch.as_deref()), (Seq(7), Some("e1")));
}

#[test]
fn a_delivery_that_was_received_before_is_skipped() {
    let mut rig = Rig::live(0);
    let ready = write(&rig.deliver(0, 1, &[("/a", json!({}))])).unwrap();
    rig.written(ready.job);
    assert!(rig.deliver(0, 1, &[("/a", json!({"other": 1}))]).is_empty());
}

#[test]
fn a_hole_is_seen_and_asked_for_once() {
    let mut rig = Rig::live(2);
    let effects = rig.deliver(3, 4, &[("/a", json!({}))]);
    assert_eq!(resumes(&effects), [Seq(2)]);
    assert_eq!(resumes(&rig.deliver(4, 5, &[("/a", json!({}))])), [], "the answer is on its way");
    let effects = rig.frame(&json!({"updates": [update(2, 3, &[("/a", json!({}))]), update(3, 4, &[("/a", json!({}))])]}));
    assert!(write(&effects).is_some());
    rig.frame(&json!({"caught_up": {"seq": 5}}));
    assert_eq!(rig.status().connection.state, ConnectionState::Live);
}

#[test]
fn a_replay_goes_on_batch_by_batch() {
    let mut rig = Rig::new();
    rig.step(Input::LinkUp);
    rig.frame(&json!({"updates": [update(0, 1, &[("/a", json!({}))])]}));
    assert_eq!(resumes(&rig.frame(&json!({"bookmark": {"seq": 1}}))), [Seq(1)]);
    assert!(!rig.status().ready);
}

#[test]
fn a_long_queue_pauses_the_replay_until_there_is_room() {
    let mut rig = Rig::new();
    rig.step(Input::LinkUp);
    let entries: Vec<(&str, Value)> = (0..1_100).map(|_| ("/a", json!({}))).collect();
    let mut next = write(&rig.deliver(0, 1, &entries));
    assert_eq!(resumes(&rig.frame(&json!({"bookmark": {"seq": 1}}))), []);
    let mut asked = vec![];
    while let Some(ready) = next {
        let effects = rig.written(ready.job);
        asked.extend(resumes(&effects));
        next = write(&effects);
    }
    assert_eq!(asked, [Seq(1)]);
}

#[test]
fn a_reset_starts_from_the_beginning() {
    let mut rig = Rig::live(9);
    rig.frame(&json!({"reset": {"reason": "new epoch"}}));
    assert_eq!(rig.core.cursor(), Seq(0));
    assert!(write(&rig.deliver(0, 1, &[("/a", json!({}))])).is_some());
}

#[test]
fn a_lost_hub_is_tried_again_and_said_so_while_the_data_stays() {
    let mut rig = Rig::live(3);
    let effects = rig.step(Input::LinkDown("connection refused".to_owned()));
    let [Effect::Report(Report::Disconnected(_, wait))] = effects[..] else {
        panic!("{effects:?}")
    };
    let status = rig.status();
    assert!(status.ready && !status.healthy, "it decides on, and says that it is cut off");
    assert!(status.problems[0].contains("connection refused"), "{:?}", status.problems);
    assert!(matches!(rig.tick(rig.now.plus(wait))[..], [Effect::Connect]));
}

#[test]
fn the_hubs_own_reason_outlives_the_close() {
    let mut rig = Rig::live(0);
    let error = SocketError {
        code: "expired".into(),
        message: "mint a new token".into(),
        retry_after: None,
    };
    rig.step(Input::Frame(HubFrame::Error(error)));
    rig.step(Input::LinkDown("closed by the hub: 1008".to_owned()));
    let error = rig.status().connection.error.unwrap();
    assert!(error.contains("mint a new token"), "{error}");
}

/// Reconnected at 7, and before the answer to its hello it found that it is to begin again.
fn beginning_again() -> Rig {
    let mut rig = Rig::live(7);
    rig.step(Input::LinkDown("cut".to_owned()));
    rig.step(Input::LinkUp);
    rig.frame(&json!({"reset": {"reason": "another epoch"}}));
    rig.step(Input::LinkDown("cut".to_owned()));
    rig.step(Input::LinkUp);
    rig
}

#[test]
fn after_a_reset_everything_is_asked_for_also_on_the_next_connection() {
    let mut rig = beginning_again();
    assert_eq!(path_written(&rig.deliver(7, 8, &[("/stale", json!({}))])), None);
    assert_eq!(path_written(&rig.deliver(0, 8, &[("/a", json!({}))])), Some("/a".to_owned()));
}

fn digest(updates: &[(u64, &str)]) -> Value {
    let mut digest = TopicDigest::default();
    updates.iter().for_each(|(seq, id)| digest.add(Seq(*seq), id));
    json!({ "users": digest })
}

#[test]
fn the_same_updates_on_both_sides_are_no_reason_to_begin_again() {
    let mut rig = Rig::live(0);
    rig.deliver(0, 1, &[("/a", json!({}))]);
    rig.frame(&json!({"pause": {"seq": 1}}));
    let effects = rig.frame(&json!({"caught_up": {"seq": 1, "digests": digest(&[(1, "u1")])}}));
    assert_eq!(resumes(&effects), []);
    assert_eq!(json!(rig.status().digests), digest(&[(1, "u1")]));
}

#[test]
fn who_has_seen_less_takes_the_hubs_digest_over() {
    let mut rig = Rig::live(0);
    rig.deliver(0, 3, &[("/a", json!({}))]);
    rig.frame(&json!({"pause": {"seq": 3}}));
    let theirs = digest(&[(1, "compacted"), (3, "u3")]);
    assert_eq!(resumes(&rig.frame(&json!({"caught_up": {"seq": 3, "digests": theirs}}))), []);
    assert_eq!(json!(rig.status().digests), theirs);
}

#[test]
fn who_has_seen_other_updates_than_the_hub_begins_again() {
    for theirs in [digest(&[(1, "other")]), digest(&[])] {
        let mut rig = Rig::live(0);
        rig.deliver(0, 1, &[("/a", json!({}))]);
        rig.frame(&json!({"pause": {"seq": 1}}));
        let effects = rig.frame(&json!({"caught_up": {"seq": 1, "digests": theirs}}));
        assert_eq!(resumes(&effects), [Seq(0)], "{theirs}");
        let again = |it: &Effect| matches!(it, Effect::BeginAgain(mark) if mark.generation == 1);
        assert!(effects.iter().any(again), "{effects:?}");
        assert!(!rig.status().ready);
        let effects = rig.frame(&json!({"caught_up": {"seq": 1, "digests": theirs}}));
        assert_eq!(resumes(&effects), [], "once is enough");
    }
}

#[test]
fn a_pause_is_answered_with_what_was_received() {
    let mut rig = Rig::live(0);
    rig.deliver(0, 1, &[("/a", json!({}))]);
    assert_eq!(resumes(&rig.frame(&json!({"pause": {"seq": 1}}))), [Seq(1)]);
    assert_eq!(rig.status().connection.state, ConnectionState::Replaying);
    rig.frame(&json!({"caught_up": {"seq": 1}}));
    assert_eq!(rig.status().connection.state, ConnectionState::Live);
}

#[test]
fn a_pause_that_crosses_a_question_is_not_its_answer() {
    let mut rig = Rig::live(2);
    assert_eq!(resumes(&rig.deliver(3, 4, &[("/a", json!({}))])), [Seq(2)], "a hole");
    assert_eq!(resumes(&rig.frame(&json!({"pause": {"seq": 4}}))), []);
    assert_eq!(rig.core.cursor(), Seq(2), "the hole is still there");
    let both = [update(2, 3, &[("/a", json!({}))]), update(3, 4, &[("/a", json!({}))])];
    assert!(write(&rig.frame(&json!({ "updates": both }))).is_some());
}

#[test]
fn who_waits_for_a_number_of_other_topics_makes_the_agent_ask() {
    let mut rig = Rig::live(3);
    let until = rig.now.plus(1_000);
    assert_eq!(resumes(&rig.step(Input::Wanted(Seq(3), until))), [], "it is there");
    assert_eq!(resumes(&rig.step(Input::Wanted(Seq(5), until))), [Seq(3)]);
    rig.frame(&json!({"caught_up": {"seq": 4}}));
    let at = rig.core.next_tick().unwrap();
    assert_eq!(resumes(&rig.tick(at)), [Seq(4)], "not yet: asked again, not at once");
    rig.frame(&json!({"caught_up": {"seq": 5}}));
    assert_eq!(rig.core.progress().at, Some(Seq(5)));
    assert_eq!(resumes(&rig.tick(rig.now.plus(500))), []);
}

#[test]
fn nobody_is_asked_for_long_on_behalf_of_one_who_waits_for_the_future() {
    let mut rig = Rig::live(3);
    assert_eq!(resumes(&rig.step(Input::Wanted(Seq(99), rig.now.plus(400)))), [Seq(3)]);
    rig.frame(&json!({"caught_up": {"seq": 3}}));
    assert_eq!(resumes(&rig.tick(rig.now.plus(250))), [Seq(3)]);
    rig.frame(&json!({"caught_up": {"seq": 3}}));
    assert_eq!(resumes(&rig.tick(rig.now.plus(250))), []);
}

#[test]
fn a_renewed_token_needs_a_new_socket_and_is_no_failure() {
    let mut rig = Rig::live(3);
    assert!(is_disconnect(&rig.step(Input::Renewed)));
    let effects = rig.step(Input::LinkDown("closed by the agent".to_owned()));
    assert!(matches!(effects[..], [Effect::Connect]), "{effects:?}");
}

#[test]
fn what_is_pushed_into_a_full_queue_is_left_in_the_log_and_asked_for_later() {
    let mut rig = Rig::live(0);
    let stuck = fetches(&rig.deliver(0, 1, &[("/", Value::Null)]))[0];
    for seq in 2..2_000 {
        rig.deliver(seq - 1, seq, &[("/a", json!({}))]);
    }
    assert!(rig.status().pending_total < 1_100, "{}", rig.status().pending_total);
    assert_eq!(rig.status().connection.state, ConnectionState::Replaying);
    let mut next = write(&rig.fetched(stuck, "{}"));
    let mut asked = vec![];
    while let Some(ready) = next {
        let effects = rig.written(ready.job);
        asked.extend(resumes(&effects));
        next = write(&effects);
    }
    assert_eq!(asked, [rig.core.cursor()]);
}

#[test]
fn a_hub_that_does_not_go_on_with_a_replay_is_left() {
    let mut rig = Rig::new();
    rig.step(Input::LinkUp);
    assert!(!is_disconnect(&rig.tick(rig.now.plus(29_000))));
    rig.frame(&json!({"welcome": {"scope": "default", "head": 7, "epoch": "e1"}}));
    assert!(!is_disconnect(&rig.tick(rig.now.plus(29_000))), "it said something");
    assert!(is_disconnect(&rig.tick(rig.now.plus(2_000))));
    rig.step(Input::LinkDown("closed by the agent".to_owned()));
    assert!(rig.status().connection.error.unwrap().contains("does not go on"));
}
