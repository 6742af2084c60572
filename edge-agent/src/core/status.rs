//! What `/status` and `/healthz` say. Never a secret: no token, no credentials of a source.

use protocol::{DataPath, Seq, topic::TopicSet};
use serde::Serialize;

use super::Config;

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
    /// The link to the hub.
    pub connection: Connection,
    /// Up to where everything has taken effect.
    pub cursor: Seq,
    /// The log's last seq that we heard of.
    pub head: Option<Seq>,
    /// The last update that took effect as a whole.
    pub last_applied: Option<Seq>,
    /// The last entry that the engine refused.
    pub last_failure: Option<Failure>,
    /// What has not taken effect yet; the first hundred.
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

/// An entry that the engine refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Its update.
    pub seq: Seq,
    /// Its place.
    pub dst_path: DataPath,
    /// What the engine said.
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
    /// A place among the fetches.
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
    pub(super) pending: Vec<Pending>,
    pub(super) complete: bool,
}

impl Status {
    pub(super) fn new(parts: Parts<'_>) -> Self {
        let Parts {
            config,
            scope,
            connection,
            engine,
            cursor,
            head,
            last_applied,
            last_failure,
            pending,
            complete,
        } = parts;
        let mut problems = vec![];
        if connection.state != ConnectionState::Live {
            let why = connection.error.as_deref().unwrap_or("not yet connected");
            problems.push(format!("not connected to the hub: {why}"));
        }
        if let Some(error) = &engine.error {
            problems.push(format!("the engine does not answer: {error}"));
        }
        for entry in pending.iter().filter(|entry| entry.error.is_some()) {
            let error = entry.error.as_deref().unwrap_or_default();
            problems.push(format!(
                "update {} for {} waits for its source: {error}",
                entry.seq, entry.dst_path
            ));
        }
        if let Some(failure) = last_failure.as_ref().filter(|it| last_applied < Some(it.seq)) {
            problems.push(format!(
                "update {} for {} was refused by the engine: {}",
                failure.seq, failure.dst_path, failure.error
            ));
        }
        Self {
            agent: config.agent.clone(),
            version: env!("CARGO_PKG_VERSION"),
            scope,
            topics: config.topics.clone(),
            engine: config.engine,
            engine_up: engine.up,
            engine_error: engine.error,
            connection,
            cursor,
            head,
            last_applied,
            last_failure,
            pending,
            ready: engine.up && complete,
            healthy: problems.is_empty() && engine.up,
            problems,
        }
    }
}
