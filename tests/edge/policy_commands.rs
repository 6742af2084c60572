//! `policy push` and `policy track` as a person types them.

use std::fs;

use reqwest::Method;
use serde_json::{Value, json};
use testbed::{Functions, GitServer, Part, Process, Repository, command, said};

use crate::support::{SOON, can_run, functions};

async fn policy(functions: &Functions, token: &str) -> Value {
    functions.request(Method::GET, "/policy", Some(token), None).await.unwrap().ok().unwrap()
}

/// Waits for a line that has all of these words.
async fn told(process: &Process, words: &[&str]) {
    let has = |line: &str| words.iter().all(|word| line.contains(word)).then_some(());
    let waiting = tokio::time::timeout(SOON, process.logs().wait_for(has));
    assert_eq!(waiting.await, Ok(Some(())), "{words:?}: {}", process.logs());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_pushed_with_its_manifest_and_a_revision_and_a_refusal_says_where() {
    if !can_run(&[]) {
        return;
    }
    let (functions, token) = functions().await;
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| fs::write(folder.path().join(path), text).unwrap();
    write(".manifest", "b.rego\na.rego\n");
    write("a.rego", "package a\n\nx := 1\n");
    write("b.rego", "package b\n");
    write("gen.rego", "package");
    let push = async |arguments: &[&str]| {
        let mut push = command(Part::Agent.find().unwrap());
        push.args(["policy", "push"]).arg(folder.path()).args(["--ignore", "gen.rego"]);
        push.args(["--server-url", functions.url()]).args(arguments).env("GIRASOL_TOKEN", &token);
        said(push).await.unwrap()
    };
    let pushed = push(&["--revision", "v1"]).await;
    assert_eq!(pushed.code, Some(0), "{pushed:?}");
    let now = policy(&functions, &token).await;
    assert_eq!((&now["hash"], &now["manifest"]), (&json!("v1"), &json!(["b.rego", "a.rego"])));

    write("a.rego", "package a\n\nx := nothing\n");
    let refused = push(&["--revision", "v2"]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.err.contains("answered 422: a.rego:3:6: "), "{refused:?}");
    assert_eq!(policy(&functions, &token).await["hash"], "v1");
    assert_eq!(push(&["--revision", "v 2"]).await.code, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_is_tracked_over_commits_refusals_outages_and_a_rewrite() {
    if !can_run(&[]) {
        return;
    }
    let (functions, token) = functions().await;
    let repository = Repository::with(&[("a.rego", "package a\n"), ("b.md", "no")]).await.unwrap();
    let mut git = GitServer::start().unwrap();
    let url = git.serve("policy", &repository);
    let track = |arguments: &[&str]| {
        let mut track = command(Part::Agent.find().unwrap());
        track.args(["policy", "track", &url, "--branch", "master"]).args(arguments);
        track.args(["--server-url", functions.url()]).env("GIRASOL_TOKEN", &token);
        track
    };
    let mut following = Process::spawn("policy track", track(&["--interval", "50ms"])).unwrap();
    let first = repository.head().await.unwrap();
    told(&following, &[&first, "is the policy, 1 files"]).await;
    assert_eq!(policy(&functions, &token).await["hash"], first);

    let second = repository.change(&[("a.rego", "package a\n\nx := 2\n")]).await.unwrap();
    told(&following, &[&second, "is the policy"]).await;
    let bad = repository.change(&[("a.rego", "package a\n\nx := nothing\n")]).await.unwrap();
    told(&following, &[&bad, "is refused, the policy stays", "a.rego:3:6: "]).await;
    assert_eq!(policy(&functions, &token).await["hash"], second);

    git.stop();
    told(&following, &["warning: ", &url, "again in"]).await;
    let rewritten = repository.rewrite(&[("c.rego", "package c\n")]).await.unwrap();
    git.restart().unwrap();
    told(&following, &[&rewritten, "is the policy"]).await;
    let now = policy(&functions, &token).await;
    assert_eq!((&now["hash"], &now["manifest"]), (&json!(rewritten), &json!(["c.rego"])));
    let ended = following.terminate(SOON).await.unwrap().unwrap();
    assert_eq!(ended.code(), Some(0), "{}", following.logs());

    let once = said(track(&["--once"])).await.unwrap();
    assert_eq!((once.code, once.out), (Some(0), format!("{rewritten} is the policy already")));
    // A password never goes over the network as clear text, and never into a message.
    git.allow("Basic something");
    let private = said(track(&["--once", "--repo-token", "s3cret"])).await.unwrap();
    assert_eq!(private.code, Some(1), "{private:?}");
    assert!(private.err.contains("clear text") && !private.err.contains("s3cret"), "{private:?}");
}
