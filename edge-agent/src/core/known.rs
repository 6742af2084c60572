//! What the store had, when the agent started, of updates above its cursor.
//!
//! Those updates are delivered again. An entry that the store has is not written again, and
//! an entry that a newer document in the store covers would undo it.

use protocol::{DataPath, SaveMethod, Seq};

use crate::store::{Tag, Written};

/// The entries that need not be written again.
#[derive(Debug, Default)]
pub struct Known(Vec<Written>);

impl Known {
    /// What the store said when it was opened.
    #[must_use]
    pub fn new(written: Vec<Written>) -> Self {
        Self(written)
    }

    /// True if the store has this entry.
    #[must_use]
    pub fn has(&self, tag: Tag) -> bool {
        self.0.iter().any(|written| written.tag == tag)
    }

    /// True if the store has a document for `path`, or for a place above it, that is newer
    /// than `tag`.
    #[must_use]
    pub fn has_newer_document(&self, tag: Tag, path: &DataPath) -> bool {
        let mut newer = self.0.iter().filter(|written| written.tag > tag);
        newer.any(|it| it.save_method == SaveMethod::Put && it.path.covers(path))
    }

    /// The engine has not taken these: what they would have made unnecessary is not.
    pub fn refused(&mut self, entries: &[(Tag, String)], places: &[(DataPath, String)]) {
        self.0.retain(|written| {
            entries.iter().all(|(tag, _)| *tag != written.tag)
                && places.iter().all(|(place, _)| !place.overlaps(&written.path))
        });
    }

    /// Everything up to `seq` was delivered again.
    pub fn reached(&mut self, seq: Seq) {
        self.0.retain(|written| written.tag.seq > seq);
    }

    /// The log begins anew: nothing is known of it.
    pub fn forget(&mut self) {
        self.0.clear();
    }
}
