//! What is left of the log, page by page, and what it does to the data.

use protocol::commit::is_part;
use protocol::credentials::show;
use protocol::internal::LogPage;
use protocol::{Entry, Problem, SaveMethod, Seq, limits};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::MAX_NAMED;
use super::document::{Change, Document, Node};

/// The part of the log that becomes a bundle.
#[derive(Debug, Default)]
pub struct Replay {
    /// The log's entries with the numbers of their updates.
    pub(super) entries: Vec<(Seq, Entry)>,
    /// Which life of the log it is.
    pub(super) epoch: Option<String>,
    /// The number of the last update.
    pub(super) reached: Seq,
    /// What is not after this number the log need not have any more.
    pub(super) floor: Seq,
    /// Entries that cannot be in a bundle, the first of them.
    pub(super) left_out: Vec<Value>,
    pub(super) left_out_count: usize,
    bytes: usize,
}

impl Replay {
    /// Takes a page in; after which number to ask for the next one, if there is one.
    ///
    /// # Errors
    /// 413 for more data than can be bundled; 503 if the log was emptied meanwhile.
    pub fn take(&mut self, page: LogPage) -> Result<Option<Seq>, Problem> {
        let LogPage { epoch, floor, updates, next, .. } = page;
        if self.epoch.as_ref().is_some_and(|known| *known != epoch) {
            return Err(Problem::unavailable("the log was emptied meanwhile; ask again"));
        }
        (self.epoch, self.floor) = (Some(epoch), floor);
        for update in updates {
            self.reached = self.reached.max(update.seq);
            for entry in update.entries {
                // The policy's files come from elsewhere into a bundle, and grants are no data.
                if !is_part(&entry) && !entry.dst_path.is_grant() {
                    self.add(update.seq, entry)?;
                }
            }
        }
        Ok(next)
    }

    fn add(&mut self, seq: Seq, entry: Entry) -> Result<(), Problem> {
        match entry.inline() {
            Some(data) => self.bytes = self.bytes.saturating_add(data.get().len()),
            None => {
                self.left_out_count += 1;
                if self.left_out.len() < MAX_NAMED {
                    let url = show::address(&entry.url);
                    self.left_out.push(json!({ "seq": seq, "path": entry.dst_path, "url": url }));
                }
            }
        }
        let limit = limits::MAX_BUNDLE_DATA_BYTES;
        if self.bytes > limit {
            return Err(Problem::too_large(format!(
                "the log has more than {limit} bytes of data for this bundle, which is the limit; \
                 name fewer `topics`, and make several bundles with `roots`"
            )));
        }
        self.entries.push((seq, entry));
        Ok(())
    }
}

/// Applies an entry, or does nothing if it cannot be applied, as an agent does. The places that it
/// touches.
pub(super) fn apply(data: &mut Document, entry: Entry) -> Vec<Vec<String>> {
    let place = entry.dst_path.segments().to_vec();
    match (entry.save_method, entry.data.filter(|data| data.get() != "null")) {
        (SaveMethod::Put, Some(value)) => {
            data.put(&place, Node::Text(value));
            vec![place]
        }
        (SaveMethod::Put, None) => {
            // What is there an agent fetches. What was there before is not there any more.
            data.clear(&place);
            vec![place]
        }
        (SaveMethod::Patch, Some(operations)) => {
            let changes = changes(&place, &operations);
            let places = changes.iter().map(|(place, _)| place.clone()).collect();
            data.patch(changes);
            places
        }
        // What it would do nobody knows.
        (SaveMethod::Patch, None) => vec![],
    }
}

/// The operations of a patch, which was checked when it was published.
fn changes(place: &[String], operations: &RawValue) -> Vec<(Vec<String>, Change)> {
    #[derive(Deserialize)]
    struct Operation {
        op: String,
        path: String,
        #[serde(default)]
        value: Option<Box<RawValue>>,
    }
    let operations: Vec<Operation> = serde_json::from_str(operations.get()).unwrap_or_default();
    let change = |Operation { op, path, value }: Operation| {
        let segments = path.split('/').skip(1).map(|it| it.replace("~1", "/").replace("~0", "~"));
        let path = place.iter().cloned().chain(segments).collect();
        let value = value.map(Node::Text);
        let change = match (op.as_str(), value) {
            ("add", Some(value)) => Change::Add(value),
            ("replace", Some(value)) => Change::Replace(value),
            _ => Change::Remove,
        };
        (path, change)
    };
    operations.into_iter().map(change).collect()
}
