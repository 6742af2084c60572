//! Receipts and callbacks.

use edge_agent::core::results::UpdateReport;
use edge_agent::core::{Effect, Input, Restored};
use edge_agent::fetch::FetchError;
use protocol::Seq;
use protocol::socket::{AgentFrame, Receipt};
use serde_json::{Value, json};

use crate::rig::{Rig, fetches, rejected, unavailable, write};

fn receipts(effects: &[Effect]) -> Vec<(u64, bool)> {
    let receipts = effects.iter().filter_map(|it| match it {
        Effect::Send(AgentFrame::Receipt(Receipt { seq, applied, .. })) => Some((seq.0, *applied)),
        _ => None,
    });
    receipts.collect()
}

fn reports(effects: &[Effect]) -> Vec<&UpdateReport> {
    effects
        .iter()
        .filter_map(|it| if let Effect::Tell(report) = it { Some(report) } else { None })
        .collect()
}

#[test]
fn a_receipt_is_given_when_the_update_has_ended_and_once() {
    let mut rig = Rig::live(0);
    let ready = write(&rig.deliver(0, 1, &[("/a", json!({})), ("/b", json!({}))])).unwrap();
    assert_eq!(receipts(&rig.frame(&json!({"confirm": {"seq": 1}}))), []);
    let effects = rig.written(ready.job);
    assert_eq!(receipts(&effects), [], "half of it");
    let effects = rig.written(write(&effects).unwrap().job);
    assert_eq!(receipts(&effects), [(1, true)]);
    assert_eq!(receipts(&rig.tick(rig.now.plus(1))), []);
    assert_eq!(receipts(&rig.frame(&json!({"confirm": {"seq": 1}}))), [(1, true)], "asked again");
}

#[test]
fn a_receipt_says_why_an_update_was_not_applied() {
    let mut rig = Rig::live(0);
    rig.frame(&json!({"confirm": {"seq": 1}}));
    let ready = write(&rig.deliver(0, 1, &[("/a", json!({}))])).unwrap();
    let effects = rig.step(Input::Written(ready.job, Err(rejected("no such parent"))));
    let Some(Effect::Send(AgentFrame::Receipt(receipt))) = effects.last() else {
        panic!("{effects:?}")
    };
    assert_eq!((receipt.applied, receipt.error.as_deref()), (false, Some("no such parent")));
}

#[test]
fn no_receipt_is_given_for_what_has_not_arrived_or_while_the_engine_is_gone() {
    let mut rig = Rig::live(1);
    assert_eq!(receipts(&rig.frame(&json!({"confirm": {"seq": 2}}))), []);
    let ready = write(&rig.deliver(1, 2, &[("/a", json!({}))])).unwrap();
    assert_eq!(receipts(&rig.step(Input::Written(ready.job, Err(unavailable("gone"))))), []);
    assert_eq!(receipts(&rig.frame(&json!({"confirm": {"seq": 1}}))), [], "it may have lost it");
    let at = rig.core.next_tick().unwrap();
    rig.tick(at);
    let effects = rig.step(Input::Prepared(Ok(Restored::default())));
    assert_eq!(receipts(&effects), [(1, true), (2, true)]);
}

#[test]
fn who_asked_on_a_connection_that_is_gone_asks_again() {
    let mut rig = Rig::live(0);
    rig.frame(&json!({"confirm": {"seq": 1}}));
    rig.step(Input::LinkDown("cut".to_owned()));
    rig.step(Input::LinkUp);
    let ready = write(&rig.deliver(0, 1, &[("/a", json!({}))])).unwrap();
    assert_eq!(receipts(&rig.written(ready.job)), []);
}

#[test]
fn what_became_of_an_update_is_known_though_one_before_it_waits_for_its_source() {
    let mut rig = Rig::live(0);
    let applied = |rig: &Rig, seq| rig.core.receipt(Seq(seq)).map(|receipt| receipt.applied);
    let fetch = fetches(&rig.deliver(0, 1, &[("/slow", json!(null))]))[0];
    assert_eq!(applied(&rig, 2), None, "it has not arrived");
    let ready = write(&rig.deliver(1, 2, &[("/a", json!({}))])).unwrap();
    assert_eq!(applied(&rig, 2), None, "it is being written");
    rig.written(ready.job);
    assert_eq!((applied(&rig, 1), applied(&rig, 2)), (None, Some(true)));
    let ready = write(&rig.deliver(2, 3, &[("/b", json!({}))])).unwrap();
    rig.step(Input::Written(ready.job, Err(rejected("no such parent"))));
    assert_eq!(applied(&rig, 3), Some(false));
    assert_eq!(rig.core.receipt(Seq(3)).unwrap().error.as_deref(), Some("no such parent"));
    let ready = write(&rig.fetched(fetch, "{}")).unwrap();
    rig.step(Input::Written(ready.job, Err(unavailable("gone"))));
    assert_eq!(applied(&rig, 2), None, "the engine may have lost it");
}

fn with_callback(seq: u64, entries: &[Value]) -> Value {
    let places: Vec<usize> = (0..entries.len()).map(|at| at * 2).collect();
    json!({"updates": [{"seq": seq, "prev": seq - 1, "id": "u", "at": 0, "entries": entries,
        "places": places, "callback": {"callbacks": ["http://cb"]}}]})
}

#[test]
fn callbacks_are_told_what_became_of_each_entry() {
    let mut rig = Rig::live(0);
    rig.frame(&json!({"welcome": {"scope": "default", "head": 0, "epoch": "e1"}}));
    let entries = [
        json!({"topics": ["users"], "dst_path": "/a", "data": {"k": 1}}),
        json!({"topics": ["users"], "dst_path": "/b", "url": "http://s/b"}),
    ];
    let effects = rig.frame(&with_callback(1, &entries));
    let (ready, fetch) = (write(&effects).unwrap(), fetches(&effects)[0]);
    assert!(reports(&rig.written(ready.job)).is_empty());
    let effects = rig.step(Input::Fetched(fetch, Err(FetchError::permanent("gone for good"))));
    let [report] = reports(&effects)[..] else { panic!("{effects:?}") };
    assert_eq!(
        (report.update_id.as_str(), report.callback.get()),
        ("u", r#"{"callbacks":["http://cb"]}"#)
    );
    let outline: Vec<_> = report
        .entries
        .iter()
        .map(|it| (it.place, it.data.as_ref().map(|data| data.get().to_owned()), it.saved))
        .collect();
    assert_eq!(outline, [(0, Some(r#"{"k":1}"#.to_owned()), true), (2, None, false)]);
}

#[test]
fn callbacks_of_updates_from_before_an_agents_time_are_not_told() {
    let mut rig = Rig::new();
    rig.step(Input::LinkUp);
    rig.frame(&json!({"welcome": {"scope": "default", "head": 1, "epoch": "e1"}}));
    let entry = [json!({"topics": ["users"], "dst_path": "/a", "data": {}})];
    let ready = write(&rig.frame(&with_callback(1, &entry))).unwrap();
    assert!(reports(&rig.written(ready.job)).is_empty());
    let ready = write(&rig.frame(&with_callback(2, &entry))).unwrap();
    let effects = rig.written(ready.job);
    assert_eq!(reports(&effects).len(), 1);
    assert_eq!(rig.core.cursor(), Seq(2));
}

#[test]
fn callbacks_of_an_update_that_a_newer_one_covers_say_that_it_took_effect() {
    let mut rig = Rig::live(0);
    rig.frame(&json!({"welcome": {"scope": "default", "head": 0, "epoch": "e1"}}));
    let entry = [json!({"topics": ["users"], "dst_path": "/a/b", "url": "http://s/b"})];
    rig.frame(&with_callback(1, &entry));
    let newer = [json!({"topics": ["users"], "dst_path": "/a", "data": {}})];
    let ready = write(&rig.frame(&with_callback(2, &newer))).unwrap();
    let effects = rig.written(ready.job);
    let outline: Vec<_> = reports(&effects)
        .iter()
        .map(|it| (it.entries[0].data.is_some(), it.entries[0].saved))
        .collect();
    assert_eq!(outline, [(false, true), (true, true)]);
}
