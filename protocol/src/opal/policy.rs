//! Policies: the files of a revision, the bundle that a client fetches, and what it is told of
//! a change (`spec/opal-protocol.md` §2.1, §4.4, §4.5).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{Problem, commit, hex, limits};

/// The hash of the revision before the first: no files.
pub const NOTHING: &str = "0000000000000000000000000000000000000000";

/// A set of policy files: path from the root, with `/` between segments, to text.
pub type Files = BTreeMap<String, String>;

/// What identifies a set of files without their texts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// 40 hexadecimal digits, as git has them: the same files have the same hash.
    pub hash: String,
    /// A digest of each file's text, by path.
    pub digests: BTreeMap<String, String>,
}

/// What a client fetches: everything, or what has changed since `old_hash`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyBundle {
    /// The paths of the files in here, in the order in which to load them.
    pub manifest: Vec<String>,
    /// The revision that the client has afterwards.
    pub hash: String,
    /// The revision that it must have before; none for a complete bundle.
    #[serde(default)]
    pub old_hash: Option<String>,
    /// The `data.json` files.
    pub data_modules: Vec<DataModule>,
    /// The `.rego` files.
    pub policy_modules: Vec<PolicyModule>,
    /// What is gone since `old_hash`.
    #[serde(default)]
    pub deleted_files: Option<DeletedFiles>,
}

/// A `data.json` file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataModule {
    /// Its folder, `.` for the root: where its data goes.
    pub path: String,
    /// Its text.
    pub data: String,
}

/// A `.rego` file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyModule {
    /// Its path, which is the module's id in an OPA.
    pub path: String,
    /// The package that it says it is of; empty if that cannot be told.
    #[serde(default)]
    pub package_name: String,
    /// Its text.
    pub rego: String,
}

/// What is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedFiles {
    /// Folders whose `data.json` is gone.
    #[serde(default)]
    pub data_modules: Vec<String>,
    /// Paths of modules that are gone.
    #[serde(default)]
    pub policy_modules: Vec<String>,
}

/// What subscribers of `policy:<folder>` are told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyUpdateMessage {
    /// The revision until now; [`NOTHING`] if there was none.
    pub old_policy_hash: String,
    /// The revision from now on.
    pub new_policy_hash: String,
    /// Every folder above a file that changed, `.` for the root.
    pub changed_directories: Vec<String>,
}

impl PolicyUpdateMessage {
    /// The topics that it is published to.
    pub fn topics(&self) -> impl Iterator<Item = String> {
        self.changed_directories.iter().map(|folder| topic(folder))
    }
}

/// The topic of a folder's policies.
#[must_use]
pub fn topic(folder: &str) -> String {
    format!("policy:{folder}")
}

impl Revision {
    /// The revision that these files are.
    #[must_use]
    pub fn of(files: &Files) -> Self {
        let digests: BTreeMap<String, String> =
            files.iter().map(|(path, text)| (path.clone(), digest(text))).collect();
        let mut all = String::new();
        for (path, digest) in &digests {
            // Writing to a String cannot fail. No path holds a line end.
            let _ = writeln!(all, "{digest} {path}");
        }
        let mut hash = digest(&all);
        hash.truncate(NOTHING.len());
        Self { hash, digests }
    }

    /// Identifies what of this revision is bundled from `folders`, of all if there are none: 16
    /// hexadecimal digits. It says nothing about the revision's name.
    #[must_use]
    pub fn mark<F: AsRef<str>>(&self, folders: &[F]) -> String {
        let mut all = Sha256::new();
        for (path, digest) in &self.digests {
            if is_bundled(path) && is_in(path, folders) {
                all.update(format!("{digest} {path}\n"));
            }
        }
        let mut mark = hex(&all.finalize());
        mark.truncate(16);
        mark
    }

    /// What is to be said of the change from `old` to this revision; `None` if nothing changed.
    #[must_use]
    pub fn change_from(&self, old: Option<&Self>) -> Option<PolicyUpdateMessage> {
        let nothing = BTreeMap::new();
        let before = old.map_or(&nothing, |old| &old.digests);
        let paths = before.keys().chain(self.digests.keys());
        let changed = paths.filter(|path| before.get(*path) != self.digests.get(*path));
        let folders: BTreeSet<&str> = changed.flat_map(|path| folders_above(path)).collect();
        (!folders.is_empty()).then(|| PolicyUpdateMessage {
            old_policy_hash: old.map_or(NOTHING, |old| old.hash.as_str()).to_owned(),
            new_policy_hash: self.hash.clone(),
            changed_directories: folders.into_iter().map(str::to_owned).collect(),
        })
    }
}

/// A file's folder, `.` for the root.
#[must_use]
pub fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or(".", |(folder, _)| folder)
}

/// True if a path is below one of the folders, `.` for the root, or if there are none.
#[must_use]
pub fn is_in<F: AsRef<str>>(path: &str, folders: &[F]) -> bool {
    folders.is_empty() || folders.iter().any(|folder| is_under(path, folder.as_ref()))
}

/// True if a path is below a folder, `.` for the root.
#[must_use]
pub fn is_under(path: &str, folder: &str) -> bool {
    let below = || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
    folder == "." || below()
}

/// True for the name of a file that becomes data.
#[must_use]
pub fn is_data(path: &str) -> bool {
    path == "data.json" || path.ends_with("/data.json")
}

/// True for a file that a bundle has: a module, or data.
#[must_use]
pub fn is_bundled(path: &str) -> bool {
    is_data(path) || path.ends_with(".rego")
}

/// Every folder above a file, the root (`.`) included.
pub(crate) fn folders_above(path: &str) -> impl Iterator<Item = &str> {
    let inner = path.char_indices().filter(|(_, character)| *character == '/');
    std::iter::once(".").chain(inner.filter_map(|(at, _)| path.get(..at)))
}

fn digest(text: &str) -> String {
    hex(&Sha256::digest(text))
}

/// Bytes of a file in the list of a revision, besides its path.
const LISTED_BYTES: usize = 80;

/// Checks a set of files that somebody wants to be the policy.
///
/// # Errors
/// As [`check_limits`], and 422 for a `data.json` that is no object, and a path that is too long
/// for the log.
pub fn check(files: &Files) -> Result<(), Problem> {
    check_limits(files)?;
    files.iter().try_for_each(|(path, text)| commit::check_file(path, text))
}

/// Checks what has to be so before anybody reads the files.
///
/// # Errors
/// 422 for no files, a path that leads out of the set or is not written plainly, and anything
/// over a limit; 413 for a file that is too large.
pub fn check_limits(files: &Files) -> Result<(), Problem> {
    if files.is_empty() {
        return Err(Problem::invalid("files: give at least one"));
    }
    let (count, limit) = (files.len(), limits::MAX_POLICY_FILES);
    if count > limit {
        return Err(Problem::invalid(format!("files: {count} are too many, the limit is {limit}")));
    }
    let listed: usize = files.keys().map(|path| path.len() + LISTED_BYTES).sum();
    if listed > limits::MAX_POLICY_FILE_BYTES {
        return Err(Problem::too_large(
            "files: their paths together are longer than the hub can list; shorten them, or give \
             fewer files",
        ));
    }
    for (path, text) in files {
        let is_plain = |segment: &str| {
            !matches!(segment, "" | "." | "..") && !segment.chars().any(char::is_control)
        };
        if path.len() > limits::MAX_PATH_BYTES || !path.split('/').all(is_plain) {
            return Err(Problem::invalid(
                "files: a path is relative to the root, with / between its segments, without \
                 empty segments, `.` and `..`",
            ));
        }
        let (bytes, limit) = (text.len(), limits::MAX_POLICY_FILE_BYTES);
        if bytes > limit {
            return Err(Problem::too_large(format!(
                "files: `{path}` has {bytes} bytes, the limit of one file is {limit}"
            )));
        }
    }
    Ok(())
}

/// Checks the name that somebody gives a set of files, such as a commit's.
///
/// # Errors
/// 422 for an empty or a long one, and one with other characters than letters, digits and
/// `. _ / + -`.
pub fn check_revision(name: &str) -> Result<(), Problem> {
    let limit = limits::MAX_REVISION_BYTES;
    let is_plain = |it: char| it.is_ascii_alphanumeric() || "._/+-".contains(it);
    if name.is_empty() || name.len() > limit || !name.chars().all(is_plain) {
        return Err(Problem::invalid(format!(
            "revision: give 1 to {limit} letters, digits and `.`, `_`, `/`, `+`, `-`"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(all: &[(&str, &str)]) -> Files {
        all.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn the_same_files_are_the_same_revision() {
        let one = Revision::of(&files(&[("a.rego", "package a"), ("b/data.json", "{}")]));
        assert_eq!(one, Revision::of(&files(&[("b/data.json", "{}"), ("a.rego", "package a")])));
        assert_eq!(one.hash.len(), 40);
        let other = Revision::of(&files(&[("a.rego", "package a "), ("b/data.json", "{}")]));
        assert_ne!(one.hash, other.hash);
        assert_eq!(one.change_from(Some(&one)), None);
    }

    #[test]
    fn a_change_names_every_folder_above_it() {
        let old =
            Revision::of(&files(&[("a.rego", "1"), ("app/sub/x.rego", "1"), ("u/y.rego", "1")]));
        let new = Revision::of(&files(&[("a.rego", "1"), ("u/y.rego", "1"), ("app/z.rego", "1")]));
        let change = new.change_from(Some(&old)).unwrap();
        assert_eq!(change.changed_directories, [".", "app", "app/sub"]);
        assert_eq!(
            change.topics().collect::<Vec<_>>(),
            ["policy:.", "policy:app", "policy:app/sub"]
        );
        assert_eq!(old.change_from(None).unwrap().old_policy_hash, NOTHING);
    }

    #[test]
    fn a_revisions_name_is_short_and_plain() {
        for name in ["v1.2", "9f3c", "release/2026-11+a_b"] {
            assert_eq!(check_revision(name), Ok(()));
        }
        for name in ["", "a b", "ä", "a\n", &"x".repeat(129)] {
            let problem = check_revision(name).unwrap_err();
            assert!(problem.status == 422 && problem.detail.starts_with("revision: "), "{name}");
        }
    }

    #[test]
    fn a_mark_is_about_what_is_bundled_and_nothing_else() {
        let of = |all: &[(&str, &str)], folders: &[&str]| Revision::of(&files(all)).mark(folders);
        let now = [("a/x.rego", "1"), ("b/data.json", "{}"), ("b/README.md", "x")];
        let (mut readme, mut other) = (now, now);
        readme[2].1 = "y";
        other[1].1 = "[]";
        assert_eq!(of(&now, &[]).len(), 16);
        assert_eq!(of(&now, &[]), of(&readme, &[]));
        assert_ne!(of(&now, &[]), of(&other, &[]));
        assert_eq!(of(&now, &["a"]), of(&other, &["a"]));
        assert_ne!(of(&now, &["a", "b"]), of(&other, &["a", "b"]));
        assert_eq!(of(&now, &["."]), of(&now, &[]));
    }

    #[test]
    fn bad_paths_are_refused() {
        for path in ["", "/a.rego", "a//b.rego", "../a.rego", "a/./b.rego", "a\nb.rego", "a/"] {
            assert_eq!(check(&files(&[(path, "x")])).unwrap_err().status, 422, "{path:?}");
        }
        assert!(check(&files(&[])).is_err());
        assert!(check(&files(&[("app/rbac v2.rego", "x")])).is_ok());
        let large = "x".repeat(limits::MAX_POLICY_FILE_BYTES + 1);
        assert_eq!(check(&files(&[("a.rego", &large)])).unwrap_err().status, 413);
    }
}
