//! What is kept on disk besides the data, and when.
//!
//! Every write carries the [`Mark`] of its moment. What moves without a write (an update of
//! which nothing had to be written, being complete) is saved a moment later: a mark that
//! lags costs a replay of what the store has anyway, and one that is ahead cannot be.

use protocol::Millis;

use super::backoff::Backoff;
use crate::store::Mark;

/// Milliseconds that a mark may lag.
const SAVE_AFTER: u64 = 1_000;

/// What the store has of the mark, and how the store is.
#[derive(Debug)]
pub(super) struct Keeping {
    saved: Mark,
    /// Since when another one is to be saved.
    changed: Option<Millis>,
    /// Why the last write was not recorded.
    trouble: Option<String>,
    /// Nothing is given to the store before this moment.
    closed_until: Option<Millis>,
    backoff: Backoff,
    /// Why the agent began anew and did not go on from what it had.
    fresh: Option<String>,
}

impl Keeping {
    pub(super) fn new(saved: Mark, fresh: Option<String>, seed: u64) -> Self {
        let backoff = Backoff::new(seed);
        Self { saved, changed: None, trouble: None, closed_until: None, backoff, fresh }
    }

    pub(super) fn generation(&self) -> u64 {
        self.saved.generation
    }

    /// What was kept of the log means nothing any more, and this is why.
    pub(super) fn begin_again(&mut self, why: String) {
        self.fresh = Some(why);
        self.saved.generation = self.saved.generation.saturating_add(1);
    }

    /// A mark is on its way to the store.
    pub(super) fn saved(&mut self, mark: Mark) {
        self.saved = mark;
        self.changed = None;
    }

    /// The mark, if it is time to save it.
    pub(super) fn due(&mut self, now: Millis, mark: Mark) -> Option<Mark> {
        if mark == self.saved {
            self.changed = None;
            return None;
        }
        let changed = *self.changed.get_or_insert(now);
        if changed.plus(SAVE_AFTER) > now || self.closed_until.is_some() {
            return None;
        }
        self.saved(mark.clone());
        Some(mark)
    }

    pub(super) fn next_tick(&self) -> Option<Millis> {
        self.closed_until.or(self.changed.map(|changed| changed.plus(SAVE_AFTER)))
    }

    /// True if the store may be written to.
    pub(super) fn is_open(&mut self, now: Millis) -> bool {
        self.closed_until = self.closed_until.filter(|until| *until > now);
        self.closed_until.is_none()
    }

    /// The store took a write.
    pub(super) fn works(&mut self) {
        self.trouble = None;
        self.backoff.reset();
    }

    /// The store did not take a write; milliseconds until the next try.
    pub(super) fn fails(&mut self, now: Millis, error: String) -> u64 {
        let wait = self.backoff.next_delay();
        self.trouble = Some(error);
        self.closed_until = Some(now.plus(wait));
        wait
    }

    /// Why nothing is recorded.
    pub(super) fn error(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Why the agent began anew and did not go on from what it had.
    pub(super) fn fresh(&self) -> Option<&str> {
        self.fresh.as_deref()
    }
}
