//! Updates as opal-server sends them (`spec/opal-protocol.md` §4.1, §4.2), and which of them
//! are copies.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;

use protocol::json::reason;
use protocol::{Entry, SaveMethod};
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::Subscription;

/// Updates of which copies are recognised.
const MAX_SEEN: usize = 512;

/// An update, with the entries that are for us.
#[derive(Default)]
pub(super) struct Update {
    pub(super) id: Option<String>,
    pub(super) reason: Option<String>,
    /// Each with its place in the update as it was published.
    pub(super) entries: Vec<(u32, Entry)>,
    pub(super) callback: Option<Box<RawValue>>,
    /// Entries that cannot be read, and why.
    pub(super) refused: Vec<String>,
}

#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    reason: Option<String>,
    entries: Vec<Box<RawValue>>,
    #[serde(default)]
    callback: Option<Box<RawValue>>,
}

impl fmt::Debug for Update {
    /// Without its callbacks, which may hold credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, reason, entries, callback: _, refused } = self;
        let mut shown = f.debug_struct("Update");
        shown.field("id", id).field("reason", reason).field("entries", entries);
        shown.field("refused", refused).finish_non_exhaustive()
    }
}

/// A source that is to be fetched again and again.
#[derive(Deserialize)]
struct Periodic {
    #[serde(default)]
    periodic_update_interval: Option<f64>,
}

impl Update {
    /// Reads an update. An entry that cannot be read costs only itself.
    ///
    /// # Errors
    /// It is no update at all.
    pub(super) fn read(text: &str, ours: &Subscription) -> Result<Self, String> {
        let wire: Wire = serde_json::from_str(text)
            .map_err(|error| format!("not an update: {}", reason(&error)))?;
        let mut update = Self {
            id: wire.id,
            reason: wire.reason,
            callback: wire.callback.filter(|it| it.get() != "null"),
            ..Self::default()
        };
        for (place, text) in (0..).zip(wire.entries) {
            match entry(&text) {
                Ok(entry) if ours.takes(&entry.topics) => update.entries.push((place, entry)),
                Ok(_) => {}
                Err(error) => update.refused.push(format!("entries[{place}]: {error}")),
            }
        }
        Ok(update)
    }
}

/// The base sources: the entries for us, each with the milliseconds after which it is to be
/// fetched again, if it is.
pub(super) fn sources(
    text: &str,
    ours: &Subscription,
) -> Result<(Update, Vec<(Entry, u64)>), String> {
    let update = Update::read(text, ours)?;
    let Wire { entries, .. } = serde_json::from_str(text).map_err(|error| reason(&error))?;
    let mut periodic = vec![];
    for (place, entry) in &update.entries {
        let text = usize::try_from(*place).ok().and_then(|place| entries.get(place));
        let every = text
            .and_then(|text| serde_json::from_str::<Periodic>(text.get()).ok())
            .and_then(|it| it.periodic_update_interval)
            .and_then(|seconds| std::time::Duration::try_from_secs_f64(seconds).ok())
            .and_then(|every| u64::try_from(every.as_millis()).ok());
        if let Some(every) = every.filter(|every| *every > 0) {
            periodic.push((entry.clone(), every));
        }
    }
    Ok((update, periodic))
}

fn entry(text: &RawValue) -> Result<Entry, String> {
    let mut entry: Entry = serde_json::from_str(text.get()).map_err(|error| reason(&error))?;
    if entry.url.is_empty() && entry.inline().is_none() {
        return Err("neither a url nor data".to_owned());
    }
    if entry.save_method == SaveMethod::Patch
        && let Some(data) = &entry.data
    {
        entry.data = Some(without_nulls(data)?);
    }
    Ok(entry)
}

/// opal-server fills in `"from":null` and `"value":null` where an operation has none (§1.5).
fn without_nulls(operations: &RawValue) -> Result<Box<RawValue>, String> {
    if operations.get() == "null" {
        return Ok(operations.to_owned());
    }
    let mut operations: Vec<BTreeMap<String, Box<RawValue>>> =
        serde_json::from_str(operations.get()).map_err(|error| {
            format!("data: not a list of JSON Patch operations: {}", reason(&error))
        })?;
    for operation in &mut operations {
        operation.retain(|name, value| {
            !matches!(name.as_str(), "from" | "value") || value.get() != "null"
        });
    }
    serde_json::value::to_raw_value(&operations).map_err(|error| error.to_string())
}

/// Tells an update from its copies: one publish on several topics is one `notify` on each that
/// we subscribed to (§1.7), and all of them are alike.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// By digest: how often it came on each channel.
    known: HashMap<[u8; 32], HashMap<String, u64>>,
    order: VecDeque<[u8; 32]>,
}

impl Seen {
    /// True if this is the first copy of a publish: it came on this channel more often than on
    /// any other before.
    pub(super) fn is_first(&mut self, channel: &str, text: &str) -> bool {
        let digest: [u8; 32] = Sha256::digest(text).into();
        if !self.known.contains_key(&digest) {
            self.order.push_back(digest);
            if self.order.len() > MAX_SEEN
                && let Some(oldest) = self.order.pop_front()
            {
                self.known.remove(&oldest);
            }
        }
        let channels = self.known.entry(digest).or_default();
        let published = channels.values().max().copied().unwrap_or(0);
        let here = channels.entry(channel.to_owned()).or_default();
        *here = here.saturating_add(1);
        *here > published
    }

    /// Another connection: copies that were under way on the last one do not come any more.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}
