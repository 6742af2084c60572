//! When policies are asked for: at most one request at a time, and again after a failure.

use protocol::Millis;

use crate::core::backoff::Backoff;

/// What the policies wait for.
#[derive(Debug)]
enum State {
    /// Nothing.
    Idle,
    /// The answer to this request; whether another one is due after it.
    Asked { number: u64, again: bool },
    /// The next try.
    Waiting(Millis),
}

/// The requests for policies.
#[derive(Debug)]
pub(super) struct Requests {
    state: State,
    last: u64,
    /// The next bundle is to be a complete one.
    complete: bool,
    backoff: Backoff,
}

/// A request that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) number: u64,
    pub(super) complete: bool,
}

impl Requests {
    pub(super) fn new(seed: u64) -> Self {
        Self { state: State::Idle, last: 0, complete: false, backoff: Backoff::new(seed) }
    }

    /// There is something to ask for, with `complete` for everything.
    pub(super) fn want(&mut self, now: Millis, complete: bool) {
        self.complete |= complete;
        match &mut self.state {
            State::Asked { again, .. } => *again = true,
            State::Idle | State::Waiting(_) => self.state = State::Waiting(now),
        }
    }

    /// The connection is gone, and its answers are nobody's.
    pub(super) fn stop(&mut self) {
        self.state = State::Idle;
    }

    /// The request that is due.
    pub(super) fn due(&mut self, now: Millis) -> Option<Request> {
        let State::Waiting(at) = self.state else { return None };
        if at > now {
            return None;
        }
        self.last = self.last.saturating_add(1);
        self.state = State::Asked { number: self.last, again: false };
        Some(Request { number: self.last, complete: self.complete })
    }

    pub(super) fn next_tick(&self) -> Option<Millis> {
        match self.state {
            State::Waiting(at) => Some(at),
            State::Idle | State::Asked { .. } => None,
        }
    }

    /// An answer came; false if it is to a request of an earlier connection.
    pub(super) fn answered(&mut self, now: Millis, number: u64) -> bool {
        match self.state {
            State::Asked { number: asked, again } if asked == number => {
                self.state = if again { State::Waiting(now) } else { State::Idle };
                true
            }
            _ => false,
        }
    }

    /// The answer could be used.
    pub(super) fn succeeded(&mut self) {
        self.backoff.reset();
        self.complete = false;
    }

    /// The answer could not be used.
    pub(super) fn failed(&mut self, now: Millis) {
        self.state = State::Waiting(now.plus(self.backoff.next_delay()));
    }
}
