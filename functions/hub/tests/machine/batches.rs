//! Updates that come together.

use std::ops::Range;

use hub::log::{Log as _, Retention};
use hub::machine::{Effect, Machine, Settings};
use hub::memory_log::Call;
use protocol::internal::{HubAnswer, HubRequest, Quorum, Revocation, Wait};
use protocol::socket::HubFrame;
use serde_json::{Value, json};

use crate::rig::{Rig, append, frames, is_closed, outline, session};

fn body(id: &str, topic: &str, data: &Value) -> Value {
    json!({"id": id, "entries": [{"topics": [topic], "dst_path": format!("/{id}"), "data": data}]})
}

fn small(id: &str, topic: &str) -> HubRequest {
    append(&body(id, topic, &json!({})))
}

/// Updates of some 1,000 bytes.
fn large(numbers: Range<u32>) -> Vec<HubRequest> {
    let data = json!({"x": "x".repeat(900)});
    numbers.map(|number| append(&body(&number.to_string(), "t", &data))).collect()
}

/// A hub with these limits, and a live subscriber.
fn rig_with(replay_batch: usize, push_window: usize) -> Rig {
    let mut rig = Rig::new();
    let retention = Retention::default();
    rig.machine =
        Machine::new(Settings { retention, replay_batch, push_window, ..Settings::default() });
    rig.hello(1, &["t"], 0);
    rig
}

/// Each answer: a number, or a refusal's status.
fn answers(effects: &[Effect]) -> Vec<u64> {
    let answer = |effect: &Effect| match effect {
        Effect::Answer(_, Ok(HubAnswer::Appended { seq, .. })) => Some(seq.0),
        Effect::Answer(_, Err(problem)) => Some(u64::from(problem.status)),
        _ => None,
    };
    effects.iter().filter_map(answer).collect()
}

#[test]
fn updates_that_come_together_make_one_frame_a_subscription() {
    let mut rig = Rig::new();
    rig.hello(1, &["users"], 0);
    rig.hello(2, &["billing"], 0);
    rig.put("before", "users");
    let asked = vec![small("a", "users"), small("b", "billing"), small("c", "users")];
    let effects = rig.ask_together(asked);
    assert_eq!(answers(&effects), [2, 3, 4]);
    assert_eq!(outline(&effects, 1), ["1<2", "2<4"]);
    assert_eq!(outline(&effects, 2), ["0<3"]);
    assert_eq!((frames(&effects, 1).len(), frames(&effects, 2).len()), (1, 1));
    assert!(matches!(effects[2], Effect::Answer(..)), "answers come before deliveries");
}

#[test]
fn each_is_answered_for_itself() {
    let mut rig = Rig::new();
    rig.hello(1, &["t"], 0);
    let other = append(&body("a", "t", &json!({"other": 1})));
    let asked = vec![small("a", "t"), small("a", "t"), other, small("b", "t")];
    let effects = rig.ask_together(asked);
    assert_eq!(answers(&effects), [1, 1, 409, 2]);
    assert_eq!(outline(&effects, 1), ["0<1", "1<2"]);
    rig.log.refuses = &[Call::Append];
    assert_eq!(answers(&rig.ask_together(vec![small("c", "t"), small("b", "t")])), [503, 2]);
}

#[test]
fn what_one_makes_unnecessary_of_another_is_delivered_and_not_kept() {
    let mut rig = Rig::new();
    rig.hello(1, &["t"], 0);
    let document = |id: &str, value: u64| {
        append(
            &json!({"id": id, "entries": [{"topics": ["t"], "dst_path": "/x", "data": {"v": value}}]}),
        )
    };
    let effects = rig.ask_together(vec![document("a", 1), document("b", 2), document("c", 3)]);
    assert_eq!(outline(&effects, 1), ["0<1", "1<2", "2<3"]);
    let kept = rig.log.read(None, protocol::Seq::ZERO, usize::MAX).unwrap();
    assert_eq!(kept.iter().map(|it| it.id.as_str()).collect::<Vec<_>>(), ["c"]);
}

#[test]
fn what_does_not_fit_into_a_frame_is_in_the_next_and_a_pause_ends_it() {
    let mut rig = rig_with(2_500, 2_500);
    let effects = rig.ask_together(large(0..5));
    // The second frame fills its window; the third it will ask for.
    assert_eq!(outline(&effects, 1), ["0<1", "1<2", "2<3", "3<4", "pause 4"]);
    assert_eq!(frames(&effects, 1).len(), 3);
    assert!(outline(&rig.ask_together(large(5..10)), 1).is_empty());
    let more = rig.say(1, &json!({"resume": {"cursor": 4}}));
    assert_eq!(outline(&more, 1), ["4<5", "5<6", "bookmark 6"]);
}

#[test]
fn no_more_is_on_the_way_than_may_be_because_updates_came_together() {
    let effects = rig_with(10_000, 2_500).ask_together(large(0..9));
    assert_eq!(outline(&effects, 1), ["0<1", "1<2", "2<3", "3<4", "pause 4"]);
}

#[test]
fn who_waits_is_answered_later_and_nobody_else_is() {
    let mut rig = Rig::new();
    rig.hello(1, &["t"], 0);
    let HubRequest::Append { update, claims, .. } = small("b", "t") else { panic!() };
    let wait = Some(Wait { agents: Quorum::All, timeout_ms: 1_000 });
    let waits = HubRequest::Append { update, claims, wait };
    let effects = rig.ask_together(vec![small("a", "t"), waits, small("c", "t")]);
    assert_eq!(answers(&effects), [1, 3]);
    assert_eq!(outline(&effects, 1), ["0<1", "1<2", "2<3", "confirm 2"]);
    let effects = rig.say(1, &json!({"receipt": {"seq": 2, "applied": true}}));
    assert_eq!(answers(&effects), [2]);
}

#[test]
fn requests_take_effect_in_their_order() {
    let mut rig = Rig::new();
    rig.hello(1, &["t"], 0);
    let claims = session(None).claims;
    let revoke = HubRequest::Revoke(Revocation::Sub(claims.sub.clone()));
    let read = HubRequest::Read { claims, topics: None, after: protocol::Seq::ZERO };
    let effects = rig.ask_together(vec![small("a", "t"), read, revoke, small("b", "t")]);
    let Effect::Answer(_, Ok(HubAnswer::Log(page))) = &effects[1] else { panic!("{effects:?}") };
    assert_eq!(page.updates.len(), 1);
    assert_eq!(answers(&effects), [1, 401]);
    assert!(is_closed(&effects, 1, protocol::socket::close::POLICY));
    let told = frames(&effects, 1);
    assert!(!told.iter().any(|frame| matches!(frame, HubFrame::Updates(_))), "{told:?}");
}
