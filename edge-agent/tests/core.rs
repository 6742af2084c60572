//! The agent's state machine, driven step by step.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking"
)]

use edge_agent::core::queue::{JobId, Ready};
use edge_agent::core::status::{ConnectionState, PendingState, Status};
use edge_agent::core::{Config, Core, Effect, Input, Report};
use edge_agent::engine::{EngineError, EngineState};
use edge_agent::fetch::FetchError;
use protocol::socket::{AgentFrame, HubFrame, SocketError};
use protocol::{Millis, Seq, topic::TopicSet};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// A core with its clock.
struct Rig {
    core: Core,
    now: Millis,
}

impl Rig {
    /// An agent whose engine has its policies.
    fn new() -> Self {
        let mut rig = Self::before_engine();
        rig.step(Input::Prepared(Ok(())));
        rig
    }

    fn before_engine() -> Self {
        let config = Config {
            agent: "a1".to_owned(),
            topics: TopicSet::new(["users".to_owned()]).unwrap(),
            engine: "opa",
            probe_engine: true,
            seed: 1,
        };
        let mut rig = Self { core: Core::new(config), now: Millis(1) };
        let effects = rig.step(Input::Start);
        assert!(matches!(effects[..], [Effect::PrepareEngine, Effect::Connect]), "{effects:?}");
        rig
    }

    /// An agent that has caught up at a seq.
    fn live(seq: u64) -> Self {
        let mut rig = Self::new();
        rig.step(Input::LinkUp);
        rig.step(Input::Frame(HubFrame::CaughtUp { seq: Seq(seq) }));
        rig
    }

    fn step(&mut self, input: Input) -> Vec<Effect> {
        let effects = self.core.step(self.now, input);
        let next = self.core.next_tick();
        assert!(next.is_none_or(|at| at > self.now), "a tick that is due already: {next:?}");
        effects
    }

    fn tick(&mut self, at: Millis) -> Vec<Effect> {
        self.now = at;
        self.step(Input::Tick)
    }

    fn frame(&mut self, frame: &Value) -> Vec<Effect> {
        let frame = HubFrame::decode(&frame.to_string()).unwrap().unwrap();
        self.step(Input::Frame(frame))
    }

    /// One update with its entries; each a path and inline data, or null to be fetched.
    fn deliver(&mut self, prev: u64, seq: u64, entries: &[(&str, Value)]) -> Vec<Effect> {
        self.frame(&json!({ "updates": [update(prev, seq, entries)] }))
    }

    fn fetched(&mut self, job: JobId, data: &str) -> Vec<Effect> {
        self.step(Input::Fetched(job, Ok(RawValue::from_string(data.to_owned()).unwrap())))
    }

    fn fetch_failed(&mut self, job: JobId) -> Vec<Effect> {
        self.step(Input::Fetched(job, Err(FetchError::new("it is down"))))
    }

    fn written(&mut self, job: JobId) -> Vec<Effect> {
        self.step(Input::Written(job, Ok(())))
    }

    fn status(&self) -> Status {
        self.core.status(self.now)
    }
}

fn update(prev: u64, seq: u64, entries: &[(&str, Value)]) -> Value {
    let entries: Vec<Value> = entries
        .iter()
        .map(|(path, data)| json!({"url": "http://s/x", "topics": ["users"], "dst_path": path, "data": data}))
        .collect();
    json!({"seq": seq, "prev": prev, "id": format!("u{seq}"), "at": 0, "entries": entries})
}

fn fetches(effects: &[Effect]) -> Vec<JobId> {
    effects
        .iter()
        .filter_map(|it| if let Effect::Fetch(job, _) = it { Some(*job) } else { None })
        .collect()
}

fn write(effects: &[Effect]) -> Option<Ready> {
    let mut writes = effects
        .iter()
        .filter_map(|it| if let Effect::Write(ready) = it { Some(ready.clone()) } else { None });
    let first = writes.next();
    assert!(writes.next().is_none(), "one write at a time: {effects:?}");
    first
}

fn path_written(effects: &[Effect]) -> Option<String> {
    write(effects).map(|ready| ready.path.to_string())
}

fn resumes(effects: &[Effect]) -> Vec<Seq> {
    let cursor = |it: &Effect| match it {
        Effect::Send(AgentFrame::Resume { cursor }) => Some(*cursor),
        _ => None,
    };
    effects.iter().filter_map(cursor).collect()
}

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
fn an_inline_update_is_written_and_the_cursor_follows() {
    let mut rig = Rig::live(0);
    let ready = write(&rig.deliver(0, 1, &[("/a", json!({"k": 1}))])).unwrap();
    assert_eq!((ready.path.to_string().as_str(), ready.data.get()), ("/a", r#"{"k":1}"#));
    assert_eq!(rig.core.cursor(), Seq(0));
    let effects = rig.written(ready.job);
    assert!(matches!(&effects[..], [Effect::Report(Report::Applied(Seq(1), _))]), "{effects:?}");
    assert_eq!(rig.core.cursor(), Seq(1));
}

#[test]
fn fetches_run_in_parallel_and_overlapping_writes_stay_in_order() {
    let mut rig = Rig::live(0);
    let first = fetches(&rig.deliver(0, 1, &[("/a", Value::Null)]))[0];
    let second = fetches(&rig.deliver(1, 2, &[("/a/b", Value::Null)]))[0];
    let third = fetches(&rig.deliver(2, 3, &[("/c", Value::Null)]))[0];
    assert_eq!(path_written(&rig.fetched(second, "{}")), None, "/a comes first");
    assert_eq!(path_written(&rig.fetched(third, "{}")), Some("/c".to_owned()), "/c is free");
    assert_eq!(path_written(&rig.fetched(first, "{}")), None, "one at a time");
    assert_eq!(path_written(&rig.written(third)), Some("/a".to_owned()));
    assert_eq!(rig.core.cursor(), Seq(0), "3 is done, 1 is not");
    assert_eq!(path_written(&rig.written(first)), Some("/a/b".to_owned()));
    rig.written(second);
    assert_eq!(rig.core.cursor(), Seq(3));
}

#[test]
fn a_failed_source_is_tried_again_and_holds_back_only_its_own_paths() {
    let mut rig = Rig::live(0);
    let job = fetches(&rig.deliver(0, 1, &[("/a", Value::Null)]))[0];
    let effects = rig.fetch_failed(job);
    let [Effect::Report(Report::FetchFailed(Seq(1), _, wait))] = effects[..] else {
        panic!("{effects:?}")
    };
    let other = write(&rig.deliver(1, 2, &[("/b", json!({}))])).unwrap();
    rig.written(other.job);
    let status = rig.status();
    assert!(!status.healthy && status.problems[0].contains("it is down"), "{:?}", status.problems);
    assert_eq!((status.pending[0].state, status.pending[0].attempts), (PendingState::Retrying, 1));
    assert_eq!(rig.core.cursor(), Seq(0));

    let at = rig.now.plus(wait);
    assert_eq!(fetches(&rig.tick(Millis(at.0 - 1))), []);
    assert_eq!(fetches(&rig.tick(at)), [job]);
    let ready = write(&rig.fetched(job, "{}")).unwrap();
    rig.written(ready.job);
    assert_eq!(rig.core.cursor(), Seq(2));
    assert!(rig.status().healthy, "{:?}", rig.status().problems);
}

#[test]
fn a_newer_document_for_the_same_place_frees_a_source_that_does_not_answer() {
    let mut rig = Rig::live(0);
    let stuck = fetches(&rig.deliver(0, 1, &[("/a/b", Value::Null)]))[0];
    rig.fetch_failed(stuck);
    let ready = write(&rig.deliver(1, 2, &[("/a", json!({}))])).unwrap();
    rig.written(ready.job);
    assert_eq!(rig.core.cursor(), Seq(2));
    assert_eq!(path_written(&rig.fetched(stuck, "{}")), None, "too late, and for nobody");
}

#[test]
fn a_newer_patch_or_a_deeper_document_does_not_free_an_older_one() {
    let mut rig = Rig::live(0);
    rig.deliver(0, 1, &[("/a", Value::Null)]);
    assert_eq!(path_written(&rig.deliver(1, 2, &[("/a/b", json!({}))])), None);
    let patch = json!({"updates": [{"seq": 3, "prev": 2, "id": "p", "at": 0, "entries": [
        {"topics": ["users"], "dst_path": "/a", "save_method": "PATCH", "data": [{"op": "add", "path": "/k", "value": 1}]}]}]});
    assert_eq!(path_written(&rig.frame(&patch)), None);
    assert_eq!(rig.status().pending.len(), 3);
}

#[test]
fn an_entry_that_the_engine_refuses_is_given_up_and_shown() {
    let mut rig = Rig::live(0);
    let ready = write(&rig.deliver(0, 1, &[("/a", json!({}))])).unwrap();
    rig.step(Input::Written(ready.job, Err(EngineError::Rejected("no such parent".to_owned()))));
    assert_eq!(rig.core.cursor(), Seq(1));
    let status = rig.status();
    assert!(
        !status.healthy && status.problems[0].contains("no such parent"),
        "{:?}",
        status.problems
    );
    let ready = write(&rig.deliver(1, 2, &[("/a", json!({}))])).unwrap();
    rig.written(ready.job);
    assert!(rig.status().healthy, "a good update after it");
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
fn nothing_is_written_before_the_engine_has_its_policies() {
    let mut rig = Rig::before_engine();
    rig.step(Input::LinkUp);
    assert_eq!(path_written(&rig.deliver(0, 1, &[("/a", json!({}))])), None);
    let effects = rig.step(Input::Prepared(Err(EngineError::Unavailable("refused".to_owned()))));
    let [Effect::Report(Report::EngineDown(_, wait))] = effects[..] else { panic!("{effects:?}") };
    assert!(rig.status().problems.iter().any(|it| it.contains("refused")));
    let effects = rig.tick(rig.now.plus(wait));
    assert!(matches!(effects[..], [Effect::PrepareEngine]), "{effects:?}");
    assert_eq!(path_written(&rig.step(Input::Prepared(Ok(())))), Some("/a".to_owned()));
}

#[test]
fn policies_that_the_engine_refuses_at_the_start_end_the_agent() {
    let mut rig = Rig::before_engine();
    let effects = rig.step(Input::Prepared(Err(EngineError::Rejected("p.rego:3".to_owned()))));
    assert!(
        matches!(&effects[..], [Effect::GiveUp(reason)] if reason == "p.rego:3"),
        "{effects:?}"
    );
}

#[test]
fn an_engine_that_went_away_gets_the_write_again() {
    let mut rig = Rig::live(0);
    let ready = write(&rig.deliver(0, 1, &[("/a", json!({}))])).unwrap();
    let down = EngineError::Unavailable("connection refused".to_owned());
    let effects = rig.step(Input::Written(ready.job, Err(down)));
    let [Effect::Report(Report::EngineDown(_, wait))] = effects[..] else { panic!("{effects:?}") };
    assert!(!rig.status().healthy && !rig.status().ready);
    let effects = rig.tick(rig.now.plus(wait));
    assert!(matches!(effects[..], [Effect::ProbeEngine]), "{effects:?}");
    assert_eq!(write(&rig.step(Input::Probed(Ok(EngineState::Filled)))).unwrap().job, ready.job);
}

#[test]
fn an_emptied_engine_is_noticed_and_filled_again_from_the_beginning() {
    let mut rig = Rig::live(0);
    let ready = write(&rig.deliver(0, 1, &[("/a", json!({}))])).unwrap();
    rig.written(ready.job);
    assert!(rig.status().ready);
    let at = rig.core.next_tick().unwrap();
    assert!(matches!(rig.tick(at)[..], [Effect::ProbeEngine]));
    let effects = rig.step(Input::Probed(Ok(EngineState::Empty)));
    assert!(effects.iter().any(|it| matches!(it, Effect::PrepareEngine)));
    assert_eq!(resumes(&effects), [Seq(0)]);
    assert!(!rig.status().ready);
    rig.step(Input::Prepared(Ok(())));
    assert!(!rig.status().ready, "policies alone do not make it ready");
    assert!(write(&rig.frame(&json!({"updates": [update(0, 1, &[("/a", json!({}))])]}))).is_some());
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

fn is_disconnect(effects: &[Effect]) -> bool {
    effects.iter().any(|it| matches!(it, Effect::Disconnect))
}

#[test]
fn the_end_of_an_older_replay_does_not_hide_what_a_refill_asked_for() {
    for stale in [json!({"caught_up": {"seq": 7}}), json!({"bookmark": {"seq": 7}})] {
        let mut rig = Rig::live(7);
        rig.step(Input::LinkDown("cut".to_owned()));
        rig.step(Input::LinkUp);
        let at = rig.core.next_tick().unwrap();
        assert!(matches!(rig.tick(at)[..], [Effect::ProbeEngine]));
        assert_eq!(resumes(&rig.step(Input::Probed(Ok(EngineState::Empty)))), [Seq(0)]);
        rig.step(Input::Prepared(Ok(())));
        // The answer to the hello, which named 7, and then the answer to the resume.
        assert_eq!(resumes(&rig.frame(&stale)), [], "{stale}");
        assert!(!rig.status().ready, "{stale}");
        assert_eq!(path_written(&rig.deliver(0, 7, &[("/a", json!({}))])), Some("/a".to_owned()));
    }
}

#[test]
fn updates_of_an_older_replay_are_not_taken_for_the_newer_one() {
    let mut rig = Rig::live(7);
    rig.step(Input::LinkDown("cut".to_owned()));
    rig.step(Input::LinkUp);
    let at = rig.core.next_tick().unwrap();
    rig.tick(at);
    rig.step(Input::Probed(Ok(EngineState::Empty)));
    rig.step(Input::Prepared(Ok(())));
    assert_eq!(path_written(&rig.deliver(0, 8, &[("/stale", json!({}))])), None);
}

#[test]
fn a_probe_that_is_due_waits_for_the_write_that_is_under_way() {
    let mut rig = Rig::live(0);
    let ready = write(&rig.deliver(0, 1, &[("/a", json!({}))])).unwrap();
    assert!(rig.tick(rig.now.plus(60_000)).is_empty());
    assert!(rig.written(ready.job).iter().any(|it| matches!(it, Effect::ProbeEngine)));
}

#[test]
fn a_retry_that_is_due_waits_for_a_place_among_the_fetches() {
    let mut rig = Rig::live(0);
    let names: Vec<String> = (0..9).map(|n| format!("/d{n}")).collect();
    let entries: Vec<(&str, Value)> =
        names.iter().map(|name| (name.as_str(), Value::Null)).collect();
    let started = fetches(&rig.deliver(0, 1, &entries));
    assert_eq!(started.len(), 8, "of one source");
    assert_eq!(fetches(&rig.fetch_failed(started[0])).len(), 1, "its place is taken by the 9th");
    assert_eq!(fetches(&rig.tick(rig.now.plus(60_000))), []);
    assert_eq!(fetches(&rig.fetched(started[1], "{}")), [started[0]]);
}

#[test]
fn a_source_that_hangs_does_not_hold_up_another_one() {
    let mut rig = Rig::live(0);
    let names: Vec<String> = (0..100).map(|n| format!("/d{n}")).collect();
    let entries: Vec<(&str, Value)> =
        names.iter().map(|name| (name.as_str(), Value::Null)).collect();
    rig.deliver(0, 1, &entries);
    let other = json!({"updates": [{"seq": 2, "prev": 1, "id": "o", "at": 0, "entries": [
        {"url": "http://other/x", "topics": ["users"], "dst_path": "/o"}]}]});
    assert_eq!(fetches(&rig.frame(&other)).len(), 1);
}

#[test]
fn an_error_that_quotes_a_document_is_shortened() {
    let mut rig = Rig::live(0);
    let ready = write(&rig.deliver(0, 1, &[("/a", json!({}))])).unwrap();
    rig.step(Input::Written(ready.job, Err(EngineError::Rejected("x".repeat(1_000_000)))));
    assert!(rig.status().last_failure.unwrap().error.len() < 1_000);
}

#[test]
fn a_newer_document_that_is_refused_leaves_the_older_one_in_its_place() {
    let mut rig = Rig::live(0);
    let slow = fetches(&rig.deliver(0, 1, &[("/a", Value::Null)]))[0];
    let newer = write(&rig.deliver(1, 2, &[("/", json!({}))])).unwrap();
    rig.step(Input::Written(newer.job, Err(EngineError::Rejected("no".to_owned()))));
    assert_eq!(path_written(&rig.fetched(slow, "{}")), Some("/a".to_owned()));
}

#[test]
fn a_patch_of_a_document_that_never_came_ends_with_it() {
    let mut rig = Rig::live(0);
    rig.deliver(0, 1, &[("/a", Value::Null)]);
    let patch = json!({"updates": [{"seq": 2, "prev": 1, "id": "p", "at": 0, "entries": [
        {"topics": ["users"], "dst_path": "/a", "save_method": "PATCH", "data": [{"op": "add", "path": "/k", "value": 1}]}]}]});
    assert_eq!(path_written(&rig.frame(&patch)), None);
    let newer = write(&rig.deliver(2, 3, &[("/a", json!({"new": 1}))])).unwrap();
    assert_eq!(newer.data.get(), r#"{"new":1}"#);
    assert_eq!(path_written(&rig.written(newer.job)), None, "the patch is not applied to it");
    assert_eq!(rig.core.cursor(), Seq(3));
}

#[test]
fn an_update_of_which_one_entry_was_refused_has_not_been_applied() {
    let mut rig = Rig::live(0);
    let bad = write(&rig.deliver(0, 1, &[("/a", json!({})), ("/b", json!({}))])).unwrap();
    let no = EngineError::Rejected("no".to_owned());
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
    rig.step(Input::Written(bad.job, Err(EngineError::Rejected("no".to_owned()))));
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
fn there_is_never_a_second_write_also_when_the_log_begins_anew() {
    let mut rig = Rig::live(0);
    let old = write(&rig.deliver(0, 1, &[("/a", json!({"old": 1}))])).unwrap();
    rig.frame(&json!({"reset": {"reason": "new epoch"}}));
    assert!(!rig.status().ready);
    assert_eq!(path_written(&rig.deliver(0, 1, &[("/a", json!({"new": 1}))])), None);
    let new = write(&rig.written(old.job)).unwrap();
    assert_eq!(new.data.get(), r#"{"new":1}"#);
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

#[test]
fn a_patch_of_which_nobody_knows_whether_it_was_applied_is_not_applied_again() {
    let mut rig = Rig::live(0);
    let effects = rig.frame(&json!({"updates": [{"seq": 1, "prev": 0, "id": "p", "at": 0, "entries": [
        {"topics": ["users"], "dst_path": "/l", "save_method": "PATCH", "data": [{"op": "add", "path": "/-", "value": 1}]}]}]}));
    let patch = write(&effects).unwrap();
    let no_answer = EngineError::Unavailable("no answer in time".to_owned());
    rig.step(Input::Written(patch.job, Err(no_answer)));
    let at = rig.core.next_tick().unwrap();
    assert!(matches!(rig.tick(at)[..], [Effect::ProbeEngine]));
    let effects = rig.step(Input::Probed(Ok(EngineState::Filled)));
    assert_eq!((path_written(&effects), resumes(&effects)), (None, vec![Seq(0)]));
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
