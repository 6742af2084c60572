//! Storage that refuses long after the log has forgotten what it said first, and facts that nobody
//! can open.

use hub::log::Retention;
use hub::machine::{Effect, Machine, PlaneLimits, Settings};
use protocol::Seq;
use protocol::internal::{HubAnswer, HubRequest};
use protocol::plane::grants::{Effect as Eft, Grant};
use protocol::topic::TopicSet;
use serde_json::json;

use super::facts::{self, NEW, OLD, forget, keep, keys, rig_with};
use super::grants::{followed, list, names};
use super::{by, delete, grant, master};
use crate::rig::{Rig, outline};

/// Whatever storage does, and however long ago the log said what there is: a revocation that was not
/// answered with 200 has changed nothing, a denial least of all, and one that was is for ever.
#[test]
fn a_revocation_holds_or_has_changed_nothing_long_after_the_log_has_forgotten() {
    let denial = || Grant {
        eft: Eft::Deny,
        paths: vec!["/x".to_owned()],
        added_to: Some("one".to_owned()),
        ..grant("no")
    };
    let retention = Retention { max_bytes: 20_000, max_age: None };
    let settings = Settings { retention, ..Settings::default() };
    for id in ["one", "no"] {
        for takes in 0..14 {
            let mut rig = Rig::new();
            rig.machine = Machine::new(settings);
            rig.make(grant("one"));
            rig.make(denial());
            rig.pass_on();
            rig.machine = Machine::new(settings);
            rig.log.takes = Some(takes);
            let status = rig.status(master(delete(id)));
            rig.log.takes = None;
            let left: &[&str] = match (status, id) {
                (200, "one") => &[],
                (200, _) => &["one"],
                _ => &["no", "one"],
            };
            for _ in 0..3 {
                assert_eq!(followed(&rig), left, "{id} {takes}: {status}");
                let mut listed = names(&mut rig, master(list(None)));
                listed.sort();
                assert_eq!(listed, left, "{id} {takes}: {status}");
                assert_eq!(rig.may("one"), left == ["one"], "{id} {takes}: {status}");
                rig.pass_on();
                rig.machine = Machine::new(settings);
            }
            let again = rig.status(master(delete(id)));
            assert_eq!(again, if status == 200 { 404 } else { 200 }, "{id} {takes}");
            assert!(!followed(&rig).contains(&id.to_owned()), "{id} {takes}");
        }
    }
}

/// The same of a fact, which retention may have to leave out for want of its key.
#[test]
fn a_deletion_holds_or_has_changed_nothing_long_after_the_log_has_forgotten() {
    for (takes, has_key) in (0..14).flat_map(|takes| [(takes, true), (takes, false)]) {
        let mut rig = rig_with(PlaneLimits::default(), 20_000);
        let pass_on = |rig: &mut Rig, has_key| {
            rig.machine.set_facts_keys(keys(if has_key { OLD } else { NEW }));
            rig.pass_on();
            rig.machine = rig_with(PlaneLimits::default(), 20_000).machine;
        };
        rig.one(keep("b", "c", "any", "y")).unwrap();
        pass_on(&mut rig, true);
        // It is not known to be there yet, as far as that was written down.
        rig.log.takes = Some(8);
        assert!(rig.one(keep("a", "c", "any", "x")).is_ok());
        rig.log.takes = None;
        pass_on(&mut rig, has_key);
        rig.log.takes = Some(takes);
        let status = rig.status(by("one", "DELETE", "/", forget("a")));
        rig.log.takes = None;
        let left = if status == 200 { 1 } else { 2 };
        for _ in 0..2 {
            pass_on(&mut rig, has_key);
            let listed = rig.one(facts::list("c")).unwrap();
            assert_eq!(listed.as_array().unwrap().len(), left, "{takes} {has_key}: {status}");
        }
        pass_on(&mut rig, true);
        rig.put("last", "users");
        assert_eq!(rig.followed().as_object().unwrap().len(), left, "{takes} {has_key}: {status}");
        let again = rig.status(by("one", "DELETE", "/", forget("a")));
        assert_eq!(again, if status == 200 { 404 } else { 200 }, "{takes} {has_key}");
    }
}

/// What a page of the log has for these topics, and the number it goes on from.
fn page(rig: &mut Rig, topics: Option<&[&str]>, after: u64) -> Option<(Vec<u64>, Option<Seq>)> {
    let topics =
        topics.map(|topics| TopicSet::of_any(topics.iter().map(ToString::to_string)).unwrap());
    let claims = crate::rig::session(None).claims;
    let asked = HubRequest::Read { claims, topics, after: Seq(after), bytes: None };
    match rig.ask(asked).remove(0) {
        Effect::Answer(_, Ok(HubAnswer::Log(page))) => {
            Some((page.updates.iter().map(|it| it.seq.0).collect(), page.next))
        }
        Effect::Answer(_, Err(problem)) if problem.status == 503 => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_fact_that_cannot_be_opened_holds_up_who_subscribed_to_it_and_nobody_else() {
    let mut rig = facts::rig();
    rig.put("u2", "users");
    rig.one(keep("a", "", "any", "x")).unwrap();
    rig.put("u4", "users");
    rig.log.unreadable = Some(Seq(3));
    for topics in [None, Some(&["users"][..])] {
        assert_eq!(page(&mut rig, topics, 0), Some((vec![2, 4], None)), "{topics:?}");
    }
    assert_eq!(outline(&rig.hello(1, &["users"], 0), 1).last().unwrap(), "caught up 4");
    let both = ["users", "facts:."];
    assert_eq!(page(&mut rig, Some(&both), 0), Some((vec![2], Some(Seq(2)))));
    assert_eq!(page(&mut rig, Some(&both), 2), None);
    let before = outline(&rig.hello(2, &both, 0), 2);
    assert_eq!(before[1..], ["0<2", "bookmark 2"]);
    let after = outline(&rig.say(2, &json!({"resume": {"cursor": 2}})), 2);
    assert_eq!(after, ["error internal"]);
    rig.log.unreadable = None;
    assert_eq!(page(&mut rig, Some(&both), 2), Some((vec![3, 4], None)));
}
