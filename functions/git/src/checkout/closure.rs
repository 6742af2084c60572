//! What a commit needs in all.

use std::collections::BTreeSet;

use crate::error::GitError;
use crate::limits::Limits;
use crate::object::{ObjectId, Objects};

use super::tree::{self, Mode};

/// Which files must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blobs {
    /// All.
    All,
    /// Large ones may be missing.
    NotLarge,
}

/// All objects that a commit needs, itself included, its parents not: what is to be kept. Files
/// are in it whether they are there or not.
///
/// # Errors
/// [`GitError::Missing`] for a folder that is not there, [`GitError::Object`],
/// [`GitError::Limit`].
pub fn reachable(
    objects: &dyn Objects,
    commit: &ObjectId,
    limits: &Limits,
) -> Result<BTreeSet<ObjectId>, GitError> {
    walk(objects, commit, limits, &mut |_, _| Ok(()))
}

/// Whether all that a commit needs is there.
///
/// # Errors
/// [`GitError::Missing`] for the first object that is not, and those of [`reachable`].
pub(crate) fn check_complete(
    objects: &dyn Objects,
    commit: &ObjectId,
    blobs: Blobs,
    limits: &Limits,
) -> Result<(), GitError> {
    walk(objects, commit, limits, &mut |folder, file| match blobs {
        Blobs::All if !objects.has(file)? => {
            Err(GitError::Missing { id: *file, whose: format!("folder {folder}") })
        }
        _ => Ok(()),
    })
    .map(drop)
}

/// Each folder once, and each of its files.
fn walk(
    objects: &dyn Objects,
    commit: &ObjectId,
    limits: &Limits,
    file: &mut dyn FnMut(&ObjectId, &ObjectId) -> Result<(), GitError>,
) -> Result<BTreeSet<ObjectId>, GitError> {
    let root = tree::root(objects, commit)?;
    let mut all = BTreeSet::from([*commit, root]);
    let (mut folders, mut entries) = (vec![root], 0_usize);
    while let Some(folder) = folders.pop() {
        let data = tree::folder(objects, &folder, "")?;
        for entry in tree::entries(&folder, &data) {
            let entry = entry?;
            entries += 1;
            if entries > limits.entries {
                let limit = limits.entries;
                return Err(GitError::Limit(format!(
                    "the commit has more than {limit} entries in its folders, the limit"
                )));
            }
            let is_new = entry.mode != Mode::Submodule && all.insert(entry.id);
            match entry.mode {
                Mode::Folder if is_new => folders.push(entry.id),
                Mode::File | Mode::Symlink if is_new => file(&folder, &entry.id)?,
                _ => {}
            }
        }
    }
    Ok(all)
}
