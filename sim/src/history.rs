//! What was accepted: the log's history as the hub's storage had it at each commit, whatever
//! compaction makes of it later. What agents hold is checked against it.

use std::collections::BTreeMap;

use edge_agent::store::Tag;
use hub::memory_log::MemoryLog;
use protocol::{DataPath, Entry, SaveMethod, Seq, Update};
use serde_json::{Value, json};

use crate::permissions::Permissions;
use crate::{document, workload};

/// One entry that was accepted.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) tag: Tag,
    pub(crate) topics: Vec<String>,
    pub(crate) path: DataPath,
    pub(crate) save_method: SaveMethod,
    /// What it writes: none if its source never has anything, and something that the source
    /// has once if it has.
    pub(crate) data: Option<Value>,
    /// Its source, if it is not inline.
    pub(crate) url: Option<String>,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct History {
    ids: Vec<String>,
    entries: Vec<Accepted>,
}

impl History {
    /// The last number.
    pub(crate) fn head(&self) -> Seq {
        Seq(self.ids.len() as u64)
    }

    /// The number of an id.
    pub(crate) fn find(&self, id: &str) -> Option<Seq> {
        let at = self.ids.iter().position(|known| known == id)?;
        Some(Seq(at as u64 + 1))
    }

    /// A commit has made this log durable. What came with it is still whole, but for what it
    /// has made unnecessary itself: so the updates are looked up by `published`.
    pub(crate) fn committed(
        &mut self,
        log: &MemoryLog,
        published: impl Fn(&str) -> Option<Update>,
    ) -> Result<(), String> {
        for (at, stored) in log.records.iter().enumerate() {
            let (seq, id) = (stored.record.seq, &stored.record.id);
            if seq != Seq(at as u64 + 1) {
                return Err(format!("the log has {seq} where {} belongs", at + 1));
            }
            match self.ids.get(at) {
                Some(known) if known == id => {}
                Some(known) => return Err(format!("number {seq} was {known} and is {id} now")),
                None => {
                    if self.ids.contains(id) {
                        return Err(format!("{id} is in the log twice"));
                    }
                    let Some(update) = published(id) else {
                        return Err(format!("nobody published {id}"));
                    };
                    self.ids.push(id.clone());
                    self.entries.extend(
                        (0_u32..)
                            .zip(&update.entries)
                            .map(|(place, entry)| accepted(Tag { seq, place }, entry)),
                    );
                }
            }
        }
        if log.records.len() < self.ids.len() {
            return Err(format!(
                "the log ends at {}, it had {}",
                log.records.len(),
                self.ids.len()
            ));
        }
        Ok(())
    }

    /// The entry with this tag, and its update's id.
    pub(crate) fn entry(&self, tag: Tag) -> Option<(&str, &Accepted)> {
        let id = self.ids.get(usize::try_from(tag.seq.0).ok()?.checked_sub(1)?)?;
        Some((id, self.entries.iter().find(|it| it.tag == tag)?))
    }

    /// The entries for a subscriber, in order.
    pub(crate) fn entries_for(&self, topics: &[String]) -> impl Iterator<Item = &Accepted> {
        self.entries.iter().filter(move |it| it.is_for(topics))
    }

    /// What a subscriber's engine must hold that has these entries, of which it has fetched
    /// these. What it has not fetched must have been unnecessary: then any data will do.
    pub(crate) fn document(
        &self,
        topics: &[String],
        fetched: &BTreeMap<Tag, Value>,
        has: impl Fn(Tag) -> bool,
    ) -> Value {
        let mut root = json!({});
        for entry in self.entries_for(topics).filter(|entry| has(entry.tag)) {
            let fetched = entry.url.as_ref().and_then(|_| fetched.get(&entry.tag));
            entry.apply(&mut root, fetched);
        }
        root
    }

    /// The grants that a subscriber has who has these entries.
    pub(crate) fn permissions(&self, topics: &[String], has: impl Fn(Tag) -> bool) -> Permissions {
        let mut permissions = Permissions::default();
        for entry in self.entries_for(topics).filter(|entry| has(entry.tag)) {
            entry.grant(&mut permissions);
        }
        permissions
    }

    /// The grants that a log makes for a subscriber who replays it from nothing.
    pub(crate) fn permissions_of(log: &MemoryLog, topics: &[String]) -> Permissions {
        let mut permissions = Permissions::default();
        for entry in log.records.iter().flat_map(|stored| &stored.record.update.entries) {
            let entry = accepted(Tag::default(), entry);
            if entry.is_for(topics) {
                entry.grant(&mut permissions);
            }
        }
        permissions
    }

    /// What a log makes for a subscriber who replays it from nothing.
    pub(crate) fn replayed(log: &MemoryLog, topics: &[String]) -> Value {
        let mut root = json!({});
        for stored in &log.records {
            let entries = stored.record.places.iter().zip(&stored.record.update.entries);
            for (&place, entry) in entries {
                let entry = accepted(Tag { seq: stored.record.seq, place }, entry);
                if entry.is_for(topics) {
                    entry.apply(&mut root, None);
                }
            }
        }
        root
    }
}

impl Accepted {
    fn is_for(&self, topics: &[String]) -> bool {
        self.topics.iter().any(|published| topics.iter().any(|ours| is_below(published, ours)))
    }

    /// Grants are beside the data.
    fn apply(&self, root: &mut Value, fetched: Option<&Value>) {
        if let Some(data) = fetched.or(self.data.as_ref())
            && grant_id(&self.path).is_none()
        {
            document::write(root, self.path.segments(), self.save_method, data);
        }
    }

    fn grant(&self, permissions: &mut Permissions) {
        if let (Some(id), Some(said)) = (grant_id(&self.path), &self.data) {
            permissions.take(id, said);
        }
    }
}

/// The id of the grant whose place this is.
pub(crate) fn grant_id(path: &DataPath) -> Option<&str> {
    match path.segments() {
        [first, second, id] if first == "girasol" && second == "grants" => Some(id),
        _ => None,
    }
}

/// True if a topic is `above`, or below it.
fn is_below(topic: &str, above: &str) -> bool {
    topic.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn accepted(tag: Tag, entry: &Entry) -> Accepted {
    let data = match entry.inline() {
        Some(data) => serde_json::from_str(data.get()).ok(),
        None => workload::fetched(&entry.url, 0),
    };
    let url = entry.inline().is_none().then(|| entry.url.clone());
    Accepted {
        tag,
        topics: entry.topics.clone(),
        path: entry.dst_path.clone(),
        save_method: entry.save_method,
        data,
        url,
    }
}
