//! The gate: a policy that does not compile does not get in, and the one before stays.

use reqwest::Method;
use serde_json::{Value, json};
use testbed::{Answer, Functions};

use crate::support::{can_run, functions, revoke};

async fn push(functions: &Functions, token: &str, body: &Value) -> Answer {
    functions.request(Method::PUT, "/policy", Some(token), Some(body)).await.unwrap()
}

/// What a refusal says.
fn reason(answer: &Answer) -> &str {
    assert_eq!(answer.status, 422, "{answer:?}");
    answer.body["detail"][0]["msg"].as_str().unwrap()
}

/// The hash of the policy that clients get, and the paths of its modules.
async fn policy(functions: &Functions, token: &str) -> (String, Vec<String>) {
    let answer = functions.request(Method::GET, "/policy", Some(token), None).await.unwrap();
    let modules = answer.body["policy_modules"].as_array().unwrap();
    let paths = modules.iter().map(|module| module["path"].as_str().unwrap().to_owned());
    (answer.body["hash"].as_str().unwrap().to_owned(), paths.collect())
}

#[tokio::test]
async fn a_policy_that_does_not_compile_is_refused_with_its_place_and_the_old_one_stays() {
    if !can_run(&[]) {
        return;
    }
    let (functions, token) = functions().await;
    let good = json!({"files": {"a.rego": "package a\nallow if input.x == 1"}, "revision": "v1"});
    let answer = push(&functions, &token, &good).await;
    assert_eq!((answer.status, &answer.body["hash"]), (200, &json!("v1")), "{answer:?}");
    let before = policy(&functions, &token).await;
    let deep = format!("package a\nx := {}", "[1, ".repeat(10_000));
    for (files, words) in [
        (json!({"a.rego": "package a\nallow if {\n  input.x == \n}"}), "a.rego:4:"),
        (json!({"a.rego": "package a\n\nallow { input.x }"}), "a.rego:3:7: `if` keyword"),
        (json!({"a.rego": "package a\nx := y", "b.rego": "package b"}), "a.rego:2:6: var y is"),
        (json!({"a.rego": "package a\nx := nofun(1)"}), "a.rego:2:6: undefined function nofun"),
        (json!({"a.rego": "package a\nf(x) := f(x)"}), "a.rego:2: rule data.a.f is recursive"),
        (json!({"a.rego": "package a", "data.json": "{\n]"}), "data.json:2:1: it is not JSON"),
        (json!({"a.rego": "package a\nx := 1", "a/data.json": "{\"x\": 2}"}), "conflicting rule"),
        (json!({"a.rego": deep}), "a.rego:2:"),
    ] {
        let answer = push(&functions, &token, &json!({"files": files})).await;
        assert!(reason(&answer).contains(words), "{words}: {answer:?}");
        assert_eq!(policy(&functions, &token).await, before, "{words}");
    }
    // What only an OPA has may be called.
    let jwt = json!({"files": {"a.rego": "package a\nx := io.jwt.decode(input.token)"}});
    assert_eq!(push(&functions, &token, &jwt).await.status, 200);
}

#[tokio::test]
async fn tests_are_no_part_of_the_policy_and_must_pass_only_if_that_is_asked_for() {
    if !can_run(&[]) {
        return;
    }
    let failing = json!({"files": {
        "a.rego": "package a\nallow if input.x == data.limits.x",
        "limits/data.json": "{\"x\": 7}",
        "a_test.rego": "package a_test\nimport data.a\n\ntest_seven if not a.allow with input as {\"x\": 7}",
    }});
    let mut passing = failing.clone();
    passing["files"]["a_test.rego"] =
        json!("package a_test\nimport data.a\ntest_seven if a.allow with input as {\"x\": 7}");

    let (functions, token) = functions().await;
    assert_eq!(push(&functions, &token, &failing).await.status, 200);
    assert_eq!(policy(&functions, &token).await.1, ["a.rego"]);

    let plan = Functions::builder().unwrap().var("GIRASOL_POLICY_RUN_TESTS", "true");
    let functions = plan.start().await.unwrap();
    let token = functions.mint("datasource", json!({})).await.unwrap();
    let answer = push(&functions, &token, &failing).await;
    assert_eq!(reason(&answer), "a_test.rego:4: data.a_test.test_seven failed");
    assert_eq!(push(&functions, &token, &passing).await.status, 200);
    assert_eq!(policy(&functions, &token).await.1, ["a.rego"]);
    let endless = json!({"files": {"a.rego": "package a", "a_test.rego":
        "package a\ntest_long if count([1 | some x in numbers.range(1, 9000); some y in \
         numbers.range(1, 9000); x == y]) == 1"}});
    let answer = push(&functions, &token, &endless).await;
    assert!(reason(&answer).contains("time limit"), "{answer:?}");
}

#[tokio::test]
async fn rego_from_before_opa_1_gets_in_where_that_is_asked_for() {
    if !can_run(&[]) {
        return;
    }
    let plan = Functions::builder().unwrap().var("GIRASOL_REGO_V0", "true");
    let functions = plan.start().await.unwrap();
    let token = functions.mint("datasource", json!({})).await.unwrap();
    let older = json!({"files": {"a.rego": "package a\nallow { input.x == 1 }"}});
    assert_eq!(push(&functions, &token, &older).await.status, 200);
}

#[tokio::test]
async fn a_revision_that_is_no_name_is_refused() {
    if !can_run(&[]) {
        return;
    }
    let (functions, token) = functions().await;
    let body = json!({"files": {"a.rego": "package a"}, "revision": "a b"});
    assert!(reason(&push(&functions, &token, &body).await).contains("give 1 to 128 letters"));
}

#[tokio::test]
async fn a_policy_as_deep_as_may_be_does_not_exhaust_the_workers_stack() {
    if !can_run(&[]) {
        return;
    }
    let plan = Functions::builder().unwrap().var("GIRASOL_POLICY_RUN_TESTS", "true");
    let functions = plan.start().await.unwrap();
    let token = functions.mint("datasource", json!({})).await.unwrap();
    let chain = |count: usize, body: &str| {
        let rule = |at: usize| {
            format!("r{at} if {{ {} }}\n", body.replace("NEXT", &format!("r{}", at + 1)))
        };
        (0..count).map(rule).collect::<String>() + &format!("r{count} := 1\nx if r0")
    };
    for body in [
        format!("x := 1{}", " + 1".repeat(90)),
        format!("a := {{}}\nx := a{}", ".b".repeat(90)),
        format!("x := {}1{}", "abs(".repeat(45), ")".repeat(45)),
        format!("x := {}1{}", "[1, ".repeat(45), "]".repeat(45)),
        format!("x := {}1{}", "{\"b\": 1, \"a\": ".repeat(30), "}".repeat(30)),
        format!("x := {}0{}", "input[".repeat(45), "]".repeat(45)),
        format!("x if {{ {}y{} }}", "every y in [1] { ".repeat(12), "}".repeat(12)),
        chain(36, "NEXT"),
        chain(36, "some a in [1]; every b in [a] { NEXT with input as {\"b\": b} }"),
        (0..36).map(|at| format!("f{at}(x) := f{}([x][0])\n", at + 1)).collect::<String>()
            + "f36(x) := x\nx := f0(1)",
    ] {
        let text = format!("package a\n{body}\n");
        let test = "package a_test\ntest_x if { data.a.x with input as {} }\ntest_y if true";
        let body = json!({"files": {"a.rego": text, "a_test.rego": test}});
        let answer = push(&functions, &token, &body).await;
        assert!(matches!(answer.status, 200 | 422), "{text}: {answer:?}");
    }
}

#[tokio::test]
async fn a_revoked_token_has_nothing_compiled_and_nobody_look() {
    if !can_run(&[]) {
        return;
    }
    let (functions, token) = functions().await;
    revoke(&functions, &json!({ "token": token })).await;
    let broken = json!({"files": {"a.rego": "no rego"}});
    assert_eq!(push(&functions, &token, &broken).await.status, 401);
    let looked = functions.request(Method::POST, "/policy/refresh", Some(&token), None).await;
    assert_eq!(looked.unwrap().status, 401);
}
