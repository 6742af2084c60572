//! Storage that fails, call by call.

use hub::log::Log as _;
use hub::machine::{Input, SocketId};
use hub::memory_log::Call;
use protocol::Seq;
use protocol::socket::{HubFrame, close};
use serde_json::{Value, json};

use crate::rig::{Rig, frames, is_closed, outline};

fn update() -> Value {
    json!({"id": "u", "entries": [{"topics": ["users"], "data": {}}]})
}

#[test]
fn an_update_that_storage_refuses_is_not_delivered_and_takes_no_number() {
    for refused in [Call::ALL, &[Call::Append], &[Call::Find]] {
        let mut rig = Rig::new();
        rig.hello(1, &["users"], 0);
        rig.log.refuses = refused;
        let (answer, effects) = rig.publish(&update());
        assert_eq!(answer.unwrap_err().status, 503, "{refused:?}");
        assert!(effects.is_empty(), "{refused:?}");
        assert_eq!(rig.log.head(), Seq::ZERO, "{refused:?}");
        rig.log.refuses = &[];
        let (answer, effects) = rig.publish(&update());
        assert_eq!(answer, Ok(Seq(1)), "{refused:?}");
        assert_eq!(outline(&effects, 1), ["0<1"], "{refused:?}");
    }
}

#[test]
fn a_delivery_whose_prev_cannot_be_looked_up_names_the_number_before_it() {
    let mut rig = Rig::new();
    rig.hello(1, &["users"], 0);
    rig.put("b1", "billing");
    rig.log.refuses = &[Call::LastFor];
    // Truly 0, which is what the subscriber has. It is made to ask, and loses nothing.
    assert_eq!(outline(&rig.put("u2", "users"), 1), ["1<2"]);
    rig.log.refuses = &[];
    assert_eq!(outline(&rig.say(1, &json!({"resume": {"cursor": 0}})), 1), ["0<2", "caught up 2"]);
    assert_eq!(outline(&rig.put("u3", "users"), 1), ["2<3"]);
}

#[test]
fn a_replay_that_storage_refuses_ends_the_socket_and_says_when_to_come_back() {
    for refused in [&[Call::Read], &[Call::LastFor]] {
        let mut rig = Rig::new();
        rig.hello(1, &["users"], 0);
        rig.put("u1", "users");
        rig.log.refuses = refused;
        let effects = rig.say(1, &json!({"resume": {"cursor": 0}}));
        let [HubFrame::Error(error)] = &frames(&effects, 1)[..] else { panic!("{effects:?}") };
        assert_eq!((error.code.as_str(), error.retry_after), ("internal", Some(1)), "{refused:?}");
        assert!(is_closed(&effects, 1, close::INTERNAL), "{refused:?}");
        rig.log.refuses = &[];
        assert!(rig.put("u2", "users").is_empty(), "{refused:?}: it is gone");
    }
}

#[test]
fn a_socket_that_the_platform_cannot_keep_is_refused_and_gone() {
    let mut rig = Rig::new();
    rig.hello(1, &["users"], 0);
    let effects = rig.step(Input::Unkept(SocketId(1)));
    assert_eq!(outline(&effects, 1), ["error too_large"]);
    assert!(is_closed(&effects, 1, close::TOO_LARGE));
    assert!(rig.put("u1", "users").is_empty());
}
