//! What is shown of the jobs to people.

use protocol::Millis;

use super::{Queue, State};
use crate::core::status::{Failure, Pending, PendingState};

impl Queue {
    /// The jobs whose last fetch failed, with the reason.
    pub fn failing(&self) -> Vec<Failure> {
        let failing = self.jobs.values().filter_map(|job| {
            let error = job.error.clone()?;
            Some(Failure { seq: job.tag.seq, dst_path: job.path.clone(), error })
        });
        failing.collect()
    }

    /// What has not ended, for people; the first hundred.
    #[must_use]
    pub fn pending(&self, now: Millis) -> Vec<Pending> {
        let shown = self.open().take(100).map(|(&id, job)| Pending {
            seq: job.tag.seq,
            dst_path: job.path.clone(),
            state: match job.state {
                State::Wanted(_) if job.attempts > 0 => PendingState::Retrying,
                State::Wanted(_) => PendingState::Waiting,
                State::Fetching(_) => PendingState::Fetching,
                State::Ready(_) if self.writing == Some(id) => PendingState::Writing,
                State::Ready(_) => PendingState::Ready,
                State::Recorded(_) => PendingState::Writing,
            },
            attempts: job.attempts,
            retry_in_ms: match job.state {
                State::Wanted(at) if job.attempts > 0 => Some(at.since(now)),
                _ => None,
            },
            error: job.error.clone(),
        });
        shown.collect()
    }
}
