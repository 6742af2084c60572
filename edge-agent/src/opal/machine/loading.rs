//! What a connection loads: the base sources, and the policies with their data.

use protocol::opal::policy::PolicyBundle;
use protocol::{Entry, Millis};
use serde_json::value::RawValue;

use super::super::updates::{Update, sources};
use super::{Effect, Link, Machine, Poll};
use crate::core::PolicyNews;

impl Machine {
    pub(super) fn sources(
        &mut self,
        now: Millis,
        result: Result<Box<RawValue>, String>,
        effects: &mut Vec<Effect>,
    ) {
        let read = result.and_then(|text| match text.get() {
            "null" => Ok((Update::default(), vec![])),
            text => sources(text, &self.config.subscription),
        });
        let (mut update, periodic) = match read {
            Ok(read) => read,
            Err(error) if self.reloading => {
                self.reloading = false;
                effects.push(Effect::LeftOut(format!("the base sources: {error}")));
                return;
            }
            Err(error) => {
                effects.push(Effect::Close(format!("the base sources: {error}")));
                return;
            }
        };
        let server = &self.config.server;
        update.entries.retain(|(_, entry)| !is_placeholder(entry, server));
        self.polls = periodic
            .into_iter()
            .map(|(entry, every)| Poll { entry, every, at: now.plus(every) })
            .collect();
        update.reason = Some("Initial load".to_owned());
        let waiting = match std::mem::replace(&mut self.link, Link::Live) {
            Link::Loading(waiting) => {
                self.welcome(effects);
                waiting
            }
            _ => vec![],
        };
        let reloading = std::mem::take(&mut self.reloading);
        // A document above those of the repository replaces them, too.
        let beside = {
            let places: Vec<_> = update.entries.iter().map(|(_, entry)| &entry.dst_path).collect();
            self.repository.beside(&places)
        };
        self.deliver(now, update, effects);
        if !beside.is_empty() {
            self.deliver(now, base_update("Policy data", beside), effects);
        }
        for update in waiting {
            self.deliver(now, update, effects);
        }
        if !reloading {
            self.caught_up(effects);
            self.announce(effects);
        }
    }

    pub(super) fn want_policies(&mut self, now: Millis, complete: bool) {
        if !self.config.subscription.policy_dirs.is_empty() {
            self.requests.want(now, complete);
        }
    }

    pub(super) fn policies(
        &mut self,
        now: Millis,
        number: u64,
        result: Result<Box<RawValue>, String>,
        effects: &mut Vec<Effect>,
    ) {
        if !self.requests.answered(now, number) {
            return;
        }
        let read = result.and_then(|text| {
            serde_json::from_str::<PolicyBundle>(text.get())
                .map_err(|error| format!("not a policy bundle: {error}"))
        });
        let bundle = match read {
            Ok(bundle) => bundle,
            Err(error) => {
                self.requests.failed(now);
                effects.push(Effect::Policy(PolicyNews::Failed(error)));
                return;
            }
        };
        let Some(change) = self.repository.take(bundle) else {
            self.requests.want(now, true);
            return;
        };
        self.requests.succeeded();
        effects.extend(change.refused.into_iter().map(Effect::LeftOut));
        if !change.entries.is_empty() {
            let update = base_update("Policy data", change.entries);
            match &mut self.link {
                Link::Loading(waiting) => waiting.insert(0, update),
                _ => self.deliver(now, update, effects),
            }
        }
        effects.push(Effect::Policy(PolicyNews::Loaded(change.policies)));
    }
}

/// An update of this machine's own.
pub(super) fn base_update(reason: &str, entries: Vec<Entry>) -> Update {
    Update {
        reason: Some(reason.to_owned()),
        entries: (0..).zip(entries).collect(),
        ..Update::default()
    }
}

/// The source that opal-server names where it was configured with none. It holds `{}` for the
/// root: following it would empty the engine at every connection, and its address is the
/// server's own idea of itself, which need not be one that an agent reaches.
fn is_placeholder(entry: &Entry, server: &url::Url) -> bool {
    let Ok(url) = url::Url::parse(&entry.url) else { return false };
    let is_local = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "0.0.0.0"));
    let port = url.port_or_known_default();
    let is_server = url.host_str() == server.host_str()
        || is_local && (port == Some(7002) || port == server.port_or_known_default());
    is_server
        && entry.dst_path.is_root()
        && entry.inline().is_none()
        && url.path() == "/policy-data"
}
