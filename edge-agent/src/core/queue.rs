//! The entries that have arrived and not yet taken effect, in the log's order.
//!
//! A job is fetched as soon as there is room, and written when no unfinished job before it
//! overlaps its [extent]. A job that cannot be fetched holds back only what overlaps it, and
//! only until a newer document for the same place, or for one above it, is there: that one
//! may pass, and when the engine has it, everything before it that it covers ends without
//! being written, for it could have no lasting effect.
//!
//! A write is recorded in the store before it goes to the engine. If nobody knows what the
//! engine made of it, the job stays [`State::Recorded`] until the engine has been given
//! what the store has, this job with it.
//!
//! Jobs that are parts of a commit of policy are not written one by one: `queue/parts.rs`.

mod parts;

use std::collections::{BTreeMap, HashMap};

use parts::Committing;
pub use parts::ReadyCommit;
use protocol::commit::is_part;
use protocol::planted::{Bug, planted};
use protocol::socket::Delivery;
use protocol::{DataPath, Millis, SaveMethod, Seq};

use super::backoff::Backoff;
use super::extent;
use super::known::Known;
use super::status::{Failure, Pending, PendingState};
use crate::fetch::{FetchError, Source};
use crate::json::Json;
use crate::store::{Record, Tag};

/// Fetches at one time.
const MAX_FETCHES: usize = 64;
/// Fetches at one time from one source: one that hangs must not hold up the others.
const MAX_FETCHES_A_SOURCE: usize = 8;
/// Jobs above which no more updates are taken.
const MAX_JOBS: usize = 1_024;
/// Bytes of data above which no more updates are taken, and only the first job is fetched.
const MAX_BYTES: usize = 64 << 20;

/// A job's place in the order: 1, 2, 3 … over the life of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(u64);

/// A job that may be written: to be recorded in the store, then to go to the engine.
#[derive(Clone, Debug)]
pub struct Ready {
    /// Which job.
    pub job: JobId,
    /// What is written.
    pub record: Record,
}

/// A job that ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Which entry it was.
    pub tag: Tag,
    /// Its update's id.
    pub update: String,
    /// Its place in the data.
    pub path: DataPath,
    /// True if no other job of the update is left.
    pub update_done: bool,
    /// Its data, if that was there.
    pub data: Option<Json>,
}

/// A fetch that failed.
#[derive(Clone, Debug)]
pub enum Failed {
    /// It is tried again after so many milliseconds.
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

/// One entry on its way into the engine.
#[derive(Debug)]
pub struct Job {
    tag: Tag,
    update: String,
    path: DataPath,
    extent: DataPath,
    save_method: SaveMethod,
    /// Of a commit, with which it is written.
    part: bool,
    /// A replay brought it.
    replayed: bool,
    /// The engine refused it with its commit: it waits for the next one.
    held: bool,
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
    Ready(Json),
    /// The store has it; whether the engine has is to be found out.
    Recorded(Json),
}

/// The queue.
#[derive(Debug)]
pub struct Queue {
    jobs: BTreeMap<JobId, Job>,
    /// The job that is being written. It outlives the queue's being cleared: there must
    /// never be two writes.
    writing: Option<JobId>,
    /// The commit that is being written, or is in doubt.
    committing: Option<Committing>,
    /// Jobs that are parts.
    parts: usize,
    /// The data of a commit is to go by itself, if it can.
    circular: bool,
    /// Of all data that is there.
    bytes: usize,
    last: u64,
    seed: u64,
}

/// The fetches that are under way: in all, and by source.
#[derive(Default)]
struct Places {
    taken: usize,
    by_origin: HashMap<String, usize>,
}

impl Places {
    fn has_one_for(&self, job: &Job) -> bool {
        let here = self.by_origin.get(origin(&job.source.url)).copied().unwrap_or(0);
        self.taken < MAX_FETCHES && here < MAX_FETCHES_A_SOURCE
    }

    fn take(&mut self, job: &Job) {
        self.taken += 1;
        *self.by_origin.entry(origin(&job.source.url).to_owned()).or_default() += 1;
    }
}

/// The part of an address that names who is asked: `scheme://host:port`.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    let end = url.get(host..).and_then(|rest| rest.find('/')).map_or(url.len(), |at| host + at);
    url.get(..end).unwrap_or(url)
}

impl Job {
    fn data(&self) -> Option<&Json> {
        match &self.state {
            State::Ready(data) | State::Recorded(data) => Some(data),
            State::Wanted(_) | State::Fetching => None,
        }
    }

    fn bytes(&self) -> usize {
        self.data().map_or(0, |data| data.get().len())
    }

    /// What is written of it, if it is ready.
    fn record(&self) -> Option<Record> {
        let State::Ready(data) = &self.state else { return None };
        let (tag, path, save_method) = (self.tag, self.path.clone(), self.save_method);
        Some(Record { tag, path, save_method, data: data.clone() })
    }

    /// True if it may be written though this one, which is before it, has not ended.
    fn may_pass(&self, before: &Self) -> bool {
        let is_apart = !before.extent.overlaps(&self.extent);
        is_apart
            || planted(Bug::OrderIgnored)
            || (self.is_document() && self.path.covers(&before.path))
    }

    /// True if what was at its place does not matter once it is written. A part that removes
    /// comes after one that makes.
    fn is_document(&self) -> bool {
        self.part || self.save_method == SaveMethod::Put
    }
}

impl Queue {
    /// An empty queue; the seed is for the jitter of retries.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            jobs: BTreeMap::new(),
            writing: None,
            committing: None,
            parts: 0,
            circular: false,
            bytes: 0,
            last: 0,
            seed,
        }
    }

    /// The jobs that have not ended, but for those that are held.
    fn open(&self) -> impl Iterator<Item = (&JobId, &Job)> {
        self.jobs.iter().filter(|(_, job)| !job.held)
    }

    /// How many have not ended and are not held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.open().count()
    }

    /// True if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open().next().is_none()
    }

    /// True if there is room for more updates. A commit's parts are not counted: all of them must
    /// be here before any of them can end.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.jobs.len() - self.parts <= MAX_JOBS && self.bytes <= MAX_BYTES
    }

    /// Appends the entries of an update, without those that the store has already.
    pub fn push(&mut self, update: Delivery, known: &Known, replayed: bool) {
        let Delivery { seq, id, entries, places, .. } = update;
        for (at, entry) in entries.into_iter().enumerate() {
            let place =
                places.get(at).copied().unwrap_or_else(|| u32::try_from(at).unwrap_or(u32::MAX));
            let tag = Tag { seq, place };
            if known.has(tag) {
                if entry.save_method == SaveMethod::Put {
                    self.end_covered(&entry.dst_path, JobId(u64::MAX));
                }
                continue;
            }
            let part = is_part(&entry);
            // A part that removes comes after one that makes.
            let extent = if part { entry.dst_path.clone() } else { extent::of(&entry) };
            if known.has_newer(tag, &extent) {
                continue;
            }
            self.last += 1;
            let inline = entry.inline().map(|data| Json::from(data.to_owned()));
            let job = Job {
                tag,
                update: id.clone(),
                path: entry.dst_path,
                extent,
                save_method: entry.save_method,
                part,
                replayed,
                held: false,
                source: Source { url: entry.url, config: entry.config },
                state: inline.map_or(State::Wanted(Millis(0)), State::Ready),
                attempts: 0,
                error: None,
                backoff: Backoff::new(self.seed.wrapping_add(self.last)),
            };
            self.bytes += job.bytes();
            self.parts += usize::from(part);
            self.jobs.insert(JobId(self.last), job);
        }
    }

    /// Forgets everything; results that come later are for nobody.
    pub fn clear(&mut self) {
        self.jobs.clear();
        self.parts = 0;
        self.bytes = 0;
    }

    /// The update that the first unfinished job belongs to: the log is needed from there on.
    #[must_use]
    pub fn first_unfinished(&self) -> Option<Seq> {
        self.jobs.values().next().map(|job| job.tag.seq)
    }

    /// The same without jobs that are held, whose turn is over as far as others are concerned.
    #[must_use]
    pub fn first_open(&self) -> Option<Seq> {
        self.open().next().map(|(_, job)| job.tag.seq)
    }

    /// The next moment at which a failed fetch is to be tried again, if there is a place
    /// for it.
    #[must_use]
    pub fn next_retry(&self) -> Option<Millis> {
        let mut retries = self.fetchable().filter_map(|(_, job)| match job.state {
            State::Wanted(at) if job.attempts > 0 => Some((at, job)),
            _ => None,
        });
        let first = retries.next()?;
        let places = self.places();
        let placed =
            std::iter::once(first).chain(retries).filter(|(_, job)| places.has_one_for(job));
        placed.map(|(at, _)| at).min()
    }

    /// True if an entry of this update has not ended.
    #[must_use]
    pub fn has(&self, seq: Seq) -> bool {
        self.open().any(|(_, job)| job.tag.seq == seq)
    }

    /// True if an entry of an update above `from`, up to `until`, has not ended.
    #[must_use]
    pub fn has_any(&self, from: Seq, until: Seq) -> bool {
        self.open().any(|(_, job)| job.tag.seq > from && job.tag.seq <= until)
    }

    /// True while a write is under way.
    #[must_use]
    pub fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// Starts the fetches that are due and have a place, first attempts before others.
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
            let Some(job) = self.jobs.get_mut(&id).filter(|job| places.has_one_for(job)) else {
                continue;
            };
            places.take(job);
            job.state = State::Fetching;
            job.attempts += 1;
            started.push((id, job.source.clone()));
        }
        started
    }

    /// The jobs that may be fetched: all, or only the first while there is much data. The
    /// first always may, or nothing would ever become less.
    fn fetchable(&self) -> impl Iterator<Item = (&JobId, &Job)> {
        let jobs = self.jobs.iter().filter(|(_, job)| !job.part);
        jobs.take(if self.bytes > MAX_BYTES { 1 } else { usize::MAX })
    }

    fn places(&self) -> Places {
        let mut places = Places::default();
        let fetching = self.jobs.values().filter(|job| matches!(job.state, State::Fetching));
        fetching.for_each(|job| places.take(job));
        places
    }

    /// A fetch ended. Says what becomes of a failure.
    pub fn fetched(
        &mut self,
        now: Millis,
        id: JobId,
        result: Result<Json, FetchError>,
    ) -> Option<Failed> {
        let job = self.jobs.get_mut(&id)?;
        match result {
            Ok(data) => {
                job.state = State::Ready(data);
                job.error = None;
                self.bytes += job.bytes();
                None
            }
            Err(error) if error.is_permanent() => {
                let finished = self.remove(id)?;
                Some(Failed::ForGood(finished, error.to_string()))
            }
            Err(error) => {
                let (seq, error, wait) = (job.tag.seq, error.to_string(), job.backoff.next_delay());
                job.state = State::Wanted(now.plus(wait));
                job.error = Some(error.clone());
                Some(Failed::Again { seq, error, wait })
            }
        }
    }

    /// The next job that may be written, if none is being written now.
    pub fn take_write(&mut self) -> Option<Ready> {
        if self.is_writing() {
            return None;
        }
        let alone = std::mem::take(&mut self.circular) || self.is_crowded_by_parts();
        let mut before: Vec<&Job> = vec![];
        for (&id, job) in &self.jobs {
            if (!job.part || alone && !job.path.is_policy())
                && let Some(record) = job.record()
                && before.iter().all(|before| job.may_pass(before))
            {
                self.writing = Some(id);
                return Some(Ready { job: id, record });
            }
            // Policy is in no data's way.
            before.extend((!job.path.is_policy()).then_some(job));
        }
        None
    }

    /// The store could not record a job, so the engine was not asked: it is to be done again.
    pub fn write_again(&mut self) {
        self.writing = None;
    }

    /// The store has a job, and nobody knows whether the engine has it.
    pub fn in_doubt(&mut self, id: JobId) {
        self.writing = None;
        if planted(Bug::DoubtfulWrittenAgain) {
            return;
        }
        if let Some(job) = self.jobs.get_mut(&id)
            && let Some(data) = job.data().cloned()
        {
            job.state = State::Recorded(data);
        }
    }

    /// The job in doubt, if there is one, with its tag and path.
    #[must_use]
    pub fn recorded(&self) -> Option<(JobId, Tag, &DataPath)> {
        if self.committing.is_some() {
            return None;
        }
        let mut recorded =
            self.jobs.iter().filter(|(_, job)| matches!(job.state, State::Recorded(_)));
        recorded.next().map(|(&id, job)| (id, job.tag, &job.path))
    }

    /// The engine has a job. What it covers of the jobs before it ends with it.
    pub fn applied(&mut self, id: JobId) -> Option<Finished> {
        self.writing = None;
        let newer = self.jobs.get(&id)?;
        if newer.save_method == SaveMethod::Put && !planted(Bug::CoveredWritten) {
            let path = newer.path.clone();
            self.end_covered(&path, id);
        }
        self.remove(id)
    }

    /// Ends the jobs before `before` that a document at `path` makes unnecessary.
    fn end_covered(&mut self, path: &DataPath, before: JobId) {
        let before = self.jobs.range(..before);
        let covered = before.filter(|(_, job)| path.covers(&job.path)).map(|(&id, _)| id);
        for id in covered.collect::<Vec<_>>() {
            self.remove(id);
        }
    }

    /// The engine refused a job, and would again.
    pub fn refused(&mut self, id: JobId) -> Option<Finished> {
        self.writing = None;
        self.remove(id)
    }

    fn remove(&mut self, id: JobId) -> Option<Finished> {
        let job = self.jobs.remove(&id)?;
        self.bytes = self.bytes.saturating_sub(job.bytes());
        self.parts = self.parts.saturating_sub(usize::from(job.part));
        let update_done = !self.has(job.tag.seq);
        let data = job.data().cloned();
        Some(Finished { tag: job.tag, update: job.update, path: job.path, update_done, data })
    }

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
                State::Fetching => PendingState::Fetching,
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
