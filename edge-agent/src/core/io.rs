//! What goes into the core and what comes out of it.

use protocol::socket::{AgentFrame, HubFrame};
use protocol::{Seq, topic::TopicSet};
use serde_json::value::RawValue;

use super::queue::{JobId, Ready};
use crate::engine::{EngineError, EngineState};
use crate::fetch::{FetchError, Source};

/// What does not change while the agent runs.
#[derive(Clone, Debug)]
pub struct Config {
    /// The agent's name, for people.
    pub agent: String,
    /// What it subscribes to.
    pub topics: TopicSet,
    /// The engine's name, for people.
    pub engine: &'static str,
    /// True for an engine outside this process, which has to be looked after.
    pub probe_engine: bool,
    /// Where the jitter of retries begins.
    pub seed: u64,
}

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// The agent starts.
    Start,
    /// The socket to the hub is open.
    LinkUp,
    /// The hub said something.
    Frame(HubFrame),
    /// There is no socket (any more); why.
    LinkDown(String),
    /// A fetch ended.
    Fetched(JobId, Result<Box<RawValue>, FetchError>),
    /// A write ended.
    Written(JobId, Result<(), EngineError>),
    /// [`Effect::PrepareEngine`] ended.
    Prepared(Result<(), EngineError>),
    /// [`Effect::ProbeEngine`] ended.
    Probed(Result<EngineState, EngineError>),
    /// Time has passed.
    Tick,
}

/// What the shell has to do.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Open a socket to the hub.
    Connect,
    /// Close the socket; [`Input::LinkDown`] follows.
    Disconnect,
    /// Send a frame on the socket.
    Send(AgentFrame),
    /// Fetch a job's data.
    Fetch(JobId, Source),
    /// Write a job's data into the engine. At most one is under way.
    Write(Ready),
    /// Give the engine its policies, and mark it as ours.
    PrepareEngine,
    /// Ask the engine whether it is still ours.
    ProbeEngine,
    /// Tell the operator; the level is the shell's choice.
    Report(Report),
    /// The agent cannot do its work and never will: end, and say why.
    GiveUp(String),
}

/// Events worth a line in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// Connected and caught up.
    Live(Seq),
    /// The connection is gone; the next try is in so many milliseconds.
    Disconnected(String, u64),
    /// The hub had something we did not receive; asked again from here.
    Hole(Seq),
    /// The hub cannot continue from our cursor.
    Reset(String),
    /// The hub refused us.
    Refused(String, String),
    /// An update has taken effect.
    Applied(Seq, String),
    /// A source failed; the old data stays, the next try is in so many milliseconds.
    FetchFailed(Seq, String, u64),
    /// An entry can never take effect: the engine refuses it, or it names no source.
    GivenUp(Seq, String),
    /// The engine has its policies.
    EnginePrepared,
    /// The engine is down; the next look is in so many milliseconds.
    EngineDown(String, u64),
    /// The engine was emptied, or nobody knows what it has: everything is put into it again.
    Refill,
}
