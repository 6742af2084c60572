use reqwest::Method;
use serde_json::json;

use crate::following::{Following, ask, can_follow, module, text_of, told, until};
use crate::support::SOON;

#[tokio::test]
async fn a_repository_is_followed_from_the_first_request_on() {
    if !can_follow() {
        return;
    }
    let (first, data) = (module("app", 1), r#"{"users":{"a":1}}"#);
    let files = [("app/a.rego", first.as_str()), ("data.json", data), ("README.md", "no policy")];
    let following = Following::prepare(&files, |functions| functions).await;
    until("the policy", async || {
        let answer = following.policy().await;
        match answer.status {
            200 => Ok(()),
            503 => Err(answer.body),
            status => panic!("{status}: {answer:?}"),
        }
    })
    .await;
    let head = following.repository.head().await.unwrap();
    let policy = following.policy().await.ok().unwrap();
    assert_eq!(policy["hash"], head);
    assert_eq!(text_of(&policy, "app/a.rego"), Some(first.as_str()));
    assert_eq!(policy["data_modules"], json!([{"path": ".", "data": data}]));
    assert_eq!(policy["manifest"], json!(["data.json", "app/a.rego"]));
    let status = following.status().await;
    assert_eq!(status["source"], following.url);
    assert_eq!((&status["head"], &status["revision"]), (&json!(head), &json!(head)));
    assert_eq!((&status["branch"], &status["error"]), (&json!("master"), &json!(null)));
}

#[tokio::test]
async fn a_commit_and_a_webhook_make_another_policy_and_clients_are_told() {
    if !can_follow() {
        return;
    }
    let (one, two) = (module("app", 1), module("app", 2));
    let following = Following::start(&[("a.rego", &one), ("b.rego", &one)], &[]).await;
    let before = following.hash().await;
    let sent = following.server.bytes_sent();
    let mut peer = following.listen().await;
    let commit = following.repository.change(&[("a.rego", &two)]).await.unwrap();
    let answer = following.hook().await;
    let url = &following.url;
    assert_eq!(answer.body, json!({"status": "ok", "event": "push", "repo_url": url}));
    assert_eq!(told(&mut peer).await, commit);
    let path = format!("/policy?base_hash={before}");
    let change = ask(&following.functions, Method::GET, &path, &following.ds).await.ok().unwrap();
    assert_eq!((&change["hash"], &change["old_hash"]), (&json!(commit), &json!(before)));
    assert_eq!(change["manifest"], json!(["a.rego"]));
    assert_eq!(text_of(&change, "a.rego"), Some(two.as_str()));
    let sent = following.server.bytes_sent() - sent;
    assert!(sent < 2_000, "{sent} bytes were fetched for one small file");
    // A rename and a deletion.
    let renamed = following.repository.rename("b.rego", "c/b.rego").await.unwrap();
    following.hook().await;
    assert_eq!(told(&mut peer).await, renamed);
    let policy = following.policy().await.ok().unwrap();
    assert_eq!(policy["manifest"], json!(["a.rego", "c/b.rego"]));
}

#[tokio::test]
async fn a_refresh_waits_for_the_look_and_says_what_came_of_it() {
    if !can_follow() {
        return;
    }
    let following = Following::start(&[("a.rego", &module("app", 1))], &[]).await;
    let commit = following.repository.change(&[("a.rego", &module("app", 2))]).await.unwrap();
    let refreshed = following.refresh().await.ok().unwrap();
    assert_eq!((&refreshed["hash"], &refreshed["changed"]), (&json!(commit), &json!(true)));
    assert!(refreshed["seq"].as_u64().unwrap() > 0, "{refreshed}");
    assert_eq!(following.hash().await, commit);
    let again = following.refresh().await.ok().unwrap();
    assert_eq!((&again["hash"], &again["changed"]), (&json!(commit), &json!(false)));
    let client = following.functions.mint("client", json!({})).await.unwrap();
    let refused = ask(&following.functions, Method::POST, "/policy/refresh", &client).await;
    assert_eq!(refused.status, 401, "{refused:?}");
}

#[tokio::test]
async fn looks_that_are_asked_for_at_the_same_time_all_see_what_was_there_before() {
    if !can_follow() {
        return;
    }
    let following = Following::start(&[("a.rego", &module("app", 1))], &[]).await;
    let before = following.server.requests().len();
    let commit = following.repository.change(&[("a.rego", &module("app", 2))]).await.unwrap();
    let all = futures::future::join_all((0..20).map(|_| following.refresh())).await;
    for answer in all {
        assert_eq!(answer.ok().unwrap()["hash"], commit);
    }
    let looks = following.server.requests().len() - before;
    assert!(looks < 12, "{looks} requests for 20 refreshes");
}

#[tokio::test]
async fn a_force_push_to_an_unrelated_history_is_followed() {
    if !can_follow() {
        return;
    }
    let files = [("a.rego", &*module("app", 1)), ("old.rego", &*module("old", 1))];
    let following = Following::start(&files, &[]).await;
    let mut peer = following.listen().await;
    let rewritten = following.repository.rewrite(&[("a.rego", &module("app", 3))]).await.unwrap();
    following.hook().await;
    assert_eq!(told(&mut peer).await, rewritten);
    let policy = following.policy().await.ok().unwrap();
    assert_eq!(policy["manifest"], json!(["a.rego"]));
    let next = following.repository.change(&[("b.rego", &module("b", 1))]).await.unwrap();
    assert_eq!(following.refresh().await.ok().unwrap()["hash"], next);
}

#[tokio::test]
async fn a_deleted_branch_leaves_the_policy_and_is_shown_until_it_is_back() {
    if !can_follow() {
        return;
    }
    let following = Following::start(&[("a.rego", &module("app", 1))], &[]).await;
    let head = following.hash().await;
    following.repository.delete_branch("master").await.unwrap();
    let refused = following.refresh().await;
    assert_eq!(refused.status, 409, "{refused:?}");
    assert!(refused.body["detail"].as_str().unwrap().contains("`master`"), "{refused:?}");
    assert_eq!(following.hash().await, head);
    let status = following.status().await;
    assert!(status["error"].as_str().unwrap().contains("`master`"), "{status}");
    assert_eq!((&status["revision"], &status["failures"]), (&json!(head), &json!(1)));
    following.repository.set_branch("master", &head).await.unwrap();
    assert_eq!(following.refresh().await.ok().unwrap()["changed"], false);
    assert_eq!(following.status().await["error"], json!(null));
}

#[tokio::test]
async fn a_server_that_is_down_leaves_the_policy_and_is_asked_again_when_it_is_back() {
    if !can_follow() {
        return;
    }
    let mut following = Following::start(&[("a.rego", &module("app", 1))], &[]).await;
    let head = following.hash().await;
    let mut peer = following.listen().await;
    following.server.stop();
    let commit = following.repository.change(&[("a.rego", &module("app", 2))]).await.unwrap();
    let down = following.refresh().await;
    assert_eq!(down.status, 503, "{down:?}");
    assert_eq!(following.hash().await, head);
    let status = following.status().await;
    assert!(status["error"].as_str().unwrap().contains("cannot be reached"), "{status}");
    assert!(status["next_look"].is_string(), "{status}");
    following.server.restart().unwrap();
    // Nobody asks for it.
    assert_eq!(told(&mut peer).await, commit);
    following.server.fail_with(Some(500)).unwrap();
    let broken = following.refresh().await;
    assert_eq!(broken.status, 503, "{broken:?}");
    assert_eq!(following.hash().await, commit);
}

#[tokio::test]
async fn an_empty_commit_is_another_revision_of_the_same_policy() {
    if !can_follow() {
        return;
    }
    let following = Following::start(&[("a.rego", &module("app", 1))], &[]).await;
    let mut peer = following.listen().await;
    let empty = following.repository.commit_nothing().await.unwrap();
    let refreshed = following.refresh().await.ok().unwrap();
    assert_eq!((&refreshed["hash"], &refreshed["changed"]), (&json!(empty), &json!(false)));
    assert_eq!(following.hash().await, empty);
    let commit = following.repository.change(&[("a.rego", &module("app", 2))]).await.unwrap();
    following.hook().await;
    assert_eq!(told(&mut peer).await, commit, "nobody was told of the empty one");
}

#[tokio::test]
async fn a_policy_that_does_not_compile_is_refused_and_a_mended_one_taken() {
    if !can_follow() {
        return;
    }
    let following = Following::start(&[("a.rego", &module("app", 1))], &[]).await;
    let head = following.hash().await;
    let bad = "package app\n\nallow if {\n  nothing_like_this(1)\n";
    let commit = following.repository.change(&[("b/bad.rego", bad)]).await.unwrap();
    let refused = following.refresh().await;
    assert_eq!(refused.status, 422, "{refused:?}");
    assert!(refused.body.to_string().contains("b/bad.rego:"), "{refused:?}");
    assert_eq!(following.hash().await, head);
    let status = following.status().await;
    assert!(status["error"].as_str().unwrap().contains("b/bad.rego:"), "{status}");
    assert_eq!((&status["head"], &status["revision"]), (&json!(commit), &json!(head)));
    assert!(following.functions.logs().to_string().contains("b/bad.rego:"));
    let mended = following.repository.change(&[("b/bad.rego", &module("b", 1))]).await.unwrap();
    assert_eq!(following.refresh().await.ok().unwrap()["hash"], mended);
    assert_eq!(following.status().await["error"], json!(null));
}

#[tokio::test]
async fn a_token_opens_a_private_repository_and_is_shown_nowhere() {
    if !can_follow() {
        return;
    }
    let settings = |token: &'static str| {
        move |functions: testbed::FunctionsBuilder| {
            functions.var("GIRASOL_POLICY_REPO_TOKEN", token)
        }
    };
    let files = [("a.rego", &*module("app", 1))];
    let mut following = Following::prepare(&files, settings("wr0ng-s3cret")).await;
    // `x-access-token:s3cret`.
    following.server.allow("Basic eC1hY2Nlc3MtdG9rZW46czNjcmV0");
    let refused = following.refresh().await;
    assert_eq!(refused.status, 502, "{refused:?}");
    assert!(refused.body["detail"].as_str().unwrap().contains("credentials"), "{refused:?}");
    following.functions.set_var("GIRASOL_POLICY_REPO_TOKEN", "s3cret");
    following.functions.restart().await.unwrap();
    following.refresh().await.ok().unwrap();
    assert_eq!(following.hash().await, following.repository.head().await.unwrap());
    let seen = format!("{}{}{refused:?}", following.status().await, following.functions.logs());
    assert!(!seen.contains("s3cret"), "{seen}");
}

#[tokio::test]
async fn credentials_in_the_address_are_sent_and_shown_nowhere() {
    if !can_follow() {
        return;
    }
    let files = [("a.rego", &*module("app", 1))];
    let mut following = Following::prepare(&files, |functions| functions).await;
    // `u:s3cret`.
    following.server.allow("Basic dTpzM2NyZXQ=");
    let with_user = following.url.replacen("http://", "http://u:s3cret@", 1);
    following.functions.set_var("GIRASOL_POLICY_REPO_URL", &with_user);
    following.functions.restart().await.unwrap();
    following.refresh().await.ok().unwrap();
    let status = following.status().await;
    assert_eq!(status["source"], following.url);
    assert!(!format!("{status}{}", following.functions.logs()).contains("s3cret"));
}

#[tokio::test]
async fn who_follows_a_repository_refuses_pushes_and_names_the_setting() {
    if !can_follow() {
        return;
    }
    let following = Following::start(&[("a.rego", &module("app", 1))], &[]).await;
    let body = json!({"files": {"a.rego": "package a\n"}});
    let pushed =
        following.functions.request(Method::PUT, "/policy", Some(&following.ds), Some(&body));
    let pushed = pushed.await.unwrap();
    assert_eq!(pushed.status, 409, "{pushed:?}");
    assert!(pushed.body["detail"].as_str().unwrap().contains("POLICY_REPO_URL"), "{pushed:?}");
    assert_eq!(following.hash().await, following.repository.head().await.unwrap());
}

#[tokio::test]
async fn an_interval_finds_a_commit_that_nobody_tells_of() {
    if !can_follow() {
        return;
    }
    let settings = [("POLICY_REPO_POLLING_INTERVAL", "1")];
    let following = Following::start(&[("a.rego", &module("app", 1))], &settings).await;
    let mut peer = following.listen().await;
    let commit = following.repository.change(&[("a.rego", &module("app", 2))]).await.unwrap();
    assert_eq!(told(&mut peer).await, commit);
}

#[tokio::test]
async fn another_branch_and_other_files_are_followed_after_a_restart() {
    if !can_follow() {
        return;
    }
    let files = [("a.rego", &*module("app", 1)), ("gen/b.rego", &*module("b", 1))];
    let mut following = Following::start(&files, &[]).await;
    let first = following.hash().await;
    let second = following.repository.change(&[("a.rego", &module("app", 2))]).await.unwrap();
    following.repository.set_branch("stable", &first).await.unwrap();
    following.functions.set_var("OPAL_BUNDLE_IGNORE", "gen/**");
    following.functions.restart().await.unwrap();
    let refreshed = following.refresh().await.ok().unwrap();
    assert_eq!(refreshed["hash"], second);
    assert_eq!(following.policy().await.ok().unwrap()["manifest"], json!(["a.rego"]));
    following.functions.set_var("OPAL_POLICY_REPO_MAIN_BRANCH", "stable");
    following.functions.restart().await.unwrap();
    let refreshed = following.refresh().await.ok().unwrap();
    // The same commit was published with other files before.
    let hash = refreshed["hash"].as_str().unwrap();
    assert!(hash.starts_with(&format!("{first}+")), "{hash}");
    let policy = following.policy().await.ok().unwrap();
    assert_eq!(text_of(&policy, "a.rego"), Some(module("app", 1).as_str()));
    assert_eq!(policy["manifest"], json!(["a.rego"]));
}

#[tokio::test]
async fn a_repository_of_another_kind_is_told_how_to_be_followed() {
    if !can_follow() {
        return;
    }
    let files = [("a.rego", &*module("app", 1))];
    let ssh = |functions: testbed::FunctionsBuilder| {
        functions.var("GIRASOL_POLICY_REPO_URL", "git@git.example:policy.git")
    };
    let following = Following::prepare(&files, ssh).await;
    let refused = following.refresh().await;
    assert_eq!(refused.status, 503, "{refused:?}");
    let policy = following.policy().await;
    assert_eq!(policy.status, 503, "{policy:?}");
    let status = following.status().await;
    for said in [refused.body.to_string(), policy.body.to_string(), status.to_string()] {
        assert!(said.contains("POLICY_REPO_URL") && said.contains("policy track"), "{said}");
    }
    // Which then pushes.
    let body = json!({"files": {"a.rego": "package a\n"}});
    let pushed =
        following.functions.request(Method::PUT, "/policy", Some(&following.ds), Some(&body));
    pushed.await.unwrap().ok().unwrap();
}

#[tokio::test]
async fn statistics_show_the_policy_and_clients_are_told_of_nothing_new() {
    if !can_follow() {
        return;
    }
    let settings = [("STATISTICS_ENABLED", "true")];
    let following = Following::start(&[("a.rego", &module("app", 1))], &settings).await;
    let head = following.hash().await;
    let mut peer = following.listen().await;
    for path in ["/statistics", "/stats"] {
        let shown = ask(&following.functions, Method::GET, path, &following.ds).await.ok().unwrap();
        assert_eq!(shown["policy"]["revision"], head, "{shown}");
    }
    // Replayed as often as one likes.
    for _ in 0..3 {
        assert_eq!(following.hook().await.body["status"], "ok");
    }
    let commit = following.repository.change(&[("a.rego", &module("app", 2))]).await.unwrap();
    following.hook().await;
    assert_eq!(told(&mut peer).await, commit);
    assert!(peer.notified(SOON / 100).await.unwrap().is_none());
}
