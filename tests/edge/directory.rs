//! The directory on workerd: users and roles as an application writes them, and agents that decide
//! on them.

use reqwest::Method;
use serde_json::{Value, json};
use testbed::{Agent, Engine, Functions, Opa, Part, http_client};

use crate::support::{SOON, agent, can_run, data, functions, logged};

const FACTS: &str = "/v2/facts/my-project/my-environment";

/// An answer with what its headers say.
struct Told {
    status: u16,
    body: Value,
    seq: Option<u64>,
    id: Option<String>,
    applied: Option<String>,
}

/// Asks below a scope's path.
async fn ask_at(functions: &Functions, token: &str, method: &str, path: &str, body: &str) -> Told {
    let url = format!("{}{path}", functions.url());
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    // In lower case, as the SDK 2.x has it.
    let request = http_client()
        .unwrap()
        .request(method, url)
        .header("Authorization", format!("bearer {token}"));
    let response = request.body(body.to_owned()).send().await.unwrap();
    let header = |name: &str| Some(response.headers().get(name)?.to_str().unwrap().to_owned());
    let (seq, id) = (header("X-Girasol-Seq"), header("X-Permit-Update-Id"));
    let (status, applied) = (response.status().as_u16(), header("X-Girasol-Applied"));
    let text = response.text().await.unwrap();
    let body = serde_json::from_str(&text).unwrap_or(Value::Null);
    Told { status, body, seq: seq.map(|it| it.parse().unwrap()), id, applied }
}

async fn ask(functions: &Functions, token: &str, method: &str, path: &str, body: &Value) -> Told {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    ask_at(functions, token, method, &format!("{FACTS}/{path}"), &body).await
}

/// An agent that lets viewers of a tenant read.
async fn deciding(functions: &Functions) -> (Agent, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let policy = "package app\n\nimport rego.v1\n\ndefault allow := false\n\nallow if \"viewer\" in \
                  data.users[input.user].roleAssignments[input.tenant]\n";
    std::fs::write(folder.path().join("app.rego"), policy).unwrap();
    let agent = agent(functions, &["policy_data"]).await.policy_dir(folder.path());
    let agent = agent.start().await.unwrap();
    agent.wait_live(SOON).await.unwrap();
    (agent, folder)
}

#[tokio::test]
async fn a_role_that_is_given_and_waited_for_allows_and_one_taken_away_does_not() {
    if !can_run(&[]) {
        return;
    }
    let (functions, token) = functions().await;
    let (agent, _folder) = deciding(&functions).await;
    let input = json!({"user": "auth0|elon", "tenant": "default"});
    let allows = async || agent.decide("app/allow", &input).await.unwrap()["result"] == true;
    assert!(!allows().await);
    let user = json!({"email": "elon@example.com", "attributes": {"age": 50}});
    let made = ask(&functions, &token, "PUT", "users/auth0%7Celon?wait=all", &user).await;
    assert_eq!((made.status, &made.body["key"]), (201, &json!("auth0|elon")), "{}", made.body);
    assert_eq!((made.seq, made.applied.as_deref()), (Some(1), Some("1/1")));
    let role = json!({"role": "viewer", "tenant": "default"});
    let path = "users/auth0%7Celon/roles?wait=all";
    for _ in 0..5 {
        let given = ask(&functions, &token, "POST", path, &role).await;
        assert_eq!((given.status, given.applied.as_deref()), (200, Some("1/1")));
        assert!(allows().await, "at once");
        let taken = ask(&functions, &token, "DELETE", path, &role).await;
        assert_eq!((taken.status, taken.body), (204, Value::Null));
        assert!(!allows().await, "at once");
    }
    let again = ask(&functions, &token, "PUT", "users/auth0%7Celon", &json!({})).await;
    assert_eq!((again.status, &again.body["created_at"]), (200, &made.body["created_at"]));
    let last = logged(&functions, &token, again.seq.unwrap() - 1).await;
    assert_eq!(last[0]["id"], format!("directory:{}", again.id.unwrap()));
}

#[tokio::test]
async fn a_thousand_users_are_one_update_and_keys_never_nest() {
    if !can_run(&[Part::Opa]) {
        return;
    }
    let (functions, token) = functions().await;
    let (embedded, _folder) = deciding(&functions).await;
    let opa = Opa::start().await.unwrap();
    let real = agent(&functions, &["policy_data"]).await.engine(Engine::Opa(opa.url().to_owned()));
    let real = real.start().await.unwrap();
    real.wait_live(SOON).await.unwrap();
    let users: Vec<Value> =
        (0..1_000).map(|at| json!({"key": format!("u{at}"), "attributes": {"n": at}})).collect();
    let body = json!({"operations": users});
    let made = ask(&functions, &token, "POST", "bulk/users?wait=all&timeout=60", &body).await;
    let told = (made.status, made.seq, made.applied.as_deref());
    assert_eq!(told, (200, Some(1), Some("2/2")), "{}", made.body);
    for agent in [&embedded, &real] {
        assert_eq!(data(agent, "users").await.as_object().unwrap().len(), 1_000);
    }
    let idents: Vec<String> = (0..1_000).map(|at| format!("u{at}")).collect();
    let gone = ask(
        &functions,
        &token,
        "DELETE",
        "bulk/users?wait=all&timeout=60",
        &json!({"idents": idents}),
    )
    .await;
    assert_eq!((gone.status, gone.applied.as_deref()), (200, Some("2/2")), "{}", gone.body);

    let mut expected = json!({});
    for (path, key) in [
        ("auth0%7Celon", "auth0|elon"),
        ("a%2Fb", "a/b"),
        ("a%252Fb", "a%2Fb"),
        ("a%20b%20%C3%A4%C3%B6", "a b äö"),
        ("~1~0", "~1~0"),
        ("with+plus", "with+plus"),
    ] {
        let made =
            ask(&functions, &token, "PUT", &format!("users/{path}?wait=all"), &json!({})).await;
        assert_eq!((made.status, &made.body["key"]), (201, &json!(key)), "{path}");
        assert_eq!(made.applied.as_deref(), Some("2/2"));
        let shown = ask(&functions, &token, "GET", &format!("users/{path}"), &Value::Null).await;
        assert_eq!((shown.status, shown.body), (200, made.body));
        expected[key] = json!({"roleAssignments": {}, "attributes": {}});
    }
    for agent in [&embedded, &real] {
        assert_eq!(data(agent, "users").await, expected);
    }
}

#[tokio::test]
async fn who_may_not_and_what_is_wrong_is_refused_and_leaves_no_trace() {
    if !can_run(&[]) {
        return;
    }
    let (functions, token) = functions().await;
    let master = functions.master_token().to_owned();
    let client = functions.mint("client", json!({})).await.unwrap();
    let claims = json!({"permitted_topics": ["other"]});
    let elsewhere = functions.mint("datasource", json!({"claims": claims})).await.unwrap();
    let put = async |token: &str, path: &str, body: &str| {
        let told = ask_at(&functions, token, "PUT", &format!("{FACTS}/{path}"), body).await;
        (told.status, told.body)
    };
    assert_eq!(put(&client, "users/a", "{}").await.0, 401);
    assert_eq!(put(&elsewhere, "users/a", "{}").await.0, 401);
    assert_eq!(put("nonsense", "users/a", "{}").await.0, 401);
    for (path, body, place) in [
        ("users/a", "nonsense", json!(["body"])),
        ("users/a", r#"{"email":"x"}"#, json!(["body", "email"])),
        ("users/%ff", "{}", json!(["path", "key"])),
        ("users/a%00", "{}", json!(["path", "key"])),
    ] {
        let (status, answer) = put(&token, path, body).await;
        assert_eq!((status, &answer["detail"][0]["loc"]), (422, &place), "{path}: {answer}");
    }
    let large = format!(r#"{{"attributes":{{"x":"{}"}}}}"#, "x".repeat(1_000_001));
    assert_eq!(put(&token, "users/a", &large).await.0, 413);
    assert_eq!(put(&token, "users", "{}").await.0, 405);
    assert_eq!(put(&token, "nothing/here", "{}").await.0, 404);
    assert_eq!(put(&token, "users/a?wait=many", "{}").await.0, 422);
    let missing = ask(&functions, &client, "GET", "users/a", &Value::Null).await;
    assert_eq!((missing.status, &missing.body["error_code"]), (404, &json!("NOT_FOUND")));
    assert!(logged(&functions, &token, 0).await.is_empty());
    assert_eq!(put(&master, "users/a", "{}").await.0, 201, "the master token may");
    assert_eq!(ask(&functions, &client, "GET", "users/a", &Value::Null).await.status, 200);
    let again = ask(&functions, &token, "POST", "users", &json!({"key": "a"})).await;
    assert_eq!((again.status, &again.body["error_code"]), (409, &json!("DUPLICATE_ENTITY")));
}

#[tokio::test]
async fn a_scope_has_a_directory_and_ids_of_its_own() {
    if !can_run(&[]) {
        return;
    }
    let (mut functions, token) = functions().await;
    let ids = async |functions: &Functions, path: &str| {
        ask_at(functions, &token, "GET", &format!("{path}/v2/api-key/scope"), "").await
    };
    let own = ids(&functions, "").await.body;
    for name in ["organization_id", "project_id", "environment_id"] {
        assert_eq!(own[name].as_str().unwrap().len(), 36, "{own}");
    }
    let scoped = functions.mint("datasource", json!({"claims": {"allowed_scopes": ["acme"]}}));
    let scoped = scoped.await.unwrap();
    let path = format!("/scopes/acme{FACTS}/users/a");
    assert_eq!(ask_at(&functions, &scoped, "PUT", &path, "{}").await.status, 404, "no such scope");
    let body = json!({"scope_id": "acme", "data": {"entries": []}});
    let made = functions.request(Method::PUT, "/scopes", Some(&token), Some(&body)).await.unwrap();
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(ask_at(&functions, &scoped, "PUT", &path, "{}").await.status, 201);
    assert_eq!(ask(&functions, &scoped, "PUT", "users/a", &json!({})).await.status, 403);
    assert_eq!(ask(&functions, &token, "GET", "users/a", &Value::Null).await.status, 404);
    let other = ask_at(&functions, &scoped, "GET", "/scopes/acme/v2/api-key/scope", "").await;
    assert_eq!(other.status, 200);
    assert_ne!(other.body["environment_id"], own["environment_id"]);
    functions.restart().await.unwrap();
    assert_eq!(ids(&functions, "").await.body, own);
    assert_eq!(ask_at(&functions, &scoped, "GET", &path, "").await.status, 200, "it is kept");
}
