//! What is going to happen, and when: the only clock there is.

use std::collections::BTreeMap;

/// A moment: milliseconds since the run began, and the order among what happens in the same
/// millisecond.
pub(crate) type Moment = (u64, u64);

/// Events in the order in which they happen.
#[derive(Debug)]
pub(crate) struct Schedule<E> {
    now: u64,
    order: u64,
    events: BTreeMap<Moment, E>,
}

impl<E> Default for Schedule<E> {
    fn default() -> Self {
        Self { now: 0, order: 0, events: BTreeMap::new() }
    }
}

impl<E> Schedule<E> {
    /// Milliseconds since the run began.
    pub(crate) fn now(&self) -> u64 {
        self.now
    }

    /// Something will happen at this moment, or now if it is past.
    pub(crate) fn at(&mut self, time: u64, event: E) {
        self.order += 1;
        self.events.insert((time.max(self.now), self.order), event);
    }

    /// Something will happen after so many milliseconds.
    pub(crate) fn after(&mut self, delay: u64, event: E) {
        self.at(self.now.saturating_add(delay), event);
    }

    /// Something that was to happen waits until `time`, and keeps its place before what was
    /// scheduled later.
    pub(crate) fn postpone(&mut self, (_, order): Moment, time: u64, event: E) {
        self.events.insert((time.max(self.now), order), event);
    }

    /// The next event; the clock moves to it.
    pub(crate) fn next(&mut self) -> Option<(Moment, E)> {
        let (moment, event) = self.events.pop_first()?;
        self.now = moment.0;
        Some((moment, event))
    }
}
