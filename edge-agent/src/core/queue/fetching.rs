//! The fetches: which may begin, which jobs share one, and what follows from their ends.
//!
//! A fetch has a **place**: there are so many in all, and so many for each
//! origin (`queue/origin.rs`), so that one that hangs does not hold up the others.
//!
//! When a fetch begins, all jobs that want the same (the same address and the same settings, to
//! the letter) share it, and it is known by the one it begins for. A job that comes later does
//! not: its update says that the source has changed, and what is under way may have read what
//! the source had before.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use protocol::planted::{Bug, planted};
use protocol::{Millis, Seq};

use super::{Finished, Job, JobId, Queue, State};
use crate::fetch::{FetchError, Source};
use crate::json::Json;

/// Fetches at one time.
const MAX_FETCHES: usize = 64;
/// Fetches at one time from one source: one that hangs must not hold up the others.
const MAX_FETCHES_A_SOURCE: usize = 8;
/// Jobs above which those that are repeated by newer ones end when their fetch fails.
const CROWDED: usize = super::MAX_JOBS / 4;
/// The longest that a source can put off the next try: what it says may be a mistake.
const LONGEST_WANTED_WAIT: Duration = Duration::from_secs(3_600);

/// A fetch that is under way.
#[derive(Debug)]
pub(super) struct Running {
    /// When it began.
    pub(super) began: Millis,
    origin: Arc<str>,
    /// Who shares it.
    jobs: Vec<JobId>,
}

/// A fetch that failed, as it is for one of its jobs.
#[derive(Clone, Debug)]
pub enum Failed {
    /// It is tried again after so many milliseconds. Said once for an update.
    Again {
        /// Its update.
        seq: Seq,
        /// Why.
        error: String,
        /// Milliseconds.
        wait: u64,
    },
    /// Trying again cannot help.
    ForGood(Finished, String),
}

/// The places that are taken: in all, and by origin.
#[derive(Default)]
struct Places {
    taken: usize,
    by_origin: HashMap<Arc<str>, usize>,
}

impl Places {
    fn has_one_for(&self, job: &Job) -> bool {
        let here = self.by_origin.get(&job.origin).copied().unwrap_or(0);
        self.taken < MAX_FETCHES && here < MAX_FETCHES_A_SOURCE
    }

    fn take(&mut self, origin: &Arc<str>) {
        self.taken += 1;
        *self.by_origin.entry(Arc::clone(origin)).or_default() += 1;
    }
}

impl Queue {
    /// Starts the fetches that are due and have a place, first attempts before others. Each is
    /// known by one of the jobs that share it.
    pub fn take_fetches(&mut self, now: Millis) -> Vec<(JobId, Source)> {
        let due =
            self.fetchable().filter(|(_, job)| matches!(job.state, State::Wanted(at) if at <= now));
        let mut due: Vec<(bool, JobId)> = due.map(|(&id, job)| (job.attempts > 0, id)).collect();
        if due.is_empty() {
            return vec![];
        }
        due.sort_unstable();
        let mut places = self.places();
        let mut started = vec![];
        for (_, id) in due {
            if planted(Bug::FetchJoined) && self.join(id) {
                continue;
            }
            // One that is due may have joined the fetch of another by now.
            if let Some(job) = self.jobs.get(&id)
                && matches!(job.state, State::Wanted(_))
                && places.has_one_for(job)
                && !self.is_put_off(job, now)
            {
                places.take(&job.origin);
                let source = job.source.clone();
                self.start(now, id, &source);
                started.push((id, source));
            }
        }
        started
    }

    /// The next moment at which a job is to be fetched that is not now, if there is a place
    /// for it.
    #[must_use]
    pub fn next_fetch(&self) -> Option<Millis> {
        let places = self.places();
        let moments = self.fetchable().filter_map(|(_, job)| {
            let State::Wanted(at) = job.state else { return None };
            let at = if self.is_heavy() {
                at
            } else {
                at.max(self.waits_until(job).unwrap_or_default())
            };
            let is_later = at > Millis(0) && places.has_one_for(job);
            (is_later && (self.is_heavy() || !self.is_superseded(job))).then_some(at)
        });
        moments.min()
    }

    /// The jobs that may be fetched: all, or only the first while there is much data. The
    /// first always may, or nothing would ever become less.
    fn fetchable(&self) -> impl Iterator<Item = (&JobId, &Job)> {
        let jobs = self.jobs.iter().filter(|(_, job)| !job.part);
        jobs.take(if self.is_heavy() { 1 } else { usize::MAX })
    }

    /// True if a job is not to be fetched now, because of what comes before or after it.
    fn is_put_off(&self, job: &Job, now: Millis) -> bool {
        !self.is_heavy()
            && (self.waits_until(job).is_some_and(|until| until > now) || self.is_superseded(job))
    }

    fn places(&self) -> Places {
        let mut places = Places::default();
        self.running.values().for_each(|running| places.take(&running.origin));
        places
    }

    /// Begins a fetch for a job, and for all that want the same.
    fn start(&mut self, now: Millis, id: JobId, source: &Source) {
        let mut jobs = vec![id];
        if !self.is_heavy() {
            let others = self.fetchable().filter(|(other, job)| {
                let wants_it = matches!(job.state, State::Wanted(_)) && job.source == *source;
                wants_it && **other != id && !self.is_superseded(job)
            });
            jobs.extend(others.map(|(&id, _)| id));
        }
        for job in &jobs {
            if let Some(job) = self.jobs.get_mut(job) {
                job.state = State::Fetching(id);
                job.attempts += 1;
            }
        }
        if let Some(job) = self.jobs.get(&id) {
            let running = Running { began: now, origin: Arc::clone(&job.origin), jobs };
            self.running.insert(id, running);
        }
    }

    /// Plants a bug: a job shares a fetch that is under way.
    fn join(&mut self, id: JobId) -> bool {
        let Some(job) = self.jobs.get(&id).filter(|it| matches!(it.state, State::Wanted(_))) else {
            return false;
        };
        let is_same =
            |fetch: &JobId| self.jobs.get(fetch).is_some_and(|it| it.source == job.source);
        let Some(fetch) = self.running.keys().copied().find(is_same) else { return false };
        if let Some(job) = self.jobs.get_mut(&id) {
            job.state = State::Fetching(fetch);
        }
        self.running.entry(fetch).and_modify(|running| running.jobs.push(id));
        true
    }

    /// A fetch ended. Says what becomes of a failure.
    pub fn fetched(
        &mut self,
        now: Millis,
        id: JobId,
        result: Result<Json, FetchError>,
    ) -> Vec<Failed> {
        let Some(Running { mut jobs, .. }) = self.running.remove(&id) else { return vec![] };
        // Some may have ended meanwhile.
        jobs.retain(|job| self.jobs.contains_key(job));
        match result {
            Ok(data) => {
                if planted(Bug::SharedWithOne) {
                    jobs.truncate(1);
                }
                for job in jobs {
                    self.brought(job, &data);
                }
                vec![]
            }
            Err(error) if error.is_permanent() => {
                let error = error.to_string();
                let finished = jobs.into_iter().filter_map(|job| self.remove_failed(job));
                finished.map(|finished| Failed::ForGood(finished, error.clone())).collect()
            }
            Err(error) => {
                let repeated = jobs.last().map_or_else(Vec::new, |&newest| self.repeated(newest));
                let words = format!("{error}; a newer update tries on");
                let ended = repeated.into_iter().filter_map(|job| self.remove_failed(job));
                let mut failed: Vec<Failed> =
                    ended.map(|finished| Failed::ForGood(finished, words.clone())).collect();
                failed.extend(jobs.into_iter().filter_map(|job| self.failed(now, job, &error)));
                failed.dedup_by_key(Failed::update);
                failed
            }
        }
    }

    /// In a queue that fills up: the jobs that a newer one repeats, with the same source for the
    /// same place. Those of a source that is down, and is asked again and again, would leave no
    /// room for others.
    fn repeated(&self, newest: JobId) -> Vec<JobId> {
        if self.jobs.len() <= CROWDED {
            return vec![];
        }
        let Some(newer) = self.jobs.get(&newest) else { return vec![] };
        let is_repeated = |job: &Job| {
            job.newer.is_some()
                && matches!(job.state, State::Wanted(_))
                && job.path == newer.path
                && job.source == newer.source
        };
        let older = self.jobs.range(..newest).filter(|(_, job)| is_repeated(job));
        older.map(|(&id, _)| id).collect()
    }

    fn brought(&mut self, id: JobId, data: &Json) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.state = State::Ready(data.clone());
            job.error = None;
            self.bytes += job.bytes();
        }
    }

    fn failed(&mut self, now: Millis, id: JobId, error: &FetchError) -> Option<Failed> {
        let job = self.jobs.get_mut(&id)?;
        let wanted = error.wanted_wait().unwrap_or_default().min(LONGEST_WANTED_WAIT);
        let wanted = u64::try_from(wanted.as_millis()).unwrap_or(u64::MAX);
        let wait = job.backoff.next_delay().max(wanted);
        let error = error.to_string();
        job.state = State::Wanted(now.plus(wait));
        job.error = Some(error.clone());
        Some(Failed::Again { seq: job.tag.seq, error, wait })
    }
}

impl Failed {
    fn update(&mut self) -> Seq {
        match self {
            Self::Again { seq, .. } => *seq,
            Self::ForGood(finished, _) => finished.tag.seq,
        }
    }
}
