//! What `/status` and `/healthz` say. Never a secret: no token, no credentials of a source.

use protocol::digest::TopicDigests;
use protocol::{DataPath, Seq, topic::TopicSet};
use serde::Serialize;

use super::Config;
use super::keeping::Keeping;
use super::policies::Policies;

/// How far an agent is, for those who wait until it is far enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Up to where everything has taken effect; none while the engine may not have it.
    pub at: Option<Seq>,
    /// The log's last seq that we heard of.
    pub head: Option<Seq>,
}

/// How the agent is.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The agent's name.
    pub agent: String,
    /// The agent's version.
    pub version: &'static str,
    /// The scope that the hub put us in; null before the first `welcome`.
    pub scope: Option<String>,
    /// What we subscribe to.
    pub topics: TopicSet,
    /// The engine's name.
    pub engine: &'static str,
    /// True if the engine has its policies and answers.
    pub engine_up: bool,
    /// Why it does not.
    pub engine_error: Option<String>,
    /// The revision of the hub's policies that the engine has; null if it has none of the hub's.
    pub policy_revision: Option<String>,
    /// Why it does not have the newest.
    pub policy_error: Option<String>,
    /// The link to the hub.
    pub connection: Connection,
    /// Up to where everything has taken effect.
    pub cursor: Seq,
    /// The log's last seq that we heard of.
    pub head: Option<Seq>,
    /// How many updates of the log may be missing here: `head` less `cursor`.
    pub lag: u64,
    /// What has been received of each topic; the hub's `GET /log` shows the same.
    pub digests: TopicDigests,
    /// Why the agent began anew: its data folder was no good, or the hub's log is another one.
    pub fresh_start: Option<String>,
    /// The last update that took effect as a whole.
    pub last_applied: Option<Seq>,
    /// The last entry that was given up: the engine refused it, or it names no source.
    pub last_failure: Option<Failure>,
    /// How many entries have not taken effect yet.
    pub pending_total: usize,
    /// The first hundred of them.
    pub pending: Vec<Pending>,
    /// True once everything that was missed has taken effect: decisions can be asked for.
    pub ready: bool,
    /// True if nothing is wrong.
    pub healthy: bool,
    /// What is wrong, in sentences.
    pub problems: Vec<String>,
}

/// The link to the hub.
#[derive(Clone, Debug, Serialize)]
pub struct Connection {
    /// Where it stands.
    pub state: ConnectionState,
    /// For how long, in milliseconds.
    pub for_ms: u64,
    /// Why it is not live.
    pub error: Option<String>,
}

/// Where the link to the hub stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ConnectionState {
    /// The operator switched it off.
    Off,
    /// For the next try.
    Waiting,
    /// A socket is being opened.
    Connecting,
    /// What was missed is coming.
    Replaying,
    /// The hub pushes.
    Live,
}

/// How the engine is.
#[derive(Clone, Debug)]
pub struct EngineStatus {
    /// It has its policies and answers.
    pub up: bool,
    /// Why it does not.
    pub error: Option<String>,
}

/// An entry that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Its update.
    pub seq: Seq,
    /// Its place.
    pub dst_path: DataPath,
    /// Why.
    pub error: String,
}

/// An entry that has not taken effect yet.
#[derive(Clone, Debug, Serialize)]
pub struct Pending {
    /// Its update.
    pub seq: Seq,
    /// Its place.
    pub dst_path: DataPath,
    /// What it waits for.
    pub state: PendingState,
    /// Fetches so far.
    pub attempts: u32,
    /// Milliseconds to the next fetch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_in_ms: Option<u64>,
    /// Why the last fetch failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What an entry waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PendingState {
    /// A place among the fetches, or a newer document that makes it unnecessary.
    Waiting,
    /// The source's answer.
    Fetching,
    /// The next try, after a failure.
    Retrying,
    /// The engine, or an entry before it.
    Ready,
    /// The engine's answer.
    Writing,
}

/// What a [`Status`] is made of.
pub(super) struct Parts<'c> {
    pub(super) config: &'c Config,
    pub(super) scope: Option<String>,
    pub(super) connection: Connection,
    pub(super) engine: EngineStatus,
    pub(super) cursor: Seq,
    pub(super) head: Option<Seq>,
    pub(super) last_applied: Option<Seq>,
    pub(super) last_failure: Option<Failure>,
    pub(super) pending_total: usize,
    pub(super) pending: Vec<Pending>,
    pub(super) failing: Vec<Failure>,
    pub(super) complete: bool,
    pub(super) not_restored: &'c [(DataPath, String)],
    pub(super) keeping: &'c Keeping,
    pub(super) policies: &'c Policies,
    pub(super) digests: TopicDigests,
}

/// Characters of an error that are shown: an engine may quote what it was sent.
const SHOWN: usize = 400;

/// An error, shortened for the log and for people.
pub(super) fn shown(mut error: String) -> String {
    if let Some((end, _)) = error.char_indices().nth(SHOWN) {
        error.truncate(end);
        error.push('…');
    }
    error
}

/// Problems of one kind that are told one by one.
const TOLD: usize = 10;

impl Parts<'_> {
    /// What is wrong, in sentences.
    fn problems(&self) -> Vec<String> {
        let mut problems = vec![];
        if self.connection.state != ConnectionState::Live {
            let why = self.connection.error.as_deref().unwrap_or("not yet connected");
            problems.push(match self.connection.state {
                ConnectionState::Replaying => "catching up with the hub".to_owned(),
                ConnectionState::Off => "the connection to the hub is switched off".to_owned(),
                _ => format!("not connected to the hub: {why}"),
            });
        }
        match &self.engine.error {
            Some(error) => problems.push(format!("the engine does not answer: {error}")),
            None if !self.engine.up => {
                problems.push("the engine is getting its policies and data".to_owned());
            }
            None if !self.complete && problems.is_empty() => {
                problems.push("what was missed has not taken effect yet".to_owned());
            }
            None => {}
        }
        problems.extend(self.policies.problem());
        for (path, error) in self.not_restored.iter().take(TOLD) {
            problems.push(format!("the engine refuses the data kept for {path}: {error}"));
        }
        if let Some(error) = self.keeping.error() {
            problems.push(format!("what arrives cannot be recorded, and so not applied: {error}"));
        }
        for Failure { seq, dst_path, error } in self.failing.iter().take(TOLD) {
            problems.push(format!("update {seq} for {dst_path} waits for its source: {error}"));
        }
        if self.failing.len() > TOLD {
            problems.push(format!("{} more wait for their sources", self.failing.len() - TOLD));
        }
        if let Some(failure) =
            self.last_failure.as_ref().filter(|it| self.last_applied < Some(it.seq))
        {
            let Failure { seq, dst_path, error } = failure;
            problems.push(format!("update {seq} for {dst_path} was given up: {error}"));
        }
        problems
    }
}

impl Status {
    pub(super) fn new(parts: Parts<'_>) -> Self {
        let problems = parts.problems();
        let ready = parts.engine.up && parts.complete && parts.policies.are_loaded();
        let Parts { config, scope, connection, engine, .. } = parts;
        Self {
            agent: config.agent.clone(),
            version: env!("CARGO_PKG_VERSION"),
            scope,
            topics: config.topics.clone(),
            engine: config.engine,
            engine_up: engine.up,
            engine_error: engine.error,
            policy_revision: parts.policies.revision().map(str::to_owned),
            policy_error: parts.policies.error().map(str::to_owned),
            connection,
            cursor: parts.cursor,
            lag: parts.head.map_or(0, |head| head.0.saturating_sub(parts.cursor.0)),
            head: parts.head,
            digests: parts.digests,
            fresh_start: parts.keeping.fresh().map(str::to_owned),
            last_applied: parts.last_applied,
            last_failure: parts.last_failure,
            pending_total: parts.pending_total,
            pending: parts.pending,
            ready,
            healthy: problems.is_empty(),
            problems,
        }
    }
}
