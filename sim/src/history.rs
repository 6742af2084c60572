//! What was accepted: the log's history as the hub's storage had it at each commit, whatever
//! compaction makes of it later. What agents hold is checked against it.

use edge_agent::store::Tag;
use hub::memory_log::MemoryLog;
use protocol::{DataPath, Entry, SaveMethod, Seq, Update};
use serde_json::{Value, json};

use crate::{document, workload};

/// One entry that was accepted.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) tag: Tag,
    pub(crate) topics: Vec<String>,
    pub(crate) path: DataPath,
    pub(crate) save_method: SaveMethod,
    /// What it writes, inline or at its source; none if the source never has it.
    pub(crate) data: Option<Value>,
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

    /// The entries for a subscriber, in order.
    pub(crate) fn entries_for(&self, topics: &[String]) -> impl Iterator<Item = &Accepted> {
        self.entries.iter().filter(move |it| it.is_for(topics))
    }

    /// What a subscriber's engine must hold that has these entries.
    pub(crate) fn document(&self, topics: &[String], has: impl Fn(Tag) -> bool) -> Value {
        let mut root = json!({});
        self.entries_for(topics).filter(|entry| has(entry.tag)).for_each(|it| it.apply(&mut root));
        root
    }

    /// What a log makes for a subscriber who replays it from nothing.
    pub(crate) fn replayed(log: &MemoryLog, topics: &[String]) -> Value {
        let mut root = json!({});
        for stored in &log.records {
            let entries = stored.record.places.iter().zip(&stored.record.update.entries);
            for (&place, entry) in entries {
                let entry = accepted(Tag { seq: stored.record.seq, place }, entry);
                if entry.is_for(topics) {
                    entry.apply(&mut root);
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

    fn apply(&self, root: &mut Value) {
        if let Some(data) = &self.data {
            document::write(root, self.path.segments(), self.save_method, data);
        }
    }
}

/// True if a topic is `above`, or below it.
fn is_below(topic: &str, above: &str) -> bool {
    topic.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn accepted(tag: Tag, entry: &Entry) -> Accepted {
    let data = match entry.inline() {
        Some(data) => serde_json::from_str(data.get()).ok(),
        None => workload::fetched(&entry.url),
    };
    Accepted {
        tag,
        topics: entry.topics.clone(),
        path: entry.dst_path.clone(),
        save_method: entry.save_method,
        data,
    }
}
