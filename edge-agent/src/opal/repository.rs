//! The policy repository as far as its bundles have told of it (`spec/opal-protocol.md` §2.1,
//! §4.4, §5.5).

use std::collections::BTreeMap;

use protocol::opal::data_files::{self, DataFiles, object, place_of};
use protocol::opal::policy::PolicyBundle;
use protocol::{DataPath, Entry, SaveMethod};
use serde_json::value::RawValue;

use super::Ignored;
use crate::policy::{PolicyModule, PolicySet};

/// What bundles have brought.
#[derive(Debug)]
pub(super) struct Repository {
    ignored: Ignored,
    hash: Option<String>,
    modules: BTreeMap<String, String>,
    /// By folder: the text of its `data.json`, which is an object.
    data: DataFiles,
}

/// What a bundle changes.
#[derive(Debug)]
pub(super) struct Change {
    /// All policies, as they are now.
    pub(super) policies: PolicySet,
    /// Writes and removals of the `data.json` files that changed.
    pub(super) entries: Vec<Entry>,
    /// Files that were left out, and why.
    pub(super) refused: Vec<String>,
}

impl Repository {
    /// One of which no bundle has told yet.
    pub(super) fn new(ignored: Ignored) -> Self {
        Self { ignored, hash: None, modules: BTreeMap::new(), data: DataFiles::new() }
    }

    /// The revision that is here.
    pub(super) fn hash(&self) -> Option<&str> {
        self.hash.as_deref()
    }

    /// Takes a bundle in. `None` if it is about a change of another revision than the one that
    /// is here: a complete one is to be asked for.
    pub(super) fn take(&mut self, bundle: PolicyBundle) -> Option<Change> {
        let before = std::mem::take(&mut self.data);
        match &bundle.old_hash {
            None => self.modules.clear(),
            Some(old) if Some(old.as_str()) == self.hash() => self.data.clone_from(&before),
            Some(_) => {
                self.data = before;
                return None;
            }
        }
        let mut refused = vec![];
        let deleted = bundle.deleted_files.unwrap_or_default();
        for path in deleted.policy_modules {
            self.modules.remove(&path);
        }
        for folder in deleted.data_modules {
            if let Ok(path) = place_of(&folder) {
                self.data.remove(&path);
            }
        }
        for module in bundle.policy_modules {
            if !self.ignored.has(&module.path) {
                self.modules.insert(module.path, module.rego);
            }
        }
        for module in bundle.data_modules {
            match place_of(&module.path).and_then(|path| Ok((path, object(&module.data)?))) {
                Ok((path, text)) => {
                    self.data.insert(path, text);
                }
                Err(error) => refused.push(format!("{}/data.json: {error}", module.path)),
            }
        }
        self.hash = Some(bundle.hash.clone());
        let changes = data_files::changes(&before, &self.data, bundle.old_hash.is_none());
        let entries = changes.into_iter().filter_map(entry).collect();
        let modules = self.modules.iter();
        let modules = modules.map(|(id, rego)| PolicyModule { id: id.clone(), rego: rego.clone() });
        let policies = PolicySet { revision: Some(bundle.hash), modules: modules.collect() };
        Some(Change { policies, entries, refused })
    }

    /// Writes of all `data.json` files that a document at one of these places covers.
    pub(super) fn beside(&self, places: &[&DataPath]) -> Vec<Entry> {
        let covered = self.data.iter().filter(|(path, _)| places.iter().any(|it| it.covers(path)));
        covered.flat_map(|(path, text)| data_files::writes(path, text)).filter_map(entry).collect()
    }
}

/// A change of a `data.json` as an entry.
fn entry(change: data_files::Change) -> Option<Entry> {
    let remove = || RawValue::from_string(r#"[{"op":"remove","path":""}]"#.to_owned()).ok();
    let (save_method, data) = match change.data {
        Some(data) => (SaveMethod::Put, Some(data)),
        None => (SaveMethod::Patch, Some(remove()?)),
    };
    let dst_path = change.place;
    Some(Entry { url: String::new(), config: None, topics: vec![], dst_path, save_method, data })
}
