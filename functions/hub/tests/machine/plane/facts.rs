//! Facts, their scopes and their types.

use hub::log::{Log as _, Retention};
use hub::machine::{Machine, PlaneLimits, Settings};
use hub::memory_log::Call;
use protocol::internal::HubRequest;
use protocol::plane::PlaneCall;
use protocol::plane::facts::NewFact;
use protocol::plane::grants::Grant;
use protocol::topic::TopicSet;
use protocol::{SaveMethod, Seq};
use serde_json::{Value, json};
use vault::Keys;

use super::{DOMAIN, all, answered_when_applied, by, grant, master};
use crate::rig::{Rig, frames, outline};

pub(super) const OLD: &str = "old:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
pub(super) const NEW: &str = "new:ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=";

pub(super) fn keys(setting: &str) -> Option<Keys> {
    Some(Keys::parse(setting).unwrap())
}

/// A hub with a key, and a grant for `one`.
pub(super) fn rig() -> Rig {
    let mut rig = Rig::new();
    rig.machine.set_facts_keys(keys(OLD));
    rig.make(grant("one"));
    rig
}

/// A hub with a key and these limits, and a grant for `one`.
pub(super) fn rig_with(plane: PlaneLimits, max_bytes: u64) -> Rig {
    let mut rig = rig();
    let retention = Retention { max_bytes, max_age: None };
    rig.machine = Machine::new(Settings { plane, retention, ..Settings::default() });
    rig.machine.set_facts_keys(keys(OLD));
    rig
}

pub(super) fn keep(id: &str, scope: &str, slug: &str, value: &str) -> PlaneCall {
    let fact = NewFact {
        scope_custom_id: scope.to_owned(),
        fact_type_slug: slug.to_owned(),
        value: value.to_owned(),
    };
    PlaneCall::CreateFact { id: id.to_owned(), scope_id: format!("scope_{id}"), fact }
}

fn show(id: &str) -> PlaneCall {
    PlaneCall::Fact { id: id.to_owned() }
}

pub(super) fn forget(id: &str) -> PlaneCall {
    PlaneCall::DeleteFact { id: id.to_owned() }
}

pub(super) fn list(scope: &str) -> PlaneCall {
    PlaneCall::Facts { scope_custom_id: scope.to_owned() }
}

fn new_type(slug: &str, validation: Option<&str>) -> PlaneCall {
    PlaneCall::CreateFactType {
        id: format!("type_{slug}"),
        slug: slug.to_owned(),
        validation: validation.map(str::to_owned),
    }
}

impl Rig {
    pub(super) fn one(&mut self, call: PlaneCall) -> Result<Value, protocol::plane::Refusal> {
        self.plane(by("one", "POST", "/api/v1/facts", call))
    }

    pub(super) fn refused(&mut self, call: PlaneCall) -> (u16, String) {
        let refusal = self.one(call).unwrap_err();
        (refusal.status, format!("{}: {}", refusal.message, refusal.detail.unwrap_or_default()))
    }

    /// What an agent has of facts that follows the log from its beginning.
    pub(super) fn followed(&self) -> Value {
        let mut data = json!({});
        let topics = TopicSet::of_any(["facts:.".to_owned()]).unwrap();
        for record in self.log.read(Some(&topics), Seq::ZERO, usize::MAX).unwrap() {
            for entry in &record.update.entries {
                let id = entry.dst_path.segments().last().unwrap().clone();
                let object = data.as_object_mut().unwrap();
                if entry.save_method == SaveMethod::Put {
                    let text = entry.inline().unwrap().get();
                    object.insert(id, serde_json::from_str(text).unwrap());
                } else {
                    object.remove(&id).unwrap();
                }
            }
        }
        data
    }

    fn has_text(&self, text: &str) -> bool {
        let documents = self.log.documents("").unwrap();
        documents.iter().any(|(name, body)| name.contains(text) || body.contains(text))
    }
}

#[test]
fn a_fact_is_kept_shown_and_told_to_agents_of_its_topic() {
    let mut rig = rig();
    rig.hello(1, &["facts:a.example/email"], 0);
    rig.hello(2, &["facts:a.example/ssn"], 0);
    rig.hello(3, &["grants:."], 1);
    let call = keep("fact_a", "customer-7", "email", "ada@example.com");
    let (answer, effects) = rig.plane_or_problem(by("one", "POST", "/api/v1/facts", call)).unwrap();
    let expected = json!({
        "id": "fact_a",
        "scope_custom_id": "customer-7",
        "fact_type_slug": "email",
        "domain": "a.example",
    });
    assert_eq!(answer, Ok(expected.clone()));
    assert_eq!(outline(&effects, 1), ["0<2"]);
    assert!(frames(&effects, 2).is_empty() && frames(&effects, 3).is_empty());
    let mut whole = expected;
    whole["value"] = json!("ada@example.com");
    assert_eq!(rig.one(show("fact_a")), Ok(whole.clone()));
    assert_eq!(rig.followed(), json!({ "fact_a": whole }));
    assert!(!rig.has_text("ada@"), "it is sealed");
}

#[test]
fn a_list_of_a_scope_has_no_values_and_no_other_facts() {
    let mut rig = rig();
    for (id, scope) in [("a", "c1"), ("b", "c1"), ("c", "c2"), ("d", "")] {
        rig.one(keep(id, scope, "any", id)).unwrap();
    }
    let listed = rig.one(list("c1")).unwrap();
    let ids: Vec<&Value> = listed.as_array().unwrap().iter().map(|fact| &fact["id"]).collect();
    assert_eq!(ids, ["a", "b"]);
    assert_eq!(listed[0].get("value"), None);
    assert_eq!(rig.one(list("nobody")), Ok(json!([])));
}

#[test]
fn a_fact_that_was_forgotten_is_gone_everywhere() {
    let mut rig = rig();
    rig.hello(1, &["facts:a.example"], 0);
    rig.one(keep("a", "c", "email", "ada@example.com")).unwrap();
    let (answer, effects) =
        rig.plane_or_problem(by("one", "DELETE", "/api/v1/facts/a", forget("a"))).unwrap();
    assert_eq!(answer, Ok(json!({"id": "a"})));
    assert_eq!(outline(&effects, 1), ["2<3"]);
    assert_eq!(rig.refused(show("a")).0, 404);
    assert_eq!(rig.refused(forget("a")).0, 404);
    assert_eq!(rig.one(list("c")), Ok(json!([])));
    assert_eq!(rig.followed(), json!({}));
    let names: Vec<String> = rig.log.names("plane/").unwrap();
    let names: Vec<&String> = names.iter().filter(|name| !name.contains("/totals/")).collect();
    let rest = names.iter().filter(|name| name.contains("fact") || name.contains("print"));
    assert_eq!(rest.count(), 0, "{names:?}");
    assert!(rig.log.names("plane/values/").unwrap().is_empty());
    rig.one(keep("b", "c", "email", "ada@example.com")).unwrap();
}

#[test]
fn no_value_of_a_forgotten_fact_stays_in_the_log_whatever_was_forgotten_before() {
    let mut rig = rig();
    for (id, slug) in [("a", "any"), ("b", "any"), ("c", "email"), ("d", "any"), ("e", "any")] {
        rig.one(keep(id, "", slug, &format!("value-{id}@example.com"))).unwrap();
    }
    for id in ["a", "c", "b", "d"] {
        rig.one(forget(id)).unwrap();
    }
    let texts = rig.log.records.iter().map(|stored| json!(stored.record.update).to_string());
    let with_value: Vec<String> = texts.filter(|text| text.contains("value-")).collect();
    assert_eq!(with_value.len(), 1, "{with_value:?}");
    assert!(with_value[0].contains("value-e@"));
    let followed = rig.followed();
    assert_eq!(followed.as_object().unwrap().keys().collect::<Vec<_>>(), ["e"]);
}

#[test]
fn a_value_is_once_in_a_scope_and_as_often_as_one_likes_in_none() {
    let mut rig = rig();
    rig.one(keep("a", "c1", "email", "ada@example.com")).unwrap();
    let (status, words) = rig.refused(keep("b", "c1", "email", "ada@example.com"));
    assert_eq!(status, 400);
    assert!(words.starts_with("hashed_value already exists"), "{words}");
    let known = rig.one(keep("b", "c1", "email", "ada@example.com")).unwrap_err();
    assert_eq!(known.body()["id"], "a");
    rig.one(keep("c", "c2", "email", "ada@example.com")).unwrap();
    rig.one(keep("d", "c1", "any", "ada@example.com")).unwrap();
    rig.one(keep("e", "c1", "email", "eve@example.com")).unwrap();
    rig.one(keep("f", "", "email", "ada@example.com")).unwrap();
    rig.one(keep("g", "", "email", "ada@example.com")).unwrap();
    // Another key is put first: it is found by the one before.
    rig.machine.set_facts_keys(keys(&format!("{NEW},{OLD}")));
    assert_eq!(rig.refused(keep("h", "c1", "email", "ada@example.com")).0, 400);
}

#[test]
fn facts_of_another_domain_are_not_there() {
    let mut rig = rig();
    rig.one(keep("a", "c", "any", "x")).unwrap();
    rig.make(Grant { domain: "b.example".to_owned(), ..grant("two") });
    let mut other = |call| {
        let mut asked = by("two", "GET", "/api/v1/facts/a", call);
        if let protocol::plane::Bearer::Grant(question) = &mut asked.bearer {
            question.domain = "b.example".to_owned();
        }
        rig.plane(asked)
    };
    assert_eq!(other(show("a")).unwrap_err().status, 404);
    assert_eq!(other(forget("a")).unwrap_err().status, 404);
    assert_eq!(other(list("c")), Ok(json!([])));
    assert_eq!(other(PlaneCall::Scope { custom_id: "c".to_owned() }).unwrap_err().status, 404);
    other(keep("b", "c", "any", "x")).unwrap();
    assert_eq!(
        other(PlaneCall::Scope { custom_id: "c".to_owned() }),
        Ok(json!({"id": "scope_b", "custom_id": "c"})),
        "unique in its domain"
    );
}

#[test]
fn a_scope_is_made_once() {
    let mut rig = rig();
    let make = |id: &str, custom_id: &str| PlaneCall::CreateScope {
        id: id.to_owned(),
        custom_id: custom_id.to_owned(),
    };
    let first = json!({"id": "s1", "custom_id": "c/../ü"});
    assert_eq!(rig.one(make("s1", "c/../ü")), Ok(first.clone()));
    assert_eq!(rig.one(make("s2", "c/../ü")), Ok(first.clone()));
    rig.one(keep("a", "c/../ü", "any", "x")).unwrap();
    assert_eq!(rig.one(PlaneCall::Scope { custom_id: "c/../ü".to_owned() }), Ok(first));
    assert_eq!(rig.refused(PlaneCall::Scope { custom_id: "c".to_owned() }).0, 404);
    assert_eq!(rig.refused(make("s3", "")).0, 400);
}

#[test]
fn own_types_hold_their_values_to_their_pattern() {
    let mut rig = rig();
    let made = rig.one(new_type("employee", Some("E[0-9]{6}"))).unwrap();
    let expected = json!({
        "id": "type_employee",
        "slug": "employee",
        "built_in": false,
        "validation": "E[0-9]{6}",
    });
    assert_eq!(made, expected);
    rig.one(new_type("note", None)).unwrap();
    rig.one(keep("a", "", "employee", "E123456")).unwrap();
    rig.one(keep("b", "", "note", "anything")).unwrap();
    assert_eq!(rig.refused(keep("c", "", "employee", "xE1234567")).0, 400);
    let types = |slug: Option<&str>, built_in| PlaneCall::FactTypes {
        slug: slug.map(str::to_owned),
        built_in,
    };
    assert_eq!(rig.one(types(Some("employee"), None)), Ok(json!([expected])));
    assert_eq!(rig.one(types(Some("employee"), Some(true))), Ok(json!([])));
    let mut count = |built_in| rig.one(types(None, built_in)).unwrap().as_array().unwrap().len();
    let built_in = vault::types::BUILT_IN.len();
    assert_eq!((count(None), count(Some(true)), count(Some(false))), (built_in + 2, built_in, 2));
}

#[test]
fn a_type_that_is_none_is_refused_with_the_reason() {
    let mut rig = rig();
    rig.one(new_type("mine", None)).unwrap();
    let long = "a".repeat(65);
    for (slug, validation, words) in [
        ("", None, "slug: give 1 to 64"),
        ("A", None, "slug: give 1 to 64"),
        ("a/b", None, "slug: give 1 to 64"),
        ("é", None, "slug: give 1 to 64"),
        (&*long, None, "slug: give 1 to 64"),
        ("email", None, "slug: `email` is built in"),
        ("mine", None, "slug: there is a type `mine`"),
        ("new", Some("("), "validation: "),
        ("new", Some("(?=x)"), "validation: "),
        ("new", Some("((a{1000}){1000}){1000}"), "validation: "),
    ] {
        let (status, said) = rig.refused(new_type(slug, validation));
        assert_eq!(status, 400, "{slug} {validation:?}");
        assert!(said.starts_with(&format!("Validation Error: {words}")), "{slug}: {said}");
    }
}

#[test]
fn a_value_that_its_type_does_not_take_is_refused_and_not_repeated() {
    let mut rig = rig();
    let head = rig.log.head();
    let large = "secret".repeat(10_000);
    for (slug, value) in [
        ("email", "secret"),
        ("nope", "secret"),
        ("any", &large),
        ("any", ""),
        ("ssnstrict", "666-45-6789"),
    ] {
        let (status, said) = rig.refused(keep("a", "c", slug, value));
        assert_eq!(status, 400, "{slug}");
        assert!(said.starts_with("Validation Error: "), "{said}");
        assert!(!said.contains("secret") && !said.contains("666"), "{said}");
    }
    assert_eq!(rig.log.head(), head);
    assert_eq!(rig.refused(PlaneCall::Scope { custom_id: "c".to_owned() }).0, 404, "none was made");
}

#[test]
fn without_a_key_facts_are_answered_503_and_everything_else_works() {
    let mut rig = rig();
    rig.one(keep("a", "c", "any", "x")).unwrap();
    rig.machine.set_facts_keys(None);
    for call in [keep("b", "c", "any", "y"), show("a"), forget("a")] {
        let (status, said) = rig.refused(call);
        assert_eq!(status, 503);
        assert!(said.contains("GIRASOL_FACTS_KEYS"), "{said}");
    }
    assert_eq!(rig.status(master(PlaneCall::Reseal)), 503);
    assert_eq!(rig.one(list("c")).unwrap().as_array().unwrap().len(), 1);
    rig.make(grant("two"));
    rig.machine.set_facts_keys(keys(OLD));
    assert_eq!(rig.one(show("a")).unwrap()["value"], "x");
}

#[test]
fn a_fact_whose_key_is_missing_or_that_was_altered_hides_no_other() {
    let mut rig = rig();
    rig.one(keep("a", "c", "any", "x")).unwrap();
    rig.machine.set_facts_keys(keys(NEW));
    rig.one(keep("b", "c", "any", "y")).unwrap();
    let (status, said) = rig.refused(show("a"));
    assert_eq!(status, 503);
    assert!(said.contains("the key `old` is not in GIRASOL_FACTS_KEYS; put it back"), "{said}");
    assert_eq!(rig.one(show("b")).unwrap()["value"], "y");
    rig.one(forget("a")).unwrap();
    rig.one(keep("c", "c", "any", "z")).unwrap();
    let sealed = rig.log.document("plane/values/new/b").unwrap().unwrap();
    rig.log.keep("plane/values/new/c", Some(&sealed)).unwrap();
    let asked = by("one", "GET", "/api/v1/facts/c", show("c"));
    let problem = rig.plane_or_problem(asked).unwrap_err();
    assert_eq!((problem.status, &*problem.detail), (500, "the value of c: it was altered"));
    rig.log.keep("plane/values/new/c", None).unwrap();
    let asked = by("one", "GET", "/api/v1/facts/c", show("c"));
    assert_eq!(rig.plane_or_problem(asked).unwrap_err().status, 500);
    assert_eq!(rig.one(list("c")).unwrap().as_array().unwrap().len(), 2);
}

#[test]
fn resealing_goes_on_until_nothing_is_left_and_then_the_old_key_can_go() {
    let mut rig = rig();
    for at in 0..520 {
        rig.one(keep(&format!("f{at}"), "c", "any", &format!("v{at}"))).unwrap();
    }
    rig.one(forget("f7")).unwrap();
    rig.machine.set_facts_keys(keys(&format!("{NEW},{OLD}")));
    assert_eq!(rig.plane(by("one", "POST", "/", PlaneCall::Reseal)).unwrap_err().status, 401);
    for (resealed, left) in [(500, 19), (19, 0), (0, 0)] {
        let answer = rig.plane(master(PlaneCall::Reseal)).unwrap();
        assert_eq!(answer, json!({"resealed": resealed, "left": left}));
        assert_eq!(rig.one(show("f500")).unwrap()["value"], "v500");
    }
    rig.machine.set_facts_keys(keys(NEW));
    for at in [0, 250, 519] {
        assert_eq!(rig.one(show(&format!("f{at}"))).unwrap()["value"], format!("v{at}"));
    }
    assert_eq!(rig.refused(keep("again", "c", "any", "v3")).0, 400, "found by the new key");
    assert!(rig.log.names("plane/values/old/").unwrap().is_empty());
    assert_eq!(rig.log.names("plane/prints/").unwrap().len(), 519);
}

#[test]
fn what_cannot_be_resealed_is_left_and_keeps_nothing_back() {
    let mut rig = rig();
    rig.one(keep("a", "c", "any", "x")).unwrap();
    rig.one(keep("b", "c", "any", "y")).unwrap();
    let sealed = rig.log.document("plane/values/old/b").unwrap().unwrap();
    rig.log.keep("plane/values/old/a", Some(&sealed)).unwrap();
    rig.machine.set_facts_keys(keys(&format!("{NEW},{OLD}")));
    let answer = rig.plane(master(PlaneCall::Reseal)).unwrap();
    assert_eq!(answer, json!({"resealed": 1, "left": 1}));
    rig.machine.set_facts_keys(keys("other:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="));
    let answer = rig.plane(master(PlaneCall::Reseal)).unwrap();
    assert_eq!(answer, json!({"resealed": 0, "left": 2}));
}

#[test]
fn who_waits_for_a_fact_is_answered_when_agents_have_it() {
    let mut rig = rig();
    rig.hello(1, &["facts:."], 0);
    let asked = Box::new(by("one", "POST", "/api/v1/facts", keep("a", "c", "any", "x")));
    let effects = rig.ask(HubRequest::Plane { asked, wait: all() });
    assert_eq!(outline(&effects, 1), ["0<2", "confirm 2"]);
    answered_when_applied(&mut rig);
}

/// Hub and agents have the same facts, whatever storage does, and what was not answered with 200
/// changed nothing.
#[test]
fn storage_that_goes_in_the_middle_leaves_no_half_fact() {
    for takes in 0..20 {
        let mut rig = rig();
        rig.one(keep("a", "c", "any", "x")).unwrap();
        for (call, left) in [(keep("b", "c", "any", "y"), 2), (forget("a"), 1)] {
            let before = rig.followed();
            rig.log.takes = Some(takes);
            let status = rig.status(by("one", "POST", "/", call));
            rig.log.takes = None;
            assert!(matches!(status, 200 | 503), "{takes}: {status}");
            if status == 503 {
                assert_eq!(rig.followed(), before, "{takes}");
            }
            for _ in 0..2 {
                let followed = rig.followed();
                let mut listed = rig.one(list("c")).unwrap();
                let ids: Vec<String> = listed
                    .as_array_mut()
                    .unwrap()
                    .iter()
                    .map(|fact| fact["id"].as_str().unwrap().to_owned())
                    .collect();
                let told: Vec<&String> = followed.as_object().unwrap().keys().collect();
                assert_eq!(ids.iter().collect::<Vec<_>>(), told, "{takes}");
                assert!(status != 200 || ids.len() == left || left == 1, "{takes}");
                for id in ["a", "b"] {
                    let status = rig.status(by("one", "GET", "/", show(id)));
                    let is_there = followed.get(id).is_some();
                    assert_eq!(status, if is_there { 200 } else { 404 }, "{takes} {id}");
                }
                rig.sleep(&[]);
                rig.machine.set_facts_keys(keys(OLD));
            }
        }
        // A second try goes through, whatever was left.
        rig.one(keep("b2", "c", "any", "y")).map_or_else(|it| assert_eq!(it.status, 400), drop);
        rig.one(forget("a")).map_or_else(|it| assert_eq!(it.status, 404), drop);
        assert_eq!(rig.one(list("c")).unwrap().as_array().unwrap().len(), 1, "{takes}");
    }
}

#[test]
fn facts_that_retention_gave_up_are_said_again_but_those_that_nobody_can_read() {
    let mut rig = rig();
    let retention = Retention { max_bytes: 6_000, max_age: None };
    let asleep = |setting| {
        let mut machine = Machine::new(Settings { retention, ..Settings::default() });
        machine.set_facts_keys(keys(setting));
        machine
    };
    rig.machine = asleep(OLD);
    rig.one(keep("lost", "c", "any", "x")).unwrap();
    rig.machine = asleep(NEW);
    rig.one(keep("a", "c", "any", "y")).unwrap();
    rig.one(keep("gone", "c", "any", "z")).unwrap();
    rig.one(forget("gone")).unwrap();
    for at in 0..100 {
        rig.put(&format!("u{at}"), "users");
        if at % 7 == 0 {
            rig.machine = asleep(NEW);
        }
        assert!(rig.followed().get("a").is_some(), "{at}");
    }
    assert!(rig.log.floor() > Seq(50));
    assert!(rig.may("one"), "grants do not wait for facts");
    let both = format!("{NEW},{OLD}");
    rig.machine = asleep(&both);
    for at in 100..140 {
        rig.put(&format!("u{at}"), "users");
    }
    let followed: Vec<String> = rig.followed().as_object().unwrap().keys().cloned().collect();
    assert_eq!(followed, ["a", "lost"], "its key is back");
}

#[test]
fn proxies_of_a_domain_say_what_they_do() {
    let mut rig = rig();
    rig.now = protocol::Millis(1_000);
    let deploy = |name: &str, routes: &Value| PlaneCall::Deploy {
        name: name.to_owned(),
        routes: serde_json::value::to_raw_value(routes).unwrap(),
    };
    let first = json!({
        "name": "shop",
        "domain": DOMAIN,
        "routes": {"routes": []},
        "deployed_at": "1970-01-01T00:00:01Z",
    });
    assert_eq!(rig.one(deploy("shop", &json!({"routes": []}))), Ok(first.clone()));
    rig.now = protocol::Millis(2_000);
    assert_eq!(rig.one(deploy("shop", &json!({"routes": []}))), Ok(first), "it only asks");
    let other = rig.one(deploy("shop", &json!({"routes": [1]}))).unwrap();
    assert_eq!(other["deployed_at"], "1970-01-01T00:00:02Z");
    assert_eq!(rig.plane(master(PlaneCall::Deployments)), Ok(json!([other])));
    assert_eq!(rig.one(PlaneCall::Deployments), Ok(json!([other])));
    for at in 1..1_000 {
        rig.one(deploy(&format!("p{at}"), &json!({}))).unwrap();
    }
    assert_eq!(rig.refused(deploy("more", &json!({}))).0, 409);
    rig.one(deploy("shop", &json!({}))).unwrap();
}

#[test]
fn storage_that_does_not_answer_is_no_missing_fact() {
    let mut rig = rig();
    rig.one(keep("a", "c", "any", "x")).unwrap();
    rig.log.refuses = &[Call::Keep];
    assert_eq!(rig.refused(show("a")).0, 503);
}
