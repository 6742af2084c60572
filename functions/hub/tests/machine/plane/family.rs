//! Grants that grants make, and that go with them.

use std::collections::BTreeSet;

use hub::log::Log as _;
use hub::machine::{Machine, PlaneLimits, Settings};
use protocol::plane::grants::{Effect, Grant, Subject};
use protocol::{Seq, limits};

use super::grants::{followed, names};
use super::{by, create, delete, grant, master};
use crate::rig::Rig;

/// `maker` makes a grant that is called so.
fn make(rig: &mut Rig, maker: &str, grant: Grant) {
    rig.plane(by(maker, "POST", "/api/v1/grants", create(grant))).unwrap();
}

/// `one` made `two` and `role`, `two` made `three`, to which `one` added `no`; the master token
/// made `other`, which made `another`.
fn rig() -> Rig {
    let mut rig = Rig::new();
    rig.make(grant("one"));
    rig.make(grant("other"));
    make(&mut rig, "one", grant("two"));
    make(&mut rig, "one", Grant { subject: Subject::Role("r".to_owned()), ..grant("role") });
    make(&mut rig, "two", grant("three"));
    let paths = vec!["/no".to_owned()];
    let denial = Grant { eft: Effect::Deny, paths, ..grant("no") };
    make(&mut rig, "one", Grant { added_to: Some("three".to_owned()), ..denial });
    make(&mut rig, "other", grant("another"));
    rig
}

/// The grants that are there, as agents have them and as the hub lists them.
fn there(rig: &mut Rig) -> Vec<String> {
    let mut listed = names(rig, master(super::grants::list(None)));
    listed.sort();
    assert_eq!(listed, followed(rig));
    listed
}

#[test]
fn what_a_grant_made_goes_with_it_and_so_does_what_that_made() {
    for (id, left) in [
        ("one", &["another", "other"][..]),
        ("two", &["another", "one", "other", "role"]),
        ("three", &["another", "one", "other", "role", "two"]),
        ("no", &["another", "one", "other", "role", "three", "two"]),
        ("other", &["no", "one", "role", "three", "two"]),
    ] {
        let mut rig = rig();
        for secret in ["one", "two", "three", "other", "another"] {
            assert!(rig.may(secret));
        }
        let head = rig.log.head();
        let answer = rig.plane(master(delete(id))).unwrap();
        assert_eq!(answer["seq"], head.next().0, "in one update");
        assert_eq!(rig.log.head(), head.next());
        assert_eq!(there(&mut rig), left, "{id}");
        for _ in 0..2 {
            for secret in ["one", "two", "three", "other", "another"] {
                assert_eq!(rig.may(secret), left.contains(&secret), "{id}: {secret}");
            }
            rig.sleep(&[]);
        }
        rig.plane(master(delete(id))).unwrap_err();
        rig.make(grant("new"));
    }
}

#[test]
fn a_grant_says_which_one_made_it() {
    let mut rig = rig();
    let made_by = |rig: &mut Rig, id: &str| {
        let shown = protocol::plane::PlaneCall::Grant { id: id.to_owned() };
        rig.plane(master(shown)).unwrap()["made_by"].as_str().map(str::to_owned)
    };
    for (id, maker) in [("one", None), ("two", Some("one")), ("three", Some("two"))] {
        assert_eq!(made_by(&mut rig, id).as_deref(), maker, "{id}");
    }
    assert_eq!(made_by(&mut rig, "no").as_deref(), Some("one"), "whatever it was added to");
}

#[test]
fn all_of_it_goes_or_nothing_whatever_storage_does() {
    let (mut kept, mut gone) = (0, 0);
    for takes in 0..50 {
        let mut rig = rig();
        rig.log.takes = Some(takes);
        let status = rig.status(master(delete("one")));
        rig.log.takes = None;
        let left: &[&str] = match status {
            200 => &["another", "other"],
            _ => &["another", "no", "one", "other", "role", "three", "two"],
        };
        *(if status == 200 { &mut gone } else { &mut kept }) += 1;
        for _ in 0..2 {
            assert_eq!(there(&mut rig), left, "{takes}: {status}");
            assert_eq!(rig.may("three"), status != 200, "{takes}");
            rig.sleep(&[]);
        }
        rig.plane(master(delete("one"))).unwrap_or_default();
        assert_eq!(there(&mut rig), ["another", "other"], "{takes}: a second try");
    }
    assert!(kept > 3 && gone > 3, "{kept} {gone}");
}

#[test]
fn what_was_made_goes_with_its_maker_whatever_storage_did_when_it_was_made() {
    for takes in 0..14 {
        let mut rig = rig();
        rig.log.takes = Some(takes);
        let _ = rig.plane(by("three", "POST", "/api/v1/grants", create(grant("four"))));
        rig.log.takes = None;
        rig.plane(master(delete("one"))).unwrap();
        assert_eq!(there(&mut rig), ["another", "other"], "{takes}");
        let listed: BTreeSet<String> = rig.log.names("plane/made/").unwrap().into_iter().collect();
        assert_eq!(listed, BTreeSet::from(["plane/made/other/another".to_owned()]), "{takes}");
    }
}

#[test]
fn so_many_descend_from_one_grant_and_no_more() {
    let plane = PlaneLimits { made_grants: 4, ..PlaneLimits::default() };
    let mut rig = Rig::new();
    rig.machine = Machine::new(Settings { plane, ..Settings::default() });
    rig.make(grant("one"));
    for (maker, id) in [("one", "a"), ("a", "b"), ("b", "c"), ("one", "d")] {
        make(&mut rig, maker, grant(id));
    }
    for maker in ["one", "c"] {
        let refused = rig.plane(by(maker, "POST", "/", create(grant("e")))).unwrap_err();
        assert_eq!(refused.status, 409);
        let why = refused.detail.unwrap();
        assert!(why.contains("4 grants were made or added by way of one"), "{why}");
    }
    assert_eq!(there(&mut rig), ["a", "b", "c", "d", "one"]);
    rig.make(grant("f"));
    rig.plane(master(delete("c"))).unwrap();
    make(&mut rig, "one", grant("e"));
    assert!(rig.log.head() > Seq(5));
}

#[test]
fn more_than_compaction_looks_at_go_in_one_update() {
    let mut rig = Rig::new();
    rig.make(grant("one"));
    for at in 0..hub::compaction::MAX_DOCUMENTS + 20 {
        make(&mut rig, "one", grant(&format!("g{at}")));
    }
    let head = rig.log.head();
    rig.plane(master(delete("one"))).unwrap();
    assert_eq!(rig.log.head(), head.next());
    assert!(there(&mut rig).is_empty());
}

#[test]
fn as_many_as_there_may_be_fit_into_one_update() {
    let longest = Grant {
        domain: format!("{}.example", "a".repeat(limits::MAX_DOMAIN_BYTES - 8)),
        ..grant(&format!("grant_{}", "x".repeat(20)))
    };
    let entry = serde_json::to_string(&longest.gone().unwrap()).unwrap();
    let most = limits::MAX_MADE_GRANTS + hub::compaction::MAX_DOCUMENTS;
    assert!(most * (entry.len() + 1) + 1_000 < limits::MAX_UPDATE_BYTES, "{}", entry.len());
    assert!(most <= limits::MAX_ENTRIES);
}
