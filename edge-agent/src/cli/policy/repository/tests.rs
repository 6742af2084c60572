//! A repository that is followed, by a real git.

use std::process::Command;

use super::*;

/// A repository on this machine, if there is a git to make it with.
pub(in crate::cli::policy) struct Origin(TempDir);

impl Origin {
    pub(in crate::cli::policy) fn new() -> Option<Self> {
        let origin = Self(tempfile::tempdir().unwrap());
        if Command::new("git").arg("--version").output().is_err() {
            eprintln!("skipped: no git: install it");
            return None;
        }
        origin.git(&["init", "--quiet", "--initial-branch", "main"]);
        Some(origin)
    }

    pub(in crate::cli::policy) fn git(&self, arguments: &[&str]) -> String {
        let mut git = Command::new("git");
        git.current_dir(self.0.path()).args(["-c", "user.name=t", "-c", "user.email=t@t"]);
        let output = git.args(arguments).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        assert!(output.status.success(), "git {arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    pub(in crate::cli::policy) fn write(&self, path: &str, text: &[u8]) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(in crate::cli::policy) fn commit(&self, how: &[&str]) -> String {
        self.git(&["add", "--all"]);
        self.git(&[&["commit", "--quiet", "--message", "change"], how].concat());
        self.git(&["rev-parse", "HEAD"])
    }

    pub(in crate::cli::policy) fn place(&self) -> String {
        self.0.path().to_str().unwrap().to_owned()
    }
}

fn follow(place: &str, branch: Option<&str>) -> Repository {
    Repository::new(place, branch, None, None).unwrap()
}

fn look(repository: &Repository, known: Option<&str>) -> Result<String, String> {
    repository.look(known, &AtomicBool::new(false))
}

fn paths(repository: &Repository, commit: &str) -> Vec<String> {
    repository.files(commit, &Filter::default()).unwrap().into_keys().collect()
}

#[test]
fn a_branch_is_followed_over_commits_deletions_and_a_rewrite() {
    let Some(origin) = Origin::new() else { return };
    let repository = follow(&origin.place(), None);
    assert!(look(&repository, None).unwrap_err().contains("there is no branch"));

    origin.write("a.rego", b"package a");
    origin.write("b/.manifest", b"c.rego");
    origin.write("b/c.rego", b"package c");
    origin.write("README.md", b"no");
    let first = origin.commit(&[]);
    assert_eq!(look(&repository, None), Ok(first.clone()));
    assert_eq!(paths(&repository, &first), ["a.rego", "b/.manifest", "b/c.rego"]);
    assert_eq!(look(&repository, Some(&first)), Ok(first.clone()));

    origin.write("a.rego", b"package a2");
    let second = origin.commit(&[]);
    origin.git(&["rm", "--quiet", "-r", "b"]);
    // Two commits at once, and the second is replaced by one without its parent.
    let rewritten = origin.commit(&["--amend"]);
    assert_ne!(second, rewritten);
    assert_eq!(look(&repository, Some(&first)), Ok(rewritten.clone()));
    assert_eq!(paths(&repository, &rewritten), ["a.rego"]);
    assert_eq!(repository.files(&rewritten, &Filter::default()).unwrap()["a.rego"], "package a2");

    // Back to where it was.
    origin.git(&["reset", "--quiet", "--hard", &first]);
    assert_eq!(look(&repository, Some(&rewritten)), Ok(first.clone()));
    assert_eq!(paths(&repository, &first).len(), 3);

    let other = follow(&origin.place(), Some("other"));
    assert!(look(&other, None).unwrap_err().contains("there is no branch other"));
    origin.git(&["branch", "other"]);
    assert_eq!(look(&other, None), Ok(first));
}

#[test]
fn what_was_fetched_is_thrown_away_now_and_then() {
    let Some(origin) = Origin::new() else { return };
    let repository = follow(&origin.place(), None);
    origin.write("a.rego", b"package a");
    let first = origin.commit(&[]);
    look(&repository, None).unwrap();
    let packs = repository.folder.path().join("git/objects/pack");
    for number in 0..MAX_PACK_FILES {
        fs::write(packs.join(number.to_string()), "").unwrap();
    }
    origin.write("b.rego", b"package b");
    let second = origin.commit(&[]);
    look(&repository, Some(&first)).unwrap();
    assert_eq!(paths(&repository, &second), ["a.rego", "b.rego"]);
    assert!(fs::read_dir(packs).unwrap().count() < 10);
}

#[cfg(unix)]
#[test]
fn a_file_that_cannot_be_policy_is_named_unless_it_is_ignored() {
    use std::os::unix::fs::symlink;
    let Some(origin) = Origin::new() else { return };
    origin.write("ok.rego", b"package ok");
    origin.write("x/bad.rego", b"\xff\xfe");
    symlink("ok.rego", Path::new(&origin.place()).join("link")).unwrap();
    origin.write("y/large.json", &vec![b' '; MAX_POLICY_FILE_BYTES + 1]);
    let commit = origin.commit(&[]);
    let repository = follow(&origin.place(), Some("main"));
    look(&repository, None).unwrap();
    for (ignored, reason) in [
        (&["x/**", "y/**"][..], "link is a symlink"),
        (&["link", "y/**"], "x/bad.rego is not UTF-8 text"),
        (&["link", "x/**"], "y/large.json makes it 1500001 bytes, the limit is 1500000"),
    ] {
        let failed = repository.files(&commit, &Filter::default().ignore(ignored));
        assert!(failed.as_ref().unwrap_err().starts_with(reason), "{reason}: {failed:?}");
    }
    let filter = Filter::default().ignore(&["link", "x/**", "y/**"]);
    assert_eq!(repository.files(&commit, &filter).unwrap().len(), 1);
}

#[test]
fn what_cannot_be_reached_is_named_without_secrets() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for place in [
        format!("http://me:secret@{closed}/policy.git"),
        format!("http://secret@{closed}/policy.git"),
        format!("ssh://me:secret@{closed}/policy.git"),
    ] {
        let reason = look(&follow(&place, None), None).unwrap_err();
        assert!(!reason.contains("secret@"), "{reason}");
        assert!(reason.lines().count() == 1, "{reason}");
    }
    let failure = Repository::new("https://h/x", Some("a..b"), None, None).err().unwrap();
    assert!(failure.code == 2 && failure.message.starts_with("--branch: "));
}

#[test]
fn a_folder_that_is_no_repository_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_str().unwrap();
    let nowhere = format!("{place}/nowhere");
    for (place, words) in [(place, "no .git in it"), (&nowhere, "there is no folder")] {
        let failure = Repository::new(place, None, None, None).err().unwrap();
        assert!(failure.code == 2 && failure.message.contains(words), "{}", failure.message);
    }
}
