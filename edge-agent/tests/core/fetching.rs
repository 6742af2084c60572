//! Which fetches are made, and which are not.

use std::time::Duration;

use edge_agent::core::status::PendingState;
use edge_agent::core::{Effect, Input, Report};
use edge_agent::engine::EngineState;
use edge_agent::fetch::FetchError;
use protocol::socket::AgentFrame;
use protocol::{Millis, Seq};
use serde_json::{Value, json};

use crate::rig::{Rig, fetches, path_written, rejected, update, write};

/// An update with one entry, to be fetched.
fn fetched(seq: u64, path: &str, url: &str) -> Value {
    json!({"updates": [{"seq": seq, "prev": seq - 1, "id": format!("u{seq}"), "at": 0, "places": [0],
        "entries": [{"url": url, "topics": ["users"], "dst_path": path}]}]})
}

/// An update with one entry that patches, inline or fetched.
fn patch(seq: u64, path: &str, data: &Value) -> Value {
    json!({"updates": [{"seq": seq, "prev": seq - 1, "id": format!("u{seq}"), "at": 0, "places": [0],
        "entries": [{"url": "http://s/patch", "topics": ["users"], "dst_path": path,
            "save_method": "PATCH", "data": data}]}]})
}

fn receipts(effects: &[Effect]) -> Vec<(u64, bool)> {
    let receipts = effects.iter().filter_map(|it| match it {
        Effect::Send(AgentFrame::Receipt(receipt)) => Some((receipt.seq.0, receipt.applied)),
        _ => None,
    });
    receipts.collect()
}

// === equal fetches ===

#[test]
fn entries_with_equal_sources_share_a_fetch() {
    let mut rig = Rig::live(0);
    let entries: Vec<Value> = ["/a", "/b", "/c"]
        .map(|path| json!({"url": "http://s/same", "topics": ["users"], "dst_path": path}))
        .into();
    let update = json!({"updates": [{"seq": 1, "prev": 0, "id": "u1", "at": 0,
        "entries": entries, "places": [0, 1, 2]}]});
    let started = fetches(&rig.frame(&update));
    assert_eq!(started.len(), 1);
    let mut effects = rig.fetched(started[0], r#"{"k":1}"#);
    let mut written = vec![];
    while let Some(ready) = write(&effects) {
        written.push((ready.record.path.to_string(), ready.record.data.get().to_owned()));
        effects = rig.written(ready.job);
    }
    let expected = ["/a", "/b", "/c"].map(|path| (path.to_owned(), r#"{"k":1}"#.to_owned()));
    assert_eq!(written, expected);
    assert_eq!(rig.core.cursor(), Seq(1));
}

#[test]
fn entries_whose_settings_differ_do_not_share_a_fetch() {
    let mut rig = Rig::live(0);
    let entries: Vec<Value> =
        [json!(null), json!({"headers": {"a": "1"}}), json!({"headers": {"a": "2"}})]
            .iter()
            .enumerate()
            .map(|(at, config)| {
                json!({"url": "http://s/same", "config": config, "topics": ["users"],
            "dst_path": format!("/{at}")})
            })
            .collect();
    let update = json!({"updates": [{"seq": 1, "prev": 0, "id": "u1", "at": 0,
        "entries": entries, "places": [0, 1, 2]}]});
    assert_eq!(fetches(&rig.frame(&update)).len(), 3);
}

#[test]
fn an_entry_does_not_share_a_fetch_that_began_before_it_came() {
    let mut rig = Rig::live(0);
    let first = fetches(&rig.frame(&fetched(1, "/a", "http://s/same")));
    let second = fetches(&rig.frame(&fetched(2, "/b", "http://s/same")));
    assert_eq!((first.len(), second.len()), (1, 1));
    let effects = rig.fetched(first[0], r#"{"old":1}"#);
    let ready = write(&effects).unwrap();
    assert_eq!(ready.record.path.to_string(), "/a");
    assert_eq!(path_written(&rig.written(ready.job)), None, "/b has its own fetch");
    let ready = write(&rig.fetched(second[0], r#"{"new":1}"#)).unwrap();
    assert_eq!(ready.record.data.get(), r#"{"new":1}"#);
}

#[test]
fn entries_that_share_a_fetch_are_tried_again_together_when_it_fails() {
    let mut rig = Rig::live(0);
    let entries: Vec<Value> = ["/a", "/b"]
        .map(|path| json!({"url": "http://s/same", "topics": ["users"], "dst_path": path}))
        .into();
    let update = json!({"updates": [{"seq": 1, "prev": 0, "id": "u1", "at": 0,
        "entries": entries, "places": [0, 1]}]});
    let job = fetches(&rig.frame(&update))[0];
    let effects = rig.fetch_failed(job);
    assert!(
        matches!(effects[..], [Effect::Report(Report::FetchFailed(Seq(1), ..))]),
        "{effects:?}"
    );
    let errors: Vec<_> = rig.status().pending.into_iter().map(|it| it.error).collect();
    assert_eq!(errors, [Some("it is down".to_owned()), Some("it is down".to_owned())]);
    let at = rig.core.next_tick().unwrap();
    let again = fetches(&rig.tick(at));
    assert_eq!(again.len(), 1);
    assert_eq!(rig.status().pending.iter().map(|it| it.attempts).collect::<Vec<_>>(), [2, 2]);
    let ready = write(&rig.fetched(again[0], "{}")).unwrap();
    let ready = write(&rig.written(ready.job)).unwrap();
    rig.written(ready.job);
    assert_eq!(rig.core.cursor(), Seq(1));
}

#[test]
fn entries_that_share_a_fetch_are_given_up_together_if_it_can_never_succeed() {
    let mut rig = Rig::live(0);
    let entries: Vec<Value> = ["/a", "/b"]
        .map(|path| json!({"url": "http://s/same", "topics": ["users"], "dst_path": path}))
        .into();
    let update = json!({"updates": [{"seq": 1, "prev": 0, "id": "u1", "at": 0,
        "entries": entries, "places": [0, 1]}]});
    let job = fetches(&rig.frame(&update))[0];
    rig.step(Input::Fetched(job, Err(FetchError::permanent("never"))));
    assert_eq!((rig.status().pending_total, rig.core.cursor()), (0, Seq(1)));
}

#[test]
fn a_fetch_that_nobody_needs_any_more_keeps_its_place_until_it_ends() {
    let mut rig = Rig::live(0);
    let names: Vec<String> = (0..8).map(|n| format!("/d/{n}")).collect();
    let entries: Vec<(&str, Value)> =
        names.iter().map(|name| (name.as_str(), Value::Null)).collect();
    let started = fetches(&rig.deliver(0, 1, &entries));
    let ready = write(&rig.deliver(1, 2, &[("/d", json!({}))])).unwrap();
    rig.written(ready.job);
    assert_eq!(rig.core.cursor(), Seq(2));
    assert_eq!(fetches(&rig.deliver(2, 3, &[("/e", Value::Null)])), [], "8 are under way");
    assert_eq!(fetches(&rig.fetched(started[0], "{}")).len(), 1);
}

// === bursts ===

#[test]
fn a_burst_of_updates_for_a_place_costs_two_fetches_and_each_has_its_receipt() {
    let mut rig = Rig::live(0);
    let first = fetches(&rig.frame(&fetched(1, "/a", "http://s/a")));
    assert_eq!(first.len(), 1);
    for seq in 2..=100 {
        assert_eq!(fetches(&rig.frame(&fetched(seq, "/a", "http://s/a"))), [], "{seq}");
    }
    for seq in 1..=100 {
        rig.frame(&json!({"confirm": {"seq": seq}}));
    }
    let effects = rig.fetched(first[0], r#"{"n":1}"#);
    let last = fetches(&effects);
    assert_eq!(last.len(), 1);
    let effects = rig.written(write(&effects).unwrap().job);
    assert_eq!(receipts(&effects), [(1, true)]);
    let ready = write(&rig.fetched(last[0], r#"{"n":100}"#)).unwrap();
    assert_eq!(ready.record.data.get(), r#"{"n":100}"#);
    let effects = rig.written(ready.job);
    assert_eq!(receipts(&effects), (2..=100).map(|seq| (seq, true)).collect::<Vec<_>>());
    assert_eq!(fetches(&effects), []);
    assert_eq!((rig.core.cursor(), rig.status().last_applied), (Seq(100), Some(Seq(100))));
}

#[test]
fn a_source_that_hangs_does_not_hold_up_a_newer_document_for_long() {
    let mut rig = Rig::live(0);
    let began = rig.now;
    assert_eq!(fetches(&rig.frame(&fetched(1, "/a/b", "http://slow/x"))).len(), 1);
    rig.now = began.plus(400);
    assert_eq!(fetches(&rig.frame(&fetched(2, "/a", "http://quick/x"))), []);
    assert_eq!(fetches(&rig.tick(began.plus(999))), []);
    assert_eq!(rig.core.next_tick(), Some(began.plus(1_000)));
    let started = fetches(&rig.tick(began.plus(1_000)));
    assert_eq!(started.len(), 1);
    rig.step(Input::Probed(Ok(EngineState::Filled)));
    let ready = write(&rig.fetched(started[0], "{}")).unwrap();
    rig.written(ready.job);
    assert_eq!(rig.core.cursor(), Seq(2));
}

#[test]
fn an_entry_that_a_newer_one_covers_is_fetched_when_that_one_fails() {
    let mut rig = Rig::live(0);
    let blocker = fetches(&rig.frame(&fetched(1, "/a", "http://s/1")))[0];
    rig.frame(&fetched(2, "/a", "http://s/2"));
    rig.frame(&fetched(3, "/a", "http://s/3"));
    let third = fetches(&rig.fetched(blocker, "{}"));
    assert_eq!(third.len(), 1, "the last one");
    rig.written(blocker);
    let second = fetches(&rig.fetch_failed(third[0]));
    assert_eq!(second.len(), 1, "the one before it");
    let ready = write(&rig.fetched(second[0], r#"{"n":2}"#)).unwrap();
    rig.written(ready.job);
    assert_eq!(rig.core.cursor(), Seq(2));
    assert_eq!(rig.status().pending[0].state, PendingState::Retrying);
    assert!(rig.status().problems[0].contains("it is down"));
}

#[test]
fn an_entry_that_a_newer_one_covered_is_fetched_when_that_one_is_given_up_or_refused() {
    for refused in [false, true] {
        let mut rig = Rig::live(0);
        let blocker = fetches(&rig.frame(&fetched(1, "/a/b/c", "http://s/1")))[0];
        rig.frame(&fetched(2, "/a/b", "http://s/2"));
        rig.frame(&fetched(3, "/a", "http://s/3"));
        let third = fetches(&rig.fetched(blocker, "{}"))[0];
        rig.written(blocker);
        let effects = if refused {
            let ready = write(&rig.fetched(third, "[]")).unwrap();
            rig.step(Input::Written(ready.job, Err(rejected("no"))))
        } else {
            rig.step(Input::Fetched(third, Err(FetchError::permanent("never"))))
        };
        let second = fetches(&effects);
        assert_eq!(second.len(), 1, "refused: {refused}");
        assert_eq!(path_written(&rig.fetched(second[0], "{}")), Some("/a/b".to_owned()));
    }
}

#[test]
fn an_entry_is_fetched_if_what_covers_it_waits_for_something_that_waits_for_it() {
    let mut rig = Rig::live(0);
    let documents = [fetched(1, "/a/b", "http://s/1"), fetched(3, "/a/b", "http://s/2")];
    let between = patch(2, "/a", &json!([{"op": "add", "path": "/k", "value": 1}]));
    let [first, last] = documents.map(|it| it["updates"][0].clone());
    let together = json!({"updates": [first, between["updates"][0], last]});
    let started = fetches(&rig.frame(&together));
    assert_eq!(started.len(), 2);
    let mut effects = rig.fetched(started[1], r#"{"n":3}"#);
    assert_eq!(path_written(&effects), None, "the patch comes first");
    effects.extend(rig.fetched(started[0], r#"{"n":1}"#));
    let mut written = vec![];
    while let Some(ready) = write(&effects) {
        written.push((ready.record.path.to_string(), ready.record.tag.seq.0));
        effects = rig.written(ready.job);
    }
    assert_eq!(written, [("/a/b".to_owned(), 1), ("/a".to_owned(), 2), ("/a/b".to_owned(), 3)]);
}

#[test]
fn a_patch_that_a_newer_document_covers_is_not_fetched() {
    let mut rig = Rig::live(0);
    let other = json!({"updates": [
        {"seq": 1, "prev": 0, "id": "u1", "at": 0, "places": [0], "entries": [
            {"url": "http://s/p", "topics": ["users"], "dst_path": "/a/b", "save_method": "PATCH"}]},
        {"seq": 2, "prev": 1, "id": "u2", "at": 0, "places": [0], "entries": [
            {"url": "http://s/d", "topics": ["users"], "dst_path": "/a/b"}]},
    ]});
    let started = fetches(&rig.frame(&other));
    assert_eq!(started.len(), 1);
    assert_eq!(path_written(&rig.fetched(started[0], "{}")), Some("/a/b".to_owned()));
}

// === sources that are not well ===

#[test]
fn a_source_is_not_asked_again_before_it_wants_to_be() {
    let mut rig = Rig::live(0);
    let job = fetches(&rig.deliver(0, 1, &[("/a", Value::Null)]))[0];
    let busy = FetchError::new("too many").retry_after(Duration::from_secs(90));
    let effects = rig.step(Input::Fetched(job, Err(busy)));
    let [Effect::Report(Report::FetchFailed(_, _, wait))] = effects[..] else {
        panic!("{effects:?}")
    };
    assert_eq!((wait, rig.status().pending[0].retry_in_ms), (90_000, Some(90_000)));
    let at = rig.now.plus(90_000);
    assert_eq!(fetches(&rig.tick(rig.now.plus(89_999))), []);
    assert_eq!(fetches(&rig.tick(at)), [job]);
    let soon = FetchError::new("too many").retry_after(Duration::ZERO);
    rig.step(Input::Fetched(job, Err(soon)));
    assert!(rig.status().pending[0].retry_in_ms.unwrap() >= 200, "the backoff counts as well");
    let at = rig.now.plus(60_000);
    rig.tick(at);
    let never = FetchError::new("too many").retry_after(Duration::from_secs(u64::MAX));
    rig.step(Input::Fetched(job, Err(never)));
    assert_eq!(rig.status().pending[0].retry_in_ms, Some(3_600_000));
}

#[test]
fn a_source_that_fails_leaves_the_old_data_and_the_next_update_is_not_held_up() {
    let mut rig = Rig::live(0);
    let old = write(&rig.deliver(0, 1, &[("/a", json!({"old": 1}))])).unwrap();
    rig.written(old.job);
    let job = fetches(&rig.deliver(1, 2, &[("/a", Value::Null)]))[0];
    rig.frame(&json!({"confirm": {"seq": 2}}));
    let effects = rig.fetch_failed(job);
    assert_eq!(path_written(&effects), None, "nothing is written, nothing is removed");
    assert_eq!(receipts(&effects), [], "it is not over");
    let next = write(&rig.deliver(2, 3, &[("/b", json!({}))])).unwrap();
    rig.written(next.job);
    let newer = write(&rig.deliver(3, 4, &[("/a", json!({"new": 1}))])).unwrap();
    let effects = rig.written(newer.job);
    assert_eq!(receipts(&effects), [(2, true)], "what covers it has taken effect");
    assert!(rig.status().healthy, "{:?}", rig.status().problems);
}

#[test]
fn a_source_that_is_down_and_asked_again_and_again_leaves_room_for_others() {
    let mut rig = Rig::live(0);
    let mut now = 0;
    for seq in 1..=600 {
        now += 1_000;
        let mut effects = rig.frame(&fetched(seq, "/a", "http://s/down"));
        effects.extend(rig.tick(Millis(now)));
        if effects.iter().any(|it| matches!(it, Effect::ProbeEngine)) {
            effects.extend(rig.step(Input::Probed(Ok(EngineState::Filled))));
        }
        let mut started = fetches(&effects);
        while let Some(job) = started.pop() {
            started.extend(fetches(&rig.fetch_failed(job)));
        }
    }
    let waiting = rig.status().pending_total;
    assert!(waiting < 300, "{waiting}");
    let elsewhere = update(600, 601, &[("/b", json!({}))]);
    let effects = rig.frame(&json!({"updates": [elsewhere]}));
    assert_eq!(path_written(&effects).as_deref(), Some("/b"));
    // The newest of them is still tried.
    assert!(rig.core.cursor() < Seq(600));
}
