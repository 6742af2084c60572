//! Commits that no git would make.

use super::*;
use crate::object::MemoryObjects;

/// A store with a commit in the making.
#[derive(Default)]
struct Rig(MemoryObjects);

impl Rig {
    fn put(&mut self, kind: Kind, data: &[u8]) -> ObjectId {
        let id = ObjectId::of(kind, data);
        self.0.put(id, kind, data).unwrap();
        id
    }

    fn blob(&mut self, text: &str) -> ObjectId {
        self.put(Kind::Blob, text.as_bytes())
    }

    fn folder(&mut self, entries: &[(&str, &[u8], ObjectId)]) -> ObjectId {
        let mut data = vec![];
        for (mode, name, id) in entries {
            data.extend([mode.as_bytes(), b" ", name, b"\0", &id.as_bytes()[..]].concat());
        }
        self.put(Kind::Tree, &data)
    }

    fn commit(&mut self, root: &ObjectId) -> ObjectId {
        self.put(Kind::Commit, format!("tree {root}\nauthor x\n\nchange\n").as_bytes())
    }

    fn checkout_with(&self, commit: &ObjectId, limits: &Limits) -> Result<Files, GitError> {
        let wants = |path: &str| path.ends_with(".rego");
        let ignores = |path: &str| path == "ignored";
        checkout(&self.0, commit, Selection { wants: &wants, ignores: &ignores }, limits)
    }

    /// Why a commit with these entries is refused.
    fn refused(&mut self, entries: &[(&str, &[u8], ObjectId)]) -> String {
        let root = self.folder(entries);
        let commit = self.commit(&root);
        self.checkout_with(&commit, &Limits::default()).unwrap_err().to_string()
    }
}

const FILE: &str = "100644";
const FOLDER: &str = "40000";

#[test]
fn names_that_climb_out_are_refused_by_their_path() {
    let mut rig = Rig::default();
    let file = rig.blob("x");
    for name in [&b".."[..], b".", b"", b".git", b".GIT", b".Git", b"a/b", b"/etc"] {
        for (mode, id) in [(FILE, file), (FOLDER, rig.folder(&[]))] {
            let error = rig.refused(&[(mode, name, id)]);
            let start = format!("`{}`: no file or folder may", String::from_utf8_lossy(name));
            assert!(error.starts_with(&start), "{error}");
        }
        let inner = rig.folder(&[(FILE, name, file)]);
        let error = rig.refused(&[(FOLDER, b"sub", inner)]);
        assert!(error.starts_with("`sub/"), "{error}");
        // Nobody looks at what is in a folder that is ignored.
        let root = rig.folder(&[(FOLDER, b"ignored", inner), (FILE, b"a.rego", file)]);
        let commit = rig.commit(&root);
        assert_eq!(rig.checkout_with(&commit, &Limits::default()).unwrap().len(), 1);
    }
}

#[test]
fn a_name_that_is_there_twice_is_refused() {
    let mut rig = Rig::default();
    let (file, folder) = (rig.blob("x"), rig.folder(&[]));
    let error = rig.refused(&[(FILE, b"a.rego", file), (FILE, b"a.rego", file)]);
    assert!(error.starts_with("`a.rego`: is in its folder twice"), "{error}");
    let error = rig.refused(&[(FILE, b"a", file), (FOLDER, b"a", folder)]);
    assert!(error.starts_with("`a`: is in its folder twice"), "{error}");
}

#[test]
fn names_that_are_no_text_are_refused_where_they_are_wanted() {
    let mut rig = Rig::default();
    let (file, folder) = (rig.blob("x"), rig.folder(&[]));
    let error = rig.refused(&[(FILE, b"\xff.rego", file)]);
    assert!(error.contains("its name is not UTF-8"), "{error}");
    let error = rig.refused(&[(FOLDER, b"\xff", folder)]);
    assert!(error.contains("its name is not UTF-8"), "{error}");
    let root = rig.folder(&[(FILE, b"\xff.bin", file)]);
    let commit = rig.commit(&root);
    assert_eq!(rig.checkout_with(&commit, &Limits::default()), Ok(Files::new()));
}

#[test]
fn an_object_of_another_kind_than_is_needed_is_named() {
    let mut rig = Rig::default();
    let (file, folder) = (rig.blob("x"), rig.folder(&[]));
    let commit = rig.commit(&folder);
    for (entries, id) in [
        ([(FILE, &b"a.rego"[..], folder)], folder),
        ([(FILE, b"a.rego", commit)], commit),
        ([(FOLDER, b"a", file)], file),
    ] {
        let error = rig.refused(&entries);
        assert!(error.starts_with(&format!("object {id}: is a ")), "{error}");
    }
    let wrong = rig.commit(&file);
    assert!(rig.checkout_with(&wrong, &Limits::default()).is_err());
    assert!(rig.checkout_with(&folder, &Limits::default()).is_err());
    let nothing = ObjectId::of(Kind::Blob, b"nothing");
    let error = rig.refused(&[(FOLDER, b"a", nothing)]);
    assert!(error.starts_with(&format!("object {nothing} is missing: `a` needs it")), "{error}");
}

#[test]
fn folders_and_commits_that_are_damaged_are_refused() {
    let mut rig = Rig::default();
    for bytes in [&b"100644"[..], b"100644 a.rego", b"100644 a.rego\0short", b"x", b"\0"] {
        let root = rig.put(Kind::Tree, bytes);
        let commit = rig.commit(&root);
        let error = rig.checkout_with(&commit, &Limits::default()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("object {root}: is a folder that is cut")), "{error}");
        assert!(reachable(&rig.0, &commit, &Limits::default()).is_err());
    }
    for bytes in [&b""[..], b"tree", b"tree 12\n", b"parent x\ntree y\n"] {
        let commit = rig.put(Kind::Commit, bytes);
        let error = rig.checkout_with(&commit, &Limits::default()).unwrap_err().to_string();
        assert!(error.contains("does not name its folder"), "{error}");
    }
    let file = rig.blob("x");
    let error = rig.refused(&[("777", b"a.rego", file)]);
    assert!(error.contains("where `a.rego` has the mode `777`"), "{error}");
}

#[test]
fn folders_within_folders_end_and_a_folder_in_many_places_counts_often() {
    let mut rig = Rig::default();
    let mut inner = rig.blob("x");
    for depth in 0..40 {
        let (mode, name) = if depth == 0 { (FILE, &b"a.rego"[..]) } else { (FOLDER, &b"d"[..]) };
        inner = rig.folder(&[(mode, name, inner)]);
    }
    let commit = rig.commit(&inner);
    let error = rig.checkout_with(&commit, &Limits::default()).unwrap_err().to_string();
    assert!(error.contains("is deeper than 32 folders"), "{error}");

    // Ten times the same folder, eight times over: a hundred million entries of a few objects.
    let mut bomb = rig.folder(&[]);
    let names: Vec<[u8; 1]> = (b'a'..=b'j').map(|name| [name]).collect();
    for _ in 0..8 {
        let entries: Vec<_> = names.iter().map(|name| (FOLDER, &name[..], bomb)).collect();
        bomb = rig.folder(&entries);
    }
    let commit = rig.commit(&bomb);
    let limits = Limits { entries: 10_000, ..Limits::default() };
    let error = rig.checkout_with(&commit, &limits).unwrap_err().to_string();
    assert!(error.contains("more than 10000 entries"), "{error}");
    // Each once is enough where only the objects matter.
    assert_eq!(reachable(&rig.0, &commit, &limits).unwrap().len(), 10);
}

#[test]
fn every_limit_of_a_checkout_is_named() {
    let mut rig = Rig::default();
    let (one, two) = (rig.blob("12345"), rig.blob("1234567"));
    let root = rig.folder(&[(FILE, b"a.rego", one), (FILE, b"b.rego", two), (FILE, b"c", two)]);
    let commit = rig.commit(&root);
    let most = Limits::default();
    for (limits, why) in [
        (Limits { files: 1, ..most }, "more than 1 policy files"),
        (Limits { file_bytes: 6, ..most }, "`b.rego`: has 7 bytes"),
        (Limits { checkout_bytes: 11, ..most }, "more than 11 bytes together"),
        (Limits { entries: 2, ..most }, "more than 2 entries"),
    ] {
        let error = rig.checkout_with(&commit, &limits).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    let enough =
        Limits { files: 2, file_bytes: 7, checkout_bytes: 12, entries: 3, ..Limits::default() };
    assert_eq!(rig.checkout_with(&commit, &enough).unwrap().len(), 2);
}

#[test]
fn what_a_commit_needs_is_all_but_submodules() {
    let mut rig = Rig::default();
    let (file, link) = (rig.blob("x"), rig.blob("a.rego"));
    let other = ObjectId::of(Kind::Commit, b"elsewhere");
    let inner = rig.folder(&[(FILE, b"a.rego", file)]);
    let root = rig.folder(&[
        (FOLDER, b"a", inner),
        (FOLDER, b"b", inner),
        ("120000", b"link", link),
        ("160000", b"module", other),
    ]);
    let commit = rig.commit(&root);
    let all = reachable(&rig.0, &commit, &Limits::default()).unwrap();
    assert_eq!(all, [commit, root, inner, file, link].into());
    let complete = |rig: &Rig, blobs| check_complete(&rig.0, &commit, blobs, &Limits::default());
    assert_eq!(complete(&rig, Blobs::All), Ok(()));
    rig.0.retain(|id| *id != link);
    assert!(matches!(complete(&rig, Blobs::All), Err(GitError::Missing { id, .. }) if id == link));
    assert_eq!(complete(&rig, Blobs::NotLarge), Ok(()));
    rig.0.retain(|id| *id != inner);
    assert!(complete(&rig, Blobs::NotLarge).is_err());
}
