//! The OPA engine against a server that answers like OPA and remembers what it was asked.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method as Verb, StatusCode, Uri},
    response::{IntoResponse, Response},
};

use super::*;

/// What a test looks at, and what it makes OPA answer.
#[derive(Default)]
struct Opa {
    asked: Vec<String>,
    policies: BTreeMap<String, String>,
    marker: Option<String>,
    /// By `METHOD path`.
    answers: BTreeMap<String, (u16, &'static str)>,
    /// Modules that are refused while another one is there (or, with `!`, is not there).
    needs: BTreeMap<&'static str, &'static str>,
    /// Writes that were done, also somebody else's.
    writes: u64,
}

type Shared = Arc<Mutex<Opa>>;

async fn answer(
    State(opa): State<Shared>,
    verb: Verb,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut opa = opa.lock().unwrap();
    let answer = answer_of(&mut opa, &verb, &uri, &headers, &body);
    opa.writes += u64::from(verb != Verb::GET && metrics::is_done(answer.status().as_str()));
    answer
}

fn answer_of(opa: &mut Opa, verb: &Verb, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> Response {
    let body = String::from_utf8(body.to_vec()).unwrap();
    let path = uri.path().to_owned();
    let header = |name: &str| headers.get(name).map_or("", |value| value.to_str().unwrap());
    let call = format!("{verb} {path}");
    let (kind, token) = (header("content-type"), header("authorization"));
    opa.asked.push(format!("{call} {kind} {token} {body}"));
    if let Some((status, answer)) = opa.answers.get(&call) {
        return (StatusCode::from_u16(*status).unwrap(), *answer).into_response();
    }
    match (verb.as_str(), path.strip_prefix("/v1/policies/")) {
        ("GET", None) if path == "/metrics" => {
            let labels = r#"code="204",handler="v1/data",method="put""#;
            let name = "http_request_duration_seconds_count";
            format!("{name}{{{labels}}} {}", opa.writes).into_response()
        }
        ("GET", Some(id)) => match opa.policies.get(id) {
            Some(raw) => axum::Json(serde_json::json!({"result": {"raw": raw}})).into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        },
        ("GET", None) => {
            let result = opa.marker.as_ref().map(|marker| format!(r#"{{"result":{marker}}}"#));
            result.unwrap_or_else(|| "{}".to_owned()).into_response()
        }
        ("PUT", Some(_)) if !body.starts_with("package ") => {
            let why = r#"{"code":"invalid_parameter","message":"no","errors":[{"code":"rego_parse_error","message":"package expected","location":{"file":"b.rego","row":1,"col":1}}]}"#;
            (StatusCode::BAD_REQUEST, why).into_response()
        }
        ("PUT", Some(id)) => {
            let refused = match opa.needs.get(id).map(|need| (need.strip_prefix('!'), *need)) {
                Some((Some(gone), _)) => opa.policies.contains_key(gone),
                Some((None, there)) => !opa.policies.contains_key(there),
                None => false,
            };
            if refused {
                let why = r#"{"code":"invalid_parameter","message":"no","errors":[{"message":"var x is unsafe","location":{"file":"b.rego","row":3,"col":1}}]}"#;
                return (StatusCode::BAD_REQUEST, why).into_response();
            }
            opa.policies.insert(id.to_owned(), body);
            "{}".into_response()
        }
        ("DELETE", Some(id)) => match opa.policies.remove(id) {
            Some(_) => "{}".into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        },
        _ => {
            if path == "/v1/data/girasol/agent" {
                opa.marker = Some(body);
            }
            StatusCode::NO_CONTENT.into_response()
        }
    }
}

async fn start() -> (Shared, OpaEngine) {
    let opa = Shared::default();
    let router = Router::new().fallback(answer).with_state(Arc::clone(&opa));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let token = Some(Secret::new("tok".to_owned()));
    (opa, OpaEngine::new(url, token).unwrap())
}

fn json(text: &str) -> Json {
    Json::known(text.to_owned())
}

fn path(text: &str) -> DataPath {
    DataPath::parse(text).unwrap()
}

fn module(id: &str) -> PolicyModule {
    PolicyModule { id: id.to_owned(), rego: format!("package {}", id.trim_end_matches(".rego")) }
}

async fn put(engine: &OpaEngine, at: &str, data: &str) -> Result<(), EngineError> {
    engine.write(Write::Put { path: &path(at), data: &json(data) }).await
}

#[tokio::test]
async fn data_goes_verbatim_to_its_escaped_path_with_the_token() {
    let (opa, engine) = start().await;
    put(&engine, "/users/a b", r#"{"n":1.0}"#).await.unwrap();
    let operations = json(r#"[{"op":"add","path":"/x","value":1.0}]"#);
    let write = Write::Patch { path: &path("/users"), operations: &operations };
    engine.write(write).await.unwrap();
    assert_eq!(
        opa.lock().unwrap().asked,
        [
            sent(&engine, r#"{"op":"add","path":"/users/a b","value":{"n":1.0}}"#),
            sent(&engine, r#"{"op":"add","path":"/users/x","value":1.0}"#),
        ]
    );
}

/// A write as OPA is asked for it: the fence, then the operation.
fn sent(engine: &OpaEngine, operation: &str) -> String {
    let fence = engine.marker.fence();
    format!("PATCH /v1/data application/json-patch+json Bearer tok [{fence},{operation}]")
}

#[tokio::test]
async fn a_missing_parent_is_made_and_one_that_is_there_is_left_alone() {
    let (opa, engine) = start().await;
    engine.mark().await.unwrap();
    let asked = |opa: &Shared| -> Vec<String> {
        let asked = std::mem::take(&mut opa.lock().unwrap().asked);
        asked.iter().map(|call| call.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect()
    };
    asked(&opa);
    opa.lock().unwrap().answers.insert("PATCH /v1/data".to_owned(), (404, "{}"));
    opa.lock().unwrap().answers.insert("PUT /v1/data/a/b".to_owned(), (304, ""));
    assert!(matches!(put(&engine, "/a/b/c", "1").await, Err(EngineError::Rejected(_))));
    let write = "PATCH /v1/data";
    let (look, count) = ("GET /v1/data/girasol/agent", "GET /metrics");
    assert_eq!(asked(&opa), [write, look, count, "PUT /v1/data/a/b", write, look, count]);
}

#[tokio::test]
async fn a_write_that_was_fenced_off_is_not_the_updates_fault() {
    let (opa, engine) = start().await;
    engine.mark().await.unwrap();
    let before = engine.marker.fence();
    assert_eq!(engine.restore(&[]).await, Ok(vec![]));
    assert_ne!(engine.marker.fence(), before);
    opa.lock().unwrap().answers.insert("PATCH /v1/data".to_owned(), (404, "{}"));
    assert!(matches!(put(&engine, "/a", "1").await, Err(EngineError::Rejected(_))));
    opa.lock().unwrap().marker = Some(r#"{"run":"another"}"#.to_owned());
    assert!(matches!(put(&engine, "/a", "1").await, Err(EngineError::Unavailable(_))));
}

#[tokio::test]
async fn a_write_that_somebody_elses_data_is_in_the_way_of_is_not_the_updates_fault() {
    let (opa, engine) = start().await;
    assert_eq!(engine.restore(&[]).await, Ok(vec![]));
    opa.lock().unwrap().answers.insert("PATCH /v1/data".to_owned(), (404, "{}"));
    assert!(matches!(put(&engine, "/a", "1").await, Err(EngineError::Rejected(_))));
    opa.lock().unwrap().writes += 1;
    assert!(matches!(put(&engine, "/a", "1").await, Err(EngineError::Unavailable(_))));
}

#[tokio::test]
async fn a_root_write_keeps_the_marker_and_wraps_a_list_as_opal_does() {
    let (opa, engine) = start().await;
    let mark = engine.marker.document();
    for (data, document) in [
        (r#"{"a":1}"#, format!(r#"{{"girasol":{{"agent":{mark}}},"a":1}}"#)),
        ("[1]", format!(r#"{{"girasol":{{"agent":{mark}}},"items":[1]}}"#)),
    ] {
        put(&engine, "/", data).await.unwrap();
        let asked = std::mem::take(&mut opa.lock().unwrap().asked);
        let add = format!(r#"{{"op":"add","path":"","value":{document}}}"#);
        assert_eq!(asked, [sent(&engine, &add)]);
    }
    for data in ["5", "\"x\"", "null"] {
        assert!(matches!(put(&engine, "/", data).await, Err(EngineError::Rejected(_))));
    }
    assert!(opa.lock().unwrap().asked.is_empty());
}

#[tokio::test]
async fn a_write_over_the_marker_is_followed_by_the_marker() {
    let (opa, engine) = start().await;
    let marked = |opa: &Shared| {
        let opa = opa.lock().unwrap();
        opa.asked.last().unwrap().starts_with("PUT /v1/data/girasol/agent ")
    };
    put(&engine, "/girasol", r#"{"own":1}"#).await.unwrap();
    assert!(marked(&opa));
    put(&engine, "/girasols", "1").await.unwrap();
    assert!(!marked(&opa));
    put(&engine, "/", r#"{"girasol":{"own":1}}"#).await.unwrap();
    assert!(marked(&opa));
    put(&engine, "/", r#"{"own":{"girasol":1}}"#).await.unwrap();
    assert!(!marked(&opa));
    let write = Write::Patch { path: &path("/"), operations: &json("[]") };
    engine.write(write).await.unwrap();
    assert!(marked(&opa));
}

#[tokio::test]
async fn a_restarted_opa_is_empty_until_it_is_marked() {
    let (opa, engine) = start().await;
    assert_eq!(engine.probe().await, Ok(EngineState::Empty));
    engine.mark().await.unwrap();
    assert_eq!(engine.probe().await, Ok(EngineState::Filled));
    opa.lock().unwrap().marker = Some(r#"{"run":"another","policies":[]}"#.to_owned());
    assert_eq!(engine.probe().await, Ok(EngineState::Empty));
    opa.lock().unwrap().marker = Some("5".to_owned());
    assert_eq!(engine.probe().await, Ok(EngineState::Empty));
}

#[tokio::test]
async fn what_opa_answers_is_rejected_or_unavailable() {
    let (opa, engine) = start().await;
    engine.mark().await.unwrap();
    let refusal = r#"{"code":"resource_conflict","message":"storage_write_conflict_error: /a"}"#;
    for (status, body, words, retried) in [
        (404, refusal, "OPA answered 404: storage_write_conflict_error: /a", false),
        (400, "", "OPA answered 400", false),
        (401, "{}", "check --opa-token", true),
        (403, "{}", "check --opa-token", true),
        (301, "", "OPA answered 301", false),
        (500, "<html>", "OPA answered 500", true),
        (503, "", "OPA answered 503", true),
        (429, "", "OPA answered 429", true),
    ] {
        opa.lock().unwrap().answers.insert("PATCH /v1/data".to_owned(), (status, body));
        let error = put(&engine, "/a", "{}").await.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(matches!(error, EngineError::Unavailable(_)), retried, "{status}");
    }
    opa.lock().unwrap().answers.insert("PATCH /v1/data".to_owned(), (304, ""));
    assert_eq!(put(&engine, "/a", "{}").await, Ok(()));
}

#[tokio::test]
async fn an_opa_that_is_not_there_is_unavailable_and_named() {
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let engine = OpaEngine::new(Url::parse(&url).unwrap(), None).unwrap();
    let error = engine.probe().await.unwrap_err();
    let expected = format!("OPA at {url}/: Connection refused; start it, or correct --opa-url");
    assert_eq!(error, EngineError::Unavailable(expected));
}

#[tokio::test]
async fn policies_that_need_each_other_get_in_in_any_order() {
    let (opa, engine) = start().await;
    opa.lock().unwrap().needs = BTreeMap::from([("a.rego", "b.rego"), ("b.rego", "c.rego")]);
    let modules = [module("a.rego"), module("b.rego"), module("c.rego")];
    engine.set_policies(&modules).await.unwrap();
    assert_eq!(opa.lock().unwrap().policies.len(), 3);
}

#[tokio::test]
async fn only_this_agents_old_policies_are_taken_back() {
    let (opa, engine) = start().await;
    opa.lock().unwrap().policies.insert("theirs.rego".to_owned(), String::new());
    engine.set_policies(&[module("a.rego"), module("d/b.rego")]).await.unwrap();
    engine.mark().await.unwrap();
    // The new module collides with an old one as long as that is there.
    opa.lock().unwrap().needs = BTreeMap::from([("c.rego", "!d/b.rego")]);
    engine.set_policies(&[module("a.rego"), module("c.rego")]).await.unwrap();
    let ids = |opa: &Shared| opa.lock().unwrap().policies.keys().cloned().collect::<Vec<_>>();
    assert_eq!(ids(&opa), ["a.rego", "c.rego", "theirs.rego"]);

    // The next run of the agent knows what this one put.
    let next = OpaEngine { marker: Marker::new(), ..engine };
    next.set_policies(&[module("a.rego")]).await.unwrap();
    assert_eq!(ids(&opa), ["a.rego", "theirs.rego"]);
}

#[tokio::test]
async fn a_policy_that_never_gets_in_is_rejected_with_opas_words() {
    let (opa, engine) = start().await;
    opa.lock().unwrap().needs = BTreeMap::from([("b.rego", "missing.rego")]);
    let error = engine.set_policies(&[module("a.rego"), module("b.rego")]).await.unwrap_err();
    assert_eq!(
        error,
        EngineError::Rejected("b.rego: OPA answered 400: no; b.rego:3: var x is unsafe".to_owned())
    );
    assert!(opa.lock().unwrap().policies.contains_key("a.rego"));
}

#[tokio::test]
async fn a_syntax_error_in_a_new_policy_deletes_nothing() {
    let (opa, engine) = start().await;
    engine.set_policies(&[module("old.rego")]).await.unwrap();
    opa.lock().unwrap().asked.clear();
    // The other one is refused for a reason that could go away with the old one.
    opa.lock().unwrap().needs = BTreeMap::from([("a.rego", "!old.rego")]);
    let broken = PolicyModule { id: "b.rego".to_owned(), rego: "pakage b".to_owned() };
    let error = engine.set_policies(&[module("a.rego"), broken]).await.unwrap_err();
    let words = "b.rego: OPA answered 400: no; b.rego:1: package expected";
    assert_eq!(error, EngineError::Rejected(words.to_owned()));
    let opa = opa.lock().unwrap();
    assert!(!opa.asked.iter().any(|asked| asked.starts_with("DELETE")));
    assert!(opa.policies.contains_key("old.rego"));
}

#[tokio::test]
async fn policies_that_made_way_in_vain_are_put_back() {
    let (opa, engine) = start().await;
    let mut changed = module("c.rego");
    changed.rego.push_str("\n# before");
    engine.set_policies(&[module("old.rego"), changed, module("older.rego")]).await.unwrap();
    let before = opa.lock().unwrap().policies.clone();
    // Two get in without the old one, which cannot come back while the first is there; the
    // last one never does.
    opa.lock().unwrap().needs = BTreeMap::from([
        ("a.rego", "!old.rego"),
        ("b.rego", "missing.rego"),
        ("c.rego", "!older.rego"),
        ("old.rego", "!a.rego"),
    ]);
    let new = [module("a.rego"), module("b.rego"), module("c.rego")];
    let error = engine.set_policies(&new).await.unwrap_err();
    assert!(matches!(&error, EngineError::Rejected(why) if why.starts_with("b.rego: ")), "{error}");
    assert!(!error.to_string().contains("put back"), "{error}");
    assert_eq!(opa.lock().unwrap().policies, before);
}

fn document(at: &str, text: Option<&str>) -> OwnedDocument {
    (path(at), text.map(json))
}

#[tokio::test]
async fn a_commit_puts_the_modules_that_changed_and_then_all_data_at_once() {
    let (opa, engine) = start().await;
    engine.set_policies(&[module("a.rego"), module("b.rego"), module("c.rego")]).await.unwrap();
    engine.mark().await.unwrap();
    opa.lock().unwrap().asked.clear();
    let mut changed = module("b.rego");
    changed.rego.push_str("\nx := 1");
    let documents = [document("/app/limits", Some("{}")), document("/old", None)];
    engine.commit(&[module("a.rego"), changed], &documents).await.unwrap();
    let asked = opa.lock().unwrap().asked.clone();
    let writes: Vec<&str> =
        asked.iter().filter(|it| !it.starts_with("GET")).map(String::as_str).collect();
    let marked = format!(
        "PUT /v1/data/girasol/agent application/json Bearer tok {}",
        engine.marker.document()
    );
    let operations = r#"{"op":"add","path":"/app/limits","value":{}},{"op":"add","path":"/old","value":{}},{"op":"remove","path":"/old"}"#;
    assert_eq!(
        writes,
        [
            "PUT /v1/policies/b.rego text/plain Bearer tok package b\nx := 1",
            "DELETE /v1/policies/c.rego  Bearer tok ",
            &marked,
            "PUT /v1/data/app application/json Bearer tok {}",
            &sent(&engine, operations),
        ]
    );
}

#[tokio::test]
async fn what_opa_refuses_of_a_commit_takes_the_rest_with_it() {
    let (opa, engine) = start().await;
    engine.mark().await.unwrap();
    engine.set_policies(&[module("a.rego"), module("old.rego")]).await.unwrap();
    let before = opa.lock().unwrap().policies.clone();
    let mut changed = module("a.rego");
    changed.rego.push_str("\nx := 1");
    let broken = PolicyModule { id: "b.rego".to_owned(), rego: "pakage b".to_owned() };
    let error = engine.commit(&[changed.clone(), broken], &[]).await.unwrap_err();
    assert!(matches!(&error, EngineError::Rejected(why) if why.contains("b.rego:1")), "{error}");
    assert_eq!(opa.lock().unwrap().policies, before);

    let refusal = r#"{"code":"resource_conflict","message":"storage_write_conflict_error: /d"}"#;
    opa.lock().unwrap().answers.insert("PATCH /v1/data".to_owned(), (404, refusal));
    let documents = [document("/d", Some("{}"))];
    let error = engine.commit(&[changed, module("c.rego")], &documents).await.unwrap_err();
    assert!(matches!(&error, EngineError::Rejected(why) if why.contains("/d")), "{error}");
    assert_eq!(opa.lock().unwrap().policies, before);
}

#[tokio::test]
async fn an_opa_is_asked_past_the_proxy_of_the_environment() {
    const PROXY: &str = "http://127.0.0.1:1";
    let name = "engine::opa::tests::an_opa_is_asked_past_the_proxy_of_the_environment";
    // The environment belongs to a process, so that this test takes another one.
    if std::env::var("HTTP_PROXY").as_deref() != Ok(PROXY) {
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", name]).env_remove("NO_PROXY").env_remove("no_proxy");
        for variable in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
            again.env(variable, PROXY);
        }
        let ended = again.output().unwrap();
        let said = String::from_utf8_lossy(&ended.stdout).into_owned();
        assert!(ended.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let (_, engine) = start().await;
    assert_eq!(engine.probe().await, Ok(EngineState::Empty));
}
