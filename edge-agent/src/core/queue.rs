//! The entries that have arrived and not yet taken effect, in the log's order.
//!
//! A job is fetched as soon as there is room, and written when no unfinished job before it
//! overlaps its path. A job that cannot be fetched holds back only what overlaps it, and
//! only until a newer document for the same place, or for one above it, is there: then the
//! older one could have no lasting effect, and it ends without being written.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::socket::Delivery;
use protocol::{DataPath, Millis, SaveMethod, Seq};
use serde_json::value::RawValue;

use super::backoff::Backoff;
use super::status::{Pending, PendingState};
use crate::fetch::Source;

/// A job's place in the order: 1, 2, 3 … over the life of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(u64);

/// A job's data on its way into the engine.
#[derive(Clone, Debug)]
pub struct Ready {
    /// Which job.
    pub job: JobId,
    /// Where it goes.
    pub path: DataPath,
    /// Replace, or patch.
    pub save_method: SaveMethod,
    /// The document, or the list of operations.
    pub data: Arc<RawValue>,
}

/// A job that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Its update's number.
    pub seq: Seq,
    /// Its update's id.
    pub update: String,
    /// Its place in the data.
    pub path: DataPath,
    /// True if no other job of the update is left.
    pub update_done: bool,
}

/// One entry on its way into the engine.
#[derive(Debug)]
pub struct Job {
    seq: Seq,
    update: String,
    path: DataPath,
    save_method: SaveMethod,
    source: Source,
    state: State,
    attempts: u32,
    error: Option<String>,
    backoff: Backoff,
}

#[derive(Debug)]
enum State {
    /// To be fetched, not before this moment.
    Wanted(Millis),
    Fetching,
    Ready(Arc<RawValue>),
    Writing(Arc<RawValue>),
}

/// The queue.
#[derive(Debug)]
pub struct Queue {
    jobs: BTreeMap<JobId, Job>,
    last: u64,
    seed: u64,
}

impl Job {
    fn is_untouched(&self) -> bool {
        matches!(self.state, State::Wanted(_) | State::Fetching)
    }
}

impl Queue {
    /// An empty queue; the seed is for the jitter of retries.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { jobs: BTreeMap::new(), last: 0, seed }
    }

    /// Jobs that have not ended.
    #[must_use]
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// True if every job has ended.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Appends the entries of an update.
    pub fn push(&mut self, update: Delivery) {
        let Delivery { seq, id, entries, .. } = update;
        for entry in entries {
            self.last += 1;
            let inline = entry.inline().map(|data| Arc::from(data.to_owned()));
            let job = Job {
                seq,
                update: id.clone(),
                path: entry.dst_path,
                save_method: entry.save_method,
                source: Source { url: entry.url, config: entry.config },
                state: inline.map_or(State::Wanted(Millis(0)), State::Ready),
                attempts: 0,
                error: None,
                backoff: Backoff::new(self.seed.wrapping_add(self.last)),
            };
            let ready = matches!(job.state, State::Ready(_));
            self.jobs.insert(JobId(self.last), job);
            if ready {
                self.supersede(JobId(self.last));
            }
        }
    }

    /// Forgets everything; results that come later are for nobody.
    pub fn clear(&mut self) {
        self.jobs.clear();
    }

    /// The update that the first unfinished job belongs to.
    #[must_use]
    pub fn first_unfinished(&self) -> Option<Seq> {
        self.jobs.values().next().map(|job| job.seq)
    }

    /// The next moment at which a failed fetch is to be tried again.
    #[must_use]
    pub fn next_retry(&self) -> Option<Millis> {
        let retries = self.jobs.values().filter_map(|job| match job.state {
            State::Wanted(at) if job.attempts > 0 => Some(at),
            _ => None,
        });
        retries.min()
    }

    /// True while a write is under way.
    #[must_use]
    pub fn is_writing(&self) -> bool {
        self.jobs.values().any(|job| matches!(job.state, State::Writing(_)))
    }

    /// Starts the fetches that are due, at most so many at one time.
    pub fn take_fetches(&mut self, now: Millis, limit: usize) -> Vec<(JobId, Source)> {
        let busy = self.jobs.values().filter(|job| matches!(job.state, State::Fetching)).count();
        let due = self
            .jobs
            .iter_mut()
            .filter(|(_, job)| matches!(job.state, State::Wanted(at) if at <= now));
        due.take(limit.saturating_sub(busy))
            .map(|(&id, job)| {
                job.state = State::Fetching;
                job.attempts += 1;
                (id, job.source.clone())
            })
            .collect()
    }

    /// A fetch ended. A failure is tried again: returns the seq, the error and the wait.
    pub fn fetched(
        &mut self,
        now: Millis,
        id: JobId,
        result: Result<Box<RawValue>, String>,
    ) -> Option<(Seq, String, u64)> {
        let job = self.jobs.get_mut(&id)?;
        match result {
            Ok(data) => {
                job.state = State::Ready(Arc::from(data));
                job.error = None;
                self.supersede(id);
                None
            }
            Err(error) => {
                let wait = job.backoff.next_delay();
                job.state = State::Wanted(now.plus(wait));
                job.error = Some(error.clone());
                Some((job.seq, error, wait))
            }
        }
    }

    /// Ends every job before `id` that has no data yet and that `id`, a whole document,
    /// replaces.
    fn supersede(&mut self, id: JobId) {
        let Some(newer) = self.jobs.get(&id).filter(|job| job.save_method == SaveMethod::Put)
        else {
            return;
        };
        let covered: Vec<JobId> = self
            .jobs
            .range(..id)
            .filter(|(_, job)| job.is_untouched() && newer.path.covers(&job.path))
            .map(|(&id, _)| id)
            .collect();
        for id in covered {
            self.jobs.remove(&id);
        }
    }

    /// The next job that may be written, if none is being written now.
    pub fn take_write(&mut self) -> Option<Ready> {
        if self.is_writing() {
            return None;
        }
        let mut before: Vec<&DataPath> = vec![];
        for (&id, job) in &mut self.jobs {
            match &job.state {
                State::Ready(data) if !before.iter().any(|path| path.overlaps(&job.path)) => {
                    let data = Arc::clone(data);
                    job.state = State::Writing(Arc::clone(&data));
                    let (path, save_method) = (job.path.clone(), job.save_method);
                    return Some(Ready { job: id, path, save_method, data });
                }
                _ => before.push(&job.path),
            }
        }
        None
    }

    /// A write did not reach the engine: it is to be done again.
    pub fn write_again(&mut self, id: JobId) {
        if let Some(job) = self.jobs.get_mut(&id)
            && let State::Writing(data) = &job.state
        {
            job.state = State::Ready(Arc::clone(data));
        }
    }

    /// A job ended.
    pub fn finish(&mut self, id: JobId) -> Option<Finished> {
        let job = self.jobs.remove(&id)?;
        let update_done = !self.jobs.values().any(|other| other.seq == job.seq);
        Some(Finished { seq: job.seq, update: job.update, path: job.path, update_done })
    }

    /// What has not ended, for people; the first hundred.
    #[must_use]
    pub fn pending(&self, now: Millis) -> Vec<Pending> {
        let shown = self.jobs.values().take(100).map(|job| Pending {
            seq: job.seq,
            dst_path: job.path.clone(),
            state: match job.state {
                State::Wanted(_) if job.attempts > 0 => PendingState::Retrying,
                State::Wanted(_) => PendingState::Waiting,
                State::Fetching => PendingState::Fetching,
                State::Ready(_) => PendingState::Ready,
                State::Writing(_) => PendingState::Writing,
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
