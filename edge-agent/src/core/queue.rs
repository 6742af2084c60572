//! The entries that have arrived and not yet taken effect, in the log's order.
//!
//! A job is fetched as soon as there is room (`queue/fetching.rs`), and written when no unfinished job
//! before it overlaps its [extent]. A job that cannot be fetched holds back only what overlaps it, and
//! only until a newer document for the same place, or for one above it, is there: that one
//! may pass, and when the engine has it, everything before it that it covers ends without
//! being written, for it could have no lasting effect. Until that is known, it is not fetched
//! either: `queue/superseding.rs`.
//!
//! A write is recorded in the store before it goes to the engine. If nobody knows what the
//! engine made of it, the job stays [`State::Recorded`] until the engine has been given
//! what the store has, this job with it.
//!
//! Jobs that are parts of a commit of policy are not written one by one: `queue/parts.rs`.

mod fetching;
mod grants;
mod origin;
mod parts;
mod shown;
mod superseding;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use fetching::Failed;
use fetching::Running;
use parts::Committing;
pub use parts::ReadyCommit;
use protocol::commit::is_part;
use protocol::planted::{Bug, planted};
use protocol::socket::Delivery;
use protocol::{DataPath, Millis, SaveMethod, Seq};

use super::backoff::Backoff;
use super::extent;
use super::known::Known;
use crate::fetch::Source;
use crate::json::Json;
use crate::store::{Record, Tag};

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
    /// Who is asked for it: places are given by that.
    origin: Arc<str>,
    state: State,
    /// The next document that makes this one unnecessary, if it takes effect.
    newer: Option<JobId>,
    /// An older job that it supersedes, and whose fetch began before this one came: it waits for
    /// the end of that, or until this moment.
    waits_for: Option<(JobId, Millis)>,
    attempts: u32,
    error: Option<String>,
    backoff: Backoff,
}

#[derive(Debug)]
enum State {
    /// To be fetched, not before this moment.
    Wanted(Millis),
    /// By a fetch that is known by this job, the first of those that share it.
    Fetching(JobId),
    Ready(Json),
    /// The store has it; whether the engine has is to be found out.
    Recorded(Json),
}

/// The queue.
#[derive(Debug)]
pub struct Queue {
    jobs: BTreeMap<JobId, Job>,
    /// The fetches that are under way, also those that nobody needs any more: they take places.
    running: BTreeMap<JobId, Running>,
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

impl Job {
    fn data(&self) -> Option<&Json> {
        match &self.state {
            State::Ready(data) | State::Recorded(data) => Some(data),
            State::Wanted(_) | State::Fetching(_) => None,
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
            running: BTreeMap::new(),
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
        self.jobs.len() - self.parts <= MAX_JOBS && !self.is_heavy()
    }

    fn is_heavy(&self) -> bool {
        self.bytes > MAX_BYTES
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
            let job_id = JobId(self.last);
            let inline = entry.inline().map(|data| Json::from(data.to_owned()));
            let source = Source { url: entry.url, config: entry.config };
            let job = Job {
                tag,
                update: id.clone(),
                path: entry.dst_path,
                extent,
                save_method: entry.save_method,
                part,
                replayed,
                held: false,
                origin: origin::of(&source),
                source,
                newer: None,
                waits_for: None,
                state: inline.map_or(State::Wanted(Millis(0)), State::Ready),
                attempts: 0,
                error: None,
                backoff: Backoff::new(self.seed.wrapping_add(self.last)),
            };
            self.bytes += job.bytes();
            self.parts += usize::from(part);
            self.jobs.insert(job_id, job);
            self.supersede(job_id);
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

    /// The engine has a job. What it covers of the jobs before it ends with it; that comes first.
    pub fn applied(&mut self, id: JobId) -> Vec<Finished> {
        self.writing = None;
        let Some(newer) = self.jobs.get(&id) else { return vec![] };
        let mut finished = vec![];
        if newer.save_method == SaveMethod::Put && !planted(Bug::CoveredWritten) {
            let path = newer.path.clone();
            finished = self.end_covered(&path, id);
        }
        finished.extend(self.remove(id));
        finished
    }

    /// Ends the jobs before `before` that a document at `path` makes unnecessary.
    fn end_covered(&mut self, path: &DataPath, before: JobId) -> Vec<Finished> {
        let before = self.jobs.range(..before);
        let covered = before.filter(|(_, job)| path.covers(&job.path)).map(|(&id, _)| id);
        let covered: Vec<JobId> = covered.collect();
        covered.into_iter().filter_map(|id| self.remove(id)).collect()
    }

    /// The engine refused a job, and would again.
    pub fn refused(&mut self, id: JobId) -> Option<Finished> {
        self.writing = None;
        self.remove_failed(id)
    }

    fn remove(&mut self, id: JobId) -> Option<Finished> {
        let job = self.jobs.remove(&id)?;
        self.bytes = self.bytes.saturating_sub(job.bytes());
        self.parts = self.parts.saturating_sub(usize::from(job.part));
        let update_done = !self.has(job.tag.seq);
        let data = job.data().cloned();
        Some(Finished { tag: job.tag, update: job.update, path: job.path, update_done, data })
    }
}
