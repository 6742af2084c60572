//! The parts of commits of policy ([`protocol::commit`]): put aside until a marker comes, and
//! then written together, as one.
//!
//! What was put aside before a marker goes with it, also the parts of an earlier commit that has
//! not been written yet: a commit says what is different from the one before it, so together
//! they say what the last one means. That holds as well for a commit that the engine refused.
//! Its parts are **held**: they wait for the next marker, and nobody waits for them, but for what
//! would be written to the same places.

use std::collections::BTreeMap;

use protocol::commit::{Part, is_marker_place};
use protocol::planted::{Bug, planted};
use protocol::{DataPath, SaveMethod, Seq};

use super::{Finished, Job, JobId, Queue, State};
use crate::store::{Record, Tag};

/// The jobs of a commit.
#[derive(Debug)]
pub(super) struct Committing {
    /// The marker, by which the commit is known.
    marker: JobId,
    /// All of them, the marker last.
    jobs: Vec<JobId>,
    tags: Vec<Tag>,
}

/// A commit that may be written: to be recorded in the store, then to go to the engine.
#[derive(Clone, Debug)]
pub struct ReadyCommit {
    /// The job that the commit is known by.
    pub job: JobId,
    /// The revision.
    pub revision: String,
    /// Modules: the new text by path, none for one that is gone.
    pub modules: BTreeMap<String, Option<String>>,
    /// All parts, in the log's order.
    pub records: Vec<Record>,
}

impl Queue {
    /// True if a part is here, held or not.
    pub fn has_parts(&self) -> bool {
        self.parts > 0
    }

    /// The commit that may be written, if no write is under way.
    pub fn take_commit(&mut self) -> Option<ReadyCommit> {
        if self.is_writing() || self.committing.is_some() || self.parts == 0 {
            return None;
        }
        let Some((marker, jobs, records)) = self.markers().find_map(|marker| self.group(marker))
        else {
            let marker = self.markers().next();
            self.circular = marker.is_some_and(|marker| self.is_circular(marker));
            return None;
        };
        let (mut modules, mut revision) = (BTreeMap::new(), None);
        for Record { path, data, .. } in &records {
            // What cannot be read is of a newer hub, which means something by it to newer agents.
            match Part::read(path, data.get()) {
                Ok(Part::Module(id, rego)) => drop(modules.insert(id, rego)),
                Ok(Part::Marker(marker)) => revision = Some(marker.hash),
                Ok(Part::Data) | Err(_) => {}
            }
        }
        let tags = records.iter().map(|record| record.tag).collect();
        let revision = revision.or_else(|| planted(Bug::MarkerIgnored).then(String::new))?;
        self.writing = Some(marker);
        self.committing = Some(Committing { marker, jobs, tags });
        Some(ReadyCommit { job: marker, revision, modules, records })
    }

    /// The markers from which a commit can be made, the newest first. One that is behind another
    /// is needed where data that came between them depends on the one and not on the other. Of
    /// those that a replay brought only the last one stands for a revision.
    fn markers(&self) -> impl Iterator<Item = JobId> {
        let is_marker = |path: &DataPath| is_marker_place(path) || planted(Bug::MarkerIgnored);
        let parts = self.jobs.iter().rev().filter(|(_, job)| job.part);
        let markers = parts.filter(move |(_, job)| is_marker(&job.path));
        let mut over = false;
        let markers = markers
            .take_while(move |(_, job)| !std::mem::replace(&mut over, job.replayed) && !job.held);
        markers.map(|(id, _)| *id)
    }

    /// True if what is in a commit's way waits for nothing but the commit itself. It can be so
    /// where a log that was compacted is replayed; then the data goes by itself.
    fn is_circular(&self, marker: JobId) -> bool {
        let jobs = || self.jobs.range(..=marker).map(|(_, job)| job);
        let is_near =
            |other: &Job| jobs().any(|job| job.part && job.extent.overlaps(&other.extent));
        jobs().filter(|job| !job.part && is_near(job)).all(|job| job.data().is_some())
    }

    /// The parts up to a marker, if nothing before them is in their way.
    fn group(&self, marker: JobId) -> Option<(JobId, Vec<JobId>, Vec<Record>)> {
        let (mut others, mut jobs, mut records) = (vec![], vec![], vec![]);
        for (&id, job) in self.jobs.range(..=marker) {
            if !job.part {
                others.push(job);
                continue;
            }
            if !others.iter().all(|before| job.may_pass(before)) {
                return None;
            }
            jobs.push(id);
            records.push(job.record()?);
        }
        Some((marker, jobs, records))
    }

    /// True if there is no room for more, which may be because of what waits for the data of a
    /// commit of which no marker is here. That data then goes by itself: with the queue full the
    /// marker would never come.
    pub(super) fn is_crowded_by_parts(&self) -> bool {
        self.parts > 0 && !self.has_room() && self.markers().next().is_none()
    }

    /// True if this is the commit that is being written.
    #[must_use]
    pub fn is_committing(&self, id: JobId) -> bool {
        self.committing.as_ref().is_some_and(|commit| commit.marker == id)
    }

    /// True if the store has a commit, and nobody knows whether the engine has it.
    #[must_use]
    pub fn has_doubtful_commit(&self) -> bool {
        self.committing.is_some() && !self.is_writing()
    }

    /// The engine has the commit: what has ended of it, and what its documents cover of the jobs
    /// before them, which ends with them.
    pub fn committed(&mut self) -> (Vec<Finished>, Vec<Finished>) {
        self.writing = None;
        let Some(commit) = self.committing.take() else { return Default::default() };
        let (mut finished, mut covered) = (vec![], vec![]);
        for id in commit.jobs {
            let Some(job) = self.jobs.get(&id) else { continue };
            if job.save_method == SaveMethod::Put {
                let path = job.path.clone();
                covered.extend(self.end_covered(&path, id));
            }
            finished.extend(self.remove(id));
        }
        (finished, covered)
    }

    /// The engine refused the commit, and nothing has come of it. Its tags, which the store is to
    /// forget, and its updates.
    pub fn commit_refused(&mut self) -> (Vec<Tag>, Vec<Seq>) {
        self.writing = None;
        let Some(commit) = self.committing.take() else { return (vec![], vec![]) };
        for id in commit.jobs {
            if let Some(job) = self.jobs.get_mut(&id) {
                if let Some(data) = job.data().cloned() {
                    job.state = State::Ready(data);
                }
                job.held = true;
            }
        }
        let mut updates: Vec<Seq> = commit.tags.iter().map(|tag| tag.seq).collect();
        updates.dedup();
        (commit.tags, updates)
    }

    /// The store has the commit, and nobody knows whether the engine has it.
    pub fn commit_in_doubt(&mut self) {
        self.writing = None;
        for id in self.committing.iter().flat_map(|commit| &commit.jobs) {
            if let Some(job) = self.jobs.get_mut(id)
                && let Some(data) = job.data().cloned()
            {
                job.state = State::Recorded(data);
            }
        }
    }

    /// The store could not record the commit: it is to be done again.
    pub fn commit_again(&mut self) {
        self.writing = None;
        self.committing = None;
    }
}
