//! Grants on their way into the store ([`protocol::plane::grants`]): no engine is given them, so one
//! that is down holds up no revocation.

use protocol::planted::{Bug, planted};

use super::{Job, Queue, Ready};

impl Queue {
    /// The next grant that may be written while there is no engine to write to, if nothing is being
    /// written or in doubt. What is in doubt has to stay the last in the store: the engine may
    /// refuse it yet.
    pub fn take_grant(&mut self) -> Option<Ready> {
        let in_doubt = self.committing.is_some() || self.recorded().is_some();
        if self.is_writing() || in_doubt && !planted(Bug::DoubtOvertaken) {
            return None;
        }
        let mut before: Vec<&Job> = vec![];
        for (&id, job) in self.jobs.iter().filter(|(_, job)| job.path.is_grant()) {
            if let Some(record) = job.record()
                && before.iter().all(|before| job.may_pass(before))
            {
                self.writing = Some(id);
                return Some(Ready { job: id, record });
            }
            before.push(job);
        }
        None
    }

    /// True if a grant has come that has not been written.
    #[must_use]
    pub fn has_grants(&self) -> bool {
        self.jobs.values().any(|job| job.path.is_grant())
    }
}
