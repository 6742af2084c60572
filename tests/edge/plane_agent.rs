//! Grants that are made at the functions and enforced beside an application, by its agent.
//!
//! | what is shown | file |
//! |---|---|
//! | what is allowed, refused and revoked; roles, denials, ends | this one |
//! | facts: read here, written through here | `plane_agent/facts.rs` |
//! | agents that have lost the hub, or their engine | `plane_agent/offline.rs` |
//! | requests that try to be read in two ways | `plane_agent/raw.rs` |

mod facts;
mod offline;
mod raw;

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use testbed::{Agent, AgentBuilder, Answer, Functions, http_client};

use crate::plane::in_seconds;
use crate::support::{SOON, agent, can_run, inline, with_facts};

const DOMAIN: &str = "sandbox.example.com";
const TOKEN: &str = "X-OPV-GRANT-TOKEN";

/// An agent with a data plane, which is not started yet.
async fn plan(functions: &Functions, topics: &[&str]) -> AgentBuilder {
    agent(functions, topics).await.data_plane()
}

/// One that has caught up.
async fn started(functions: &Functions, topics: &[&str]) -> Agent {
    let agent = plan(functions, topics).await.start().await.unwrap();
    contact(&agent).await;
    agent
}

/// Waits until the agent goes by its grants.
async fn contact(agent: &Agent) -> Value {
    let fine = |status: &Value| status.pointer("/data_plane/refusing").is_none();
    agent.wait_status(fine, SOON).await.unwrap()
}

/// Makes a grant and waits until all agents have it: its id, and its token if it has one.
async fn grant(functions: &Functions, grant: &Value) -> (String, String) {
    let mut grant = grant.clone();
    grant["domain"] = DOMAIN.into();
    let master = Some(functions.master_token());
    let path = "/api/v1/grants?wait=all";
    let made = functions.request(Method::POST, path, master, Some(&grant)).await.unwrap();
    assert_eq!((made.status, &made.body["complete"]), (200, &json!(true)), "{made:?}");
    let text = |name: &str| made.body[name].as_str().unwrap_or_default().to_owned();
    (text("id"), text("token"))
}

/// Allows all methods on these paths.
async fn token(functions: &Functions, paths: &[&str]) -> (String, String) {
    grant(functions, &json!({"allowed_http_methods": ["*"], "paths": paths})).await
}

async fn revoke(functions: &Functions, id: &str) {
    let master = Some(functions.master_token());
    let path = format!("/api/v1/grants/{id}?wait=all");
    let gone = functions.request(Method::DELETE, &path, master, None).await.unwrap();
    assert_eq!((gone.status, &gone.body["complete"]), (200, &json!(true)), "{gone:?}");
}

/// Asks the agent's data plane.
async fn ask(agent: &Agent, method: &str, path: &str, token: &str) -> Answer {
    let url = format!("{}{path}", agent.data_plane_url().unwrap());
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let mut request = http_client().unwrap().request(method, url);
    if !token.is_empty() {
        request = request.header(TOKEN, token);
    }
    Answer::of(request).await.unwrap()
}

/// The status. Outside the plane nothing is handed on to the functions, which would check again: the
/// agent alone says 404 to who may go there.
async fn status(agent: &Agent, method: &str, path: &str, token: &str) -> u16 {
    ask(agent, method, path, token).await.status
}

/// Asks until the answer has this status: for what becomes so by time alone.
async fn becomes(agent: &Agent, path: &str, token: &str, wanted: u16) -> Answer {
    let asking = async {
        loop {
            let answer = ask(agent, "GET", path, token).await;
            if answer.status == wanted {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let became = tokio::time::timeout(SOON, asking).await;
    became.unwrap_or_else(|_| panic!("{path} was never answered {wanted}; {}", agent.logs()))
}

#[tokio::test]
async fn a_grant_from_the_functions_is_enforced_by_the_agent_in_the_specs_order() {
    if !can_run(&[]) {
        return;
    }
    let functions = with_facts().start().await.unwrap();
    let agent = started(&functions, &["t"]).await;
    let (_, token) = token(&functions, &["/api/v1/fact_types", "/x"]).await;

    let health = ask(&agent, "GET", "/api/v1/healthz", "").await;
    assert_eq!((health.status, health.body), (200, json!({"status": "OK"})));
    let types = ask(&agent, "GET", "/api/v1/fact_types?slug=ssn", &token).await;
    assert_eq!((types.status, &types.body[0]["slug"]), (200, &json!("ssn")), "{types:?}");
    assert_eq!(status(&agent, "GET", "/api/v1/fact_types/", &token).await, 200);

    let changed = format!("{token}x");
    let other = token.replace(DOMAIN, "other.example.com");
    let newer = token.replace("v1:", "v2:");
    let longer = format!("{token}:x");
    for (path, token, status, message) in [
        ("/api/v1/fact_types", "", 400, "missing key in request header"),
        ("/api/v1/fact_types", newer.as_str(), 401, "invalid key"),
        ("/api/v1/fact_types", longer.as_str(), 401, "invalid key"),
        ("/api/v1/fact_types", "no token", 401, "invalid key"),
        ("/x", token.as_str(), 404, "Not Found"),
        ("/x", changed.as_str(), 401, "Unauthorized"),
        ("/x", other.as_str(), 401, "Unauthorized"),
        ("/x/y", token.as_str(), 401, "Unauthorized"),
        ("/api/v1/nowhere", token.as_str(), 401, "Unauthorized"),
        ("/api/v1/nowhere", "", 400, "missing key in request header"),
    ] {
        let answer = ask(&agent, "GET", path, token).await;
        assert_eq!((answer.status, &answer.body["message"]), (status, &json!(message)), "{path}");
        assert!(status == 404 || answer.body["detail"].is_string(), "{answer:?}");
    }
    let log = agent.logs().to_string();
    assert!(!log.contains(token.rsplit(':').next().unwrap()), "a token is in the log: {log}");
}

#[tokio::test]
async fn who_may_go_anywhere_is_told_where_nothing_is() {
    if !can_run(&[]) {
        return;
    }
    let (functions, _) = crate::support::functions().await;
    let agent = started(&functions, &["t"]).await;
    let (_, token) = token(&functions, &["*"]).await;
    // Whatever else the functions have is not reached through the plane.
    for path in ["/api/v1/nowhere", "/data/config", "/log", "/healthz", "/", "/scopes"] {
        let answer = ask(&agent, "GET", path, &token).await;
        assert_eq!((answer.status, &answer.body["message"]), (404, &json!("Not Found")), "{path}");
    }
}

#[tokio::test]
async fn a_grant_that_was_revoked_is_refused_at_once_at_every_agent() {
    if !can_run(&[]) {
        return;
    }
    let (functions, _) = crate::support::functions().await;
    let agents = [started(&functions, &["t"]).await, started(&functions, &["t"]).await];
    let (kept, others) = token(&functions, &["*"]).await;
    for _ in 0..5 {
        let (id, token) = token(&functions, &["*"]).await;
        for agent in &agents {
            assert_eq!(status(agent, "GET", "/nowhere", &token).await, 404);
        }
        revoke(&functions, &id).await;
        for agent in &agents {
            assert_eq!(status(agent, "GET", "/nowhere", &token).await, 401);
            assert_eq!(status(agent, "GET", "/nowhere", &others).await, 404);
        }
    }
    let shown = agents[0].status().await.unwrap();
    assert_eq!(shown["data_plane"]["grants"], 1, "{shown}");
    assert!(shown["data_plane"]["seconds_since_contact"].is_u64(), "{shown}");
    let text = shown.to_string();
    assert!(!text.contains(&kept) && !text.contains("Token"), "{text}");
}

#[tokio::test]
async fn denials_roles_and_ends_hold_at_the_agent() {
    if !can_run(&[]) {
        return;
    }
    let (functions, _) = crate::support::functions().await;
    let agent = started(&functions, &["t"]).await;
    let at = |path: &'static str| format!("/x/{path}");

    let (id, token) = token(&functions, &["/x/*"]).await;
    let denial = json!({"grant_id": id, "allowed_http_methods": ["DELETE"], "eft": "deny",
        "paths": ["/x/kept"]});
    let (denial, _) = grant(&functions, &denial).await;
    assert_eq!(status(&agent, "GET", &at("kept"), &token).await, 404);
    assert_eq!(status(&agent, "DELETE", &at("kept"), &token).await, 401);
    assert_eq!(status(&agent, "DELETE", &at("other"), &token).await, 404);
    revoke(&functions, &denial).await;
    assert_eq!(status(&agent, "DELETE", &at("kept"), &token).await, 404);

    let member = json!({"allowed_http_methods": ["GET"], "paths": ["/x/own"],
        "roles": ["clerk"]});
    let (_, member) = grant(&functions, &member).await;
    assert_eq!(status(&agent, "GET", &at("clerks"), &member).await, 401);
    let role = json!({"role": "clerk", "allowed_http_methods": ["GET"],
        "paths": ["/x/clerks"]});
    let (role, _) = grant(&functions, &role).await;
    assert_eq!(status(&agent, "GET", &at("clerks"), &member).await, 404);
    assert_eq!(status(&agent, "POST", &at("clerks"), &member).await, 401);
    revoke(&functions, &role).await;
    assert_eq!(status(&agent, "GET", &at("clerks"), &member).await, 401);
    assert_eq!(status(&agent, "GET", &at("own"), &member).await, 404);

    let short = json!({"allowed_http_methods": ["GET"], "expires_at": in_seconds(2)});
    let (_, short) = grant(&functions, &short).await;
    assert_eq!(status(&agent, "GET", &at("x"), &short).await, 404);
    becomes(&agent, &at("x"), &short, 401).await;
}

#[tokio::test]
async fn data_that_replaces_everything_takes_no_grant_with_it() {
    if !can_run(&[]) {
        return;
    }
    let (functions, publisher) = crate::support::functions().await;
    let mut agent = started(&functions, &["t"]).await;
    let (_, allowed) = token(&functions, &["*"]).await;
    let (id, revoked) = token(&functions, &["*"]).await;
    revoke(&functions, &id).await;
    let root = inline("t", "/", &json!({"girasol": {"grants": {}}, "n": 1}));
    let seq = functions.publish_ok(&publisher, &root).await.unwrap();
    for restart in [false, true] {
        if restart {
            agent.restart().await.unwrap();
        }
        agent.wait_cursor(seq, SOON).await.unwrap();
        contact(&agent).await;
        assert_eq!(status(&agent, "GET", "/nowhere", &allowed).await, 404);
        assert_eq!(status(&agent, "GET", "/nowhere", &revoked).await, 401);
        assert_eq!(crate::support::data(&agent, "n").await, 1);
        // What decides is not told of grants.
        let grants = crate::support::data(&agent, "girasol/grants").await;
        assert!(!grants.to_string().contains("allowed_http_methods"), "{grants}");
    }
}

#[tokio::test]
async fn what_was_asked_is_shown_by_the_local_api() {
    if !can_run(&[]) {
        return;
    }
    let (functions, _) = crate::support::functions().await;
    let agent = started(&functions, &["t"]).await;
    let (_, token) = token(&functions, &["/x/a"]).await;
    for path in ["/x/a", "/x/b?secret=1", "/x/a"] {
        ask(&agent, "GET", path, &token).await;
    }
    let shown = async |query: &str| {
        let answer = agent.get(&format!("/api/v1/api_audits{query}")).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body.as_array().unwrap().clone()
    };
    let all = shown("").await;
    assert_eq!(all.len(), 3);
    assert_eq!((&all[1]["domain"], &all[1]["plane"]), (&json!(DOMAIN), &json!("data")));
    assert_eq!(all[1]["http_path"], "/x/b", "without its query");
    assert_eq!(shown("?sent_http_status=401").await, [all[1].clone()]);
    assert_eq!(shown("?http_path=/x/a&limit=1&offset=1").await, [all[2].clone()]);
    assert_eq!(agent.get("/api/v1/api_audits?limit=x").await.unwrap().status, 400);
    let without = crate::support::agent(&functions, &["t"]).await.start().await.unwrap();
    assert_eq!(without.get("/api/v1/api_audits").await.unwrap().status, 404);
}
