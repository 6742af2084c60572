//! Publishers that wait for receipts.

use hub::machine::{Effect, Input};
use protocol::internal::{HubAnswer, HubRequest, Quorum, Receipts, Wait};
use protocol::{Millis, Update};
use serde_json::json;

use crate::rig::{Rig, outline, session};

/// Publishes an update and waits up to a second.
fn publish(rig: &mut Rig, agents: Quorum) -> Vec<Effect> {
    let body = json!({"id": "u", "entries": [{"topics": ["users"], "data": {}}]});
    let update = Update::parse(body.to_string().as_bytes()).unwrap();
    let wait = Some(Wait { agents, timeout_ms: 1_000 });
    rig.ask(HubRequest::Append { update, claims: session(None).claims, wait })
}

fn answers(effects: &[Effect]) -> Vec<Receipts> {
    let answer = |effect: &Effect| match effect {
        Effect::Answer(_, Ok(HubAnswer::Appended { receipts, .. })) => receipts.clone(),
        _ => None,
    };
    effects.iter().filter_map(answer).collect()
}

#[test]
fn all_that_are_connected_are_asked_and_waited_for() {
    let mut rig = Rig::new();
    rig.hello(1, &["users"], 0);
    rig.hello(2, &["users"], 0);
    rig.hello(3, &["billing"], 0);
    let effects = publish(&mut rig, Quorum::All);
    assert_eq!(answers(&effects), []);
    assert_eq!(outline(&effects, 1), ["0<1", "confirm 1"]);
    assert!(outline(&effects, 3).is_empty());
    let good = json!({"receipt": {"seq": 1, "applied": true}});
    assert_eq!(answers(&rig.say(1, &good)), []);
    assert_eq!(answers(&rig.say(1, &good)), [], "one each");
    let bad = json!({"receipt": {"seq": 1, "applied": false, "error": "no"}});
    let [receipts] = &answers(&rig.say(2, &bad))[..] else { panic!("one answer") };
    assert!(receipts.complete && receipts.expected == 2, "{receipts:?}");
    assert_eq!(receipts.receipts[1].receipt.error.as_deref(), Some("no"));
    assert_eq!(rig.machine.next_tick(), Some(Millis(1_000_000)), "the tokens' end alone");
}

#[test]
fn without_subscribers_all_is_complete_and_one_is_waited_for() {
    let mut rig = Rig::new();
    assert!(answers(&publish(&mut rig, Quorum::All))[0].complete);
    // The same id again waits anew; who comes meanwhile is asked.
    assert_eq!(answers(&publish(&mut rig, Quorum::AtLeast(1))), []);
    assert!(outline(&rig.hello(1, &["users"], 0), 1).contains(&"confirm 1".to_owned()));
    let [receipts] = &answers(&rig.say(1, &json!({"receipt": {"seq": 1, "applied": true}})))[..]
    else {
        panic!("one answer")
    };
    assert!(receipts.complete, "{receipts:?}");
}

#[test]
fn time_ends_a_wait_with_what_there_is() {
    let mut rig = Rig::new();
    rig.hello(1, &["users"], 0);
    publish(&mut rig, Quorum::All);
    rig.now = Millis(999);
    assert_eq!(answers(&rig.step(Input::Tick)), []);
    assert_eq!(rig.machine.next_tick(), Some(Millis(1_000)));
    rig.now = Millis(1_000);
    let [receipts] = &answers(&rig.step(Input::Tick))[..] else { panic!("one answer") };
    assert!(!receipts.complete && receipts.receipts.is_empty() && receipts.expected == 1);
}
