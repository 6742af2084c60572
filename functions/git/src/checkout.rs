//! The files of a commit, and which are refused.
//!
//! A commit comes from people who may push, through a server that may be anybody's. So its paths
//! are looked at as if somebody wanted to climb out with them, and what cannot be read as a plain
//! file of text is refused with its path rather than left out: a policy of which half is missing
//! decides wrongly, and nobody hears of it.
//!
//! | question | file |
//! |---|---|
//! | Which files does a commit have? | `checkout.rs` |
//! | What is in a commit, and in a folder? | `tree.rs` |
//! | What does a commit need in all? | `closure.rs` |

mod closure;
#[cfg(test)]
mod tests;
mod tree;

use std::collections::BTreeSet;

use protocol::limits::MAX_PATH_BYTES;
use protocol::opal::policy::Files;

use crate::error::GitError;
use crate::limits::Limits;
use crate::object::{Kind, ObjectId, Objects};

pub use closure::reachable;
pub(crate) use closure::{Blobs, check_complete};
use tree::{Entry, Mode};

/// Which paths of a commit count. A path has `/` between its segments and none at its end.
#[derive(Clone, Copy)]
pub struct Selection<'s> {
    /// Whether a file is wanted. Others are not even read.
    pub wants: &'s dyn Fn(&str) -> bool,
    /// Whether a file, or a folder with all that is in it, is as if it were not there. What is
    /// ignored is never a mistake. A symlink or a submodule that is not ignored is one, since
    /// policy could be behind it; so this holds, too, for what is outside of the wanted folders.
    pub ignores: &'s dyn Fn(&str) -> bool,
}

/// The wanted files of a commit: path to text. Commits without any are an empty map.
///
/// # Errors
/// [`GitError::Path`] for the first path that cannot be policy, [`GitError::Limit`],
/// [`GitError::Missing`], [`GitError::Object`]. Nothing is given then.
pub fn checkout(
    objects: &dyn Objects,
    commit: &ObjectId,
    selection: Selection<'_>,
    limits: &Limits,
) -> Result<Files, GitError> {
    let root = tree::root(objects, commit)?;
    let mut walk = Walk { objects, selection, limits, entries: 0, bytes: 0, files: Files::new() };
    let mut folders = vec![(String::new(), root)];
    while let Some((path, id)) = folders.pop() {
        walk.folder(&path, &id, &mut folders)?;
    }
    Ok(walk.files)
}

/// A checkout on its way.
struct Walk<'w> {
    objects: &'w dyn Objects,
    selection: Selection<'w>,
    limits: &'w Limits,
    /// Looked at so far.
    entries: usize,
    /// Of all files so far.
    bytes: usize,
    files: Files,
}

// === impl Walk ===

impl Walk<'_> {
    /// Takes the files of a folder; its folders are still to be walked.
    fn folder(
        &mut self,
        above: &str,
        id: &ObjectId,
        folders: &mut Vec<(String, ObjectId)>,
    ) -> Result<(), GitError> {
        let data = tree::folder(self.objects, id, above)?;
        let mut names = BTreeSet::new();
        for entry in tree::entries(id, &data) {
            let entry = entry?;
            self.entries += 1;
            if self.entries > self.limits.entries {
                let limit = self.limits.entries;
                return Err(GitError::Limit(format!(
                    "the commit has more than {limit} entries in its folders, the limit"
                )));
            }
            let name = String::from_utf8_lossy(entry.name);
            let path = if above.is_empty() { name.into_owned() } else { format!("{above}/{name}") };
            let wrong = |reason: &str| Err(GitError::path(path.as_bytes(), reason));
            if is_dangerous(entry.name) {
                return wrong(
                    "no file or folder may have this name; the commit was not made by git",
                );
            }
            if !names.insert(entry.name) {
                return wrong("is in its folder twice; the commit was not made by git");
            }
            if (self.selection.ignores)(&path) {
                continue;
            }
            match entry.mode {
                Mode::File if !(self.selection.wants)(&path) => {}
                Mode::File => {
                    let text = self.file(&path, &entry)?;
                    self.files.insert(path, text);
                }
                Mode::Folder => {
                    check_name(&path, entry.name)?;
                    if path.split('/').count() > self.limits.depth {
                        let limit = self.limits.depth;
                        return wrong(&format!("is deeper than {limit} folders, the limit"));
                    }
                    folders.push((path, entry.id));
                }
                Mode::Symlink => return wrong(SYMLINK),
                Mode::Submodule => return wrong(SUBMODULE),
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &str, entry: &Entry<'_>) -> Result<String, GitError> {
        let wrong = |reason: &str| GitError::path(path.as_bytes(), reason);
        check_name(path, entry.name)?;
        if self.files.len() >= self.limits.files {
            let limit = self.limits.files;
            return Err(GitError::Limit(format!(
                "the commit has more than {limit} policy files, the limit: choose fewer folders, \
                 or ignore some"
            )));
        }
        let limit = self.limits.file_bytes;
        let blob = self.objects.get(&entry.id)?.ok_or_else(|| {
            wrong(&format!(
                "its text was not sent, as it is with files of more than {limit} bytes, the \
                 limit; make it smaller, or ignore it"
            ))
        })?;
        if blob.kind != Kind::Blob {
            let found = format!("is a {}, and `{path}` needs a blob", blob.kind.name());
            return Err(GitError::object(&entry.id, found));
        }
        if blob.data.len() > limit {
            let bytes = blob.data.len();
            return Err(wrong(&format!(
                "has {bytes} bytes, the limit of one file is {limit}; make it smaller, or ignore it"
            )));
        }
        self.bytes += blob.data.len();
        if self.bytes > self.limits.checkout_bytes {
            let limit = self.limits.checkout_bytes;
            return Err(GitError::Limit(format!(
                "the commit's policy files have more than {limit} bytes together, the limit: \
                 choose fewer folders, or ignore some"
            )));
        }
        String::from_utf8(blob.data)
            .map_err(|_| wrong("its text is not UTF-8; save it as that, or ignore it"))
    }
}

const SYMLINK: &str = "is a symlink, and those are not followed; put the file there, or ignore it";
const SUBMODULE: &str =
    "is a submodule, and those are not followed; put the files there, or ignore it";

/// Names that git itself refuses, wherever they are: with them a path could lead elsewhere.
fn is_dangerous(name: &[u8]) -> bool {
    matches!(name, b"" | b"." | b"..") || name.eq_ignore_ascii_case(b".git") || name.contains(&b'/')
}

/// Names that git allows, and a set of policy files does not.
fn check_name(path: &str, name: &[u8]) -> Result<(), GitError> {
    let wrong = |reason: &str| Err(GitError::path(path.as_bytes(), reason));
    match std::str::from_utf8(name) {
        Err(_) => wrong("its name is not UTF-8; rename it, or ignore it"),
        Ok(name) if name.chars().any(char::is_control) => {
            wrong("its name has control characters; rename it, or ignore it")
        }
        Ok(_) if path.len() > MAX_PATH_BYTES => {
            wrong(&format!("is longer than {MAX_PATH_BYTES} bytes, the limit of a path"))
        }
        Ok(_) => Ok(()),
    }
}
