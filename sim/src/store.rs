//! An agent's disk: what [`edge_agent::store`] promises, without files. It outlives the
//! agent.

use std::collections::BTreeMap;

use edge_agent::json::Json;
use edge_agent::policy::PolicySet;
use edge_agent::store::{Mark, Record, Tag, Written};
use protocol::DataPath;
use protocol::commit::Part;
use serde_json::{Value, json};

use crate::document;

#[derive(Clone, Debug)]
struct Kept {
    record: Record,
    /// False if the record is from before the log began anew.
    tagged: bool,
}

/// What is on it.
#[derive(Debug, Default)]
pub(crate) struct Store {
    mark: Mark,
    records: Vec<Kept>,
    /// The data of all that ever was a record.
    pub(crate) data: BTreeMap<Tag, Value>,
    /// Records are refused until this moment.
    pub(crate) fails_until: u64,
}

impl Store {
    pub(crate) fn mark(&self) -> &Mark {
        &self.mark
    }

    pub(crate) fn append(&mut self, records: &[Record], mark: Mark) {
        let tagged = mark.generation >= self.mark.generation;
        if tagged {
            self.mark = mark;
        }
        let records = records.iter().filter(|record| tagged || !record.path.is_apart());
        self.data.extend(records.clone().map(|it| (it.tag, read(it))));
        self.records.extend(records.map(|record| Kept { record: record.clone(), tagged }));
    }

    pub(crate) fn save(&mut self, mark: Mark) {
        if mark.generation >= self.mark.generation {
            self.mark = mark;
        }
    }

    pub(crate) fn discard(&mut self, tags: &[Tag]) {
        let first = self.records.len().saturating_sub(tags.len());
        let last = self.records.get(first..).unwrap_or_default();
        if last.iter().all(|kept| kept.tagged) && last.iter().map(|it| &it.record.tag).eq(tags) {
            self.records.truncate(first);
        }
    }

    /// The policies that all commits make.
    pub(crate) fn policies(&self) -> Option<PolicySet> {
        let (mut revision, mut modules) = (None, BTreeMap::new());
        for Kept { record, .. } in &self.records {
            match Part::read(&record.path, record.data.get()) {
                Ok(Part::Module(id, rego)) => drop(modules.insert(id, rego)),
                Ok(Part::Marker(marker)) => revision = Some(marker.hash),
                Ok(Part::Data) | Err(_) => {}
            }
        }
        Some(PolicySet::default().changed(revision?, modules))
    }

    /// What was said last at each grant's place.
    pub(crate) fn grants(&self) -> Vec<(DataPath, Json)> {
        let records = self.records.iter().map(|kept| &kept.record);
        let grants = records.filter(|record| record.path.is_grant());
        let last: BTreeMap<String, &Record> =
            grants.map(|record| (record.path.to_string(), record)).collect();
        last.into_values().map(|record| (record.path.clone(), record.data.clone())).collect()
    }

    pub(crate) fn begin_again(&mut self, mark: Mark) {
        self.mark = mark;
        self.records.retain(|kept| !kept.record.path.is_apart());
        self.records.iter_mut().for_each(|kept| kept.tagged = false);
    }

    /// The tags of all records, in the order of writing.
    pub(crate) fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.iter().filter(|kept| kept.tagged).map(|kept| &kept.record)
    }

    /// The records above the mark's cursor.
    pub(crate) fn written(&self) -> Vec<Written> {
        let above = self.records().filter(|record| record.tag.seq > self.mark.cursor);
        above
            .map(|record| Written {
                tag: record.tag,
                path: record.path.clone(),
                save_method: record.save_method,
            })
            .collect()
    }

    /// What all records make; those that cannot be applied leave the store. `without_last`
    /// plants a bug.
    pub(crate) fn state(&mut self, without_last: bool) -> (Value, Vec<(Tag, String)>) {
        let (mut root, mut refused) = (json!({}), vec![]);
        let take = self.records.len() - usize::from(without_last && !self.records.is_empty());
        let mut at = 0;
        self.records.retain(|Kept { record, .. }| {
            at += 1;
            let done = at > take || record.path.is_grant() || apply(&mut root, record);
            if !done {
                refused.push((record.tag, "it cannot be applied".to_owned()));
            }
            done
        });
        (root, refused)
    }
}

/// Applies a record to a document; false if it is refused.
pub(crate) fn apply(root: &mut Value, record: &Record) -> bool {
    document::write(root, record.path.segments(), record.save_method, &read(record))
}

/// A record's data.
pub(crate) fn read(record: &Record) -> Value {
    serde_json::from_str(record.data.get()).unwrap_or(Value::Null)
}
