//! What a replay leaves open until it has taken effect.
//!
//! The hub drops an entry from its log when a later document makes up for it. An agent that
//! is replaying such a log passes the place of the dropped entry before it has the document:
//! its cursor says "up to here", and the engine lacks what was there. So what an agent says
//! it has is the place where the replay began, until everything that came with the replay
//! has taken effect.

use protocol::Seq;
use protocol::planted::{Bug, planted};

use super::queue::Queue;

/// A stretch of the log that was replayed, or is being replayed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settling {
    from: Seq,
    /// Where the last replay ended; none while one is under way.
    until: Option<Seq>,
}

impl Settling {
    /// A replay of what follows `from` begins.
    pub(super) fn new(from: Seq) -> Self {
        Self { from, until: None }
    }

    /// Another replay begins, before the earlier one has taken effect.
    pub(super) fn again(self, from: Seq) -> Self {
        Self::new(self.from.min(from))
    }

    /// The replay is complete, up to here.
    pub(super) fn ends(&mut self, until: Seq) {
        self.until = Some(until);
    }

    /// True if everything that came with the replay has taken effect.
    pub(super) fn is_over(&self, queue: &Queue) -> bool {
        let forgotten = planted(Bug::SettlingForgotten);
        forgotten || self.until.is_some_and(|until| !queue.has_any(self.from, until))
    }

    /// Up to where nothing is open.
    pub(super) fn from(&self) -> Seq {
        self.from
    }

    /// True if what an update became cannot be told yet.
    pub(super) fn is_open(&self, seq: Seq) -> bool {
        seq > self.from && self.until.is_none_or(|until| seq <= until)
    }
}
