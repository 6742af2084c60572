//! What ends: tokens, by time or by word; the log, by size or age; what is on the way to a
//! subscriber.

use hub::log::{Log as _, Retention};
use hub::machine::{Effect, Input, Machine, Settings, SocketId};
use protocol::internal::{HubAnswer, HubRequest, Revocation};
use protocol::socket::close;
use protocol::{Millis, Seq};
use serde_json::json;

use crate::rig::{Rig, is_closed, outline, session};

/// When the tokens of these tests end.
const END: Millis = Millis(1_000_000);

#[test]
fn an_idle_socket_ends_with_its_token() {
    let mut rig = Rig::new();
    rig.hello(1, &["users"], 0);
    assert_eq!(rig.machine.next_tick(), Some(END));
    rig.now = Millis(END.0 - 1);
    assert!(rig.step(Input::Tick).is_empty());
    rig.now = END;
    let effects = rig.step(Input::Tick);
    assert_eq!(outline(&effects, 1), ["error expired"]);
    assert!(is_closed(&effects, 1, close::POLICY));
    assert_eq!(rig.machine.next_tick(), None);
}

#[test]
fn a_revoked_subject_is_out_and_stays_out_also_after_the_hub_slept() {
    let mut rig = Rig::new();
    rig.hello(1, &["users"], 0);
    rig.hello(2, &["users"], 0);
    let effects = rig.ask(HubRequest::Revoke(Revocation::Sub("s".to_owned())));
    let Effect::Answer(_, Ok(HubAnswer::Revoked { closed: 2 })) = effects[0] else {
        panic!("{effects:?}")
    };
    for socket in [1, 2] {
        assert_eq!(outline(&effects, socket), ["error revoked"]);
        assert!(is_closed(&effects, socket, close::POLICY));
    }
    rig.sleep(&[]);
    let effects = rig.step(Input::Opened(SocketId(3), Box::new(session(None))));
    assert_eq!(outline(&effects, 3), ["error revoked"]);
    let (answer, _) = rig.publish(&json!({"id": "u", "entries": [{"topics": ["t"], "data": {}}]}));
    assert_eq!(answer.unwrap_err().status, 401);
    let check = rig.ask(HubRequest::Check(session(None).claims));
    assert!(matches!(&check[0], Effect::Answer(_, Err(problem)) if problem.status == 401));
}

#[test]
fn the_log_gives_up_its_oldest_and_who_has_not_had_them_starts_over() {
    let mut rig = Rig::new();
    let retention = Retention { max_bytes: 400, max_age: None };
    rig.machine = Machine::new(Settings { retention, ..Settings::default() });
    for at in 1..=10 {
        let path = format!("/p{at}");
        let entry = json!({"topics": ["users"], "dst_path": path, "data": {}});
        rig.publish(&json!({"id": format!("u{at}"), "entries": [entry]})).0.unwrap();
    }
    let floor = rig.log.floor();
    assert!(floor > Seq(1) && floor < Seq(10), "{floor}");
    let of = |rig: &mut Rig, socket: u64, cursor: u64| {
        outline(&rig.hello(socket, &["users"], cursor), socket)
    };
    assert_eq!(of(&mut rig, 1, floor.0 - 1)[1], "reset");
    assert_eq!(of(&mut rig, 2, floor.0)[1], format!("{floor}<{}", floor.next()));
    // An id stays known, whatever became of its update.
    let entry = json!({"topics": ["users"], "dst_path": "/p1", "data": {}});
    assert_eq!(rig.publish(&json!({"id": "u1", "entries": [entry]})).0, Ok(Seq(1)));
}

#[test]
fn the_newest_update_stays_though_it_is_larger_than_the_limit() {
    let mut rig = Rig::new();
    let retention = Retention { max_bytes: 400, max_age: None };
    rig.machine = Machine::new(Settings { retention, ..Settings::default() });
    rig.put("small", "users");
    let data = json!({"x": "x".repeat(1_000)});
    let entry = json!({"topics": ["users"], "dst_path": "/large", "data": data});
    rig.publish(&json!({"id": "large", "entries": [entry]})).0.unwrap();
    assert_eq!(rig.log.floor(), Seq(1));
    assert_eq!(outline(&rig.hello(1, &["users"], 1), 1)[1], "1<2");
}

#[test]
fn the_log_gives_up_what_is_too_old() {
    let mut rig = Rig::new();
    let retention = Retention { max_age: Some(1_000), ..Retention::default() };
    rig.machine = Machine::new(Settings { retention, ..Settings::default() });
    rig.put("u1", "users");
    rig.now = Millis(1_000);
    rig.put("u2", "billing");
    assert_eq!(rig.log.floor(), Seq::ZERO);
    rig.now = Millis(1_001);
    rig.put("u3", "billing");
    assert_eq!(rig.log.floor(), Seq(1));
}

#[test]
fn a_subscriber_that_stops_reading_is_paused_and_goes_on_from_the_log() {
    let mut rig = Rig::new();
    rig.machine = Machine::new(Settings { push_window: 200, ..Settings::default() });
    rig.hello(1, &["users"], 0);
    rig.hello(2, &["users"], 0);
    assert_eq!(outline(&rig.put("u1", "users"), 1), ["0<1"]);
    // The second one shows a sign of life.
    rig.say(2, &json!({"resume": {"cursor": 1}}));
    let effects = rig.put("u2", "users");
    assert_eq!(outline(&effects, 1), ["1<2", "pause 2"]);
    assert_eq!(outline(&effects, 2), ["1<2"]);
    let effects = rig.put("u3", "users");
    assert!(outline(&effects, 1).is_empty(), "nothing more is on the way to it");
    let effects = rig.say(1, &json!({"resume": {"cursor": 2}}));
    assert_eq!(outline(&effects, 1), ["2<3", "caught up 3"]);
    assert_eq!(outline(&rig.put("u4", "users"), 1), ["3<4"]);
}

#[test]
fn what_is_on_the_way_to_a_socket_is_unknown_after_the_hub_slept() {
    let mut rig = Rig::new();
    let attachments = rig.hello(1, &["users"], 0);
    rig.sleep(&attachments);
    assert_eq!(outline(&rig.put("u1", "users"), 1), ["0<1", "pause 1"]);
}
