//! For how long an answer is held, and what it says then: the rows of `spec/critical-updates.md`
//! §6.2, with the rules of §6.3 for those that are flaws.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{SOON, Stage, can_run};

const WAIT: &str = "X-Wait-Timeout";
const POLICY: &str = "X-Timeout-Policy";

#[tokio::test]
async fn an_answer_is_held_until_the_agent_has_it_or_time_is_up() {
    if !can_run(&[]) {
        return;
    }
    // In place of ten seconds.
    let short = |agent: testbed::AgentBuilder| agent.var("PDP_LOCAL_FACTS_WAIT_TIMEOUT", "0.5");
    let stage = Stage::with(short).await;
    let half = Duration::from_millis(500);
    for (at, headers) in
        [&[(WAIT, "5")][..], &[], &[(WAIT, "-1"), (POLICY, "fail")]].iter().enumerate()
    {
        let told = stage.put(&format!("pushed{at}"), headers).await;
        assert_eq!((told.status, told.became.as_deref()), (201, Some("applied")), "{headers:?}");
        assert_eq!(stage.data(&format!("users/pushed{at}")).await["attributes"], json!({}));
        assert!(told.id.is_some() && told.seq.is_some());
    }
    stage.proxy.hold_sockets();
    let detail = json!({ "detail": "Timeout waiting for update to be received" });
    for (at, (headers, status, became, held)) in [
        (&[(WAIT, "1")][..], 201, "timeout", Duration::from_secs(1)),
        (&[(WAIT, "0.5"), (POLICY, "ignore")], 201, "timeout", half),
        (&[(WAIT, "0.5"), (POLICY, "fail")], 424, "timeout", half),
        (&[("x-wait-timeout", "0.5"), (POLICY, "FAIL")], 424, "timeout", half),
        (&[(WAIT, "0")], 201, "not-waited", Duration::ZERO),
        (&[(WAIT, "0"), (POLICY, "fail")], 201, "not-waited", Duration::ZERO),
        (&[], 201, "timeout", half),
        (&[(WAIT, ""), (POLICY, "")], 201, "timeout", half),
        (&[(POLICY, "fail")], 424, "timeout", half),
    ]
    .into_iter()
    .enumerate()
    {
        let told = stage.put(&format!("held{at}"), headers).await;
        assert_eq!((told.status, told.became.as_deref()), (status, Some(became)), "{headers:?}");
        assert!(told.took >= held, "{headers:?}: {:?}", told.took);
        assert!(held > Duration::ZERO || told.took < half, "{headers:?}: {:?}", told.took);
        assert!(told.id.is_some() && told.seq.is_some(), "{told:?}");
        if status == 424 {
            assert_eq!(told.body, detail);
        }
        let stored = stage.ask("GET", &format!("/facts/users/held{at}"), &[], &Value::Null).await;
        assert_eq!((stored.status, stored.became), (200, None), "it is in the log all the same");
        assert_eq!(stage.data(&format!("users/held{at}")).await, Value::Null);
    }
    assert_eq!(stage.waiters().await, 0);
    stage.proxy.release_sockets();
    let told = stage.put("pushed", &[(WAIT, "20"), (POLICY, "fail")]).await;
    assert_eq!((told.status, told.became.as_deref()), (201, Some("applied")));
}

#[tokio::test]
async fn bad_headers_are_refused_and_nothing_is_written() {
    if !can_run(&[]) {
        return;
    }
    let stage = Stage::new().await;
    for bad in ["soon", "nan", "inf", "-inf"] {
        let told = stage.put("ann", &[(WAIT, bad)]).await;
        let detail = format!("Invalid X-Wait-timeout header, expected float, got '{bad}'");
        assert_eq!((told.status, told.body), (400, json!({ "detail": detail })));
    }
    let told = stage.put("ann", &[(WAIT, "0"), (POLICY, "retry")]).await;
    let detail = "Invalid X-Timeout-Policy header, expected one of ['ignore', 'fail'], got 'retry'";
    assert_eq!((told.status, told.body), (400, json!({ "detail": detail })));
    assert_eq!(stage.ask("GET", "/facts/users/ann", &[], &Value::Null).await.status, 404);
}

#[tokio::test]
async fn what_the_functions_refuse_is_answered_as_it_came_and_at_once() {
    if !can_run(&[]) {
        return;
    }
    let stage = Stage::new().await;
    stage.proxy.hold_sockets();
    assert_eq!(stage.put("ann", &[(WAIT, "0")]).await.status, 201);
    let held = [(WAIT, "-1"), (POLICY, "fail")];
    let twice = stage.ask("POST", "/facts/users", &held, &json!({"key": "ann"})).await;
    assert_eq!((twice.status, &twice.body["error_code"]), (409, &json!("DUPLICATE_ENTITY")));
    assert_eq!(twice.became, None);
    let wrong = stage.ask("POST", "/facts/users", &held, &json!({"key": 5})).await;
    assert!(wrong.status == 422 && wrong.body["detail"][0]["msg"].is_string(), "{wrong:?}");
    let missing = stage.ask("DELETE", "/facts/users/nobody", &held, &Value::Null).await;
    assert_eq!(missing.status, 404);
    let none = stage.ask("GET", "/facts/nothing", &held, &Value::Null).await;
    assert_eq!(none.status, 404);
}

#[tokio::test]
async fn a_write_that_the_engine_refuses_is_told_at_once() {
    if !can_run(&[]) {
        return;
    }
    let stage = Stage::new().await;
    // Nothing can be a member of it.
    let update = json!({"entries": [{"url": "", "topics": ["policy_data"], "dst_path": "users",
        "data": ["no", "object"]}]});
    let seq = stage.functions.publish_ok(&stage.token, &update).await.unwrap();
    stage.agent.wait_cursor(seq, SOON).await.unwrap();
    let told = stage.put("taken", &[(WAIT, "20"), (POLICY, "fail")]).await;
    let detail = json!({ "detail": "Update was received but could not be applied" });
    assert_eq!((told.status, &told.body), (424, &detail));
    assert_eq!(told.became.as_deref(), Some("failed"));
    assert!(told.took < SOON);
    let told = stage.put("taken", &[(WAIT, "20")]).await;
    assert_eq!((told.status, told.became.as_deref()), (200, Some("failed")));
    let tenant = json!({ "key": "free" });
    let held = [(WAIT, "20"), (POLICY, "fail")];
    let told = stage.ask("POST", "/facts/tenants", &held, &tenant).await;
    assert_eq!((told.status, told.became.as_deref()), (200, Some("applied")));
}

#[tokio::test]
async fn a_bulk_call_is_one_update_and_a_deletion_is_waited_for() {
    if !can_run(&[]) {
        return;
    }
    let stage = Stage::new().await;
    let users: Vec<Value> = (0..1_000).map(|at| json!({ "key": format!("u{at}") })).collect();
    let body = json!({ "operations": users });
    let held = [(WAIT, "20"), (POLICY, "fail")];
    let first = stage.put("first", &held).await.seq.unwrap();
    let made = stage.ask("POST", "/facts/bulk/users", &held, &body).await;
    assert_eq!((made.status, made.became.as_deref()), (200, Some("applied")), "{}", made.body);
    assert_eq!(made.seq, Some(first + 1));
    assert_eq!(stage.data("users").await.as_object().unwrap().len(), 1_001);
    let gone = stage.ask("DELETE", "/facts/users/u7", &held, &Value::Null).await;
    assert_eq!((gone.status, gone.became.as_deref()), (204, Some("applied")));
    assert_eq!(stage.data("users/u7").await, Value::Null);
}

#[tokio::test]
async fn a_key_in_a_path_is_decoded_once_and_never_nests() {
    if !can_run(&[]) {
        return;
    }
    let stage = Stage::new().await;
    let held = [(WAIT, "20"), (POLICY, "fail")];
    for (path, key) in [
        ("auth0%7Celon", "auth0|elon"),
        ("a%2Fb", "a/b"),
        ("a%252Fb", "a%2Fb"),
        ("a%20b%20%C3%A4", "a b ä"),
        ("what%3F%23", "what?#"),
        ("back%5Cslash", "back\\slash"),
    ] {
        for at in ["/facts", "/v2/facts/project/environment"] {
            let told = stage.ask("PUT", &format!("{at}/users/{path}"), &held, &json!({})).await;
            assert_eq!(
                (told.status / 100, &told.body["key"]),
                (2, &json!(key)),
                "{path}: {told:?}"
            );
            assert_eq!(told.became.as_deref(), Some("applied"), "{path}");
        }
        assert!(stage.data("users").await[key]["attributes"].is_object(), "{key}");
    }
    assert_eq!(stage.data("users").await.as_object().unwrap().len(), 6, "nothing nests");
    // What is sent is `/facts/`: an address is resolved by who sends it.
    let told = stage.ask("PUT", "/facts/users/%2e%2e", &held, &json!({})).await;
    assert_eq!(told.status, 404, "{told:?}");
    assert_eq!(stage.data("users").await.as_object().unwrap().len(), 6, "nobody was written");
}
