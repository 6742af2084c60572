//! The hub's state machine, driven step by step against a log in memory.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking"
)]

mod base;
mod batches;
mod bundles;
mod compaction;
mod directory;
mod limits;
mod opal;
mod plane;
mod policy;
mod rig;
mod storage;
mod waits;

use hub::log::Log as _;
use hub::machine::{Effect, Input, SocketId};
use protocol::socket::{HubFrame, close};
use protocol::{Millis, Seq};
use serde_json::json;

use crate::rig::{Rig, append, appended, frames, is_closed, outline, session};

#[test]
fn numbers_have_no_gaps_and_the_answer_comes_before_any_delivery() {
    let mut rig = Rig::new();
    rig.hello(1, &["users"], 0);
    for expected in 1..=3 {
        let body =
            json!({"id": format!("u{expected}"), "entries": [{"topics": ["users"], "data": {}}]});
        let effects = rig.ask(append(&body));
        let Effect::Answer(_, Ok(answer)) = &effects[0] else { panic!("{effects:?}") };
        assert_eq!(appended(answer), Seq(expected));
        assert_eq!(outline(&effects, 1), [format!("{}<{expected}", expected - 1)]);
    }
}

#[test]
fn the_same_id_has_one_effect_and_another_body_under_it_is_a_conflict() {
    let mut rig = Rig::new();
    rig.hello(1, &["users"], 0);
    let body = json!({"id": "u", "entries": [{"topics": ["users"], "data": {"a": 1}}]});
    assert_eq!(rig.publish(&body).0, Ok(Seq(1)));
    let (again, effects) = rig.publish(&body);
    assert_eq!(again, Ok(Seq(1)));
    assert!(effects.is_empty(), "{effects:?}");
    let other = json!({"id": "u", "entries": [{"topics": ["users"], "data": {"a": 2}}]});
    assert_eq!(rig.publish(&other).0.unwrap_err().status, 409);
    assert_eq!(rig.log.head(), Seq(1));
}

#[test]
fn a_subscriber_gets_only_the_entries_of_its_topics() {
    let mut rig = Rig::new();
    rig.hello(1, &["users"], 0);
    rig.hello(2, &["billing"], 0);
    rig.hello(3, &["users", "billing"], 0);
    let (_, effects) = rig.publish(&json!({"id": "u", "entries": [
        {"topics": ["users/eu", "users"], "dst_path": "/u", "data": {}},
        {"topics": ["billing"], "dst_path": "/b", "data": {}},
        {"topics": ["other"], "dst_path": "/o", "data": {}},
    ]}));
    let paths = |socket| -> Vec<String> {
        let mut frames = frames(&effects, socket);
        assert_eq!(frames.len(), 1, "one notice a socket, however many topics match");
        match frames.remove(0) {
            HubFrame::Updates(updates) => {
                updates[0].entries.iter().map(|it| it.dst_path.to_string()).collect()
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(paths(1), ["/u"]);
    assert_eq!(paths(2), ["/b"]);
    assert_eq!(paths(3), ["/u", "/b"]);
}

#[test]
fn subscribers_with_the_same_topics_share_one_frame() {
    let mut rig = Rig::new();
    for socket in 1..=3 {
        rig.hello(socket, &["users"], 0);
    }
    let effects = rig.put("u1", "users");
    assert_eq!(effects.len(), 1);
    assert!(matches!(&effects[0], Effect::Send(to, _) if to.len() == 3));
}

#[test]
fn prev_skips_what_is_for_others() {
    let mut rig = Rig::new();
    rig.hello(1, &["users"], 0);
    rig.put("u1", "users");
    rig.put("b2", "billing");
    rig.put("b3", "billing");
    assert_eq!(outline(&rig.put("u4", "users"), 1), ["1<4"]);
}

#[test]
fn resume_after_a_gap_delivers_exactly_the_gap() {
    let mut rig = Rig::new();
    for (id, topic) in [("u1", "users"), ("b2", "billing"), ("u3", "users"), ("u4", "users")] {
        rig.put(id, topic);
    }
    assert_eq!(
        outline(&rig.hello(1, &["users"], 1), 1),
        ["welcome e1/4", "1<3", "3<4", "caught up 4"]
    );
    assert_eq!(outline(&rig.hello(2, &["users"], 4), 2), ["welcome e1/4", "caught up 4"]);
    assert_eq!(outline(&rig.hello(3, &["nothing"], 0), 3), ["welcome e1/4", "caught up 4"]);
}

#[test]
fn a_long_replay_comes_in_batches_and_nothing_is_pushed_meanwhile() {
    let mut rig = Rig::new();
    let large = "x".repeat(200_000);
    for seq in 1..=3 {
        let entry =
            json!({"topics": ["users"], "dst_path": format!("/{seq}"), "data": {"large": large}});
        rig.publish(&json!({"id": format!("u{seq}"), "entries": [entry]})).0.unwrap();
    }
    assert_eq!(outline(&rig.hello(1, &["users"], 0), 1), ["welcome e1/3", "0<1", "bookmark 1"]);
    assert!(rig.put("u4", "users").is_empty());
    let resume = |cursor: u64| json!({"resume": {"cursor": cursor}});
    assert_eq!(outline(&rig.say(1, &resume(1)), 1), ["1<2", "bookmark 2"]);
    assert_eq!(outline(&rig.say(1, &resume(2)), 1), ["2<3", "3<4", "caught up 4"]);
    assert_eq!(outline(&rig.put("u5", "users"), 1), ["4<5"]);
}

#[test]
fn a_hub_that_slept_goes_on_where_it_was() {
    let mut rig = Rig::new();
    let kept = rig.hello(1, &["users"], 0);
    rig.put("u1", "users");
    rig.put("b2", "billing");
    rig.sleep(&kept);
    assert_eq!(outline(&rig.put("u3", "users"), 1), ["1<3", "pause 3"]);
}

#[test]
fn a_cursor_that_cannot_be_is_answered_with_a_reset_and_a_full_replay() {
    let mut rig = Rig::new();
    rig.put("u1", "users");
    assert_eq!(
        outline(&rig.hello(1, &["users"], 99), 1),
        ["welcome e1/1", "reset", "0<1", "caught up 1"]
    );
    rig.open(2, session(None));
    let stranger =
        json!({"hello": {"agent": "a", "topics": ["users"], "cursor": 1, "epoch": "e0"}});
    assert_eq!(outline(&rig.say(2, &stranger), 2), ["welcome e1/1", "reset", "0<1", "caught up 1"]);
}

#[test]
fn new_topics_are_replayed_from_the_cursor_that_is_stated() {
    let mut rig = Rig::new();
    rig.put("u1", "users");
    rig.put("b2", "billing");
    rig.hello(1, &["users"], 0);
    let subscribe = json!({"subscribe": {"topics": ["billing", "users"], "cursor": 0}});
    assert_eq!(outline(&rig.say(1, &subscribe), 1), ["0<1", "1<2", "caught up 2"]);
    assert_eq!(outline(&rig.put("b3", "billing"), 1), ["2<3"]);
}

#[test]
fn a_bad_frame_closes_the_socket_with_a_reason() {
    for frame in [
        "",
        "garbage",
        "[]",
        r#"{"hello":{"agent":"a","topics":[]}}"#,
        r#"{"hello":{"agent":"","topics":["t"]}}"#,
        r#"{"hello":{"agent":"a","topics":["t"],"cursor":-1}}"#,
        r#"{"resume":{"cursor":1}}"#,
    ] {
        let mut rig = Rig::new();
        rig.open(1, session(None));
        let effects = rig.step(Input::Text(SocketId(1), frame));
        assert_eq!(outline(&effects, 1), ["error bad_frame"], "{frame}");
        assert!(is_closed(&effects, 1, close::BAD_FRAME), "{frame}");
    }
    let mut rig = Rig::new();
    rig.hello(1, &["users"], 0);
    assert!(is_closed(&rig.step(Input::Binary(SocketId(1))), 1, close::BAD_FRAME));
    assert!(rig.put("u1", "users").is_empty(), "it is gone");
}

#[test]
fn a_topic_that_the_token_does_not_permit_is_refused() {
    let mut rig = Rig::new();
    rig.open(1, session(Some(&["users"])));
    let effects = rig.say(1, &json!({"hello": {"agent": "a", "topics": ["users", "billing"]}}));
    assert_eq!(outline(&effects, 1), ["error forbidden"]);
    assert!(is_closed(&effects, 1, close::POLICY));
}

#[test]
fn an_expired_token_gets_nothing_more() {
    let mut rig = Rig::new();
    rig.hello(1, &["users"], 0);
    rig.now = Millis(1_000_000);
    let effects = rig.put("u1", "users");
    assert_eq!(outline(&effects, 1), ["error expired"]);
    assert!(is_closed(&effects, 1, close::POLICY));
}

#[test]
fn frames_of_a_newer_agent_are_ignored() {
    let mut rig = Rig::new();
    rig.hello(1, &["users"], 0);
    assert!(rig.say(1, &json!({"from_the_future": {}})).is_empty());
    assert_eq!(outline(&rig.put("u1", "users"), 1), ["0<1"]);
}
