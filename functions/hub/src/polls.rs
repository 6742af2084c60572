//! OPAs that wait until a bundle is another one (long polling, `spec/opa-and-grants.md` §2.1).
//!
//! Who waits is a held request: while there is one, the object does not sleep, and if it is
//! ended the request fails and the OPA asks again. So nothing of this is in storage. Those who
//! wait for the same bundle of the same moment are a group: what they are told is worked out
//! once for all of them.

use std::collections::BTreeMap;

use protocol::bundle::{Ingredients, Mark};
use protocol::{Millis, Problem, limits};

use crate::machine::RequestId;

/// What a group waits for, and what it has.
type Polled = (Ingredients, Mark);

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Polls {
    groups: BTreeMap<Polled, BTreeMap<RequestId, Millis>>,
    count: usize,
}

impl Polls {
    /// Holds a request until `deadline`.
    pub(crate) fn begin(
        &mut self,
        request: RequestId,
        polled: Polled,
        deadline: Millis,
    ) -> Result<(), Problem> {
        let is_new = !self.groups.contains_key(&polled);
        if self.count >= limits::MAX_POLLS || is_new && self.groups.len() >= limits::MAX_POLLED {
            // An answer at once would be taken for the sign to ask again at once.
            return Err(Problem::unavailable(
                "too many are waiting for bundles already; ask again later, or without `wait`",
            ));
        }
        self.groups.entry(polled).or_default().insert(request, deadline);
        self.count += 1;
        Ok(())
    }

    /// Those that wait for something of this kind.
    pub(crate) fn groups(&self, is_of_kind: impl Fn(&Ingredients) -> bool) -> Vec<Polled> {
        self.groups.keys().filter(|(of, _)| is_of_kind(of)).cloned().collect()
    }

    /// Lets a group go.
    pub(crate) fn end(&mut self, polled: &Polled) -> Vec<RequestId> {
        let ended = self.groups.remove(polled).unwrap_or_default();
        self.count = self.count.saturating_sub(ended.len());
        ended.into_keys().collect()
    }

    /// When the first deadline is.
    pub(crate) fn next_deadline(&self) -> Option<Millis> {
        self.groups.values().flat_map(BTreeMap::values).min().copied()
    }

    /// Those whose time is up, with what they have.
    pub(crate) fn over(&mut self, now: Millis) -> Vec<(RequestId, Mark)> {
        let mut over = vec![];
        self.groups.retain(|(_, mark), waiting| {
            let due = waiting.extract_if(.., |_, deadline| *deadline <= now);
            over.extend(due.map(|(request, _)| (request, mark.clone())));
            !waiting.is_empty()
        });
        self.count = self.count.saturating_sub(over.len());
        over
    }
}
