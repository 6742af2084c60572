//! The calls over HTTP, on the embedded engine and on engines that fail; and the built-in policy,
//! on the embedded engine and on a real OPA alike.

use futures::future::BoxFuture;
use protocol::DataPath;
use serde_json::{Value, json};
use testbed::{Opa, Part};
use url::Url;

use super::*;
use crate::engine::{
    EngineError, EngineState, OpaEngine, OwnedDocument, RegorusEngine, Undecided, Write,
};
use crate::policy::PolicyModule;
use crate::runtime::waiting::tests::{never, not_yet};

/// Data, and what is to be answered on it: `allowed` has what, whether, user, action, type, key
/// and tenant; `documents` has rule, what, input and answer.
const CASES: &str = include_str!("cases.json");

fn text(value: &Value) -> Json {
    Json::known(value.to_string())
}

fn module_of(rego: &str) -> PolicyModule {
    PolicyModule { id: "own.rego".to_owned(), rego: rego.to_owned() }
}

/// An engine with these policies and this data.
async fn filled<E: Engine>(engine: E, policies: &[PolicyModule], data: &Value) -> Arc<E> {
    engine.set_policies(policies).await.unwrap();
    engine.restore(&[(DataPath::default(), Some(text(data)))]).await.unwrap();
    Arc::new(engine)
}

/// Both engines; the real OPA only where there is one.
async fn both(data: &Value) -> (Vec<Arc<dyn Engine>>, Option<Opa>) {
    let mut engines: Vec<Arc<dyn Engine>> = vec![filled(RegorusEngine::new(), &[], data).await];
    if !testbed::require(&[Part::Opa]).unwrap() {
        return (engines, None);
    }
    let opa = Opa::start().await.unwrap();
    let engine = OpaEngine::new(Url::parse(opa.url()).unwrap(), None).unwrap();
    engines.push(filled(engine, &[module()], data).await);
    (engines, Some(opa))
}

async fn decide(engine: &dyn Engine, rule: &str, input: &Value) -> Result<Value, Undecided> {
    let rule: Vec<&str> = rule.split('/').collect();
    let answer = engine.permit(&rule, &text(input)).await?;
    Ok(answer.map_or(Value::Null, |answer| serde_json::from_str(answer.get()).unwrap()))
}

fn check_of(case: &Value) -> Value {
    json!({
        "user": {"key": case[2]}, "action": case[3],
        "resource": {"type": case[4], "key": case[5], "tenant": case[6], "context": {}},
        "context": {},
    })
}

#[tokio::test]
async fn the_built_in_policy_says_the_same_in_both_engines() {
    let cases: Value = serde_json::from_str(CASES).unwrap();
    let (engines, _opa) = both(&cases["data"]).await;
    for engine in engines {
        for case in cases["allowed"].as_array().unwrap() {
            let answer = decide(&*engine, "root", &check_of(case)).await;
            assert_eq!(answer, Ok(json!({"allow": case[1]})), "{} {}", engine.name(), case[0]);
        }
        for case in cases["documents"].as_array().unwrap() {
            let answer = decide(&*engine, case[0].as_str().unwrap(), &case[2]).await;
            assert_eq!(answer.as_ref(), Ok(&case[3]), "{} {}", engine.name(), case[1]);
        }
    }
}

#[tokio::test]
async fn documents_of_a_wrong_form_allow_nothing() {
    let cases: Value = serde_json::from_str(CASES).unwrap();
    let data = &cases["data"];
    let checks: Vec<Value> = cases["allowed"].as_array().unwrap().iter().map(check_of).collect();
    let bulk = json!({"checks": checks});
    let (engines, _opa) = both(data).await;
    let members = data.as_object().unwrap();
    for engine in engines {
        let allowed = async || {
            let answer = decide(&*engine, "bulk", &bulk).await;
            // An engine that cannot decide on it says so.
            let answer = answer.unwrap_or_default();
            let verdicts = answer["allow"].as_array().cloned().unwrap_or_default();
            verdicts.iter().map(|it| it["allow"] == true).collect::<Vec<_>>()
        };
        let before = allowed().await;
        assert!(before.iter().any(|it| *it) && before.len() == checks.len());
        for (name, document) in members {
            let place = DataPath::default().below([name.clone()]);
            let first = document.as_object().unwrap().keys().next().unwrap();
            for wrong in [
                json!(null),
                json!(true),
                json!(1),
                json!("admin"),
                json!([]),
                json!([{"admin": ["*"]}]),
                json!({first: null}),
                json!({first: [true]}),
                json!({first: "admin"}),
                json!({first: {"acme": {"admin": true}}}),
            ] {
                engine.write(Write::Put { path: &place, data: &text(&wrong) }).await.unwrap();
                let now = allowed().await;
                let more = now.iter().zip(&before).position(|(now, before)| *now && !*before);
                // Nobody can be told whose an instance is of which there is no document.
                let is_unknown = name == "resource_instances";
                assert!(more.is_none() || is_unknown, "{} {name} {wrong} {more:?}", engine.name());
            }
            engine.write(Write::Put { path: &place, data: &text(document) }).await.unwrap();
        }
        assert_eq!(allowed().await, before);
    }
}

// === Over HTTP ===

/// Answers everything alike, or never.
struct Broken(Option<Result<Option<&'static str>, Undecided>>);

impl Engine for Broken {
    fn name(&self) -> &'static str {
        "broken"
    }

    fn permit<'a>(
        &'a self,
        _rule: &'a [&'a str],
        _input: &'a Json,
    ) -> BoxFuture<'a, Result<Option<Json>, Undecided>> {
        Box::pin(async {
            match self.0.clone() {
                Some(answer) => answer.map(|it| it.map(|text| Json::known(text.to_owned()))),
                None => std::future::pending().await,
            }
        })
    }

    fn tell_lag(&self, _seconds: u64) -> BoxFuture<'_, Result<(), EngineError>> {
        Box::pin(async { Ok(()) })
    }

    fn read<'a>(&'a self, _path: &'a DataPath) -> BoxFuture<'a, Result<Option<Json>, EngineError>> {
        Box::pin(async { Err(EngineError::Unavailable("it is away".to_owned())) })
    }

    fn write<'a>(&'a self, _write: Write<'a>) -> BoxFuture<'a, Result<(), EngineError>> {
        Box::pin(async { Ok(()) })
    }

    fn set_policies<'a>(
        &'a self,
        _modules: &'a [PolicyModule],
    ) -> BoxFuture<'a, Result<(), EngineError>> {
        Box::pin(async { Ok(()) })
    }

    fn commit<'a>(
        &'a self,
        _modules: &'a [PolicyModule],
        _documents: &'a [OwnedDocument],
    ) -> BoxFuture<'a, Result<(), EngineError>> {
        Box::pin(async { Ok(()) })
    }

    fn probe(&self) -> BoxFuture<'_, Result<EngineState, EngineError>> {
        Box::pin(async { Ok(EngineState::Filled) })
    }

    fn restore<'a>(
        &'a self,
        _owned: &'a [OwnedDocument],
    ) -> BoxFuture<'a, Result<Vec<(DataPath, String)>, EngineError>> {
        Box::pin(async { Ok(vec![]) })
    }
}

async fn serve(engine: Arc<dyn Engine>, waiting: Waiting) -> String {
    let (open, guarded) = routers(Enforcement::new(engine, waiting));
    let router = open.merge(guarded).layer(axum::middleware::from_fn(echo));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

async fn post(base: &str, path: &str, body: &Value) -> (u16, Value) {
    let http = crate::http::client(std::time::Duration::from_secs(30)).unwrap();
    let response = http.post(format!("{base}{path}")).json(body).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

/// A question of each kind that a policy decides.
fn questions() -> [(&'static str, Value); 6] {
    let check = json!({"user": {"key": "alice"}, "action": "read", "resource": {"type": "document", "tenant": "acme"}});
    let evaluation = json!({
        "subject": {"type": "user", "id": "alice"}, "action": {"name": "read"},
        "resource": {"type": "document", "id": "1"}, "context": {"tenant": "acme"},
    });
    let mut evaluations = evaluation.clone();
    evaluations["evaluations"] = json!([{}]);
    [
        ("/allowed", check.clone()),
        ("/allowed/bulk", json!([check])),
        ("/user-permissions", json!({"user": {"key": "alice"}})),
        ("/authorized_users", json!({"action": "read", "resource": {"type": "document"}})),
        ("/access/v1/evaluation", evaluation),
        ("/access/v1/evaluations", evaluations),
    ]
}

/// True if an answer lets anybody do anything.
fn allows(answer: &Value) -> bool {
    match answer {
        Value::Bool(it) => *it,
        Value::Array(items) => items.iter().any(allows),
        Value::Object(members) => members.values().any(allows),
        _ => false,
    }
}

#[tokio::test]
async fn every_way_to_fail_has_its_status_and_no_decision() {
    let why = || "it went wrong".to_owned();
    for (engine, status) in [
        (Some(Err(Undecided::Input(why()))), 422),
        (Some(Err(Undecided::Policy(why()))), 500),
        (Some(Err(Undecided::Engine(why()))), 502),
        (Some(Err(Undecided::NoPackage)), 501),
        (Some(Ok(Some("[true]"))), 500),
        (Some(Ok(Some("\"true\""))), 500),
        (Some(Ok(Some("1"))), 500),
    ] {
        let base = serve(Arc::new(Broken(engine.clone())), never()).await;
        for (path, body) in questions() {
            let (answered, answer) = post(&base, path, &body).await;
            // What is malformed is 400 in AuthZEN.
            let status = if path.starts_with("/access/") && status == 422 { 400 } else { status };
            assert_eq!(answered, status, "{path} {engine:?}");
            assert!(answer.get("detail").is_some(), "{path} {answer}");
            let is_silent = ["allow", "result", "decision", "users", "permissions", "evaluations"]
                .iter()
                .all(|name| answer.get(name).is_none());
            assert!(is_silent, "{path} {answer}");
        }
    }
}

#[tokio::test]
async fn what_is_undefined_is_denied() {
    let base = serve(Arc::new(Broken(Some(Ok(None)))), never()).await;
    for (path, body) in questions() {
        let (status, answer) = post(&base, path, &body).await;
        assert!(status == 200 && !allows(&answer), "{path} {status} {answer}");
    }
    let (_, body) = &questions()[0];
    assert_eq!(post(&base, "/allowed", body).await.1, json!({"allow": false, "result": false}));
    let (_, users) = post(&base, "/authorized_users", &questions()[3].1).await;
    assert_eq!(users, json!({"resource": "document:*", "tenant": null, "users": {}}));
}

#[tokio::test]
async fn an_engine_that_is_too_slow_decides_nothing() {
    let base = serve(Arc::new(Broken(None)), never()).await;
    let [allowed, bulk, .., evaluation, evaluations] = questions();
    for (path, body) in [allowed, bulk, evaluation, evaluations] {
        let (status, answer) = post(&base, path, &body).await;
        assert!(status == 504 && !allows(&answer), "{path} {status} {answer}");
    }
}

#[tokio::test]
async fn an_engine_that_is_not_filled_decides_nothing() {
    let (waiting, _kept) = not_yet();
    let base = serve(Arc::new(Broken(Some(Ok(Some("true"))))), waiting).await;
    for (path, body) in questions() {
        let (status, answer) = post(&base, path, &body).await;
        assert!(status == 503 && !allows(&answer), "{path} {status} {answer}");
    }
}

#[tokio::test]
async fn an_opa_that_is_down_decides_nothing() {
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = Url::parse(&format!("http://{free}")).unwrap();
    let base = serve(Arc::new(OpaEngine::new(url.clone(), None).unwrap()), never()).await;
    for (path, body) in questions() {
        let (status, answer) = post(&base, path, &body).await;
        // No policy was put into it yet.
        assert!(status == 501 && !allows(&answer), "{path} {status} {answer}");
    }
    if !testbed::require(&[Part::Opa]).unwrap() {
        return;
    }
    let mut opa = Opa::start().await.unwrap();
    let engine = OpaEngine::new(Url::parse(opa.url()).unwrap(), None).unwrap();
    let engine = filled(engine, &[module()], &json!({})).await;
    opa.kill().await.unwrap();
    let base = serve(engine, never()).await;
    for (path, body) in questions() {
        let (status, answer) = post(&base, path, &body).await;
        assert!(status == 502 && !allows(&answer), "{path} {status} {answer}");
    }
}

#[tokio::test]
async fn a_policy_of_ones_own_is_asked_instead() {
    let own = module_of(
        "package permit.root\n\nallow if input.action == \"own\"\n\ndebug := {\"why\": input.authzen.subject.type}",
    );
    let cases: Value = serde_json::from_str(CASES).unwrap();
    let base = serve(filled(RegorusEngine::new(), &[own], &cases["data"]).await, never()).await;
    let [(path, mut body), ..] = questions();
    assert_eq!(post(&base, path, &body).await.1["allow"], false);
    body["action"] = json!("own");
    assert_eq!(post(&base, path, &body).await.1["allow"], true);
    let service = json!({
        "subject": {"type": "service", "id": "alice"}, "action": {"name": "own"},
        "resource": {"type": "document", "id": "1"},
    });
    assert_eq!(
        post(&base, "/access/v1/evaluation", &service).await,
        (200, json!({"decision": true}))
    );
    // Two rules with different values are no decision.
    let two = module_of("package permit\n\nroot := true\n\nroot := false");
    let base = serve(filled(RegorusEngine::new(), &[two], &json!({})).await, never()).await;
    let (status, answer) = post(&base, path, &body).await;
    assert!(status == 500 && !allows(&answer), "{status} {answer}");
}

#[tokio::test]
async fn data_in_the_packages_place_decides_nothing() {
    let data = json!({"permit": {"root": {"allow": true}, "bulk": {"allow": [{"allow": true}]}}});
    let base = serve(filled(RegorusEngine::new(), &[], &data).await, never()).await;
    for (path, body) in questions() {
        let (status, answer) = post(&base, path, &body).await;
        assert!(status == 200 && !allows(&answer), "{path} {status} {answer}");
    }
}

#[tokio::test]
async fn an_update_is_in_the_next_decision() {
    let engine = filled(RegorusEngine::new(), &[], &json!({})).await;
    let base = serve(Arc::clone(&engine) as Arc<dyn Engine>, never()).await;
    let [(path, body), ..] = questions();
    let roles = DataPath::parse("/users/alice").unwrap();
    let grants = DataPath::parse("/role_permissions/__tenant/viewer").unwrap();
    let viewer = text(&json!({"grants": {"document": ["read"]}}));
    engine.write(Write::Put { path: &grants, data: &viewer }).await.unwrap();
    for _ in 0..3 {
        for (role, allow) in [("viewer", true), ("nobody", false)] {
            let document = text(&json!({"roleAssignments": {"acme": [role]}}));
            engine.write(Write::Put { path: &roles, data: &document }).await.unwrap();
            assert_eq!(post(&base, path, &body).await.1["allow"], allow);
        }
    }
}

// === AuthZEN ===

async fn on_cases() -> String {
    let cases: Value = serde_json::from_str(CASES).unwrap();
    serve(filled(RegorusEngine::new(), &[], &cases["data"]).await, never()).await
}

#[tokio::test]
async fn evaluations_are_answered_up_to_the_one_that_settles_them() {
    let base = on_cases().await;
    let ask = async |semantic: &str| {
        let body = json!({
            "subject": {"type": "user", "id": "alice"}, "action": {"name": "read"},
            "resource": {"type": "document", "id": "1", "properties": {"tenant": "acme"}},
            "options": {"evaluations_semantic": semantic},
            "evaluations": [
                {}, {"action": {"name": "write"}}, {"subject": {"type": "service", "id": "alice"}}, {"resource": {"type": "document", "id": "2"}},
            ],
        });
        let (status, answer) = post(&base, "/access/v1/evaluations", &body).await;
        assert_eq!(status, 200, "{answer}");
        let decisions = answer["evaluations"].as_array().unwrap();
        decisions.iter().map(|it| it["decision"] == true).collect::<Vec<_>>()
    };
    assert_eq!(ask("execute_all").await, [true, false, false, true]);
    assert_eq!(ask("deny_on_first_deny").await, [true, false]);
    assert_eq!(ask("permit_on_first_permit").await, [true]);
    let single = json!({
        "subject": {"type": "user", "id": "alice"}, "action": {"name": "read"},
        "resource": {"type": "document", "id": "1"}, "evaluations": [],
    });
    let answer = post(&base, "/access/v1/evaluations", &single).await;
    assert_eq!(answer, (200, json!({"decision": true})));
}

#[tokio::test]
async fn what_is_malformed_is_400_and_says_where() {
    let base = on_cases().await;
    let good = json!({
        "subject": {"type": "user", "id": "a"}, "action": {"name": "r"}, "resource": {"type": "t", "id": "1"},
    });
    for (place, value, words) in [
        ("/subject", json!(null), "missing field `subject`"),
        ("/subject", json!({"type": "user"}), "subject: missing field `id`"),
        ("/subject", json!({"type": "user", "id": 5}), "subject.id: something else than a string"),
        ("/action", json!("read"), "action: "),
        ("/resource", json!([]), "resource: "),
        ("/context", json!("x"), "context: "),
        ("/context", json!({"tenant": 1}), "`tenant` has to be a string"),
        ("/evaluations", json!([{}, {"subject": {"id": "x"}}]), "evaluations[1].subject: missing"),
        ("/evaluations", json!({}), "evaluations: "),
        ("/options", json!({"evaluations_semantic": "any"}), "options.evaluations_semantic: "),
    ] {
        let mut body = good.clone();
        body[place.trim_start_matches('/')] = value;
        let (status, answer) = post(&base, "/access/v1/evaluations", &body).await;
        let detail = answer["detail"].as_str().unwrap_or_default();
        assert!(status == 400 && detail.contains(words), "{place}: {status} {answer}");
    }
    let partly = json!({"action": good["action"], "evaluations": [{"subject": good["subject"]}]});
    let (status, answer) = post(&base, "/access/v1/evaluations", &partly).await;
    assert_eq!(
        (status, &answer["detail"]),
        (400, &json!("evaluations[0]: missing field `resource`"))
    );
    assert_eq!(post(&base, "/access/v1/evaluation", &json!([])).await.0, 400);
    assert_eq!(post(&base, "/access/v1/search/subject", &good).await.0, 501);
}

#[tokio::test]
async fn the_configuration_names_the_caller_s_own_host_and_a_request_id_comes_back() {
    let base = on_cases().await;
    let http = crate::http::client(std::time::Duration::from_secs(5)).unwrap();
    let url = format!("{base}/.well-known/authzen-configuration");
    let answer = http.get(url).header("x-request-id", "r-1").send().await.unwrap();
    assert_eq!(answer.headers()["x-request-id"], "r-1");
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(answer["policy_decision_point"], json!(base));
    assert_eq!(answer["access_evaluation_endpoint"], json!(format!("{base}/access/v1/evaluation")));
    let refused = http.post(format!("{base}/access/v1/evaluation")).header("x-request-id", "r-2");
    let refused = refused.body("{").send().await.unwrap();
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["x-request-id"]),
        (400, &"r-2".parse().unwrap())
    );
}
