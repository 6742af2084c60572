//! The directory, as whoever asks for it sees it, and as agents that follow the log.

use std::collections::BTreeMap;

use hub::log::{Log as _, Retention};
use hub::machine::{Effect, Machine, Settings};
use protocol::directory::{DirectoryAnswer, DirectoryRequest, Refusal, TOPIC};
use protocol::internal::{HubAnswer, HubRequest, Quorum, Wait};
use protocol::topic::TopicSet;
use protocol::{Claims, PeerType, Problem, SaveMethod, Seq};
use serde_json::{Value, json};

use crate::rig::{Rig, outline, session};

/// A request as the router makes it.
fn asked(
    claims: Option<Claims>,
    id: &str,
    method: &str,
    path: &str,
    body: &Value,
) -> DirectoryRequest {
    let segments: Vec<String> = path.split('/').map(str::to_owned).collect();
    let call = directory::read(method, &segments, "per_page=100", body.to_string().as_bytes());
    DirectoryRequest { claims, id: id.to_owned(), is_change: method != "GET", call }
}

impl Rig {
    fn request(
        &mut self,
        asked: DirectoryRequest,
    ) -> Result<Result<DirectoryAnswer, Refusal>, Problem> {
        let wait = None;
        let mut effects = self.ask(HubRequest::Directory { asked: Box::new(asked), wait });
        match effects.remove(0) {
            Effect::Answer(_, Ok(HubAnswer::Directory { answer, .. })) => Ok(answer),
            Effect::Answer(_, Err(problem)) => Err(problem),
            other => panic!("{other:?}"),
        }
    }

    /// Asks with the master token; the status.
    fn facts(&mut self, method: &str, path: &str, body: &Value) -> u16 {
        let id = format!("{}-{}", self.log.head(), self.now.0);
        match self.request(asked(None, &id, method, path, body)) {
            Ok(Ok(answer)) => answer.status,
            Ok(Err(refusal)) => refusal.status(),
            Err(problem) => problem.status,
        }
    }

    /// The data of an agent that follows the log from its beginning.
    fn agent(&self) -> BTreeMap<String, Value> {
        let mut data = BTreeMap::new();
        let topics = TopicSet::of_any([TOPIC.to_owned()]).unwrap();
        for record in self.log.read(Some(&topics), Seq::ZERO, usize::MAX).unwrap() {
            for entry in &record.update.entries {
                let place = entry.dst_path.to_string();
                match entry.save_method {
                    SaveMethod::Put => {
                        let text = entry.inline().unwrap().get();
                        data.insert(place, serde_json::from_str(text).unwrap());
                    }
                    SaveMethod::Patch => drop(data.remove(&place)),
                }
            }
        }
        data
    }

    /// What the hub shows of users: keys with roles.
    fn shown(&mut self) -> BTreeMap<String, Value> {
        let answer = self.request(asked(None, "", "GET", "users", &Value::Null)).unwrap().unwrap();
        let list: Value = serde_json::from_str(answer.body.unwrap().get()).unwrap();
        let users = list["data"].as_array().unwrap().clone();
        let shown = users.into_iter().map(|user| {
            let mut roles = serde_json::Map::new();
            for it in user["associated_tenants"].as_array().unwrap() {
                roles.insert(it["tenant"].as_str().unwrap().to_owned(), it["roles"].clone());
            }
            let place = format!("/users/{}", user["key"].as_str().unwrap());
            (place, json!({"roleAssignments": roles, "attributes": user["attributes"]}))
        });
        shown.collect()
    }

    /// Agents and callers are told the same of users.
    fn agrees(&mut self, why: &str) {
        let users = self.agent().into_iter().filter(|(place, _)| place.starts_with("/users/"));
        assert_eq!(users.collect::<BTreeMap<_, _>>(), self.shown(), "{why}");
    }
}

#[test]
fn a_write_is_one_update_for_those_who_follow_policy_data() {
    let mut rig = Rig::new();
    rig.hello(1, &[TOPIC], 0);
    rig.hello(2, &["other"], 0);
    let put = asked(
        None,
        "x",
        "PUT",
        "users/a",
        &json!({"role_assignments": [{"role": "r", "tenant": "default"}]}),
    );
    let effects = rig.ask(HubRequest::Directory { asked: Box::new(put), wait: None });
    let Effect::Answer(_, Ok(HubAnswer::Directory { answer: Ok(answer), .. })) = &effects[0] else {
        panic!("{effects:?}")
    };
    assert_eq!((answer.status, answer.seq), (201, Some(Seq(1))));
    assert_eq!(answer.id.as_deref(), Some("x"));
    assert_eq!(outline(&effects, 1), ["0<1"]);
    assert!(outline(&effects, 2).is_empty());
    let data = rig.agent();
    assert_eq!(data["/users/a"], json!({"roleAssignments": {"default": ["r"]}, "attributes": {}}));
    assert_eq!(data["/role_assignments/user:a"], json!({"__tenant:default": ["r"]}));
    assert_eq!(data["/tenants/default"], json!({"attributes": {}}));
    assert_eq!(rig.facts("DELETE", "users/a", &Value::Null), 204);
    assert_eq!(rig.agent().into_keys().collect::<Vec<_>>(), ["/tenants/default"]);
    let page = rig.request(asked(None, "", "GET", "tenants/default", &Value::Null)).unwrap();
    assert_eq!(page.unwrap().seq, None, "who reads is told no number");
}

#[test]
fn who_never_had_a_role_goes_in_two_entries() {
    let mut rig = Rig::new();
    rig.facts("PUT", "users/a", &json!({}));
    rig.facts("DELETE", "users/a", &Value::Null);
    let record = rig.log.read(None, Seq(1), usize::MAX).unwrap().remove(0);
    let places = record.update.entries.iter().map(|it| it.dst_path.to_string());
    assert_eq!(places.collect::<Vec<_>>(), ["/users/a", "/users/a"]);
}

#[test]
fn who_changes_nothing_is_told_the_logs_number() {
    let mut rig = Rig::new();
    rig.facts("PUT", "users/a", &json!({}));
    let none = asked(None, "y", "DELETE", "bulk/users", &json!({"idents": ["nobody"]}));
    let answer = rig.request(none).unwrap().unwrap();
    assert_eq!((answer.seq, answer.id), (Some(Seq(1)), None));
    assert_eq!(rig.log.head(), Seq(1));
}

#[test]
fn a_datasource_writes_and_others_read_if_they_may_use_the_topic() {
    let mut rig = Rig::new();
    let claims =
        |role, permitted: Option<&[&str]>| Claims { peer_type: role, ..session(permitted).claims };
    for (role, permitted, reads, writes) in [
        (Some(PeerType::Datasource), None, 200, 200),
        (Some(PeerType::Datasource), Some(&["policy_data", "x"][..]), 200, 200),
        (Some(PeerType::Datasource), Some(&["policy_data/x"]), 401, 401),
        (Some(PeerType::Client), None, 200, 401),
        (Some(PeerType::Client), Some(&["x"]), 401, 401),
        (Some(PeerType::Listener), None, 200, 401),
        (None, None, 200, 401),
    ] {
        for (method, path, expected) in [("GET", "users", reads), ("PUT", "bulk/users", writes)] {
            let body = json!({"operations": []});
            let asked = asked(Some(claims(role, permitted)), "i", method, path, &body);
            let status = match rig.request(asked) {
                Ok(answer) => answer.unwrap().status,
                Err(problem) => problem.status,
            };
            assert_eq!(status, expected, "{role:?} {permitted:?} {method}");
        }
        // Who may not is not told what is wrong with what he sent.
        let wrong = asked(Some(claims(role, permitted)), "i", "PUT", "users/.", &Value::Null);
        let status = rig.request(wrong).map_or_else(|it| it.status, |it| it.unwrap_err().status());
        assert_eq!(status, if writes == 200 { 422 } else { 401 });
    }
    rig.ask(HubRequest::Revoke(protocol::internal::Revocation::Sub("s".to_owned())));
    let revoked =
        asked(Some(claims(Some(PeerType::Client), None)), "", "GET", "users", &Value::Null);
    let refused = rig.request(revoked);
    assert_eq!(refused.unwrap_err().status, 401);
}

#[test]
fn who_waits_is_answered_when_agents_have_it() {
    let mut rig = Rig::new();
    rig.hello(1, &[TOPIC], 0);
    let asked = Box::new(asked(None, "x", "PUT", "users/a", &json!({})));
    let wait = Some(Wait { agents: Quorum::All, timeout_ms: 1_000 });
    let effects = rig.ask(HubRequest::Directory { asked, wait });
    assert_eq!(outline(&effects, 1), ["0<1", "confirm 1"]);
    let effects = rig.say(1, &json!({"receipt": {"seq": 1, "applied": true}}));
    let [Effect::Answer(_, Ok(HubAnswer::Directory { answer, receipts }))] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert_eq!(answer.as_ref().unwrap().seq, Some(Seq(1)));
    assert!(receipts.as_ref().unwrap().complete);
}

#[test]
fn wherever_storage_refuses_callers_and_agents_are_told_the_same() {
    let role = |user: &str| json!({"user": user, "role": "r", "tenant": "default"});
    for (method, path, body) in [
        ("PUT", "users/a", json!({"attributes": {"n": 2}})),
        ("PUT", "users/c", json!({"role_assignments": [{"role": "r", "tenant": "default"}]})),
        ("DELETE", "users/a", Value::Null),
        ("DELETE", "tenants/default", Value::Null),
        ("POST", "role_assignments/bulk", json!([role("a"), role("b")])),
        ("DELETE", "role_assignments", role("a")),
    ] {
        let mut refused = 0;
        for takes in 0.. {
            let mut rig = Rig::new();
            rig.facts("PUT", "users/a", &json!({"attributes": {"n": 1}}));
            rig.facts("PUT", "users/b", &json!({}));
            rig.facts(
                "POST",
                "role_assignments",
                &json!({"user": "a", "role": "r", "tenant": "default"}),
            );
            rig.log.takes = Some(takes);
            let (before, head) = (rig.agent(), rig.log.head());
            let status = rig.facts(method, path, &body);
            assert!(status < 300 || status == 503, "{status}");
            let is_done = rig.log.head() > head;
            assert_eq!(is_done, status < 300, "{method} {path} after {takes}");
            assert_eq!(rig.agent() == before, !is_done);
            let left = rig.log.takes.take().unwrap();
            // The hub may have slept, too.
            if takes % 2 == 0 {
                rig.machine = Machine::default();
            }
            rig.agrees(&format!("{method} {path} after {takes}"));
            // Once more, and once after that: nothing was lost that later changes build on.
            if method == "PUT" && status == 503 {
                assert!(rig.facts(method, path, &body) < 300);
                rig.agrees("again");
            }
            rig.facts("PUT", "users/a", &json!({"attributes": {"n": 3}}));
            rig.agrees("later");
            refused += usize::from(status == 503);
            if left > 0 {
                break;
            }
        }
        assert_eq!(refused, 2, "the note, and the update: {method} {path}");
    }
}

#[test]
fn what_retention_gives_up_is_said_again_until_it_is_gone() {
    let mut rig = Rig::new();
    let retention = Retention { max_bytes: 60_000, max_age: None };
    rig.machine = Machine::new(Settings { retention, ..Settings::default() });
    let users: Vec<Value> = (0..50).map(|at| json!({"key": format!("u{at:02}")})).collect();
    rig.facts("POST", "bulk/users", &json!({"operations": users}));
    rig.facts("PUT", "users/a", &json!({"role_assignments": [{"role": "r", "tenant": "default"}]}));
    rig.facts("DELETE", "users/u07", &Value::Null);
    rig.facts("PATCH", "users/u08", &json!({"attributes": {"n": 1}}));
    let before = rig.agent();
    for round in 0..60 {
        let large = "x".repeat(8_000);
        let entry =
            json!({"topics": ["other"], "dst_path": format!("/n{round}"), "data": {"x": large}});
        rig.publish(&json!({"id": format!("n{round}"), "entries": [entry]})).0.unwrap();
        assert_eq!(rig.agent(), before, "after {round}");
        rig.agrees("while much is given up");
    }
    assert!(rig.log.floor() > Seq(10), "{}", rig.log.floor());
    let listed = rig.log.count("directory/at/").unwrap();
    assert_eq!(listed, before.len(), "a document is listed once");
    for user in rig.shown().into_keys() {
        rig.facts("DELETE", user.trim_start_matches('/'), &Value::Null);
    }
    rig.facts("DELETE", "tenants/default", &Value::Null);
    let left: Vec<String> = rig.log.names("directory/").unwrap();
    assert!(left.is_empty(), "{left:?}");
}
