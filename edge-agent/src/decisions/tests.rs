//! Answers compared with those of OPA 1.22.2, which were captured from the same policy,
//! data and requests.

use axum::http::Method;
use decision::MAX_BODY_BYTES;
use protocol::DataPath;

use super::*;
use crate::{
    engine::{Engine as _, Write},
    json::Json,
    policy::PolicyModule,
    runtime::waiting::tests::never,
};

const POLICY: &str = r#"package a
allow if input.x == 1
d := {"k": 1}
s contains x if some x in [3, 1, 2]
str := "<a&b>\u2028"
default z := 5
q.r.s := 4
c := 1
c := 2 if input.conflict"#;

const DATA: &str = r#"{"base":{"y":[1,{"b":2}],"0":"zero","a b":{"c":1},"a/b":2,"str":"<&>é"}}"#;

fn parts(engine: Arc<RegorusEngine>) -> Parts {
    let freshness = crate::runtime::freshness::channel().1;
    Parts { engine, waiting: never(), freshness, log: None, settings: DecisionSettings::default() }
}

async fn start() -> String {
    let engine = Arc::new(RegorusEngine::new());
    let module = PolicyModule { id: "a.rego".to_owned(), rego: POLICY.to_owned() };
    engine.set_policies(&[module]).await.unwrap();
    let data = Json::known(DATA.to_owned());
    engine.write(Write::Put { path: &DataPath::default(), data: &data }).await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router(parts(engine))).await });
    format!("http://{address}")
}

/// `status content-type body`.
async fn ask(base: &str, method: &str, path: &str, body: Option<&str>) -> String {
    let http = crate::http::client(std::time::Duration::from_secs(5)).unwrap();
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let mut request = http.request(method, format!("{base}{path}"));
    if let Some(body) = body {
        request = request.body(body.to_owned());
    }
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let kind =
        response.headers().get(header::CONTENT_TYPE).map(|kind| kind.to_str().unwrap().to_owned());
    format!("{status} {} {}", kind.unwrap_or_default(), response.text().await.unwrap())
}

const JSON: &str = "200 application/json ";

#[tokio::test]
async fn a_get_answers_what_opa_answers() {
    let base = start().await;
    for (path, body) in [
        ("/v1/data/a/allow", "{}"),
        ("/v1/data/a/allow?input=%7B%22x%22%3A1%7D", r#"{"result":true}"#),
        ("/v1/data/a/%61llow?input=%7B%22x%22%3A1%7D", r#"{"result":true}"#),
        ("/v1/data/a%2Fallow?input=%7B%22x%22%3A1%7D", "{}"),
        ("/v1/data/a/d/k", r#"{"result":1}"#),
        ("/v1/data/a/s", r#"{"result":[1,2,3]}"#),
        ("/v1/data/a/s/1", r#"{"result":1}"#),
        ("/v1/data/a/s/0", "{}"),
        ("/v1/data/a/q", r#"{"result":{"r":{"s":4}}}"#),
        ("/v1/data/a/str", r#"{"result":"\u003ca\u0026b\u003e\u2028"}"#),
        ("/v1/data/base/y/1/b", r#"{"result":2}"#),
        ("/v1/data/base/y/01", r#"{"result":{"b":2}}"#),
        ("/v1/data/base/y/-1", "{}"),
        ("/v1/data/base/0", r#"{"result":"zero"}"#),
        ("/v1/data/base/a%20b/c", r#"{"result":1}"#),
        ("/v1/data/base/a%2Fb", r#"{"result":2}"#),
        ("/v1/data/base/str", r#"{"result":"\u003c\u0026\u003eé"}"#),
        (
            "/v1/data/base/y?pretty",
            "{\n  \"result\": [\n    1,\n    {\n      \"b\": 2\n    }\n  ]\n}",
        ),
        ("/v1/data/base/y?pretty=false", r#"{"result":[1,{"b":2}]}"#),
        ("/v1/data/base/y/0?pretty=TRUE", "{\n  \"result\": 1\n}"),
        ("/v1/data/nope/nope?pretty", "{}"),
        ("/health", "{}"),
        ("/health?bundles", "{}"),
    ] {
        assert_eq!(ask(&base, "GET", path, None).await, format!("{JSON}{body}\n"), "{path}");
    }
    let whole = ask(&base, "GET", "/v1/data", None).await;
    assert_eq!(
        whole,
        format!(
            "{JSON}{}\n",
            r#"{"result":{"a":{"c":1,"d":{"k":1},"q":{"r":{"s":4}},"s":[1,2,3],"str":"\u003ca\u0026b\u003e\u2028","z":5},"base":{"0":"zero","a b":{"c":1},"a/b":2,"str":"\u003c\u0026\u003eé","y":[1,{"b":2}]}}}"#
        )
    );
}

#[tokio::test]
async fn a_post_answers_what_opa_answers() {
    let base = start().await;
    let warning = r#""warning":{"code":"api_usage_warning","message":"'input' key missing from the request"}"#;
    let warned = format!("{JSON}{{{warning}}}\n");
    for (body, expected) in [
        (None, warned.as_str()),
        (Some(""), &warned),
        (Some(" \n"), &warned),
        (Some("{}"), &warned),
        (Some("null"), &warned),
        (Some(r#"{"input":null}"#), &warned),
        (Some(r#"{"input":{"x":1}}"#), "200 application/json {\"result\":true}\n"),
        (Some(r#"{"input":{"x":1.0},"y":2}"#), "200 application/json {\"result\":true}\n"),
        (Some(r#"{"in\u0070ut":{"x":1}} x"#), "200 application/json {\"result\":true}\n"),
        (Some(r#"{"input":{"x":2},"input":{"x":1}}"#), "200 application/json {\"result\":true}\n"),
        (Some(r#"{"input":{"x":1},"input":{"x":2}}"#), "200 application/json {}\n"),
        (
            Some(r#"{"input":"#),
            "400 application/json {\n  \"code\": \"invalid_parameter\",\n  \"message\": \"body contains malformed input document: unexpected EOF\"\n}\n",
        ),
    ] {
        assert_eq!(ask(&base, "POST", "/v1/data/a/allow", body).await, expected, "{body:?}");
    }
    let both = ask(&base, "POST", "/v1/data/a/z?pretty", None).await;
    assert_eq!(
        both,
        format!(
            "{JSON}{{\n  \"result\": 5,\n  \"warning\": {{\n    \"code\": \"api_usage_warning\",\n    \"message\": \"'input' key missing from the request\"\n  }}\n}}\n"
        )
    );
}

#[tokio::test]
async fn yaml_is_refused_in_words() {
    let base = start().await;
    let http = crate::http::client(std::time::Duration::from_secs(5)).unwrap();
    let request = http.post(format!("{base}/v1/data/a/allow")).body("input: 1");
    let answer = request.header(header::CONTENT_TYPE, "application/x-yaml").send().await.unwrap();
    assert_eq!(answer.status(), 400);
    assert!(answer.text().await.unwrap().contains("send JSON"));
}

#[tokio::test]
async fn errors_have_opas_form() {
    let base = start().await;
    let invalid = |message: &str| {
        format!(
            "500 application/json {{\n  \"code\": \"internal_error\",\n  \"message\": \"{message}\"\n}}\n"
        )
    };
    for (path, expected) in [
        ("/v1/data/a/%22x", invalid("invalid_parameter: invalid path: invalid ref term '\\\"x'")),
        ("/v1/data/a/x%00", invalid("invalid_parameter: invalid path: failed to parse query")),
        ("/v1/data/a/%ff", invalid("invalid_parameter: invalid path: failed to parse query")),
        ("/nope", "404 text/plain; charset=utf-8 404 page not found\n".to_owned()),
        (
            "/v1/data/a/",
            "301 text/html; charset=utf-8 <a href=\"/v1/data/a\">Moved Permanently</a>.\n\n"
                .to_owned(),
        ),
        (
            "/v1/data/",
            "301 text/html; charset=utf-8 <a href=\"/v1/data\">Moved Permanently</a>.\n\n"
                .to_owned(),
        ),
        (
            "/v1/data//a",
            "307 text/html; charset=utf-8 <a href=\"/v1/data/a\">Temporary Redirect</a>.\n\n"
                .to_owned(),
        ),
    ] {
        assert_eq!(ask(&base, "GET", path, None).await, expected, "{path}");
    }
    for (path, method, body, words) in [
        (
            "/v1/data/a/allow",
            "POST",
            "[1]",
            "400 application/json {\n  \"code\": \"invalid_parameter\"",
        ),
        (
            "/v1/data/a/allow?input=%7B",
            "GET",
            "",
            "parameter contains malformed input document: unexpected EOF",
        ),
        ("/v1/data/a/allow?input=", "GET", "", "parameter contains malformed input document: EOF"),
        (
            "/v1/data/a/c",
            "POST",
            r#"{"input":{"conflict":true}}"#,
            "\"code\": \"eval_conflict_error\"",
        ),
        ("/v1/data/a/c", "POST", r#"{"input":{"conflict":true}}"#, "\"row\": 9,"),
    ] {
        let answer = ask(&base, method, path, Some(body)).await;
        assert!(answer.contains(words) && answer.ends_with("\n}\n"), "{path}: {answer}");
    }
}

#[tokio::test]
async fn what_is_not_served_says_so() {
    let base = start().await;
    for method in ["OPTIONS", "TRACE"] {
        assert_eq!(ask(&base, method, "/v1/data/a", None).await, "405  ");
    }
    assert_eq!(ask(&base, "HEAD", "/v1/data/a", None).await, "405  ");
    let answer = ask(&base, "POST", "/v1/compile", Some("{}")).await;
    assert!(answer.starts_with("501 application/json") && answer.contains("does not serve"));
    for explained in ["explain=full", "instrument", "strict-builtin-errors"] {
        let answer = ask(&base, "GET", &format!("/v1/data/a/z?{explained}"), None).await;
        assert!(answer.starts_with("501 ") && answer.contains("leave it out"), "{answer}");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let base = start().await;
    let body = format!(r#"{{"input":"{}"}}"#, "x".repeat(MAX_BODY_BYTES));
    let answer = ask(&base, "POST", "/v1/data/a/allow", Some(&body)).await;
    assert!(answer.starts_with("400 ") && answer.contains("request body too large"), "{answer}");
}

#[tokio::test]
async fn policies_that_take_long_block_nothing_else() {
    let deciders = Deciders::new(parts(Arc::new(RegorusEngine::new())));
    let (release, released) = std::sync::mpsc::channel();
    let released = Arc::new(std::sync::Mutex::new(released));
    let places = deciders.threads.free();
    assert!(places >= 2);
    // One more than there are threads to decide on.
    let slow = (0..=places).map(|_| {
        let (deciders, released) = (deciders.clone(), Arc::clone(&released));
        let wait = std::time::Duration::from_secs(10);
        tokio::spawn(async move {
            let work = move || {
                released.lock().unwrap().recv_timeout(wait).unwrap();
                Reply::not_found()
            };
            deciders.run(work).await.status
        })
    });
    let slow: Vec<_> = slow.collect();
    while deciders.threads.free() > 0 {
        tokio::task::yield_now().await;
    }
    // This test has one thread, which answers although every decider is busy.
    let base = start().await;
    assert_eq!(ask(&base, "GET", "/health", None).await, format!("{JSON}{{}}\n"));
    assert!(slow.iter().all(|task| !task.is_finished()));
    // Whichever of them takes one.
    slow.iter().for_each(|_| release.send(()).unwrap());
    for task in slow {
        assert_eq!(task.await.unwrap(), 404);
    }
    assert_eq!(deciders.threads.free(), places);
}

#[tokio::test]
async fn a_panic_while_deciding_is_an_answer_and_takes_no_place() {
    let deciders = Deciders::new(parts(Arc::new(RegorusEngine::new())));
    let places = deciders.threads.free();
    for _ in 0..=places {
        let response = deciders.run(|| panic!("the test's")).await;
        assert_eq!(response.status, 500);
        let body: serde_json::Value = serde_json::from_str(&response.body).unwrap();
        assert_eq!(body["code"], "internal_error");
    }
    assert_eq!(deciders.threads.free(), places);
}
