//! The files of a commit, and which are refused.

use std::collections::BTreeSet;

use protocol::opal::policy::Files;

use crate::error::GitError;
use crate::limits::Limits;
use crate::object::{ObjectId, Objects};

/// Which paths of a commit count. A path has `/` between its segments and none at its end.
#[derive(Clone, Copy)]
pub struct Selection<'s> {
    /// Whether a file is wanted. Others are not even read.
    pub wants: &'s dyn Fn(&str) -> bool,
    /// Whether a file, or a folder with all that is in it, is as if it were not there. What is
    /// ignored is never a mistake; a symlink or a submodule that is not ignored is one, since
    /// policy could be behind it.
    pub ignores: &'s dyn Fn(&str) -> bool,
}

/// The wanted files of a commit: path to text.
///
/// # Errors
/// [`GitError::Path`] for the first path that cannot be policy, [`GitError::Limit`],
/// [`GitError::Missing`], [`GitError::Object`]. Nothing is given then.
pub fn checkout(
    _objects: &dyn Objects,
    _commit: &ObjectId,
    _selection: Selection<'_>,
    _limits: &Limits,
) -> Result<Files, GitError> {
    Ok(Files::new())
}

/// All objects that a commit needs, itself included, its parents not: what is to be kept.
///
/// # Errors
/// [`GitError::Missing`] for a folder that is not there, [`GitError::Object`], [`GitError::Limit`].
pub fn reachable(
    _objects: &dyn Objects,
    commit: &ObjectId,
    _limits: &Limits,
) -> Result<BTreeSet<ObjectId>, GitError> {
    Ok([*commit].into())
}
