//! What the hub keeps for the router by name, and what makes it the hub of a scope.

use std::collections::BTreeMap;

use protocol::internal::{HubAnswer, HubRequest, SCOPE_DOCUMENT};
use protocol::opal::rpc::CLOSE_RESYNC;
use protocol::{DEFAULT_SCOPE, Millis, Problem};
use serde_json::value::RawValue;

use super::base::Due;
use super::{Effect, Machine, require_good, unanswered, unstored};
use crate::log::{Log, LogError};
use crate::refusal::Refusal;

/// Answers what is about kept things.
pub(super) fn answer(log: &mut dyn Log, asked: HubRequest) -> Result<HubAnswer, Problem> {
    Ok(match asked {
        HubRequest::Document { claims, name } => {
            claims.map_or(Ok(()), |claims| require_good(log, &claims))?;
            let text = log.document(&name).map_err(unanswered)?;
            HubAnswer::Document(text.map(raw).transpose()?)
        }
        HubRequest::Documents { claims, prefix } => {
            claims.map_or(Ok(()), |claims| require_good(log, &claims))?;
            let found = log.documents(&prefix).map_err(unanswered)?;
            let found = found.into_iter().map(|(name, text)| Ok((name, raw(text)?)));
            HubAnswer::Documents(found.collect::<Result<BTreeMap<_, _>, Problem>>()?)
        }
        HubRequest::Names { prefix } => HubAnswer::Names(log.names(&prefix).map_err(unanswered)?),
        HubRequest::Keep { claims, name, body } => {
            require_good(log, &claims)?;
            log.keep(&name, body.as_deref().map(RawValue::get)).map_err(unstored)?;
            HubAnswer::Good
        }
        HubRequest::Revocations => HubAnswer::Revocations(log.revocations().map_err(unanswered)?),
        HubRequest::Inherit(revocations) => {
            for (revocation, at) in revocations {
                log.revoke(at, &revocation).map_err(unstored)?;
            }
            HubAnswer::Good
        }
        _ => return Err(Problem::internal("the hub was asked what it does not know")),
    })
}

fn raw(text: String) -> Result<Box<RawValue>, Problem> {
    RawValue::from_string(text).map_err(|error| Problem::internal(error.to_string()))
}

impl Machine {
    /// Checks that the scope is there, for whatever is about what is in it.
    pub(super) fn require_scope(&self, asked: &HubRequest, log: &dyn Log) -> Result<(), Problem> {
        let is_about_itself = matches!(
            asked,
            HubRequest::Document { .. }
                | HubRequest::Keep { .. }
                | HubRequest::Revoke(_)
                | HubRequest::Inherit(_)
                | HubRequest::Clear(_)
        );
        if is_about_itself || self.has_scope(log).map_err(unanswered)? {
            return Ok(());
        }
        Err(Problem::not_found(format!("No such scope: {}", self.scope)))
    }

    /// True if the scope is there.
    pub(super) fn has_scope(&self, log: &dyn Log) -> Result<bool, LogError> {
        Ok(self.scope == DEFAULT_SCOPE || log.document(SCOPE_DOCUMENT)?.is_some())
    }

    /// The scope is gone: everything is forgotten, and everybody has to go.
    pub(super) fn clear(&mut self, log: &mut dyn Log) -> Result<Vec<Effect>, Problem> {
        log.clear().map_err(unstored)?;
        self.base = Due::Unknown;
        self.forget_plane();
        self.is_directory_whole = false;
        let gone = self.sockets.all().into_iter().flat_map(|socket| {
            let refusal = if self.is_opal(socket) {
                Refusal::opal(CLOSE_RESYNC, format!("scope {} was deleted", self.scope))
            } else {
                Refusal::no_scope(&self.scope)
            };
            self.refuse(socket, refusal)
        });
        let mut effects: Vec<Effect> = gone.collect();
        effects.extend(self.told(log, |_| true));
        Ok(effects)
    }

    /// Lets one more client in, if there were not so many of late (`spec/opal-protocol.md` §2,
    /// `/loadlimit`).
    pub(super) fn admit(
        &mut self,
        now: Millis,
        most: u32,
        per_ms: u64,
    ) -> Result<HubAnswer, Problem> {
        let (since, count) = &mut self.admitted;
        if now.since(*since) >= per_ms {
            (*since, *count) = (now, 0);
        }
        if *count >= most {
            return Err(Problem::new(429, ""));
        }
        *count += 1;
        Ok(HubAnswer::Good)
    }
}
