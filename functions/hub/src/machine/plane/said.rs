//! Where in the log grants and facts are.
//!
//! Retention may give up the update that a grant or a fact is. Then it is said again, as the policy
//! is. Things are listed by the number of the update that said them last, so nobody looks at those
//! that are still there. What is about to be given up is said again along with what was, some at a
//! time: otherwise every update that goes would make the hub look.

use protocol::{Entry, Millis, Problem, Seq, Update};
use serde::{Deserialize, Serialize};

use super::super::policy::{get, put};
use super::super::publishing::Batch;
use super::super::{Effect, Machine, soon_given_up, unanswered, unstored};
use super::{Refusal, Step};
use crate::log::Log;

/// Where a thing is, by the id of the update that it is.
const SAID: &str = "plane/said/";
/// The id of a thing, by the number of the update that said it last.
const AT: &str = "plane/at/";
/// The ids of things that retention gave up and that nobody can read now.
const LATER: &str = "plane/later/";
/// Things that are looked at together.
const PAGE: usize = 100;
/// Bytes of that at one time, about.
const MAX_AHEAD_BYTES: usize = 1 << 20;

/// Where a thing is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Said {
    /// The name of what the hub keeps of it.
    pub(super) at: String,
    /// The number of the update that says it last.
    pub(super) seq: Seq,
}

/// How far a thing is that is being made or taken away. It is written down before the log says so:
/// what storage does not do after that is seen to when the thing is looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// It is there, also when the log knows its id no more.
    There,
    /// It is there once the log knows its id.
    Making,
    /// It is there until the log knows this id, of the update that it goes with. Until that is
    /// forgotten in its turn, retention has come by and taken away what is kept of the thing.
    Going(String),
}

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
        // One that leads nowhere is harmless, a thing that is not listed is not.
        put(log, &listed(self.seq), id)?;
        put(log, &format!("{SAID}{id}"), self)
    }

    /// Forgets where a thing is of which nothing is kept any more. What stays leads nowhere.
    pub(super) fn forget(log: &mut dyn Log, id: &str) {
        if let Ok(Some(said)) = Self::read(log, id) {
            let _ = log.keep(&listed(said.seq), None);
        }
        let _ = log.keep(&format!("{SAID}{id}"), None);
    }
}

/// How many things have ids that begin so.
pub(super) fn count(log: &dyn Log, kind: &str) -> Result<usize, Problem> {
    log.count(&format!("{SAID}{kind}")).map_err(unanswered)
}

/// The id of the update that says that a thing is gone.
pub(super) fn gone(id: &str) -> String {
    format!("{id}/gone")
}

impl State {
    /// True if the thing is there that has this id in the log.
    pub(super) fn is_there(&self, log: &dyn Log, id: &str) -> Result<bool, Problem> {
        let knows = |id: &str| log.find(id).map(|found| found.is_some()).map_err(unanswered);
        match self {
            Self::There => Ok(true),
            Self::Making => knows(id),
            Self::Going(by) => Ok(!knows(by)?),
        }
    }
}

/// Names are in the order of their numbers.
fn listed(seq: Seq) -> String {
    format!("{AT}{:020}", seq.0)
}

impl Machine {
    /// Says grants and facts again that retention has given up.
    pub(in super::super) fn renew_plane(&mut self, now: Millis, log: &mut dyn Log) -> Vec<Effect> {
        let mut batch = Batch::default();
        let settings = self.settings;
        let mut step = Step { now, settings, plane: &mut self.plane, batch: &mut batch, log };
        // What storage does not do now is the turn of the next update that is given up.
        let _ = step.renew().and_then(|()| step.renew_late());
        self.conclude(now, batch, log)
    }
}

impl Step<'_> {
    fn renew(&mut self) -> Result<(), Refusal> {
        let (floor, ahead) = (self.log.floor(), soon_given_up(self.log));
        let first = self.log.names_after(AT, "", 1).map_err(unanswered)?;
        if first.first().is_none_or(|first| *first > listed(floor)) {
            return Ok(());
        }
        let (mut after, mut bytes) = (String::new(), 0);
        loop {
            let page = self.log.names_after(AT, &after, PAGE).map_err(unanswered)?;
            let Some(last) = page.last().cloned() else { return Ok(()) };
            for name in page {
                if name > listed(ahead) || name > listed(floor) && bytes > MAX_AHEAD_BYTES {
                    return Ok(());
                }
                bytes += self.renew_one(&name)?;
            }
            after = last;
        }
    }

    /// Says one again that is listed under this name; how many bytes that took.
    fn renew_one(&mut self, name: &str) -> Result<usize, Refusal> {
        let id: String = get(self.log, name)?.unwrap_or_default();
        let said = Said::read(self.log, &id)?.filter(|said| listed(said.seq) == name);
        let mut bytes = 0;
        if let Some(said) = said {
            match self.again(&id, &said)? {
                Some(said_bytes) => bytes = said_bytes,
                None => {
                    put(self.log, &format!("{LATER}{id}"), &())?;
                }
            }
        }
        self.log.keep(name, None).map_err(unstored)?;
        Ok(bytes)
    }

    /// Says those again that could not be read, once after each start: with other keys perhaps.
    fn renew_late(&mut self) -> Result<(), Refusal> {
        let (mut after, mut bytes) = (String::new(), 0);
        while !self.plane.is_late_known {
            let page = self.log.names_after(LATER, &after, PAGE).map_err(unanswered)?;
            let Some(last) = page.last().cloned() else {
                self.plane.is_late_known = true;
                break;
            };
            for name in page {
                if bytes > MAX_AHEAD_BYTES {
                    return Ok(());
                }
                let id = name.strip_prefix(LATER).unwrap_or_default();
                let said_bytes = match Said::read(self.log, id)? {
                    Some(said) => self.again(id, &said)?,
                    None => Some(0),
                };
                if let Some(said_bytes) = said_bytes {
                    bytes += said_bytes;
                    self.log.keep(&name, None).map_err(unstored)?;
                }
            }
            after = last;
        }
        Ok(())
    }

    /// Says a thing again, or forgets it if it is gone; how many bytes that took. None if nobody
    /// can read it now.
    fn again(&mut self, id: &str, said: &Said) -> Result<Option<usize>, Refusal> {
        let again = if id.starts_with(Update::GRANT_ID) {
            self.grant_again(&said.at)?
        } else {
            self.fact_again(&said.at)?
        };
        match again {
            Again::Say(reason, entries) => {
                let sizes = entries.iter().filter_map(|entry| Some(entry.inline()?.get().len()));
                let bytes = sizes.sum();
                // No other update ever has this id.
                let again = format!("{id}/{}", self.log.head().next());
                let (seq, _) = self.say(again, reason, entries)?;
                Said { seq, at: said.at.clone() }.keep(self.log, id)?;
                Ok(Some(bytes))
            }
            Again::Gone => {
                Said::forget(self.log, id);
                Ok(Some(0))
            }
            Again::Later => Ok(None),
        }
    }
}
