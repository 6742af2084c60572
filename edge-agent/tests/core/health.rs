//! What is given up, and how it shows.

use edge_agent::core::{Effect, Input, Report};
use edge_agent::fetch::FetchError;
use protocol::Seq;
use serde_json::{Value, json};

use crate::rig::{Rig, fetches, path_written, rejected, unavailable, write};

#[test]
fn an_error_that_quotes_a_document_is_shortened() {
    let mut rig = Rig::live(0);
    let ready = write(&rig.deliver(0, 1, &[("/a", json!({}))])).unwrap();
    rig.step(Input::Written(ready.job, Err(rejected(&"x".repeat(1_000_000)))));
    assert!(rig.status().last_failure.unwrap().error.len() < 1_000);
    let ready = write(&rig.deliver(1, 2, &[("/a", json!({}))])).unwrap();
    rig.step(Input::Written(ready.job, Err(unavailable(&"x".repeat(1_000_000)))));
    assert!(rig.status().engine_error.unwrap().len() < 1_000);
}

#[test]
fn an_update_of_which_one_entry_was_refused_has_not_been_applied() {
    let mut rig = Rig::live(0);
    let bad = write(&rig.deliver(0, 1, &[("/a", json!({})), ("/b", json!({}))])).unwrap();
    let no = rejected("no");
    let good = write(&rig.step(Input::Written(bad.job, Err(no)))).unwrap();
    let effects = rig.written(good.job);
    assert!(
        !effects.iter().any(|it| matches!(it, Effect::Report(Report::Applied(..)))),
        "{effects:?}"
    );
    assert!(!rig.status().healthy);
}

#[test]
fn an_older_update_that_ends_late_does_not_bring_an_old_failure_back() {
    let mut rig = Rig::live(0);
    let slow = fetches(&rig.deliver(0, 1, &[("/slow", Value::Null)]))[0];
    let bad = write(&rig.deliver(1, 2, &[("/a", json!({}))])).unwrap();
    rig.step(Input::Written(bad.job, Err(rejected("no"))));
    let good = write(&rig.deliver(2, 3, &[("/a", json!({}))])).unwrap();
    rig.written(good.job);
    let late = write(&rig.fetched(slow, "{}")).unwrap();
    rig.written(late.job);
    assert_eq!(rig.status().last_applied, Some(Seq(3)));
    assert!(rig.status().healthy, "{:?}", rig.status().problems);
}

#[test]
fn an_entry_without_a_usable_source_is_given_up_and_holds_nothing_back() {
    let mut rig = Rig::live(0);
    let job = fetches(&rig.deliver(0, 1, &[("/", Value::Null)]))[0];
    rig.deliver(1, 2, &[("/a", json!({}))]);
    let effects =
        rig.step(Input::Fetched(job, Err(FetchError::permanent("no fetcher of that name"))));
    assert_eq!(path_written(&effects), Some("/a".to_owned()));
    assert!(
        rig.status().problems[0].contains("no fetcher of that name"),
        "{:?}",
        rig.status().problems
    );
}

#[test]
fn a_failure_behind_a_hundred_others_is_not_overlooked() {
    let mut rig = Rig::live(0);
    let stuck = fetches(&rig.deliver(0, 1, &[("/", Value::Null)]))[0];
    let entries: Vec<(&str, Value)> = (0..150).map(|_| ("/a", json!({}))).collect();
    rig.deliver(1, 2, &entries);
    let last = fetches(&rig.deliver(2, 3, &[("/z", Value::Null)]))[0];
    rig.fetch_failed(last);
    let status = rig.status();
    assert_eq!((status.pending.len(), status.pending_total), (100, 152));
    assert!(status.problems.iter().any(|it| it.contains("/z")), "{:?}", status.problems);
    let _ = stuck;
}
