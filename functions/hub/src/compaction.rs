//! Which entries of the log are no longer necessary.
//!
//! Replaying the log has to give every subscriber the present state, not its history. An
//! entry is unnecessary once a later document makes up for it:
//!
//! * The document's place **covers** what the entry touches: whatever the entry did is
//!   replaced.
//! * Its **audience** includes the entry's: every subscriber that gets the entry gets the
//!   document, too. (`users` then `users/eu`: the first may go, for who subscribed to
//!   `users` gets both. `users/eu` then `users`: it may not, for who subscribed to `users/eu`
//!   gets the first only.)
//! * No **patch** that stays stands between them that may need the entry: a patch needs the
//!   parents of what it touches, and has no effect at all if one is missing. One that follows a
//!   document of its own update, with the same audience and a place that covers what the patch
//!   touches, needs that document and nothing older: the document makes its place with all
//!   parents, and what was there before is gone. So what is made nothing and removed in one
//!   update keeps nothing beside it. A document that is fetched does not count: its source may
//!   never answer.
//!
//! So patches stay until a document replaces everything that they touch. The work of one
//! append is bounded; what it leaves undone costs space, never truth.

use std::collections::{BTreeMap, BTreeSet};

use protocol::planted::{Bug, planted};
use protocol::{Entry, SaveMethod, Seq, topic};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::log::{Fingerprint, Log, LogError, Record};

/// Documents of one update that are looked at.
pub const MAX_DOCUMENTS: usize = 100;
/// Patches between a document and what it could replace that are looked at.
pub(crate) const MAX_PATCHES: usize = 64;
/// Entries with the document's own audience that go at one time.
pub(crate) const MAX_SAME_AUDIENCE: usize = 1_000;
/// Entries with another audience that are looked at.
pub(crate) const MAX_OTHER_AUDIENCE: usize = 32;
/// Bytes of an audience that is written out; of a longer one only equality is known.
const MAX_AUDIENCE_BYTES: usize = 512;

/// What compaction must know of an entry, as storage keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footprint {
    /// The entry's index in the update as it was published.
    pub place: u32,
    /// The place that it changes, or one above it: see [`key`].
    pub touches: String,
    /// What a patch needs to be there; none for a document. If an earlier document of its update
    /// covers all that it touches, it is that document's place.
    pub needs: Option<String>,
    /// Who gets it: the topics that it is published to, parents included, as a JSON list in
    /// order; a hash of that if it is long.
    pub audience: String,
}

/// An entry that is in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Its update.
    pub seq: Seq,
    /// What it is.
    pub footprint: Footprint,
}

/// Where an entry is in the log's order.
pub type Position = (Seq, u32);

/// A path as text of which a prefix is a path above it: `/a/b/`; the root is `/`. A slash in
/// a segment, which only a patch can name, becomes a character that no path holds.
#[must_use]
pub fn key(segments: &[String]) -> String {
    segments.iter().fold("/".to_owned(), |mut key, segment| {
        key.push_str(&segment.replace('/', "\0"));
        key.push('/');
        key
    })
}

/// The keys of the paths above a key, without itself.
#[must_use]
pub fn above(key: &str) -> Vec<&str> {
    let ends = key.char_indices().filter(|(_, character)| *character == '/');
    ends.filter_map(|(at, _)| key.get(..=at)).filter(|above| above.len() < key.len()).collect()
}

impl Logged {
    /// Where it is in the log's order.
    #[must_use]
    pub fn position(&self) -> Position {
        (self.seq, self.footprint.place)
    }
}

impl Footprint {
    /// The footprint of an entry.
    #[must_use]
    pub fn of(place: u32, entry: &Entry) -> Self {
        let destination = entry.dst_path.segments().to_vec();
        let (touches, needs) = match (entry.save_method, entry.inline()) {
            (SaveMethod::Put, _) => (destination, None),
            (SaveMethod::Patch, Some(patch)) => {
                let (touches, needs) = patched(&destination, patch);
                (touches, Some(needs))
            }
            // What a fetched patch will say nobody knows. If it is about the whole
            // destination, it needs the parent.
            (SaveMethod::Patch, None) => {
                let parent = parent(&destination);
                (destination, Some(parent))
            }
        };
        let needs = needs.map(|needs| key(&needs));
        Self { place, touches: key(&touches), needs, audience: audience(&entry.topics) }
    }

    fn is_document(&self) -> bool {
        self.needs.is_none() || planted(Bug::PatchCompacts)
    }

    /// True if this is a patch that may need something at, above or below the path of a key.
    pub(crate) fn may_need(&self, key: &str) -> bool {
        let overlaps = |needs: &str| needs.starts_with(key) || key.starts_with(needs);
        self.needs.as_deref().is_some_and(overlaps)
    }

    /// True if a document with this footprint makes up for `other`, as far as the two tell.
    fn replaces(&self, other: &Self) -> bool {
        self.is_document()
            && other.touches.starts_with(&self.touches)
            && includes(&self.audience, &other.audience)
    }
}

/// The footprints of a record's entries.
#[must_use]
pub fn footprints(record: &Record) -> Vec<Footprint> {
    // Where the inline documents so far are, and who gets them.
    let mut documents: BTreeSet<(String, String)> = BTreeSet::new();
    let entries = record.places.iter().zip(&record.update.entries);
    let footprint = |(&place, entry): (&u32, &Entry)| {
        let mut footprint = Footprint::of(place, entry);
        let Footprint { touches, audience, .. } = &footprint;
        if footprint.needs.is_some() {
            let places = above(touches).into_iter().chain([touches.as_str()]).rev();
            let own = places.map(|place| (audience.clone(), place.to_owned()));
            let own = own.into_iter().find(|document| documents.contains(document));
            footprint.needs = own.map(|(_, place)| place).or(footprint.needs);
        } else if entry.inline().is_some() {
            documents.insert((audience.clone(), touches.clone()));
        }
        footprint
    };
    entries.map(footprint).collect()
}

/// The entries before a record that it makes unnecessary.
///
/// # Errors
/// If storage refuses.
pub fn superseded(log: &dyn Log, record: &Record) -> Result<BTreeSet<Position>, LogError> {
    let entries = footprints(record);
    let documents = entries.iter().filter(|footprint| footprint.is_document());
    let mut dropped = BTreeSet::new();
    for document in documents.take(MAX_DOCUMENTS) {
        let mut before = entries.iter().take_while(|entry| entry.place < document.place);
        if before.any(|entry| entry.may_need(&document.touches)) && !planted(Bug::OwnPatchIgnored) {
            // A patch of the same update stands between it and all that is older.
            continue;
        }
        let mut candidates = log.entries_below(document, record.seq)?;
        candidates.retain(|candidate| document.replaces(&candidate.footprint));
        if candidates.is_empty() {
            continue;
        }
        let going: BTreeSet<Position> = candidates.iter().map(Logged::position).collect();
        let mut patches = log.patches_that_need(&document.touches, record.seq)?;
        patches.retain(|_| !planted(Bug::BarrierIgnored));
        let positions = || patches.iter().map(Logged::position);
        let mut barrier = positions().filter(|position| !going.contains(position)).max();
        if patches.len() >= MAX_PATCHES {
            // There may be more before these.
            barrier = barrier.max(positions().min());
        }
        dropped.extend(going.into_iter().filter(|position| Some(*position) > barrier));
    }
    Ok(dropped)
}

/// The same by update: which places of each go.
#[must_use]
pub fn by_update(positions: &BTreeSet<Position>) -> BTreeMap<Seq, BTreeSet<u32>> {
    let mut updates: BTreeMap<Seq, BTreeSet<u32>> = BTreeMap::new();
    for (seq, place) in positions {
        updates.entry(*seq).or_default().insert(*place);
    }
    updates
}

/// What all operations touch, and what all of them need.
fn patched(destination: &[String], patch: &RawValue) -> (Vec<String>, Vec<String>) {
    #[derive(Deserialize)]
    struct Operation {
        path: String,
    }
    let operations: Vec<Operation> = serde_json::from_str(patch.get()).unwrap_or_default();
    let target = |operation: Operation| -> Vec<String> {
        let pointer = operation.path.split('/').skip(1);
        // RFC 6901 §4: in this order.
        let pointer = pointer.map(|segment| segment.replace("~1", "/").replace("~0", "~"));
        destination.iter().cloned().chain(pointer).collect()
    };
    let mut common: Option<(Vec<String>, Vec<String>)> = None;
    for operation in operations {
        let target = target(operation);
        let parent = parent(&target);
        common = Some(match common {
            None => (target, parent),
            Some((targets, parents)) => (shared(&targets, &target), shared(&parents, &parent)),
        });
    }
    common.unwrap_or_else(|| (destination.to_vec(), destination.to_vec()))
}

fn parent(path: &[String]) -> Vec<String> {
    path.split_last().map_or(vec![], |(_, parents)| parents.to_vec())
}

/// The beginning that two paths share.
fn shared(one: &[String], other: &[String]) -> Vec<String> {
    let both = one.iter().zip(other).take_while(|(one, other)| one == other);
    both.map(|(segment, _)| segment.clone()).collect()
}

fn audience(topics: &[String]) -> String {
    let expanded: BTreeSet<&str> = topics.iter().flat_map(|topic| topic::expand(topic)).collect();
    // A list of strings always has a JSON form.
    let text = serde_json::to_string(&expanded).unwrap_or_default();
    if text.len() <= MAX_AUDIENCE_BYTES { text } else { Fingerprint::of(&text).0 }
}

/// True if whoever is in `inner` is in `outer`.
fn includes(outer: &str, inner: &str) -> bool {
    let read = |text| serde_json::from_str::<BTreeSet<String>>(text).ok();
    outer == inner
        || planted(Bug::AudienceIgnored)
        || read(outer).zip(read(inner)).is_some_and(|(outer, inner)| inner.is_subset(&outer))
}

#[cfg(test)]
mod tests {
    use protocol::DataPath;

    use super::*;

    fn footprint(entry: serde_json::Value) -> Footprint {
        Footprint::of(0, &serde_json::from_value(entry).unwrap())
    }

    fn patch(dst_path: &str, paths: &[&str]) -> Footprint {
        let operations: Vec<_> = paths
            .iter()
            .map(|path| serde_json::json!({"op": "add", "path": path, "value": 1}))
            .collect();
        footprint(serde_json::json!({
            "topics": ["t"], "dst_path": dst_path, "save_method": "PATCH", "data": operations
        }))
    }

    #[test]
    fn a_patch_touches_what_it_changes_and_needs_the_parents() {
        for (dst_path, paths, touches, needs) in [
            ("/a", &["/b"][..], "/a/b/", "/a/"),
            ("/a", &["/b/c", "/b/d"], "/a/b/", "/a/b/"),
            ("/a", &["/b/c", "/x"], "/a/", "/a/"),
            ("/", &["/a/b/c"], "/a/b/c/", "/a/b/"),
            ("/a", &[""], "/a/", "/"),
            ("/", &[""], "/", "/"),
            ("/a", &["/l/-"], "/a/l/-/", "/a/l/"),
            ("/a", &[], "/a/", "/a/"),
        ] {
            let footprint = patch(dst_path, paths);
            let found = (footprint.touches.as_str(), footprint.needs.as_deref());
            assert_eq!(found, (touches, Some(needs)), "{dst_path} {paths:?}");
        }
        let fetched = serde_json::json!({"url": "http://h", "topics": ["t"], "dst_path": "/a/b", "save_method": "PATCH"});
        let fetched = footprint(fetched);
        assert_eq!((&*fetched.touches, fetched.needs.as_deref()), ("/a/b/", Some("/a/")));
    }

    #[test]
    fn who_gets_a_document_is_who_subscribed_to_a_topic_or_to_a_parent_of_it() {
        let audience =
            |topics: &[&str]| audience(&topics.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert!(includes(&audience(&["users/eu"]), &audience(&["users"])));
        assert!(!includes(&audience(&["users"]), &audience(&["users/eu"])));
        assert!(includes(&audience(&["a", "b"]), &audience(&["b"])));
        assert!(includes(&audience(&["a", "b"]), &audience(&["b", "a"])));
        let long: Vec<String> = (0..100).map(|n| format!("topic-{n:04}")).collect();
        let long =
            |end: usize| audience(&long[..end].iter().map(String::as_str).collect::<Vec<_>>());
        assert!(includes(&long(100), &long(100)));
        assert!(!includes(&long(100), &long(99)), "not known, so not assumed");
    }

    #[test]
    fn a_key_is_a_prefix_of_the_keys_below_it_and_of_no_others() {
        let key = |path: &str| key(DataPath::parse(path).unwrap().segments());
        assert_eq!((key("/"), key("/a/b")), ("/".to_owned(), "/a/b/".to_owned()));
        assert!(key("/a/b").starts_with(&key("/a")) && !key("/ab").starts_with(&key("/a")));
        assert_eq!(above("/a/b/"), ["/", "/a/"]);
        assert!(above("/").is_empty());
        let member = super::key(&["a".to_owned(), "x/y".to_owned()]);
        assert!(!member.starts_with(&key("/a/x")), "a member with a slash in its name");
    }
}
