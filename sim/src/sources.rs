//! The sources that entries name. What they have changes, and whoever publishes an update says
//! that it has changed: what an agent writes for it must not be older than that.

use std::collections::BTreeMap;

use protocol::Update;
use serde_json::Value;

use crate::workload;

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// How often each has changed, by its address.
    versions: BTreeMap<String, u64>,
    /// What the entries of an update need, by its id.
    needed: BTreeMap<String, Vec<u64>>,
    /// They do not answer until this moment.
    pub(crate) fail_until: u64,
}

impl Sources {
    /// What an update names has changed, and then the update is published.
    pub(crate) fn change(&mut self, update: &Update, id: &str) {
        for entry in &update.entries {
            *self.versions.entry(entry.url.clone()).or_default() += 1;
        }
        let needed = update.entries.iter().map(|entry| self.version(&entry.url)).collect();
        self.needed.insert(id.to_owned(), needed);
    }

    fn version(&self, url: &str) -> u64 {
        self.versions.get(url).copied().unwrap_or_default()
    }

    /// What the source at an address has now.
    pub(crate) fn read(&self, url: &str) -> Option<Value> {
        workload::fetched(url, self.version(url))
    }

    /// True if this is what the source of an update's entry had when the update was published,
    /// or has had since.
    pub(crate) fn is_fresh(&self, id: &str, place: u32, url: &str, data: &Value) -> bool {
        let Some(needed) = self.needed.get(id).and_then(|needed| needed.get(place as usize)) else {
            return true;
        };
        let mut versions = *needed..=self.version(url);
        versions.any(|version| workload::fetched(url, version).as_ref() == Some(data))
    }
}
