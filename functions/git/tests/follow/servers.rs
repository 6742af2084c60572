//! What a server does.

use git::{Auth, GitError, Outcome, Remote, Secret};
use serde_json::json;
use testbed::{GitServer, Reply, Source};

use crate::rig::{Follower, served};

#[tokio::test]
async fn credentials_are_missing_then_wrong_then_right() {
    let (_repository, server, mut follower) = served(&[("a.rego", "package a")]).await;
    // "girasol:s3cret", and a token.
    server.allow("Basic Z2lyYXNvbDpzM2NyZXQ=");
    server.allow("Bearer t0ken");
    let error = follower.look().await.unwrap_err();
    assert_eq!(error, GitError::Credentials { status: 401, given: false });
    let url = server.url("policy");
    let bearer = |token: &str| Remote::new(&url, Auth::Bearer(Secret::new(token))).unwrap();
    follower.remote = bearer("wr0ng");
    let error = follower.look().await.unwrap_err();
    assert!(error.to_string().contains("refused the credentials"), "{error}");
    assert!(!error.to_string().contains("wr0ng"), "{error}");
    follower.remote = bearer("t0ken");
    follower.find().await;
    let with_user = url.replace("http://", "http://girasol:s3cret@");
    follower.remote = Remote::new(&with_user, Auth::None).unwrap();
    assert_eq!(follower.look().await, Ok(Outcome::Unchanged));
}

#[tokio::test]
async fn a_server_that_is_down_for_a_while_is_a_temporary_error() {
    let (repository, server, mut follower) = served(&[("a.rego", "package a")]).await;
    follower.find().await;
    server.fail_with(Some(503)).unwrap();
    let error = follower.look().await.unwrap_err();
    assert!(error.is_temporary() && error.to_string().contains("503"), "{error}");
    server.fail_with(None).unwrap();
    let head = repository.change(&[("a.rego", "package b")]).await.unwrap();
    assert_eq!(follower.find().await, head);
}

#[tokio::test]
async fn there_is_no_such_repository() {
    let (_repository, server, _) = served(&[("a.rego", "package a")]).await;
    let error = Follower::of(&server.url("other")).look().await.unwrap_err();
    assert_eq!(error, GitError::NotFound);
    assert!(!error.is_temporary());
}

#[tokio::test]
async fn a_repository_with_other_ids_is_refused() {
    let (repository, _server, mut follower) = served(&[("a.rego", "package a")]).await;
    repository.git(&["init", "--quiet", "--object-format=sha256", "other"]).await.unwrap();
    let other = repository.folder().join("other/.git");
    std::fs::remove_dir_all(repository.folder().join(".git")).unwrap();
    std::fs::rename(other, repository.folder().join(".git")).unwrap();
    let error = follower.look().await.unwrap_err().to_string();
    assert!(error.contains("`sha256`"), "{error}");
}

#[tokio::test]
async fn what_is_not_git_of_version_2_is_told_apart() {
    const ADVERTISEMENT: &str = "application/x-git-upload-pack-advertisement";
    let source = Source::start(&json!({})).unwrap();
    let mut follower = Follower::of(&source.url("x"));
    for (reply, why) in [
        (Reply::text("text/html", "<!DOCTYPE html>"), "`text/html`"),
        (Reply::text("text/plain", "0123 refs/heads/main"), "smart HTTP"),
        (Reply::text(ADVERTISEMENT, "<!DOCTYPE html>"), "no length of a line"),
        (
            Reply::text(
                ADVERTISEMENT,
                "001e# service=git-upload-pack\n0000\
                 003f0123456789012345678901234567890123456789 refs/heads/master\n0000",
            ),
            "protocol version 2",
        ),
        (Reply::text(ADVERTISEMENT, "000eversion 1\n0000"), "protocol version 2"),
        (Reply::text(ADVERTISEMENT, "000eversion 2\n0000"), "without history"),
        (Reply::text(ADVERTISEMENT, "000eversion 2\n"), "cut short"),
        (Reply::text(ADVERTISEMENT, "000cERR no!\n0000"), "says: no!"),
        (Reply::text(ADVERTISEMENT, ""), "cut short"),
    ] {
        source.reply(reply);
        let error = follower.look().await.unwrap_err().to_string();
        assert!(error.contains(why), "{error}, not {why}");
    }
}

#[tokio::test]
async fn a_repository_that_moved_is_followed_without_credentials_for_others() {
    let (_repository, server, mut follower) = served(&[("a.rego", "package a")]).await;
    let source = Source::start(&json!({})).unwrap();
    let to = format!("{}/info/refs?service=git-upload-pack", server.url("policy"));
    source.reply(Reply::text("text/html", "moved").status(301).header("location", &to));
    follower.remote = Remote::new(&source.url("x"), Auth::Bearer(Secret::new("t"))).unwrap();
    follower.find().await;
    assert_eq!(follower.paths(), ["a.rego"]);
    assert_eq!(source.received()[0].header("authorization"), Some("Bearer t"));
    // It does not let in who has no token, so it never got ours.
    server.allow("Bearer t");
    follower.server = None;
    let error = follower.look().await.unwrap_err();
    assert_eq!(error, GitError::Credentials { status: 401, given: false });
}

#[tokio::test]
async fn what_was_found_out_of_a_server_is_found_out_anew_when_it_moved() {
    let (repository, first, mut follower) = served(&[("a.rego", "package a")]).await;
    let second = GitServer::start().unwrap();
    second.serve("policy", &repository);
    let source = Source::start(&json!({})).unwrap();
    let redirect = |server: &GitServer| {
        let to = format!("{}/info/refs?service=git-upload-pack", server.url("policy"));
        source.reply(Reply::text("text/html", "moved").status(301).header("location", &to));
    };
    redirect(&first);
    follower.remote = Remote::new(&source.url("x"), Auth::None).unwrap();
    follower.find().await;
    first.fail_with(Some(404)).unwrap();
    redirect(&second);
    assert_eq!(follower.look().await, Ok(Outcome::Unchanged));
    assert_eq!(second.requests().len(), 2);
    second.fail_with(Some(404)).unwrap();
    assert_eq!(follower.look().await, Err(GitError::NotFound));
}

#[tokio::test]
async fn redirects_that_never_end_do() {
    let source = Source::start(&json!({})).unwrap();
    let to = source.url("x/info/refs?service=git-upload-pack");
    source.reply(Reply::text("text/html", "").status(302).header("location", &to));
    let error = Follower::of(&source.url("x")).look().await.unwrap_err().to_string();
    assert!(error.contains("more than 5 times"), "{error}");
    source.reply(Reply::text("text/html", "").status(302).header("location", "/login"));
    let error = Follower::of(&source.url("x")).look().await.unwrap_err().to_string();
    assert!(error.contains("no repository"), "{error}");
}
