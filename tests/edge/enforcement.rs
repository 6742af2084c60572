//! The enforcement calls of an agent, on data that ordinary updates bring.

use std::fs;

use reqwest::header::AUTHORIZATION;
use serde_json::{Value, json};
use testbed::{Agent, AgentBuilder, Engine, Functions, Opa, Part, http_client};

use crate::support::{SOON, agent, can_run, functions, inline};

const KEY: &str = "the agent's key";

/// What the agent answers to a body.
async fn post(agent: &Agent, path: &str, body: &Value) -> (u16, Value) {
    let request = http_client().unwrap().post(format!("{}{path}", agent.local_url()));
    let answer = request.json(body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap_or_default())
}

fn check(user: &str, action: &str, key: Option<&str>) -> Value {
    json!({
        "user": {"key": user}, "action": action, "context": {},
        "resource": {"type": "document", "key": key, "tenant": "acme", "context": {"tenant": "acme"}},
    })
}

async fn allowed(agent: &Agent, user: &str, action: &str, key: Option<&str>) -> bool {
    let (status, answer) = post(agent, "/allowed", &check(user, action, key)).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["allow"], answer["result"]);
    answer["allow"].as_bool().unwrap()
}

async fn publish(functions: &Functions, token: &str, agent: &Agent, place: &str, data: Value) {
    let seq = functions.publish_ok(token, &inline("policy_data", place, &data)).await.unwrap();
    agent.wait_cursor(seq, SOON).await.unwrap();
}

/// Roles and relationships, and what follows from them in every call.
async fn decides(functions: &Functions, token: &str, plan: AgentBuilder) -> Agent {
    let agent = plan.start().await.unwrap();
    agent.wait_live(SOON).await.unwrap();
    assert!(!allowed(&agent, "alice", "read", None).await);
    let update = async |place: &str, data: Value| {
        publish(functions, token, &agent, place, data).await;
    };
    update("/role_permissions/__tenant/viewer", json!({"grants": {"document": ["read"]}})).await;
    update("/users/alice", json!({"roleAssignments": {"acme": ["viewer"]}})).await;
    assert!(allowed(&agent, "alice", "read", None).await);
    assert!(!allowed(&agent, "alice", "write", None).await);
    assert!(!allowed(&agent, "bob", "read", None).await);

    update("/role_permissions/document/editor", json!({"grants": {"document": ["*"]}})).await;
    let rule = json!({"resource": "folder", "role": "owner", "relation": "parent"});
    update("/resource_types/document", json!({"derived_roles": {"editor": {"rules": [rule]}}}))
        .await;
    update("/resource_instances/folder:root", json!({"tenant": "acme"})).await;
    update("/resource_instances/document:1", json!({"tenant": "acme"})).await;
    update("/relationships/document:1", json!({"parent": {"folder": ["root"]}})).await;
    update("/role_assignments/user:bob", json!({"folder:root": ["owner"]})).await;
    assert!(allowed(&agent, "bob", "write", Some("1")).await);
    assert!(!allowed(&agent, "bob", "write", Some("2")).await);

    let bulk = json!([check("bob", "write", Some("1")), check("alice", "write", Some("1"))]);
    let (status, answer) = post(&agent, "/allowed/bulk", &bulk).await;
    let verdicts =
        json!({"allow": [{"allow": true, "result": true}, {"allow": false, "result": false}]});
    assert_eq!((status, answer), (200, verdicts));
    let (_, answer) = post(&agent, "/user-permissions", &json!({"user": {"key": "bob"}})).await;
    assert_eq!(answer["document:1"]["roles"], json!(["editor"]));
    let who =
        json!({"action": "write", "resource": {"type": "document", "key": "1", "tenant": "acme"}});
    let (_, answer) = post(&agent, "/authorized_users", &who).await;
    let entry =
        json!({"user": "bob", "tenant": "acme", "resource": "folder:root", "role": "owner"});
    assert_eq!(answer["users"], json!({"bob": [entry]}));
    let evaluation = json!({
        "subject": {"type": "user", "id": "bob"}, "action": {"name": "write"},
        "resource": {"type": "document", "id": "1"},
    });
    let (status, answer) = post(&agent, "/access/v1/evaluation", &evaluation).await;
    assert_eq!((status, answer), (200, json!({"decision": true})));

    let assigned = agent.get("/local/role_assignments?user=bob").await.unwrap().body;
    let wanted = json!({"user": "bob", "role": "owner", "tenant": "acme", "resource_instance": "folder:root"});
    assert_eq!(assigned, json!([wanted]));

    // What is taken away is gone with the update.
    update("/users/alice", json!({"roleAssignments": {}})).await;
    assert!(!allowed(&agent, "alice", "read", None).await);
    agent
}

#[tokio::test]
async fn the_embedded_engine_decides_by_the_built_in_policy_and_shows_it_to_nobody() {
    if !can_run(&[]) {
        return;
    }
    let (functions, token) = functions().await;
    let plan = agent(&functions, &["policy_data"]).await;
    let agent = decides(&functions, &token, plan).await;
    let whole = agent.decide("", &json!({})).await.unwrap();
    assert!(whole["result"].get("permit").is_none(), "{whole}");
}

#[tokio::test]
async fn a_real_opa_decides_by_the_built_in_policy_if_it_is_given_it() {
    if !can_run(&[Part::Opa]) {
        return;
    }
    let (functions, token) = functions().await;
    let opa = Opa::start().await.unwrap();
    let plan = agent(&functions, &["policy_data"]).await.engine(Engine::Opa(opa.url().to_owned()));
    let plan = plan.arg("--permit-policy").arg("true");
    let mut opa = {
        let _agent = decides(&functions, &token, plan.clone()).await;
        opa
    };
    // Without it nobody decides, and the answer says what to do.
    opa.restart().await.unwrap();
    let plan = agent(&functions, &["policy_data"]).await.engine(Engine::Opa(opa.url().to_owned()));
    let without = plan.start().await.unwrap();
    without.wait_live(SOON).await.unwrap();
    let (status, answer) = post(&without, "/allowed", &check("bob", "write", Some("1"))).await;
    assert!(status == 501 && answer.get("allow").is_none(), "{status} {answer}");
    assert!(answer["detail"].as_str().unwrap().contains("--permit-policy"), "{answer}");
    // An OPA that is gone decides nothing.
    opa.kill().await.unwrap();
    let (status, answer) = post(&without, "/allowed", &check("bob", "write", Some("1"))).await;
    assert!((500..=503).contains(&status) && answer.get("allow").is_none(), "{status} {answer}");
}

#[tokio::test]
async fn a_package_permit_of_ones_own_takes_the_built_in_ones_place() {
    if !can_run(&[Part::Opa]) {
        return;
    }
    let (functions, token) = functions().await;
    let folder = tempfile::tempdir().unwrap();
    let rego = "package permit\n\nroot := {\"allow\": input.action == \"own\"}";
    fs::write(folder.path().join("own.rego"), rego).unwrap();
    let opa = Opa::start().await.unwrap();
    for engine in [Engine::Regorus, Engine::Opa(opa.url().to_owned())] {
        let plan = agent(&functions, &["policy_data"]).await.engine(engine.clone());
        let plan = plan.policy_dir(folder.path());
        let agent = plan.arg("--permit-policy").arg("true").start().await.unwrap();
        agent.wait_live(SOON).await.unwrap();
        let place = "/role_permissions/__tenant/viewer";
        publish(&functions, &token, &agent, place, json!({"grants": {"document": ["read"]}})).await;
        let roles = json!({"roleAssignments": {"acme": ["viewer"]}});
        publish(&functions, &token, &agent, "/users/alice", roles).await;
        assert!(!allowed(&agent, "alice", "read", None).await, "{engine:?}");
        assert!(allowed(&agent, "nobody", "own", None).await, "{engine:?}");
    }
}

#[tokio::test]
async fn who_does_not_show_the_key_is_told_nothing() {
    if !can_run(&[]) {
        return;
    }
    let (functions, _) = functions().await;
    let plan = agent(&functions, &["policy_data"]).await;
    let agent = plan.var("GIRASOL_API_KEY", KEY).start().await.unwrap();
    let http = http_client().unwrap();
    for path in [
        "/allowed",
        "/allowed/bulk",
        "/user-permissions",
        "/authorized_users",
        "/access/v1/evaluation",
    ] {
        for shown in [None, Some("Bearer wrong"), Some("Basic x"), Some("Bearer")] {
            let mut request = http.post(format!("{}{path}", agent.local_url()));
            if let Some(shown) = shown {
                request = request.header(AUTHORIZATION, shown);
            }
            let request = request.header("x-request-id", "r-1").json(&check("a", "read", None));
            let answer = request.send().await.unwrap();
            assert_eq!(
                (answer.status().as_u16(), &answer.headers()["x-request-id"]),
                (401, &"r-1".parse().unwrap())
            );
            let answer: Value = answer.json().await.unwrap();
            assert!(answer.get("detail").is_some(), "{path} {answer}");
        }
    }
    for open in ["/health", "/healthy", "/ready", "/.well-known/authzen-configuration"] {
        let answer = agent.get(open).await.unwrap();
        assert!([200, 503].contains(&answer.status), "{open} {answer:?}");
    }
}
