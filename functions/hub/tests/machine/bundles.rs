//! OPAs without an agent: those that wait for another bundle, and what they report.

use hub::machine::{Effect, Input, RequestId};
use protocol::bundle::{Ingredients, LogData, Mark, Report, Reported, Shown};
use protocol::internal::{HubAnswer, HubRequest};
use protocol::opal::policy::Files;
use protocol::topic::TopicSet;
use protocol::{Millis, Problem, Seq, limits};
use serde_json::value::RawValue;

use crate::rig::{Rig, session};

fn of(folders: Option<&[&str]>, topics: Option<&[&str]>) -> Ingredients {
    let strings = |all: &[&str]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
    let policy = folders.map(strings);
    let data = topics.map(|topics| LogData {
        topics: (!topics.is_empty()).then(|| TopicSet::new(strings(topics)).unwrap()),
    });
    Ingredients { policy, data }
}

fn watch(rig: &mut Rig, of: &Ingredients, known: Option<&Mark>, wait_ms: u64) -> Vec<Effect> {
    let (of, known) = (of.clone(), known.cloned());
    rig.ask(HubRequest::Watch { claims: session(None).claims, of, known, wait_ms })
}

fn marks(effects: &[Effect]) -> Vec<(RequestId, Mark)> {
    let answered = effects.iter().filter_map(|effect| match effect {
        Effect::Answer(request, Ok(HubAnswer::Mark(mark))) => Some((*request, mark.clone())),
        _ => None,
    });
    answered.collect()
}

fn mark(effects: &[Effect]) -> Mark {
    let [(_, mark)] = &marks(effects)[..] else { panic!("{effects:?}") };
    mark.clone()
}

fn set_policy(rig: &mut Rig, files: &[(&str, &str)]) -> Vec<Effect> {
    let files: Files =
        files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
    rig.ask(HubRequest::SetPolicy { claims: None, revision: None, files, wait: None })
}

#[test]
fn who_has_another_moment_is_answered_at_once() {
    let mut rig = Rig::new();
    let all = of(Some(&[]), Some(&[]));
    let first = mark(&watch(&mut rig, &all, None, 1_000));
    assert_eq!(first, Mark { policy: String::new(), epoch: "e1".to_owned(), seq: Seq(0) });
    rig.put("a", "users");
    let second = mark(&watch(&mut rig, &all, Some(&first), 1_000));
    assert_eq!(second.seq, Seq(1));
    assert!(marks(&watch(&mut rig, &all, Some(&second), 1_000)).is_empty());
    assert_eq!(mark(&watch(&mut rig, &all, Some(&second), 0)), second);
}

#[test]
fn data_of_its_topics_wakes_who_waits_and_nothing_else_does() {
    let mut rig = Rig::new();
    let users = of(None, Some(&["users"]));
    let known = mark(&watch(&mut rig, &users, None, 0));
    watch(&mut rig, &users, Some(&known), 1_000);
    watch(&mut rig, &users, Some(&known), 2_000);
    assert!(marks(&rig.put("a", "billing")).is_empty());
    assert!(marks(&set_policy(&mut rig, &[("a.rego", "package a")])).is_empty());
    let told = marks(&rig.put("b", "users/eu"));
    assert_eq!(told.len(), 2);
    assert!(told.iter().all(|(_, mark)| mark.seq == Seq(3)), "{told:?}");
    assert_eq!(rig.machine.next_tick(), None);
    assert!(marks(&rig.put("c", "users")).is_empty());
}

#[test]
fn a_policy_wakes_those_whose_folders_it_changes() {
    let mut rig = Rig::new();
    set_policy(&mut rig, &[("a/x.rego", "package a"), ("b/y.rego", "package b")]);
    let a = of(Some(&["a"]), None);
    let known = mark(&watch(&mut rig, &a, None, 0));
    watch(&mut rig, &a, Some(&known), 1_000);
    rig.put("a", "users");
    let b = [("a/x.rego", "package a"), ("b/y.rego", "package b\nx := 1")];
    assert!(marks(&set_policy(&mut rig, &b)).is_empty());
    let told = marks(&set_policy(&mut rig, &[("a/x.rego", "package a\nx := 1")]));
    assert_eq!(told.len(), 1);
    assert_ne!(told[0].1, known);
}

#[test]
fn who_waited_for_nothing_is_told_what_it_has() {
    let mut rig = Rig::new();
    let all = of(None, Some(&[]));
    let known = mark(&watch(&mut rig, &all, None, 0));
    watch(&mut rig, &all, Some(&known), 500);
    assert_eq!(rig.machine.next_tick(), Some(Millis(500)));
    rig.now = Millis(499);
    assert!(marks(&rig.step(Input::Tick)).is_empty());
    rig.now = Millis(500);
    assert_eq!(mark(&rig.step(Input::Tick)), known);
    assert_eq!(rig.machine.next_tick(), None);
}

#[test]
fn permitted_topics_limit_what_is_watched() {
    let mut rig = Rig::new();
    rig.put("a", "users");
    rig.put("b", "billing");
    let claims = session(Some(&["users"])).claims;
    let ask = |of| HubRequest::Watch { claims: claims.clone(), of, known: None, wait_ms: 0 };
    let effects = rig.ask(ask(of(None, Some(&[]))));
    assert_eq!(mark(&effects).seq, Seq(1));
    let refused = rig.ask(ask(of(None, Some(&["billing"]))));
    assert!(matches!(&refused[0], Effect::Answer(_, Err(Problem { status: 401, .. }))));
}

#[test]
fn a_scope_that_is_deleted_lets_everybody_go() {
    let mut rig = Rig::new();
    let all = of(None, Some(&[]));
    let known = mark(&watch(&mut rig, &all, None, 0));
    watch(&mut rig, &all, Some(&known), 1_000);
    let effects = rig.ask(HubRequest::Clear(session(None).claims));
    assert_ne!(mark(&effects).epoch, known.epoch);
}

#[test]
fn so_many_may_wait_and_the_next_is_refused() {
    let mut rig = Rig::new();
    let all = of(None, Some(&[]));
    let known = mark(&watch(&mut rig, &all, None, 0));
    for _ in 0..limits::MAX_POLLS {
        assert!(watch(&mut rig, &all, Some(&known), 1_000).is_empty());
    }
    let refused = watch(&mut rig, &all, Some(&known), 1_000);
    assert!(matches!(&refused[0], Effect::Answer(_, Err(Problem { status: 503, .. }))));
    rig.now = Millis(1_000);
    assert_eq!(marks(&rig.step(Input::Tick)).len(), limits::MAX_POLLS);
    assert!(watch(&mut rig, &all, Some(&known), 1_000).is_empty());
}

fn raw(text: String) -> Box<RawValue> {
    RawValue::from_string(text).unwrap()
}

fn report(rig: &mut Rig, report: Report) {
    let claims = session(None).claims;
    let effects = rig.ask(HubRequest::Report { claims, report });
    assert!(matches!(&effects[..], [Effect::Answer(_, Ok(HubAnswer::Good))]), "{effects:?}");
}

fn reported(rig: &mut Rig, which: Reported) -> Vec<Shown> {
    let claims = session(None).claims;
    match rig.ask(HubRequest::Reported { claims, which }).remove(0) {
        Effect::Answer(_, Ok(HubAnswer::Reported(shown))) => shown,
        other => panic!("{other:?}"),
    }
}

fn status(instance: &str, body: String) -> Report {
    Report::Status { instance: instance.to_owned(), partition: None, body: raw(body) }
}

#[test]
fn of_each_opa_the_last_status_is_kept() {
    let mut rig = Rig::new();
    report(&mut rig, status("a", r#"{"n":1}"#.to_owned()));
    report(&mut rig, status("b", r#"{"n":2}"#.to_owned()));
    rig.now = Millis(7);
    report(&mut rig, status("a", r#"{"n":3}"#.to_owned()));
    let shown = reported(&mut rig, Reported::Statuses);
    let texts: Vec<_> = shown.iter().map(|it| (it.at.0, it.report.get())).collect();
    assert_eq!(texts, [(7, r#"{"n":3}"#), (0, r#"{"n":2}"#)]);
}

#[test]
fn statuses_are_bounded_by_number_and_by_bytes() {
    let mut rig = Rig::new();
    for number in 0..=limits::MAX_STATUSES {
        rig.now = Millis(number as u64);
        report(&mut rig, status(&format!("{number:04}"), format!(r#"{{"n":{number}}}"#)));
    }
    let shown = reported(&mut rig, Reported::Statuses);
    assert_eq!(shown.len(), limits::MAX_STATUSES);
    assert_eq!(shown[0].at, Millis(1), "the oldest went");
    let large = format!(r#""{}""#, "x".repeat(limits::MAX_REPORT_BYTES));
    for number in 0..20 {
        rig.now = Millis(1_000 + number);
        report(&mut rig, status(&format!("large {number}"), large.clone()));
    }
    let bytes: usize =
        reported(&mut rig, Reported::Statuses).iter().map(|it| it.report.get().len()).sum();
    assert!(bytes <= limits::MAX_STATUSES_BYTES, "{bytes}");
}

#[test]
fn decisions_are_shown_newest_first_and_the_oldest_go() {
    let mut rig = Rig::new();
    let batch = |from: usize, to: usize| Report::Decisions {
        partition: Some("p".to_owned()),
        events: (from..to).map(|number| raw(number.to_string())).collect(),
    };
    report(&mut rig, batch(0, 3));
    report(&mut rig, batch(3, 5));
    report(&mut rig, batch(0, 0));
    let texts =
        |shown: Vec<Shown>| shown.iter().map(|it| it.report.get().to_owned()).collect::<Vec<_>>();
    let shown = reported(&mut rig, Reported::Decisions(4));
    assert_eq!(shown[0].partition.as_deref(), Some("p"));
    assert_eq!(texts(shown), ["4", "3", "2", "1"]);
    report(&mut rig, batch(5, limits::MAX_DECISIONS + 3));
    let shown = texts(reported(&mut rig, Reported::Decisions(usize::MAX)));
    assert_eq!(shown.len(), limits::MAX_DECISIONS, "a batch goes as a whole");
    assert_eq!(shown.last().unwrap(), "3");
}

#[test]
fn small_reports_of_decisions_have_a_limit_of_their_own() {
    let mut rig = Rig::new();
    for number in 0..limits::MAX_DECISION_REPORTS + 2 {
        let events = vec![raw(number.to_string())];
        report(&mut rig, Report::Decisions { partition: None, events });
    }
    let shown = reported(&mut rig, Reported::Decisions(usize::MAX));
    assert_eq!(shown.len(), limits::MAX_DECISION_REPORTS);
    assert_eq!(shown.last().unwrap().report.get(), "2", "the oldest went");
}
