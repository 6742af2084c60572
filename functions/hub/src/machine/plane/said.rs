//! Where in the log grants and facts are.
//!
//! Retention may give up the update that a grant or a fact is. Then it is said again, as the policy
//! is. What is oldest is known without looking at all of them: a number that none is below is kept,
//! and looked for anew only when retention has passed it.

use protocol::{Entry, Millis, Problem, Seq, Update};
use serde::{Deserialize, Serialize};

use super::super::policy::{get, put};
use super::super::publishing::Batch;
use super::super::{Effect, Machine, unanswered, unstored};
use super::{Refusal, Step};
use crate::log::Log;

/// Where a thing is, by the id of the update that it is.
const SAID: &str = "plane/said/";
/// A number that no thing is below.
const OLDEST: &str = "plane/oldest";
/// The part of the log that is looked after together, so that not every update that is given up
/// makes the hub look at everything: a quarter.
const PART: u64 = 4;

/// Where a thing is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Said {
    /// The name of what the hub keeps of it.
    pub(super) at: String,
    /// The number of the update that says it last.
    pub(super) seq: Seq,
}

/// A number that no thing is below, once it has been looked up.
#[derive(Debug, Default)]
pub(super) struct Oldest(Option<Seq>);

/// What is to be said again of a thing.
pub(super) enum Again {
    /// This, and why.
    Say(&'static str, Vec<Entry>),
    /// Nothing: it is not there any more.
    Gone,
    /// Something, which nobody can read now.
    Later,
}

impl Said {
    /// Where the thing is of which this is the update.
    pub(super) fn read(log: &dyn Log, id: &str) -> Result<Option<Self>, Problem> {
        get(log, &format!("{SAID}{id}"))
    }

    /// Keeps it.
    pub(super) fn keep(&self, log: &mut dyn Log, id: &str) -> Result<(), Problem> {
        put(log, &format!("{SAID}{id}"), self)
    }

    /// Forgets where the thing is. One that stays leads nowhere.
    pub(super) fn forget(log: &mut dyn Log, id: &str) {
        let _ = log.keep(&format!("{SAID}{id}"), None);
    }
}

/// How many things have ids that begin so.
pub(super) fn count(log: &dyn Log, kind: &str) -> Result<usize, Problem> {
    Ok(log.names(&format!("{SAID}{kind}")).map_err(unanswered)?.len())
}

/// The id of the update that says that a thing is gone.
pub(super) fn gone(id: &str) -> String {
    format!("{id}/gone")
}

/// True if the log has said that a thing is there, and not that it is gone.
pub(super) fn is_there(log: &dyn Log, id: &str) -> Result<bool, Problem> {
    let knows = |id: &str| log.find(id).map(|found| found.is_some()).map_err(unanswered);
    Ok(knows(id)? && !knows(&gone(id))?)
}

impl Oldest {
    /// Something is about to be in the log with this number.
    pub(super) fn note(&mut self, log: &mut dyn Log, seq: Seq) -> Result<(), Problem> {
        if self.get(log)?.is_none() {
            self.set(log, seq)?;
        }
        Ok(())
    }

    fn get(&mut self, log: &dyn Log) -> Result<Option<Seq>, Problem> {
        if self.0.is_none() {
            self.0 = get(log, OLDEST)?;
        }
        Ok(self.0)
    }

    fn set(&mut self, log: &mut dyn Log, seq: Seq) -> Result<(), Problem> {
        put(log, OLDEST, &seq)?;
        self.0 = Some(seq);
        Ok(())
    }
}

impl Machine {
    /// Says grants and facts again that retention has given up.
    pub(in super::super) fn renew_plane(&mut self, now: Millis, log: &mut dyn Log) -> Vec<Effect> {
        let mut batch = Batch::default();
        let mut step = Step { now, plane: &mut self.plane, batch: &mut batch, log };
        // What storage does not do now is the turn of the next update that is given up.
        let _ = step.renew();
        self.conclude(now, batch, log)
    }
}

impl Step<'_> {
    fn renew(&mut self) -> Result<(), Refusal> {
        let floor = self.log.floor();
        if self.plane.oldest.get(self.log)?.is_none_or(|oldest| oldest > floor) {
            return Ok(());
        }
        let up_to = Seq(floor.0 + self.log.head().0.saturating_sub(floor.0) / PART);
        let mut oldest = self.log.head().next();
        let things = self.log.documents(SAID).map_err(unanswered)?;
        // Grants come after facts in order, and must not wait for them.
        for (name, text) in things.into_iter().rev() {
            let Some(id) = name.strip_prefix(SAID) else { continue };
            let Ok(said) = serde_json::from_str::<Said>(&text) else { continue };
            if said.seq > up_to {
                oldest = oldest.min(said.seq);
                continue;
            }
            let again = if id.starts_with(Update::GRANT_ID) {
                self.grant_again(&said.at)?
            } else {
                self.fact_again(&said.at)?
            };
            match again {
                Again::Say(reason, entries) => {
                    // No other update ever has this id.
                    let again = format!("{id}/{}", self.log.head().next());
                    let (seq, _) = self.say(again, reason, entries)?;
                    Said { seq, ..said }.keep(self.log, id)?;
                }
                Again::Gone => self.log.keep(&name, None).map_err(unstored)?,
                Again::Later => oldest = oldest.min(said.seq),
            }
        }
        Ok(self.plane.oldest.set(self.log, oldest)?)
    }
}
