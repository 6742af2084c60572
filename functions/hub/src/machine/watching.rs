//! What bundles are made of: of which moment it is, and who is told when that changes.

use protocol::bundle::{Ingredients, LogData, Mark};
use protocol::internal::HubAnswer;
use protocol::{Claims, Millis, Problem};

use super::{Effect, Machine, RequestId, policy, reading, unanswered};
use crate::log::{Log, Record};

/// A request, who made it, for what, what it has, and how many milliseconds it waits.
pub(super) type Watch = (RequestId, Claims, Ingredients, Option<Mark>, u64);

impl Machine {
    /// Says of which moment a bundle is; who has that one may wait for the next.
    pub(super) fn watch(
        &mut self,
        now: Millis,
        (request, claims, mut of, known, wait_ms): Watch,
        log: &dyn Log,
    ) -> Result<Option<HubAnswer>, Problem> {
        if let Some(data) = &mut of.data {
            data.topics = reading::visible(&claims, data.topics.take(), |topic| topic)?;
        }
        let mark = mark(log, &of)?;
        if wait_ms == 0 || known.as_ref() != Some(&mark) {
            return Ok(Some(HubAnswer::Mark(mark)));
        }
        self.polls.begin(request, (of, mark), now.plus(wait_ms))?;
        Ok(None)
    }

    /// Tells those who wait for something of this kind, if it is another one now.
    pub(super) fn told(
        &mut self,
        log: &dyn Log,
        is_of_kind: impl Fn(&Ingredients) -> bool,
    ) -> Vec<Effect> {
        let mut effects = vec![];
        for polled in self.polls.groups(is_of_kind) {
            let now = mark(log, &polled.0);
            if now.as_ref() == Ok(&polled.1) {
                continue;
            }
            let answer = now.map(HubAnswer::Mark);
            let told = self.polls.end(&polled).into_iter();
            effects.extend(told.map(|request| Effect::Answer(request, answer.clone())));
        }
        effects
    }
}

/// The answer to who has waited for nothing.
pub(super) fn unchanged((request, mark): (RequestId, Mark)) -> Effect {
    Effect::Answer(request, Ok(HubAnswer::Mark(mark)))
}

/// True if one of the records is for the topics of a bundle.
pub(super) fn is_about(of: &Ingredients, records: &[(Record, usize)]) -> bool {
    of.data.as_ref().is_some_and(|LogData { topics }| {
        records.iter().any(|(record, _)| !record.entries_for(topics.as_ref()).0.is_empty())
    })
}

fn mark(log: &dyn Log, of: &Ingredients) -> Result<Mark, Problem> {
    let mut mark = Mark::default();
    if let Some(folders) = &of.policy
        && let Some(revision) = policy::revision(log)?
    {
        mark.policy = revision.mark(folders);
    }
    if let Some(LogData { topics }) = &of.data {
        log.epoch().clone_into(&mut mark.epoch);
        mark.seq = match topics {
            Some(topics) => log.last_for(topics, log.head().next()).map_err(unanswered)?,
            None => log.head(),
        };
    }
    Ok(mark)
}
