//! What is remembered of requests.

use hub::memory_log::Call;
use protocol::limits;
use protocol::plane::PlaneCall;
use protocol::plane::audits::{AuditQuery, Plane};
use protocol::plane::grants::Grant;
use serde_json::{Value, json};

use super::{by, delete, grant, master, query};
use crate::rig::Rig;

fn audits(rig: &mut Rig, query: AuditQuery) -> Vec<Value> {
    let Value::Array(found) = rig.plane(master(PlaneCall::Audits(query))).unwrap() else {
        panic!("no list")
    };
    found
}

fn show(id: &str) -> PlaneCall {
    PlaneCall::Grant { id: id.to_owned() }
}

#[test]
fn every_request_is_remembered_with_its_outcome() {
    let mut rig = Rig::new();
    rig.make(grant("one"));
    rig.plane(by("one", "GET", "/api/v1/grants/one", show("one"))).unwrap();
    rig.plane(by("one", "GET", "/api/v1/grants/two", show("two"))).unwrap_err();
    rig.plane(by("none", "GET", "/api/v1/grants/one", show("one"))).unwrap_err();
    let found = audits(&mut rig, AuditQuery { plane: Some(Plane::Data), ..query() });
    let outline: Vec<Value> =
        found.iter().map(|it| json!([it["http_path"], it["sent_http_status"]])).collect();
    assert_eq!(
        outline,
        [
            json!(["/api/v1/grants/one", 200]),
            json!(["/api/v1/grants/two", 404]),
            json!(["/api/v1/grants/one", 401]),
        ]
    );
    assert_eq!(
        audits(&mut rig, AuditQuery { limit: 1, ..query() }),
        [json!({
            "created_at": "1970-01-01T00:00:00Z",
            "updated_at": "1970-01-01T00:00:00Z",
            "plane": "control",
            "domain": "",
            "http_path": "/api/v1/grants",
            "http_method": "POST",
            "sent_http_status": 200,
        })]
    );
}

#[test]
fn a_grant_sees_the_audits_of_its_own_domain() {
    let mut rig = Rig::new();
    rig.make(grant("one"));
    rig.make(Grant { domain: "b.example".to_owned(), ..grant("two") });
    let ask = |rig: &mut Rig, query| {
        rig.plane(by("one", "GET", "/api/v1/api_audits", PlaneCall::Audits(query))).unwrap()
    };
    assert_eq!(ask(&mut rig, query()), json!([]), "not those of the master token");
    let found = ask(&mut rig, query());
    assert_eq!(found.as_array().unwrap().len(), 1);
    assert_eq!(found[0]["domain"], "a.example");
    let foreign = AuditQuery { domain: Some("b.example".to_owned()), ..query() };
    assert_eq!(ask(&mut rig, foreign), json!([]));
}

#[test]
fn the_newest_are_kept_also_over_a_sleep() {
    let mut rig = Rig::new();
    rig.make(grant("one"));
    for (secret, most) in [("none", limits::MAX_STRANGE_AUDITS), ("one", limits::MAX_AUDITS)] {
        let more = most + 100;
        for at in 0..more {
            if at % 1_001 == 0 {
                rig.sleep(&[]);
            }
            rig.plane(by(secret, "GET", &format!("/{at}"), show("x"))).unwrap_err();
        }
        let status = Some(if secret == "one" { 404 } else { 401 });
        let found = audits(&mut rig, AuditQuery { sent_http_status: status, ..query() });
        assert_eq!(found.len(), most, "{secret}");
        assert_eq!(found[0]["http_path"], "/100");
        assert_eq!(found.last().unwrap()["http_path"], format!("/{}", more - 1));
    }
}

#[test]
fn tokens_that_somebody_makes_up_push_out_no_other_audits() {
    let mut rig = Rig::new();
    rig.make(Grant { paths: vec!["/a".to_owned()], ..grant("one") });
    rig.plane(by("one", "GET", "/b", show("x"))).unwrap_err();
    for at in 0..limits::MAX_AUDITS + 100 {
        rig.now = protocol::Millis(at as u64);
        rig.plane(by(&format!("made-up-{at}"), "GET", "/a", show("x"))).unwrap_err();
    }
    rig.now = protocol::Millis(limits::MAX_AUDITS as u64 + 100);
    rig.plane(by("one", "GET", "/a", show("x"))).unwrap_err();
    let found = audits(&mut rig, query());
    let statuses: Vec<u64> =
        found.iter().map(|it| it["sent_http_status"].as_u64().unwrap()).collect();
    assert_eq!(statuses.len(), limits::MAX_STRANGE_AUDITS + 3);
    assert_eq!(statuses[..3], [200, 401, 401]);
    assert_eq!(found[1]["http_path"], "/b");
    assert_eq!(statuses.last(), Some(&404), "in the order in which they came");
}

#[test]
fn what_somebody_makes_up_is_remembered_in_part() {
    let mut rig = Rig::new();
    let mut asked = by("none", &"é".repeat(100), &format!("/{}", "é".repeat(9_000)), show("x"));
    if let protocol::plane::Bearer::Grant(question) = &mut asked.bearer {
        question.domain = "d".repeat(10_000);
    }
    rig.plane(asked).unwrap_err();
    let found = audits(&mut rig, query());
    let bytes = |name: &str| found[0][name].as_str().unwrap().len();
    assert_eq!((bytes("http_path"), bytes("http_method"), bytes("domain")), (511, 16, 253));
}

#[test]
fn a_request_whose_audit_storage_refuses_stands() {
    let mut rig = Rig::new();
    rig.make(grant("one"));
    assert!(rig.may("one"));
    // What revoking it takes, and nothing for the audit.
    rig.log.takes = Some(4);
    assert_eq!(rig.status(master(delete("one"))), 200);
    rig.log.takes = None;
    rig.log.refuses = &[Call::Find];
    assert!(!rig.may("one"));
}
