//! Base sources, as agents get them.

use hub::log::Log as _;
use hub::machine::{Effect, Input, SocketId};
use protocol::internal::{
    HubAnswer, HubRequest, OpalPeer, SCOPE_DOCUMENT, SOURCES_DOCUMENT, Session,
};
use protocol::opal::data::Sources;
use protocol::socket::HubFrame;
use protocol::{Millis, Problem, Seq};
use serde_json::value::to_raw_value;
use serde_json::{Value, json};

use crate::rig::{Rig, frames, outline, session};

/// A source of `users` for a place.
fn source(place: &str) -> Value {
    json!({"url": format!("http://s{place}"), "topics": ["users"], "dst_path": place})
}

fn periodic(place: &str, seconds: f64) -> Value {
    let mut source = source(place);
    source["periodic_update_interval"] = seconds.into();
    source
}

fn keep(
    rig: &mut Rig,
    name: &str,
    body: Option<&Value>,
) -> (Result<HubAnswer, Problem>, Vec<Effect>) {
    let mut effects = rig.ask(HubRequest::Keep {
        claims: session(None).claims,
        name: name.to_owned(),
        body: body.map(|body| to_raw_value(body).unwrap()),
    });
    let Effect::Answer(_, answer) = effects.remove(0) else { panic!("the answer comes first") };
    (answer, effects)
}

fn set(rig: &mut Rig, sources: &[Value]) -> Vec<Effect> {
    let (answer, effects) =
        keep(rig, SOURCES_DOCUMENT, Some(&json!({"config": {"entries": sources}})));
    answer.unwrap();
    effects
}

fn sources(sources: &[Value]) -> Sources {
    serde_json::from_value(json!({"config": {"entries": sources}})).unwrap()
}

/// The paths, reasons and numbers of what is in the log.
fn logged(rig: &Rig) -> Vec<(u64, String, String)> {
    let records = rig.log.read(None, Seq::ZERO, usize::MAX).unwrap();
    let all = records.iter().flat_map(|record| {
        let reason = record.update.reason.clone().unwrap_or_default();
        let paths = record.update.entries.iter().map(|entry| entry.dst_path.to_string());
        paths.map(move |path| (record.seq.0, path, reason.clone()))
    });
    all.collect()
}

fn base(seq: u64, path: &str) -> (u64, String, String) {
    (seq, path.to_owned(), "base sources".to_owned())
}

fn again(seq: u64, path: &str) -> (u64, String, String) {
    (seq, path.to_owned(), "periodic update".to_owned())
}

#[test]
fn sources_that_are_set_are_in_the_log_in_their_order_and_are_delivered() {
    let mut rig = Rig::new();
    rig.hello(1, &["users"], 0);
    let effects = set(&mut rig, &[source("/a"), source("/a/b")]);
    assert_eq!(outline(&effects, 1), ["0<1", "1<2"]);
    assert_eq!(logged(&rig), [base(1, "/a"), base(2, "/a/b")]);
    let HubFrame::Updates(updates) = frames(&effects, 1).remove(0) else { panic!("{effects:?}") };
    assert_eq!(updates[0].entries[0].url, "http://s/a");
    assert_eq!(
        outline(&rig.hello(2, &["users"], 0), 2),
        ["welcome e1/2", "0<1", "1<2", "caught up 2"]
    );
}

#[test]
fn the_same_sources_once_more_are_nothing_new() {
    let mut rig = Rig::new();
    set(&mut rig, &[source("/a")]);
    set(&mut rig, &[source("/a")]);
    rig.hello(1, &["users"], 0);
    assert_eq!(logged(&rig), [base(1, "/a")]);
}

#[test]
fn other_sources_take_the_place_of_those_before() {
    let mut rig = Rig::new();
    set(&mut rig, &[source("/a"), source("/b")]);
    set(&mut rig, &[source("/b"), source("/c")]);
    assert_eq!(logged(&rig), [base(2, "/b"), base(3, "/c")], "what stays is not sent again");
    keep(&mut rig, SOURCES_DOCUMENT, None).0.unwrap();
    assert_eq!(logged(&rig), [], "without a setting there are none");
    assert_eq!(rig.log.head(), Seq(3));
}

#[test]
fn sources_that_are_elsewhere_are_for_opals_clients() {
    let mut rig = Rig::new();
    set(&mut rig, &[source("/a")]);
    let elsewhere = json!({"external_source_url": "http://elsewhere/x"});
    keep(&mut rig, SOURCES_DOCUMENT, Some(&elsewhere)).0.unwrap();
    assert_eq!(logged(&rig), []);
}

#[test]
fn sources_of_the_settings_are_there_when_the_first_agent_says_hello() {
    let mut rig = Rig::new();
    rig.machine.set_default_sources(sources(&[source("/a")]));
    rig.put("u1", "users");
    assert_eq!(rig.log.head(), Seq(1), "nobody is there");
    assert_eq!(
        outline(&rig.hello(1, &["users"], 0), 1),
        ["welcome e1/2", "0<1", "1<2", "caught up 2"]
    );
    rig.sleep(&[]);
    rig.machine.set_default_sources(sources(&[source("/a")]));
    rig.hello(2, &["users"], 0);
    assert_eq!(rig.log.head(), Seq(2), "they have not changed");
    rig.sleep(&[]);
    rig.machine.set_default_sources(sources(&[source("/b")]));
    rig.hello(3, &["users"], 0);
    assert_eq!(logged(&rig).pop(), Some(base(3, "/b")));
    set(&mut rig, &[source("/c")]);
    assert_eq!(logged(&rig).pop(), Some(base(4, "/c")), "what was set is stronger");
    keep(&mut rig, SOURCES_DOCUMENT, None).0.unwrap();
    assert_eq!(logged(&rig).pop(), Some(base(5, "/b")), "and gives way again");
}

#[test]
fn opals_clients_are_not_told_of_what_they_list_themselves() {
    let mut rig = Rig::new();
    rig.machine.set_default_sources(sources(&[source("/a")]));
    let opal = Some(OpalPeer { origin: "http://hub".to_owned(), ..OpalPeer::default() });
    rig.open(1, Session { opal, ..session(None) });
    assert_eq!(rig.log.head(), Seq::ZERO, "its coming is no reason");
    let subscribe = json!({"request": {"method": "subscribe", "arguments": {"topics": ["users"]}, "call_id": "c"}});
    rig.say(1, &subscribe);
    let effects = set(&mut rig, &[source("/b")]);
    let is_told = |it: &Effect| matches!(it, Effect::Send(to, _) if to.contains(&SocketId(1)));
    assert!(!effects.iter().any(is_told), "{effects:?}");
    assert!(rig.put("u", "users").iter().any(is_told), "of updates it is");
    let snapshot = rig.ask(HubRequest::Snapshot {
        claims: session(None).claims,
        topics: None,
        after: Seq::ZERO,
        inline_bytes: 1_000,
        origin: "http://hub".to_owned(),
    });
    let [Effect::Answer(_, Ok(HubAnswer::Snapshot(snapshot)))] = &snapshot[..] else {
        panic!("{snapshot:?}")
    };
    assert_eq!(snapshot.entries.len(), 1, "{snapshot:?}");
    assert!(snapshot.entries[0].get().contains("\"/u\""), "{snapshot:?}");
}

#[test]
fn a_scopes_sources_have_the_topics_that_its_hub_knows() {
    let mut rig = Rig::new();
    rig.machine.set_scope("s1");
    let mut entry = source("/a");
    entry["topics"] = json!(["s1:data:users", "data:users", "billing/eu"]);
    let scope = json!({"scope_id": "s1", "data": {"entries": [entry]}});
    keep(&mut rig, SCOPE_DOCUMENT, Some(&scope)).0.unwrap();
    let records = rig.log.read(None, Seq::ZERO, usize::MAX).unwrap();
    assert_eq!(records[0].update.entries[0].topics, ["billing/eu", "users"]);
    rig.machine.set_default_sources(sources(&[source("/of/the/default/scope")]));
    let scoped = |session: Session| Session { scope: "s1".to_owned(), ..session };
    rig.open(1, scoped(session(None)));
    assert_eq!(logged(&rig), [base(1, "/a")]);
}

#[test]
fn a_periodic_source_has_its_turn_whenever_its_interval_has_passed() {
    let mut rig = Rig::new();
    rig.hello(1, &["users"], 0);
    set(&mut rig, &[periodic("/a", 10.0), source("/b"), periodic("/c", 0.01)]);
    assert_eq!(rig.machine.next_tick(), Some(Millis(1_000)), "no more than once a second");
    rig.now = Millis(999);
    assert!(rig.step(Input::Tick).is_empty());
    rig.now = Millis(1_000);
    assert_eq!(outline(&rig.step(Input::Tick), 1), ["3<4"]);
    assert_eq!(logged(&rig), [base(1, "/a"), base(2, "/b"), again(4, "/c")], "the old one is gone");
    rig.now = Millis(10_400);
    assert_eq!(outline(&rig.step(Input::Tick), 1), ["4<5", "5<6"]);
    assert_eq!(logged(&rig), [base(2, "/b"), again(5, "/a"), again(6, "/c")]);
    assert_eq!(rig.machine.next_tick(), Some(Millis(11_400)));
}

#[test]
fn a_periodic_patch_does_not_pile_up_in_the_log() {
    let mut rig = Rig::new();
    rig.hello(1, &["users"], 0);
    let mut patch = periodic("/a", 1.0);
    patch["save_method"] = "PATCH".into();
    set(&mut rig, &[patch]);
    for second in 1..=5 {
        rig.now = Millis(second * 1_000);
        rig.step(Input::Tick);
    }
    assert_eq!(logged(&rig), [again(6, "/a")]);
}

#[test]
fn nothing_happens_while_no_agent_is_there_and_the_next_one_finds_it_done() {
    let mut rig = Rig::new();
    let opal = Some(OpalPeer { origin: "http://hub".to_owned(), ..OpalPeer::default() });
    set(&mut rig, &[periodic("/a", 5.0)]);
    assert_eq!(rig.machine.next_tick(), None);
    rig.open(1, Session { opal, ..session(None) });
    rig.now = Millis(60_000);
    rig.step(Input::Tick);
    assert_eq!(logged(&rig), [base(1, "/a")], "OPAL's client sees to it by itself");
    assert_eq!(outline(&rig.hello(2, &["users"], 1), 2), ["welcome e1/2", "1<2", "caught up 2"]);
    assert_eq!(rig.machine.next_tick(), Some(Millis(65_000)));
    rig.step(Input::Closed(SocketId(2)));
    rig.now = Millis(62_000);
    rig.hello(3, &["users"], 2);
    assert_eq!(rig.log.head(), Seq(2), "its turn has not come");
}

#[test]
fn a_hub_that_slept_knows_when_a_periodic_source_has_its_turn() {
    let mut rig = Rig::new();
    let kept = rig.hello(1, &["users"], 0);
    set(&mut rig, &[periodic("/a", 5.0)]);
    rig.sleep(&kept);
    rig.put("u", "users");
    assert_eq!(rig.machine.next_tick(), Some(Millis(5_000)));
}

#[test]
fn whatever_storage_refuses_the_sources_are_in_the_log_once_in_the_end() {
    for takes in 0..8 {
        let mut rig = Rig::new();
        rig.hello(1, &["users"], 0);
        set(&mut rig, &[periodic("/old", 3.0)]);
        rig.log.takes = Some(takes);
        // Nothing makes up for a patch that is there twice.
        let mut patch = periodic("/b", 60.0);
        patch["save_method"] = "PATCH".into();
        let body = json!({"config": {"entries": [patch, periodic("/a", 60.0)]}});
        let (answer, _) = keep(&mut rig, SOURCES_DOCUMENT, Some(&body));
        rig.log.takes = None;
        if answer.is_err() {
            assert!(rig.machine.next_tick().is_some_and(|at| at <= Millis(3_000)), "{takes}");
            // Somebody publishes what takes a number that was noted.
            rig.put("u", "users");
            if takes > 0 {
                rig.now = rig.machine.next_tick().unwrap();
                rig.step(Input::Tick);
            } else {
                keep(&mut rig, SOURCES_DOCUMENT, Some(&body)).0.unwrap();
            }
        }
        let paths: Vec<String> = logged(&rig).into_iter().map(|(_, path, _)| path).collect();
        let of_sources: Vec<&String> = paths.iter().filter(|path| *path != "/u").collect();
        assert_eq!(of_sources, ["/b", "/a"], "{takes}");
        assert_eq!(answer.is_err(), paths.contains(&"/u".to_owned()), "{takes}");
    }
}

#[test]
fn sources_that_retention_gave_up_are_appended_again_for_the_next_agent() {
    let mut rig = Rig::new();
    let retention = hub::log::Retention { max_bytes: 900, max_age: None };
    let settings = hub::machine::Settings { retention, ..Default::default() };
    rig.machine = hub::machine::Machine::new(settings);
    set(&mut rig, &[source("/a")]);
    for n in 0..20 {
        rig.put(&format!("u{n}"), "users");
    }
    assert!(rig.log.floor() > Seq(1));
    rig.hello(1, &["users"], 0);
    assert_eq!(logged(&rig).pop(), Some(base(22, "/a")));
}

#[test]
fn what_was_published_over_a_source_stays_when_retention_passes_the_source() {
    let mut rig = Rig::new();
    let retention = hub::log::Retention { max_bytes: 900, max_age: None };
    let settings = hub::machine::Settings { retention, ..Default::default() };
    rig.machine = hub::machine::Machine::new(settings);
    set(&mut rig, &[source("/a"), source("/b")]);
    let mut over = source("/a");
    over["data"] = json!({"published": true});
    rig.publish(&json!({"id": "over", "entries": [over]})).0.unwrap();
    rig.hello(1, &["users"], 0);
    for n in 0..20 {
        rig.put(&format!("u{n}"), "users");
    }
    assert!(rig.log.floor() > Seq(2));
    rig.hello(2, &["users"], 0);
    let log = logged(&rig);
    assert_eq!(log.last(), Some(&base(24, "/b")), "the one that retention gave up is back");
    assert!(!log.iter().any(|(seq, path, _)| *seq > 3 && path == "/a"), "{log:?}");
}

#[test]
fn a_scope_that_is_gone_has_no_sources() {
    let mut rig = Rig::new();
    rig.machine.set_scope("s1");
    let scope = json!({"scope_id": "s1", "data": {"entries": [periodic("/a", 1.0)]}});
    keep(&mut rig, SCOPE_DOCUMENT, Some(&scope)).0.unwrap();
    rig.ask(HubRequest::Clear(session(None).claims));
    rig.now = Millis(5_000);
    rig.step(Input::Tick);
    assert_eq!(rig.log.head(), Seq::ZERO);
    keep(&mut rig, SCOPE_DOCUMENT, Some(&scope)).0.unwrap();
    assert_eq!(logged(&rig), [base(1, "/a")]);
}
