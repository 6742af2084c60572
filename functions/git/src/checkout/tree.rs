//! What is in a commit, and in a folder.

use crate::error::GitError;
use crate::object::{Kind, ObjectId, Objects};

/// An entry of a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry<'t> {
    pub(super) mode: Mode,
    pub(super) name: &'t [u8],
    pub(super) id: ObjectId,
}

/// What is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    File,
    Folder,
    Symlink,
    /// A commit of another repository.
    Submodule,
}

/// The folder of a commit.
pub(super) fn root(objects: &dyn Objects, commit: &ObjectId) -> Result<ObjectId, GitError> {
    let data = load(objects, commit, Kind::Commit, "the branch")?;
    let line = data.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let id = line.strip_prefix(b"tree ").and_then(|id| std::str::from_utf8(id).ok()?.parse().ok());
    id.ok_or_else(|| GitError::object(commit, "is a commit that does not name its folder"))
}

/// The bytes of a folder, which has this path.
pub(super) fn folder(
    objects: &dyn Objects,
    id: &ObjectId,
    path: &str,
) -> Result<Vec<u8>, GitError> {
    let whose = if path.is_empty() { "the commit".to_owned() } else { format!("`{path}`") };
    load(objects, id, Kind::Tree, &whose)
}

/// The entries of a folder, in their order; after an error there are no more.
pub(super) fn entries<'t>(
    id: &'t ObjectId,
    data: &'t [u8],
) -> impl Iterator<Item = Result<Entry<'t>, GitError>> {
    let mut rest = data;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let entry = next(&mut rest).map_err(|reason| GitError::object(id, reason));
        if entry.is_err() {
            rest = &[];
        }
        Some(entry)
    })
}

fn next<'t>(rest: &mut &'t [u8]) -> Result<Entry<'t>, String> {
    const CUT: &str = "is a folder that is cut short";
    let mut halves = rest.splitn(2, |byte| *byte == 0);
    let (head, after) = halves.next().zip(halves.next()).ok_or(CUT)?;
    let mut words = head.splitn(2, |byte| *byte == b' ');
    let (mode, name) = words.next().zip(words.next()).ok_or(CUT)?;
    let (id, after) = after.split_first_chunk().ok_or(CUT)?;
    *rest = after;
    let mode = match mode {
        b"40000" | b"040000" => Mode::Folder,
        b"120000" => Mode::Symlink,
        b"160000" => Mode::Submodule,
        // The rights of a file; old versions wrote other ones than these two.
        [b'1', b'0', b'0', b'0'..=b'7', b'0'..=b'7', b'0'..=b'7'] => Mode::File,
        other => {
            let (mode, name) = (crate::error::printable(other), crate::error::printable(name));
            return Err(format!("is a folder where `{name}` has the mode `{mode}`, which is none"));
        }
    };
    Ok(Entry { mode, name, id: ObjectId::from_bytes(*id) })
}

fn load(
    objects: &dyn Objects,
    id: &ObjectId,
    kind: Kind,
    whose: &str,
) -> Result<Vec<u8>, GitError> {
    match objects.get(id)? {
        Some(object) if object.kind == kind => Ok(object.data),
        Some(object) => Err(GitError::object(
            id,
            format!("is a {}, and {whose} needs a {}", object.kind.name(), kind.name()),
        )),
        None => Err(GitError::Missing { id: *id, whose: whose.to_owned() }),
    }
}
