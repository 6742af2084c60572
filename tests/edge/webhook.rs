//! Webhooks as the hosts send them.

use hmac::{Hmac, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::following::{Following, can_follow, module, post_hook, told};

const SECRET: &str = "the webhook's secret";

fn signature(body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    let bytes = mac.finalize().into_bytes();
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={digits}")
}

fn push(url: &str, branch: &str) -> Value {
    json!({"ref": format!("refs/heads/{branch}"), "repository": {"clone_url": url, "full_name": "o/r"}})
}

#[tokio::test]
async fn only_a_signed_push_of_the_branch_of_the_repository_has_somebody_look() {
    if !can_follow() {
        return;
    }
    let settings =
        [("POLICY_REPO_WEBHOOK_SECRET", SECRET), ("POLICY_REPO_WEBHOOK_ENFORCE_BRANCH", "true")];
    let following = Following::start(&[("a.rego", &module("app", 1))], &settings).await;
    let mut peer = following.listen().await;
    let commit = following.repository.change(&[("a.rego", &module("app", 2))]).await.unwrap();
    let before = following.server.requests().len();
    let url = following.url.as_str();
    let send = async |event: &str, body: String, signature: Option<String>| {
        let mut headers = vec![("X-GitHub-Event", event)];
        headers.extend(signature.as_deref().map(|it| ("X-Hub-Signature-256", it)));
        let answer = post_hook(&following.functions, &headers, body).await;
        (answer.status, answer.body)
    };
    let mine = push(url, "master").to_string();
    for (signed, words) in [
        (None, "No secret was provided!"),
        (Some(signature("something else")), "signatures didn't match!"),
        (Some("sha256=".to_owned()), "No secret was provided!"),
    ] {
        let refused = send("push", mine.clone(), signed).await;
        assert_eq!(refused, (401, json!({"detail": {"error": words}})));
    }
    let signed = async |event: &str, body: String| {
        let signature = signature(&body);
        send(event, body, Some(signature)).await
    };
    let other = push("https://git.example/o/other", "master").to_string();
    let ignored = json!({"status": "ignored", "event": "push"});
    assert_eq!(signed("push", other).await, (200, ignored));
    assert_eq!(signed("push", push(url, "other").to_string()).await, (200, json!(null)));
    let ping = json!({"status": "ok", "event": "ping", "repo_url": url});
    assert_eq!(signed("ping", mine.clone()).await, (200, ping));
    assert_eq!(signed("push", "<xml/>".to_owned()).await.0, 400);
    assert_eq!(signed("push", "{}".to_owned()).await.0, 400);
    assert_eq!(following.server.requests().len(), before, "somebody has looked");
    let heard = json!({"status": "ok", "event": "push", "repo_url": url});
    assert_eq!(signed("push", mine).await, (200, heard));
    assert_eq!(told(&mut peer).await, commit);
}

#[tokio::test]
async fn gitlab_azure_and_bitbucket_are_heard_with_their_tokens() {
    if !can_follow() {
        return;
    }
    for (host, secret_header, event, path) in [
        (
            "gitlab",
            "X-Gitlab-Token",
            Some(("X-Gitlab-Event", "Push Hook")),
            "/project/git_http_url",
        ),
        ("azure", "x-api-key", None, "/resource/repository/remoteUrl"),
        ("bitbucket", "X-Hook-UUID", Some(("X-Event-Key", "repo:push")), "/repository/url"),
    ] {
        let settings =
            [("POLICY_REPO_WEBHOOK_SECRET", SECRET), ("POLICY_REPO_WEBHOOK_PARAMS", host)];
        let following = Following::start(&[("a.rego", &module("app", 1))], &settings).await;
        let mut peer = following.listen().await;
        let commit = following.repository.change(&[("a.rego", &module("app", 2))]).await.unwrap();
        let named = path.rsplit('/').take(path.matches('/').count());
        let mut body = named.fold(json!(following.url), |inner, name| json!({ name: inner }));
        body["eventType"] = json!("git.push");
        let mut headers: Vec<_> = event.into_iter().collect();
        headers.push((secret_header, "wr0ng"));
        let refused = post_hook(&following.functions, &headers, body.to_string()).await;
        assert_eq!(refused.status, 401, "{host}: {refused:?}");
        headers.pop();
        headers.push((secret_header, SECRET));
        let heard = post_hook(&following.functions, &headers, body.to_string()).await;
        assert_eq!(heard.body["status"], "ok", "{host}: {heard:?}");
        assert_eq!(told(&mut peer).await, commit, "{host}");
    }
}
