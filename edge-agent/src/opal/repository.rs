//! The policy repository as far as its bundles have told of it (`spec/opal-protocol.md` §2.1,
//! §4.4, §5.5).

use std::collections::BTreeMap;

use protocol::opal::ignore::Ignored;
use protocol::opal::policy::PolicyBundle;
use protocol::{DataPath, Entry, SaveMethod};
use serde_json::value::RawValue;

use crate::policy::{PolicyModule, PolicySet};

/// What bundles have brought.
#[derive(Debug)]
pub(super) struct Repository {
    ignored: Ignored,
    hash: Option<String>,
    modules: BTreeMap<String, String>,
    /// By folder: the text of its `data.json`, which is an object.
    data: BTreeMap<DataPath, String>,
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
        Self { ignored, hash: None, modules: BTreeMap::new(), data: BTreeMap::new() }
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
            if let Ok(path) = place(&folder) {
                self.data.remove(&path);
            }
        }
        for module in bundle.policy_modules {
            if !self.ignored.has(&module.path) {
                self.modules.insert(module.path, module.rego);
            }
        }
        for module in bundle.data_modules {
            match place(&module.path).and_then(|path| Ok((path, object(&module.data)?))) {
                Ok((path, text)) => {
                    self.data.insert(path, text);
                }
                Err(error) => refused.push(format!("{}/data.json: {error}", module.path)),
            }
        }
        self.hash = Some(bundle.hash.clone());
        let entries = changes(&before, &self.data, bundle.old_hash.is_none());
        let modules = self.modules.iter();
        let modules = modules.map(|(id, rego)| PolicyModule { id: id.clone(), rego: rego.clone() });
        let policies = PolicySet { revision: Some(bundle.hash), modules: modules.collect() };
        Some(Change { policies, entries, refused })
    }

    /// Writes of all `data.json` files that a document at one of these places covers.
    pub(super) fn beside(&self, places: &[&DataPath]) -> Vec<Entry> {
        let covered = self.data.iter().filter(|(path, _)| places.iter().any(|it| it.covers(path)));
        covered.flat_map(|(path, text)| puts(path, text)).collect()
    }
}

/// From one state of the `data.json` files to another. Folders come before what is in them,
/// since a document replaces all that is below it.
fn changes(
    before: &BTreeMap<DataPath, String>,
    after: &BTreeMap<DataPath, String>,
    all: bool,
) -> Vec<Entry> {
    let gone = before.iter().flat_map(|(path, text)| {
        let now: Vec<DataPath> = after.get(path).map(|text| places(path, text)).unwrap_or_default();
        places(path, text).into_iter().filter(move |place| !now.contains(place))
    });
    let gone: Vec<DataPath> = gone.collect();
    let is_new = |path: &DataPath, text: &String| all || before.get(path) != Some(text);
    let written: Vec<&DataPath> =
        after.iter().filter(|(path, text)| is_new(path, text)).map(|(path, _)| path).collect();
    // What is inside something that is written or removed is written again.
    let again = |path: &DataPath| {
        let above = |it: &DataPath| !it.is_root() && it.covers(path);
        written.iter().any(|it| above(it)) || gone.iter().any(above)
    };
    let writes = after
        .iter()
        .filter(|(path, text)| is_new(path, text) || again(path))
        .flat_map(|(path, text)| puts(path, text));
    // What is inside something that is removed goes with it.
    let is_inside = |it: &&DataPath| gone.iter().any(|above| above != *it && above.covers(it));
    let removals = gone.iter().filter(|it| !is_inside(it)).filter_map(removal);
    removals.chain(writes).collect()
}

/// The places that a `data.json` writes to: its folder's, or each of its members' in the root,
/// where a document would replace all data there is.
fn places(path: &DataPath, text: &str) -> Vec<DataPath> {
    if !path.is_root() {
        return vec![path.clone()];
    }
    members(text).into_keys().map(|name| path.below([name])).collect()
}

fn puts(path: &DataPath, text: &str) -> Vec<Entry> {
    if !path.is_root() {
        let data = RawValue::from_string(text.to_owned()).ok();
        return data.map(|data| entry(path.clone(), SaveMethod::Put, data)).into_iter().collect();
    }
    let put = |(name, data)| entry(path.below([name]), SaveMethod::Put, data);
    members(text).into_iter().map(put).collect()
}

fn removal(place: &DataPath) -> Option<Entry> {
    let remove = r#"[{"op":"remove","path":""}]"#;
    let operations = RawValue::from_string(remove.to_owned()).ok()?;
    Some(entry(place.clone(), SaveMethod::Patch, operations))
}

fn entry(dst_path: DataPath, save_method: SaveMethod, data: Box<RawValue>) -> Entry {
    let data = Some(data);
    Entry { url: String::new(), config: None, topics: vec![], dst_path, save_method, data }
}

fn members(text: &str) -> BTreeMap<String, Box<RawValue>> {
    serde_json::from_str(text).unwrap_or_default()
}

fn place(folder: &str) -> Result<DataPath, String> {
    let folder = if folder == "." { "" } else { folder };
    DataPath::parse(folder).map_err(|problem| problem.detail)
}

fn object(text: &str) -> Result<String, String> {
    let value: Box<RawValue> =
        serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
    if value.get().starts_with('{') {
        Ok(value.get().to_owned())
    } else {
        Err("not an object".to_owned())
    }
}
