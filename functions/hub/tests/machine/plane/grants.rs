//! Grants: who has them, what they do, and that they end.

use hub::log::{Log as _, Retention};
use hub::machine::{Effect, Machine, Settings};
use hub::memory_log::Call;
use protocol::internal::HubRequest;
use protocol::plane::grants::{self, Effect as Eft, Grant, PathSyntax, Subject};
use protocol::plane::{PlaneCall, PlaneRequest};
use protocol::topic::TopicSet;
use protocol::{Millis, Seq};
use serde_json::json;

use super::{DOMAIN, all, answered_when_applied, by, create, delete, grant, master, query};
use crate::rig::{Rig, outline};

/// The grants that an agent has which follows the log from its beginning, by id.
pub(super) fn followed(rig: &Rig) -> Vec<String> {
    let mut there = std::collections::BTreeSet::new();
    let topics = TopicSet::of_any(["grants:.".to_owned()]).unwrap();
    for record in rig.log.read(Some(&topics), Seq::ZERO, usize::MAX).unwrap() {
        for entry in &record.update.entries {
            let Some(data) = entry.inline() else { continue };
            if !grants::is_grant_place(entry.dst_path.segments()) {
                continue;
            }
            match grants::read(&entry.dst_path, data.get()).unwrap() {
                (id, Some(_)) => there.insert(id),
                (id, None) => there.remove(&id),
            };
        }
    }
    there.into_iter().collect()
}

pub(super) fn names(rig: &mut Rig, request: PlaneRequest) -> Vec<String> {
    let listed = rig.plane(request).unwrap();
    let listed = listed.as_array().unwrap().iter();
    listed.map(|grant| grant["id"].as_str().unwrap().to_owned()).collect()
}

pub(super) fn list(domain: Option<&str>) -> PlaneCall {
    PlaneCall::Grants { domain: domain.map(str::to_owned) }
}

#[test]
fn a_grant_is_answered_listed_and_told_without_its_hash() {
    let mut rig = Rig::new();
    rig.now = Millis(1_000);
    rig.hello(1, &["grants:a.example"], 0);
    let made = Grant {
        expires_at: Some(Millis(61_000)),
        roles: vec!["reader".to_owned()],
        created_at: Millis(1_000),
        ..grant("one")
    };
    let (answer, effects) = rig.plane_or_problem(master(create(made))).unwrap();
    let expected = json!({
        "id": "one",
        "domain": "a.example",
        "allowed_http_methods": ["*"],
        "paths": ["*"],
        "eft": "allow",
        "path_syntax": "safe",
        "roles": ["reader"],
        "expires_at": "1970-01-01T00:01:01Z",
        "created_at": "1970-01-01T00:00:01Z",
    });
    assert_eq!(answer, Ok(expected.clone()));
    assert_eq!(outline(&effects, 1), ["0<1"]);
    assert_eq!(rig.plane(master(list(None))), Ok(json!([expected])));
    assert_eq!(rig.plane(master(PlaneCall::Grant { id: "one".to_owned() })), Ok(expected));
}

#[test]
fn who_has_a_grant_may_and_who_has_none_may_not() {
    let mut rig = Rig::new();
    rig.make(grant("one"));
    assert!(rig.may("one"));
    let unauthorized = rig.plane(by("two", "GET", "/x", list(None))).unwrap_err();
    assert_eq!((unauthorized.status, &*unauthorized.message), (401, "Unauthorized"));
}

#[test]
fn a_revoked_grant_allows_nothing_and_is_gone() {
    let mut rig = Rig::new();
    rig.hello(1, &["grants:."], 0);
    rig.make(grant("one"));
    rig.make(grant("two"));
    assert!(rig.may("one"));
    let (answer, effects) = rig.plane_or_problem(master(delete("one"))).unwrap();
    assert_eq!(answer, Ok(json!({"id": "one", "seq": 3})));
    assert_eq!(outline(&effects, 1), ["2<3"]);
    assert!(!rig.may("one") && rig.may("two"));
    assert_eq!(rig.status(master(delete("one"))), 404);
    assert_eq!(rig.status(master(PlaneCall::Grant { id: "one".to_owned() })), 404);
    assert_eq!(names(&mut rig, master(list(None))), ["two"]);
    assert_eq!(followed(&rig), ["two"]);
}

#[test]
fn a_hub_that_slept_knows_the_same_grants() {
    let mut rig = Rig::new();
    rig.make(Grant { roles: vec!["reader".to_owned()], paths: vec![], ..grant("one") });
    rig.make(Grant { subject: Subject::Role("reader".to_owned()), ..grant("role") });
    rig.make(grant("two"));
    rig.plane(master(delete("two"))).unwrap();
    rig.sleep(&[]);
    assert!(rig.may("one") && !rig.may("two"));
}

#[test]
fn a_role_that_gets_a_grant_later_lends_it_to_who_has_the_role() {
    let mut rig = Rig::new();
    rig.make(Grant { roles: vec!["a".to_owned()], paths: vec!["/own".to_owned()], ..grant("one") });
    assert!(!rig.may("one"));
    let role = |name: &str| Subject::Role(name.to_owned());
    rig.make(Grant {
        subject: role("a"),
        roles: vec!["b".to_owned()],
        paths: vec![],
        ..grant("a")
    });
    assert!(!rig.may("one"));
    let made = rig.make(Grant { subject: role("b"), ..grant("b") });
    assert_eq!(made["role"], "b");
    assert!(rig.may("one"));
    rig.plane(master(delete("a"))).unwrap();
    assert!(!rig.may("one"), "the link between them is gone");
}

#[test]
fn a_grant_that_is_over_allows_nothing() {
    let mut rig = Rig::new();
    rig.make(Grant { expires_at: Some(Millis(1_000)), ..grant("one") });
    rig.now = Millis(999);
    assert!(rig.may("one"));
    rig.now = Millis(1_000);
    assert!(!rig.may("one"));
}

#[test]
fn what_is_added_to_a_grant_is_its_tokens_and_goes_with_it() {
    let mut rig = Rig::new();
    rig.make(Grant { expires_at: Some(Millis(9_000)), ..grant("one") });
    let added = |id: &str, to: &str| Grant {
        added_to: Some(to.to_owned()),
        subject: Subject::Token(String::new()),
        domain: String::new(),
        eft: Eft::Deny,
        paths: vec!["/x".to_owned()],
        ..grant(id)
    };
    let made = rig.make(added("two", "one"));
    assert_eq!((&made["domain"], &made["grant_id"]), (&json!(DOMAIN), &json!("one")));
    assert_eq!(made["expires_at"], "1970-01-01T00:00:09Z", "not longer than that one");
    assert!(!rig.may("one"), "it denies");
    rig.plane(master(delete("two"))).unwrap();
    assert!(rig.may("one"));
    rig.make(added("three", "one"));
    assert_eq!(rig.make(added("four", "three"))["grant_id"], "one", "all are of one token");
    rig.plane(master(delete("one"))).unwrap();
    assert!(names(&mut rig, master(list(None))).is_empty() && followed(&rig).is_empty());
    assert_eq!(rig.status(master(create(added("five", "one")))), 404);
}

#[test]
fn a_grants_own_domain_is_all_that_it_sees_and_changes() {
    let mut rig = Rig::new();
    let elsewhere = |id: &str| Grant { domain: "b.example".to_owned(), ..grant(id) };
    rig.make(grant("one"));
    rig.make(elsewhere("other"));
    let mut ask = |call| rig.plane(by("one", "POST", "/api/v1/grants", call));
    let show = |id: &str| PlaneCall::Grant { id: id.to_owned() };
    assert_eq!(ask(show("other")).unwrap_err().status, 404);
    assert_eq!(ask(delete("other")).unwrap_err().status, 404);
    let foreign = Grant { added_to: Some("other".to_owned()), ..grant("two") };
    assert_eq!(ask(create(foreign)).unwrap_err().status, 404);
    assert_eq!(ask(list(Some("b.example"))), Ok(json!([])));
    assert_eq!(ask(create(elsewhere("two"))).unwrap_err().status, 401);
    ask(create(grant("two"))).unwrap();
    assert_eq!(names(&mut rig, by("one", "GET", "/", list(None))), ["one", "two"]);
    assert_eq!(names(&mut rig, master(list(Some("b.example")))), ["other"]);
    assert!(names(&mut rig, master(list(Some("b.example/x")))).is_empty());
}

#[test]
fn a_grant_made_by_a_grant_ends_no_later_than_its_maker() {
    let mut rig = Rig::new();
    rig.make(Grant { expires_at: Some(Millis(5_000)), ..grant("short") });
    rig.make(grant("long"));
    // What it may do longer is something else.
    let paths = vec!["/elsewhere".to_owned()];
    rig.make(Grant { added_to: Some("long".to_owned()), paths, ..grant("more") });
    for (maker, wanted, expected) in [
        ("short", None, Some("1970-01-01T00:00:05Z")),
        ("short", Some(9_000), Some("1970-01-01T00:00:05Z")),
        ("short", Some(3_000), Some("1970-01-01T00:00:03Z")),
        ("long", Some(9_000), Some("1970-01-01T00:00:09Z")),
        ("long", None, None),
    ] {
        let made = Grant { expires_at: wanted.map(Millis), ..grant(&format!("{maker}{wanted:?}")) };
        let made = rig.plane(by(maker, "POST", "/api/v1/grants", create(made))).unwrap();
        assert_eq!(made["expires_at"].as_str(), expected, "{maker} {wanted:?}");
    }
}

#[test]
fn a_grant_that_nobody_could_read_is_refused() {
    let mut rig = Rig::new();
    for (made, words) in [
        (Grant { domain: "A.example".to_owned(), ..grant("g") }, "domain: write it in lower case"),
        (Grant { domain: "a/b".to_owned(), ..grant("g") }, "domain: give a fully qualified"),
        (
            Grant { paths: vec!["(".to_owned()], path_syntax: PathSyntax::Casbin, ..grant("g") },
            "paths: `(`",
        ),
    ] {
        let refusal = rig.plane(master(create(made))).unwrap_err();
        assert_eq!((refusal.status, &*refusal.message), (400, "Validation Error"));
        assert!(refusal.detail.as_ref().unwrap().starts_with(words), "{refusal:?}");
    }
    rig.make(grant("g"));
    assert_eq!(rig.status(master(create(grant("g")))), 409);
    assert_eq!(rig.log.head(), Seq(1));
}

#[test]
fn a_token_for_a_domain_that_is_none_is_unauthorized() {
    let mut rig = Rig::new();
    rig.make(grant("one"));
    for domain in ["", "/", "a.example/token", "*", "A.example", &"a".repeat(10_000)] {
        let mut asked = by("one", "GET", "/x", list(None));
        if let protocol::plane::Bearer::Grant(question) = &mut asked.bearer {
            domain.clone_into(&mut question.domain);
        }
        assert_eq!(rig.status(asked), 401, "{domain}");
    }
}

#[test]
fn the_master_token_makes_grants_and_keeps_no_facts() {
    let mut rig = Rig::new();
    let fact = PlaneCall::Fact { id: "fact_a".to_owned() };
    assert_eq!(rig.status(master(fact)), 401);
    let deploy = PlaneCall::Deploy {
        name: "shop".to_owned(),
        routes: serde_json::value::to_raw_value(&json!([])).unwrap(),
    };
    assert_eq!(rig.status(master(deploy)), 401);
}

#[test]
fn what_is_wrong_with_a_request_is_told_to_who_may_ask() {
    let mut rig = Rig::new();
    rig.make(grant("one"));
    let wrong = |secret: &str| {
        let asked = by(secret, "POST", "/x", list(None));
        PlaneRequest { call: Err(protocol::plane::Refusal::validation("x")), ..asked }
    };
    assert_eq!(rig.status(wrong("one")), 400);
    assert_eq!(rig.status(wrong("two")), 401);
}

#[test]
fn who_waits_for_a_revocation_is_answered_when_agents_have_it() {
    let mut rig = Rig::new();
    rig.hello(1, &["grants:a.example"], 0);
    rig.make(grant("one"));
    let asked = Box::new(master(delete("one")));
    let effects = rig.ask(HubRequest::Plane { asked, wait: all() });
    assert_eq!(outline(&effects, 1), ["1<2", "confirm 2"]);
    assert!(!effects.iter().any(|it| matches!(it, Effect::Answer(..))), "not yet");
    answered_when_applied(&mut rig);
}

/// Storage that goes at every point, before and after a sleep: hub and agents have the same
/// grants, and what was not answered with 200 allows nothing that was not allowed before.
#[test]
fn storage_that_goes_in_the_middle_leaves_no_half_grant_and_loses_no_revocation() {
    for takes in 0..12 {
        let mut rig = Rig::new();
        rig.make(grant("one"));
        assert!(rig.may("one"));
        let added = Grant {
            added_to: Some("one".to_owned()),
            paths: vec!["/y".to_owned()],
            ..grant("two")
        };
        for (asked, is_making) in [(create(added), true), (delete("one"), false)] {
            rig.log.takes = Some(takes);
            let status = rig.status(master(asked));
            rig.log.takes = None;
            assert!(matches!(status, 200 | 503), "{takes}: {status}");
            let slept = rig.log.clone();
            for sleeps in [false, true] {
                if sleeps {
                    rig.log = slept.clone();
                    rig.sleep(&[]);
                }
                let mut listed = names(&mut rig, master(list(None)));
                listed.sort();
                assert_eq!(listed, followed(&rig), "{takes}: {status}");
                if is_making {
                    assert_eq!(listed.len(), if status == 200 { 2 } else { 1 }, "{takes}");
                } else {
                    assert_eq!(listed.is_empty(), status == 200, "{takes}");
                    assert_eq!(rig.may("one"), status != 200, "{takes}");
                }
            }
        }
        rig.plane(master(delete("one"))).unwrap_or_default();
        assert!(!rig.may("one") && followed(&rig).is_empty(), "{takes}: a second try");
    }
}

#[test]
fn storage_that_does_not_answer_allows_nothing() {
    let mut rig = Rig::new();
    rig.make(grant("one"));
    rig.log.refuses = &[Call::Keep];
    assert_eq!(rig.status(by("one", "GET", "/x", list(None))), 503);
}

#[test]
fn grants_that_retention_gave_up_are_said_again() {
    let mut rig = Rig::new();
    let retention = Retention { max_bytes: 6_000, max_age: None };
    let asleep = || Machine::new(Settings { retention, ..Settings::default() });
    rig.machine = asleep();
    for id in ["one", "two", "gone", "over"] {
        let expires_at = (id == "over").then_some(Millis(10));
        rig.make(Grant { expires_at, ..grant(id) });
    }
    rig.plane(master(delete("gone"))).unwrap();
    rig.now = Millis(11);
    for at in 0..100 {
        rig.put(&format!("u{at}"), "users");
        if at % 7 == 0 {
            rig.machine = asleep();
        }
        let there = followed(&rig);
        assert!(there.contains(&"one".to_owned()) && there.contains(&"two".to_owned()), "{at}");
    }
    assert!(rig.log.floor() > Seq(50), "{}", rig.log.floor());
    assert_eq!(followed(&rig), ["one", "two"]);
    assert!(rig.may("one") && !rig.may("gone"));
    assert_eq!(names(&mut rig, master(list(None))), ["one", "two"], "what was over is gone");
    let head = rig.log.head().0;
    assert!(head < 160, "not with every update: {head}");
}

#[test]
fn no_grant_is_left_out_of_many_however_often_storage_goes() {
    for takes in [2, 4] {
        let mut rig = Rig::new();
        let retention = Retention { max_bytes: 30_000, max_age: None };
        rig.machine = Machine::new(Settings { retention, ..Settings::default() });
        for at in 0..30 {
            rig.make(grant(&format!("g{at:03}")));
        }
        let mut at = 0;
        while rig.log.floor() < Seq(150) {
            // What the update itself takes, and some of what follows.
            rig.log.takes = (at % 2 == 0).then_some(takes);
            rig.put(&format!("u{at}"), "users");
            at += 1;
        }
        rig.log.takes = None;
        for _ in 0..60 {
            rig.put(&format!("u{at}"), "users");
            at += 1;
        }
        assert_eq!(followed(&rig).len(), 30, "{takes}");
        let head = rig.log.head().0;
        assert!(head < 8 * at, "{takes}: {at} updates, and {head} are in the log");
    }
}

#[test]
fn a_scope_that_was_deleted_has_no_grants() {
    let mut rig = Rig::new();
    rig.make(grant("one"));
    assert!(rig.may("one"));
    rig.ask(HubRequest::Clear(crate::rig::session(None).claims));
    assert!(!rig.may("one"));
    let asked = PlaneCall::Audits(query());
    assert_eq!(rig.plane(master(asked)).unwrap().as_array().unwrap().len(), 1);
}
