//! What is in a commit.

use std::os::unix::fs::symlink;

use git::GitError;

use crate::rig::served;

/// What a commit is refused for that has this one file besides a good one.
async fn refusal(path: &str, bytes: &[u8]) -> Option<String> {
    let (repository, _server, mut follower) = served(&[("a.rego", "package a")]).await;
    let file = repository.folder().join(path);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, bytes).unwrap();
    repository.change(&[]).await.unwrap();
    follower.limits.file_bytes = 1_000;
    follower.find().await;
    follower.files().err().map(|error| error.to_string())
}

#[tokio::test]
async fn a_file_that_is_no_text_is_refused_by_its_path() {
    let error = refusal("b/c.rego", b"package \xff").await.unwrap();
    assert!(error.starts_with("`b/c.rego`: its text is not UTF-8"), "{error}");
    assert_eq!(refusal("b/c.bin", b"package \xff").await, None);
    assert_eq!(refusal("ignored/c.rego", b"package \xff").await, None);
}

#[tokio::test]
async fn a_file_that_is_too_large_is_refused_by_its_path() {
    let error = refusal("b/c.rego", &[b'#'; 1_001]).await.unwrap();
    assert!(error.starts_with("`b/c.rego`: its text was not sent"), "{error}");
    assert_eq!(refusal("b/c.bin", &[b'#'; 1_001]).await, None);
    assert_eq!(refusal("b/c.rego", &[b'#'; 1_000]).await, None);
}

#[tokio::test]
async fn a_name_with_control_characters_is_refused_escaped() {
    let error = refusal("b/\u{1}.rego", b"x").await.unwrap();
    assert!(error.starts_with(r"`b/\u{1}.rego`: its name has control"), "{error}");
    assert!(refusal("b\n/c.bin", b"x").await.is_some());
}

#[tokio::test]
async fn symlinks_and_submodules_are_refused_where_they_are_not_ignored() {
    let (repository, _server, mut follower) = served(&[("a.rego", "package a")]).await;
    let head = repository.head().await.unwrap();
    for (folder, refused) in [("ignored", false), ("sub", true)] {
        std::fs::create_dir(repository.folder().join(folder)).unwrap();
        symlink("../a.rego", repository.folder().join(folder).join("link.rego")).unwrap();
        repository.change(&[]).await.unwrap();
        follower.find().await;
        assert_eq!(follower.files().is_err(), refused);
    }
    let error = follower.files().unwrap_err().to_string();
    assert!(error.starts_with("`sub/link.rego`: is a symlink"), "{error}");
    repository.delete(&["sub/link.rego"]).await.unwrap();
    repository
        .git(&["update-index", "--add", "--cacheinfo", &format!("160000,{head},module")])
        .await
        .unwrap();
    repository
        .git(&["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "m"])
        .await
        .unwrap();
    follower.find().await;
    let error = follower.files().unwrap_err();
    assert!(matches!(&error, GitError::Path { path, .. } if path == "module"), "{error}");
}
