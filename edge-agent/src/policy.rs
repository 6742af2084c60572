//! Policies from a folder.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::enforcement;

/// One Rego module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyModule {
    /// The file's path relative to the folder, with `/`.
    pub id: String,
    /// Its text.
    pub rego: String,
}

/// All policies of one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicySet {
    /// Which, as its source names it; none for a folder's.
    pub revision: Option<String>,
    /// In the order of their ids.
    pub modules: Arc<[PolicyModule]>,
}

impl PolicySet {
    /// What changes make of this set: a module's new text by its id, none if it is gone.
    #[must_use]
    pub fn changed(&self, revision: String, changes: BTreeMap<String, Option<String>>) -> Self {
        let is_left = |module: &&PolicyModule| !changes.contains_key(&module.id);
        let mut modules: Vec<PolicyModule> = self.modules.iter().filter(is_left).cloned().collect();
        let new = changes.into_iter();
        modules.extend(new.filter_map(|(id, rego)| Some(PolicyModule { id, rego: rego? })));
        modules.sort_by(|left, right| left.id.cmp(&right.id));
        Self { revision: Some(revision), modules: modules.into() }
    }
}

/// The modules of `set`, and those of `local` whose id it does not have; the built-in policy only
/// if none of them is in its place.
#[must_use]
pub fn merge(local: &[PolicyModule], set: &PolicySet) -> Arc<[PolicyModule]> {
    let is_own = |module: &&PolicyModule| set.modules.iter().all(|it| it.id != module.id);
    let mut modules: Vec<_> = local.iter().filter(is_own).chain(&*set.modules).cloned().collect();
    enforcement::give_way(&mut modules);
    modules.into()
}

/// Why the policies could not be read.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot read policies from {}: {reason}; --policy-dir names a folder of .rego files that the \
     agent may read",
    path.display()
)]
pub struct PolicyError {
    path: PathBuf,
    reason: String,
}

impl PolicyError {
    fn new(path: &Path, error: &io::Error) -> Self {
        let reason = match error.kind() {
            io::ErrorKind::InvalidData => "it is not UTF-8 text".to_owned(),
            _ => error.to_string(),
        };
        Self { path: path.to_owned(), reason }
    }
}

/// Folders below a policy folder; more of them means a link that leads back up.
const MAX_DEPTH: usize = 32;

/// Reads every `*.rego` below `dir`, sorted by id; `*_test.rego` are left out.
///
/// # Errors
/// The folder or a file in it cannot be read, or is not text.
pub fn load_dir(dir: &Path) -> Result<Vec<PolicyModule>, PolicyError> {
    let mut modules = Vec::new();
    collect(dir, "", MAX_DEPTH, &mut modules)?;
    modules.sort_by(|left, right| left.id.cmp(&right.id));
    Ok(modules)
}

fn collect(
    dir: &Path,
    prefix: &str,
    depth: usize,
    modules: &mut Vec<PolicyModule>,
) -> Result<(), PolicyError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error: io::Error| PolicyError::new(&path, &error)
    };
    if depth == 0 {
        return Err(PolicyError { path: dir.to_owned(), reason: "it is too deep".to_owned() });
    }
    for entry in fs::read_dir(dir).map_err(failed(dir))? {
        let entry = entry.map_err(failed(dir))?;
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        // Kubernetes mounts the files of a ConfigMap twice: by name, and below `..data`.
        if name.starts_with('.') {
            continue;
        }
        let id = format!("{prefix}{name}");
        let kind = fs::metadata(&path).map_err(failed(&path))?;
        if kind.is_dir() {
            collect(&path, &format!("{id}/"), depth - 1, modules)?;
        } else if name.ends_with(".rego") && !name.ends_with("_test.rego") {
            let rego = fs::read_to_string(&path).map_err(failed(&path))?;
            modules.push(PolicyModule { id, rego });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_found_recursively_in_order_and_without_tests() {
        let dir = tempfile::tempdir().unwrap();
        for (file, text) in [
            ("z.rego", "package z"),
            ("a/b/c.rego", "package c"),
            ("a/b.rego", "package b"),
            ("a/b_test.rego", "package b"),
            ("a/data.json", "{}"),
            (".git/x.rego", "package x"),
        ] {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let modules = load_dir(dir.path()).unwrap();
        let ids: Vec<_> = modules.iter().map(|module| module.id.as_str()).collect();
        assert_eq!(ids, ["a/b.rego", "a/b/c.rego", "z.rego"]);
        assert_eq!(modules[0].rego, "package b");
    }

    #[test]
    fn what_cannot_be_read_is_named_with_the_fix() {
        let dir = tempfile::tempdir().unwrap();
        let missing = load_dir(&dir.path().join("nowhere")).unwrap_err().to_string();
        assert!(missing.contains("nowhere") && missing.contains("--policy-dir"), "{missing}");
        fs::write(dir.path().join("bad.rego"), b"\xff\xfe").unwrap();
        let bad = load_dir(dir.path()).unwrap_err().to_string();
        assert!(bad.contains("bad.rego") && bad.contains("UTF-8"), "{bad}");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_that_leads_back_up_is_an_error_and_not_a_loop() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(dir.path(), dir.path().join("again")).unwrap();
        assert!(load_dir(dir.path()).unwrap_err().to_string().contains("too deep"));
    }
}
