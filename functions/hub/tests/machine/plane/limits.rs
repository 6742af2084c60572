//! How much there may be of facts and of expressions, and that it is counted right.

use hub::log::Retention;
use hub::machine::{Machine, PlaneLimits, Settings};
use protocol::Millis;
use protocol::plane::PlaneCall;
use protocol::plane::grants::{Grant, PathSyntax};

use super::facts::{forget, keep, rig_with};
use super::grants::followed;
use super::{create, delete, grant, master};
use crate::rig::Rig;

#[test]
fn facts_beyond_a_limit_are_refused_until_one_is_deleted() {
    let few = PlaneLimits { domain_facts: 3, ..PlaneLimits::default() };
    let all = PlaneLimits { facts: 3, ..PlaneLimits::default() };
    for (limits, words) in [(few, "3 facts of a.example"), (all, "3 facts of all domains")] {
        let mut rig = rig_with(limits, 1 << 30);
        for id in ["a", "b", "c"] {
            rig.one(keep(id, "", "any", id)).unwrap();
        }
        let (status, said) = rig.refused(keep("d", "s", "any", "d"));
        assert_eq!(status, 409);
        assert!(said.contains(words), "{said}");
        assert_eq!(rig.refused(PlaneCall::Scope { custom_id: "s".to_owned() }).0, 404);
        rig.one(forget("b")).unwrap();
        rig.one(keep("d", "s", "any", "d")).unwrap();
        assert_eq!(rig.refused(keep("e", "s", "any", "e")).0, 409);
    }
}

#[test]
fn the_bytes_of_facts_are_a_part_of_what_the_log_keeps() {
    let mut rig = rig_with(PlaneLimits::default(), 40_000);
    let value = "x".repeat(2_000);
    rig.one(keep("a", "", "any", &value)).unwrap();
    rig.one(keep("b", "", "any", &value)).unwrap();
    let (status, said) = rig.refused(keep("c", "", "any", &value));
    assert_eq!(status, 409);
    assert!(said.contains("at most 5000 bytes, 1/8 of GIRASOL_LOG_MAX_BYTES"), "{said}");
    rig.one(keep("d", "", "any", "small")).unwrap();
    rig.one(forget("a")).unwrap();
    rig.one(keep("c", "", "any", &value)).unwrap();
    assert_eq!(rig.refused(keep("e", "", "any", &value)).0, 409);
}

#[test]
fn scopes_beyond_the_limit_are_refused_and_known_ones_still_take_facts() {
    let mut rig = rig_with(PlaneLimits { domain_scopes: 2, ..PlaneLimits::default() }, 1 << 30);
    rig.one(keep("a", "s1", "any", "a")).unwrap();
    let make = |custom_id: &str| PlaneCall::CreateScope {
        id: format!("id of {custom_id}"),
        custom_id: custom_id.to_owned(),
    };
    rig.one(make("s2")).unwrap();
    for call in [make("s3"), keep("b", "s3", "any", "b")] {
        let (status, said) = rig.refused(call);
        assert_eq!(status, 409);
        assert!(said.contains("a.example has 2 scopes, which is the limit"), "{said}");
    }
    rig.one(make("s1")).unwrap();
    rig.one(keep("b", "s2", "any", "b")).unwrap();
}

#[test]
fn facts_are_counted_right_whatever_storage_refuses_in_the_middle() {
    for takes in 0..14 {
        let limits = PlaneLimits { domain_facts: 2, domain_scopes: 2, ..PlaneLimits::default() };
        let mut rig = rig_with(limits, 1 << 30);
        rig.one(keep("a", "s1", "any", "a")).unwrap();
        for call in [keep("b", "s2", "any", "b"), forget("a")] {
            rig.log.takes = Some(takes);
            let _ = rig.one(call);
            rig.log.takes = None;
        }
        // Up to the limit, and no further.
        let mut there = rig.followed().as_object().unwrap().len();
        while there < 2 {
            there += 1;
            rig.one(keep(&format!("new{there}"), "s2", "any", &format!("v{there}"))).unwrap();
        }
        assert_eq!(rig.refused(keep("more", "s2", "any", "more")).0, 409, "{takes}");
        assert_eq!(rig.refused(keep("more", "s3", "any", "more")).0, 409, "{takes}");
    }
}

/// A grant with so many paths that need an engine, and some that need none.
fn with_expressions(id: &str, count: usize) -> Grant {
    let expressions = (0..count).map(|at| format!("/{id}/(a|b){at}"));
    let paths = expressions.chain(["/a.json".to_owned(), "/b/*".to_owned()]).collect();
    Grant { paths, path_syntax: PathSyntax::Casbin, ..grant(id) }
}

#[test]
fn expressions_of_a_grant_of_a_domain_and_of_all_have_a_limit() {
    let few = PlaneLimits { domain_expressions: 20, ..PlaneLimits::default() };
    let all = PlaneLimits { expressions: 20, ..PlaneLimits::default() };
    for (plane, words) in [(few, "20 of those of a.example"), (all, "20 of those of all domains")] {
        let mut rig = Rig::new();
        rig.machine = Machine::new(Settings { plane, ..Settings::default() });
        let mut make = |grant: Grant| {
            let refused = rig.plane(master(create(grant))).err();
            refused.map(|it| (it.status, it.detail.unwrap_or_default()))
        };
        let (status, why) = make(with_expressions("much", 17)).unwrap();
        assert_eq!(status, 400);
        assert!(why.contains("17 of them need an engine") && why.contains("at most 16"), "{why}");
        assert_eq!(make(with_expressions("one", 16)), None);
        let (status, why) = make(with_expressions("two", 5)).unwrap();
        assert_eq!(status, 409);
        assert!(why.contains(words), "{why}");
        assert_eq!(make(with_expressions("none", 0)), None, "what needs no engine is free");
        assert_eq!(make(with_expressions("three", 4)), None);
        rig.plane(master(delete("three"))).unwrap();
        rig.make(Grant { expires_at: Some(Millis(10)), ..with_expressions("two", 3) });
        assert_eq!(rig.status(master(create(with_expressions("four", 2)))), 409);
        rig.plane(master(delete("one"))).unwrap();
        rig.make(with_expressions("four", 16));
    }
}

#[test]
fn expressions_are_counted_right_whatever_storage_refuses_and_once_a_grant_is_over() {
    let plane = PlaneLimits { domain_expressions: 4, ..PlaneLimits::default() };
    let retention = Retention { max_bytes: 20_000, max_age: None };
    for takes in 0..14 {
        let mut rig = Rig::new();
        rig.machine = Machine::new(Settings { plane, retention, ..Settings::default() });
        rig.make(with_expressions("one", 2));
        let over = Grant { expires_at: Some(Millis(10)), ..with_expressions("two", 2) };
        for call in [create(over), delete("one")] {
            rig.log.takes = Some(takes);
            let _ = rig.plane(master(call));
            rig.log.takes = None;
        }
        let mut there = followed(&rig).len();
        while there < 2 {
            there += 1;
            rig.make(with_expressions(&format!("new{there}"), 2));
        }
        assert_eq!(rig.status(master(create(with_expressions("more", 1)))), 409, "{takes}");
        if followed(&rig).contains(&"two".to_owned()) {
            rig.now = Millis(11);
            for at in 0..200 {
                rig.put(&format!("u{at}"), "users");
            }
            assert!(!followed(&rig).contains(&"two".to_owned()));
            rig.make(with_expressions("more", 2));
        }
    }
}
