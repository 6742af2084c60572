use reqwest::Method;
use serde_json::json;
use testbed::Repository;

use crate::following::{Following, ask, can_follow, module, post_hook, until};

#[tokio::test]
async fn a_scope_follows_a_repository_of_its_own() {
    if !can_follow() {
        return;
    }
    let following = Following::start(&[("a.rego", &module("app", 1))], &[]).await;
    let (functions, ds) = (&following.functions, following.ds.as_str());
    let files = [("app/a.rego", &*module("app", 7)), ("other/b.rego", &*module("other", 7))];
    let own = Repository::with(&files).await.unwrap();
    let url = following.server.serve("own", &own);
    let scope = |branch: &str| {
        json!({"scope_id": "s1", "policy": {
            "source_type": "git", "url": url, "branch": branch, "directories": ["app"],
            "auth": {"auth_type": "none"},
        }})
    };
    let put = async |branch: &str| {
        let body = scope(branch);
        let made = functions.request(Method::PUT, "/scopes", Some(ds), Some(&body)).await.unwrap();
        assert_eq!(made.status, 201, "{made:?}");
    };
    let claims = json!({"claims": {"allowed_scopes": ["s1"]}});
    let client = functions.mint("client", claims).await.unwrap();
    let policy = async || ask(functions, Method::GET, "/scopes/s1/policy", &client).await;
    put("nowhere").await;
    until("the branch to be missed", async || {
        let answer = policy().await;
        if answer.status == 409 { Ok(()) } else { Err(json!([answer.status, answer.body])) }
    })
    .await;
    let words = "Policy branch for scope s1 could not be resolved (check the configured branch); \
                 not retryable";
    assert_eq!(policy().await.body, json!({"detail": words}));
    put("master").await;
    let is = async |hash: &str| {
        until("the scope's policy", async || {
            let answer = policy().await;
            if answer.body["hash"] == hash { Ok(()) } else { Err(answer.body) }
        })
        .await;
    };
    is(&own.head().await.unwrap()).await;
    assert_eq!(policy().await.body["manifest"], json!(["app/a.rego"]));
    assert_eq!(following.hash().await, following.repository.head().await.unwrap());
    // A webhook of its repository, and a refresh.
    let commit = own.change(&[("app/a.rego", &module("app", 8))]).await.unwrap();
    let hook = json!({"repository": {"clone_url": url}, "ref": "refs/heads/master"}).to_string();
    let said = post_hook(functions, &[("X-GitHub-Event", "push")], hook).await;
    assert_eq!(said.body["repo_url"], url, "{said:?}");
    is(&commit).await;
    let commit = own.change(&[("app/a.rego", &module("app", 9))]).await.unwrap();
    for path in ["/scopes/s1/refresh", "/scopes/refresh"] {
        assert_eq!(ask(functions, Method::POST, path, ds).await.status, 200, "{path}");
    }
    is(&commit).await;
    let commit = own.change(&[("app/a.rego", &module("app", 10))]).await.unwrap();
    let refreshed = ask(functions, Method::POST, "/policy/refresh?scope=s1", ds).await;
    assert_eq!(refreshed.ok().unwrap()["hash"], commit);
    let pushed = json!({"files": {"a.rego": "package a\n"}});
    let path = "/scopes/s1/policy";
    let pushed = functions.request(Method::PUT, path, Some(ds), Some(&pushed)).await.unwrap();
    assert_eq!(pushed.status, 409, "{pushed:?}");
    assert_eq!(ask(functions, Method::DELETE, "/scopes/s1", ds).await.status, 204);
    let gone = ask(functions, Method::POST, "/scopes/s1/refresh", ds).await;
    assert_eq!(gone.status, 404, "{gone:?}");
}
