//! The hub's policies on disk, so that an agent that starts without the hub decides by them.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::renewal::write_private;
use crate::policy::PolicySet;

/// The file in the data folder.
const FILE: &str = "policies.json";

/// Where policies are kept, and whose they are.
#[derive(Clone, Debug)]
pub(super) struct PolicyFile {
    path: PathBuf,
    of: String,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    /// The server, scope and folders that the policies are of.
    of: String,
    set: PolicySet,
}

impl PolicyFile {
    pub(super) fn new(data_dir: &Path, of: String) -> Self {
        Self { path: data_dir.join(FILE), of }
    }

    /// What was kept, if it is of the same server, scope and folders.
    pub(super) fn read(&self) -> Option<PolicySet> {
        let text = fs::read(&self.path).ok()?;
        match serde_json::from_slice::<Kept>(&text) {
            Ok(kept) => Some(kept.set).filter(|_| kept.of == self.of),
            Err(error) => {
                let file = self.path.display();
                tracing::warn!(%file, %error, "the policies that were kept cannot be read");
                None
            }
        }
    }

    /// Keeps policies. What cannot be kept is loaded again by the next start.
    pub(super) fn keep(&self, set: &PolicySet) {
        let kept = Kept { of: self.of.clone(), set: set.clone() };
        if let Err(error) = write_private(&self.path, &kept) {
            tracing::warn!(%error, "the policies cannot be kept in --data-dir");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::PolicyModule;

    #[test]
    fn policies_come_back_to_whom_they_belong() {
        let dir = tempfile::tempdir().unwrap();
        let file = PolicyFile::new(dir.path(), "http://a default .".to_owned());
        assert_eq!(file.read(), None);
        let module = PolicyModule { id: "a.rego".to_owned(), rego: "package a".to_owned() };
        let set = PolicySet { revision: Some("r1".to_owned()), modules: [module].into() };
        file.keep(&set);
        assert_eq!(file.read(), Some(set));
        assert_eq!(PolicyFile::new(dir.path(), "http://b default .".to_owned()).read(), None);
        fs::write(dir.path().join(FILE), "{").unwrap();
        assert_eq!(file.read(), None);
    }
}
