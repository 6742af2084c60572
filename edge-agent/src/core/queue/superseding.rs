//! Jobs that a newer document makes unnecessary are not fetched: of a burst of updates on one
//! place only the last is.
//!
//! A job is **superseded** by a later document that covers its place and has not failed, if
//! that one need not wait for it in any way. It may pass the job itself; what is between the
//! two it must be able to pass as well, or it could wait for something that waits for the job
//! (and where there are parts of a commit, whatever is before it).
//! If it fails, the job is to be fetched again, and so is what else it had superseded: the
//! newest first, which supersedes the others.
//!
//! Who is the next newer one is written down when that one comes, and never changes but when it
//! is given up. That suffices: a document that supersedes the next newer one supersedes the job.

use protocol::planted::{Bug, planted};
use protocol::{Millis, SaveMethod};

use super::{Finished, Job, JobId, Queue, State};

/// Milliseconds that a document waits for a fetch for the same place that began before it came.
/// Both would ask the same source, most of the time.
const PATIENCE: u64 = 1_000;

impl Queue {
    /// A job has come: finds what it supersedes, and what it waits for.
    pub(super) fn supersede(&mut self, id: JobId) {
        let Some(newer) = self.jobs.get(&id) else { return };
        if newer.part || newer.save_method != SaveMethod::Put {
            return;
        }
        let (mut superseded, mut waits_for) = (vec![], None);
        for (&at, job) in self.jobs.range(..id).rev() {
            // Policy is in no data's way.
            if job.path.is_policy() {
                continue;
            }
            if !newer.may_pass(job) && !planted(Bug::BetweenIgnored) {
                if self.parts == 0 {
                    break;
                }
                // What is in its way may wait for a part of a commit, and that for all others and
                // what is before them.
                return;
            }
            if !job.part && newer.path.covers(&job.path) {
                superseded.push(at);
                waits_for = waits_for.max(self.began(job).map(|began| (began, at)));
            }
        }
        for at in superseded {
            if let Some(job) = self.jobs.get_mut(&at) {
                job.newer.get_or_insert(id);
            }
        }
        if let Some(job) = self.jobs.get_mut(&id) {
            job.waits_for = waits_for.map(|(began, older)| (older, began.plus(PATIENCE)));
        }
    }

    /// When the fetch of a job began, if one is under way.
    fn began(&self, job: &Job) -> Option<Millis> {
        let State::Fetching(fetch) = job.state else { return None };
        self.running.get(&fetch).map(|running| running.began)
    }

    /// True if a newer document makes this job unnecessary, unless that fails.
    pub(super) fn is_superseded(&self, job: &Job) -> bool {
        let mut newer = job.newer;
        while let Some(job) = newer.and_then(|id| self.jobs.get(&id)) {
            if job.error.is_none() || planted(Bug::FailureCovers) {
                return true;
            }
            newer = job.newer;
        }
        false
    }

    /// Until when a job waits for the fetch of an older one that began before it came.
    pub(super) fn waits_until(&self, job: &Job) -> Option<Millis> {
        let (older, until) = job.waits_for?;
        matches!(self.jobs.get(&older)?.state, State::Fetching(_)).then_some(until)
    }

    /// Removes a job that can never take effect. What it superseded is superseded by what
    /// supersedes it, or by nothing.
    pub(super) fn remove_failed(&mut self, id: JobId) -> Option<Finished> {
        let job = self.jobs.get(&id)?;
        let newer = job.newer;
        for (_, older) in self.jobs.range_mut(..id).filter(|(_, job)| job.newer == Some(id)) {
            older.newer = newer;
        }
        self.remove(id)
    }
}
