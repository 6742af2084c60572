//! What happens to a branch.

use std::fmt::Write as _;

use git::{GitError, Outcome};
use testbed::Repository;

use crate::rig::{Follower, served};

#[tokio::test]
async fn the_first_look_brings_the_files_and_the_next_one_nothing() {
    let files = [("a.rego", "package a\n"), ("b/c.rego", "package b.c\n"), ("README", "x")];
    let (repository, server, mut follower) = served(&files).await;
    assert_eq!(follower.find().await, repository.head().await.unwrap());
    let expected = [("a.rego", "package a\n"), ("b/c.rego", "package b.c\n")];
    let expected = expected.map(|(path, text)| (path.to_owned(), text.to_owned()));
    assert_eq!(follower.files().unwrap(), expected);
    let requests = server.requests().len();
    assert_eq!(follower.look().await, Ok(Outcome::Unchanged));
    // What the server can do is known by now, so the branch is all that is asked for.
    assert_eq!(server.requests().len(), requests + 1);
}

#[tokio::test]
async fn the_pieces_of_an_answer_may_have_any_size() {
    let (repository, _server, mut follower) = served(&[("a.rego", "package a\n")]).await;
    for piece in [1, 2, 3, 7, 65_520, usize::MAX] {
        (follower.known, follower.objects, follower.piece) = (None, Default::default(), piece);
        assert_eq!(follower.find().await, repository.head().await.unwrap());
        assert_eq!(follower.paths(), ["a.rego"]);
    }
}

#[tokio::test]
async fn changes_renames_deletions_and_empty_commits_are_followed() {
    let files = [("a.rego", "package a"), ("b.rego", "package b"), ("c.rego", "package c")];
    let (repository, _server, mut follower) = served(&files).await;
    follower.find().await;
    let head = repository.change(&[("a.rego", "package a2")]).await.unwrap();
    assert_eq!(follower.find().await, head);
    assert_eq!(follower.files().unwrap()[0].1, "package a2");
    repository.rename("b.rego", "x/y.rego").await.unwrap();
    follower.find().await;
    assert_eq!(follower.paths(), ["a.rego", "c.rego", "x/y.rego"]);
    repository.delete(&["c.rego"]).await.unwrap();
    follower.find().await;
    assert_eq!(follower.paths(), ["a.rego", "x/y.rego"]);
    let before = follower.files();
    let head = repository.commit_nothing().await.unwrap();
    assert_eq!(follower.find().await, head);
    assert_eq!(follower.files(), before);
    // Only what the newest commit needs is kept: commit, two folders, two files.
    assert_eq!(follower.objects.len(), 5);
}

#[tokio::test]
async fn a_commit_that_changes_one_of_a_thousand_files_costs_few_bytes() {
    let names: Vec<String> = (0..1_000).map(|n| format!("team{}/p{n}.rego", n % 20)).collect();
    let texts: Vec<String> = (0..1_000).map(|n| text(n, "alice")).collect();
    let files: Vec<_> = names.iter().zip(&texts).map(|(n, t)| (n.as_str(), t.as_str())).collect();
    let (repository, server, mut follower) = served(&files).await;
    follower.find().await;
    let first = server.bytes_sent();
    let new = text(500, "bob");
    repository.change(&[(&names[500], &new)]).await.unwrap();
    follower.find().await;
    let second = server.bytes_sent() - first;
    assert_eq!(follower.files().unwrap().len(), 1_000);
    assert!(follower.files().unwrap().iter().any(|(_, text)| *text == new));
    println!("1,000 policies: {first} bytes, one changed: {second} bytes");
    assert!(second < 5_000, "{second} bytes, in all {first}");
}

/// Some rules, 2 KB of them.
fn text(number: usize, user: &str) -> String {
    let mut text = format!("package team{}.p{number}\n\n", number % 20);
    for rule in 0..30 {
        let _ =
            writeln!(text, "allow if {{ input.user == \"{user}\"; input.n == {number}{rule} }}");
    }
    text
}

#[tokio::test]
async fn a_force_push_to_a_history_of_its_own_is_followed() {
    let (repository, _server, mut follower) = served(&[("a.rego", "package a")]).await;
    follower.find().await;
    let head = repository.rewrite(&[("b.rego", "package b")]).await.unwrap();
    assert_eq!(follower.find().await, head);
    assert_eq!(follower.paths(), ["b.rego"]);
    // And the server may have forgotten what was there before.
    let head = repository.rewrite(&[("c.rego", "package c")]).await.unwrap();
    repository.git(&["reflog", "expire", "--expire=now", "--all"]).await.unwrap();
    repository.git(&["gc", "--quiet", "--prune=now"]).await.unwrap();
    assert_eq!(follower.find().await, head);
    assert_eq!(follower.paths(), ["c.rego"]);
}

#[tokio::test]
async fn a_branch_that_goes_back_is_followed() {
    let (repository, _server, mut follower) = served(&[("a.rego", "package a")]).await;
    let first = repository.head().await.unwrap();
    for text in ["package b", "package c"] {
        repository.change(&[("a.rego", text)]).await.unwrap();
        follower.find().await;
    }
    repository.set_branch("master", &first).await.unwrap();
    assert_eq!(follower.find().await, first);
    assert_eq!(follower.files().unwrap()[0].1, "package a");
}

#[tokio::test]
async fn a_branch_that_is_gone_is_named_and_found_again() {
    let (repository, _server, mut follower) = served(&[("a.rego", "package a")]).await;
    let head = follower.find().await;
    repository.delete_branch("master").await.unwrap();
    let error = follower.look().await.unwrap_err();
    assert_eq!(error, GitError::NoSuchBranch("master".to_owned()));
    assert!(!error.is_temporary());
    assert_eq!(follower.paths(), ["a.rego"]);
    repository.set_branch("master", &head).await.unwrap();
    assert_eq!(follower.look().await, Ok(Outcome::Unchanged));
}

#[tokio::test]
async fn only_the_branch_of_exactly_this_name_counts() {
    let (repository, _server, mut follower) = served(&[("a.rego", "package a")]).await;
    let first = repository.head().await.unwrap();
    repository.set_branch("release/1", &first).await.unwrap();
    let second = repository.change(&[("a.rego", "package b")]).await.unwrap();
    repository.set_branch("release/10", &second).await.unwrap();
    follower.branch = "release/1".to_owned();
    assert_eq!(follower.find().await, first);
    follower.branch = "release".to_owned();
    assert!(matches!(follower.look().await, Err(GitError::NoSuchBranch(_))));
    // Without a name it is the default branch.
    follower.branch = String::new();
    assert_eq!(follower.find().await, second);
}

#[tokio::test]
async fn what_was_lost_here_is_fetched_again_in_full() {
    let (repository, server, mut follower) =
        served(&[("a.rego", "package a"), ("b.rego", "package b")]).await;
    // A server that leaves out large files is believed that what does not come is large.
    server.set_filter(false);
    follower.find().await;
    repository.change(&[("a.rego", "package a2")]).await.unwrap();
    follower.objects.retain(|_| false);
    let requests = server.requests().len();
    follower.find().await;
    assert_eq!(follower.paths(), ["a.rego", "b.rego"]);
    // The branch, what is new, everything.
    assert_eq!(server.requests().len(), requests + 3);
}

#[tokio::test]
async fn changes_of_a_file_that_was_too_large_before_are_followed() {
    // The server takes the old text to be here and would send the new one as a change of it.
    let large: String = (0..3_000).map(|n| format!("# line {n}\n")).collect();
    let (repository, _server, mut follower) = served(&[("a.rego", &large)]).await;
    follower.limits.file_bytes = large.len() - 1;
    follower.find().await;
    let error = follower.files().unwrap_err().to_string();
    assert!(error.starts_with("`a.rego`: its text was not sent"), "{error}");
    let small = large.replace("# line 7\n", "");
    repository.change(&[("a.rego", &small)]).await.unwrap();
    follower.find().await;
    assert_eq!(follower.files().unwrap()[0].1, small);
}

#[tokio::test]
async fn an_empty_repository_has_no_branch() {
    let repository = Repository::with(&[("a.rego", "package a")]).await.unwrap();
    repository.delete_branch("master").await.unwrap();
    let server = testbed::GitServer::start().unwrap();
    let mut follower = Follower::of(&server.serve("empty", &repository));
    for (branch, named) in [("master", "`master`"), ("", "`HEAD`")] {
        follower.branch = branch.to_owned();
        let error = follower.look().await.unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
}
