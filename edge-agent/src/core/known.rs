//! What the store had, when the agent started, of updates above its cursor.
//!
//! Those updates are delivered again. An entry that the store has is not written again, and
//! neither is one that had ended before: it would come after what is newer.

use protocol::planted::{Bug, planted};
use protocol::{DataPath, Seq};

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
        !planted(Bug::TagsForgotten) && self.0.iter().any(|written| written.tag == tag)
    }

    /// True if the store has something newer than `tag` that touches what an entry of this
    /// extent depends on. It was written when this entry had ended (refused, if the store does
    /// not have it), or makes up for it.
    #[must_use]
    pub fn has_newer(&self, tag: Tag, extent: &DataPath) -> bool {
        let is_newer = |it: &Written| it.tag > tag && it.path.overlaps(extent);
        !planted(Bug::NewerForgotten) && self.0.iter().any(is_newer)
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
