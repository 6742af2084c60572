//! What goes into the core and what comes out of it.

use protocol::socket::{AgentFrame, HubFrame};
use protocol::{DataPath, Millis, Seq, topic::TopicSet};

use super::queue::{JobId, Ready, ReadyCommit};
use super::results::UpdateReport;
use crate::engine::{EngineError, EngineState};
use crate::fetch::{FetchError, Source};
use crate::json::Json;
use crate::policy::PolicySet;
use crate::store::{Mark, Tag, Written};

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

/// What the agent had on disk when it started.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// Up to where, of which log.
    pub mark: Mark,
    /// What it had of updates above that.
    pub written: Vec<Written>,
    /// Why something that was there could not be used.
    pub fresh: Option<String>,
    /// The policies of the hub's log, as far as the store has them.
    pub policies: Option<PolicySet>,
    /// The hub's policies that an engine took last.
    pub last_good: Option<PolicySet>,
}

/// Why a write is not in the engine, as far as we know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// It could not be recorded in the store, and the engine was not asked.
    #[error("{0}")]
    NotRecorded(String),
    /// It is recorded, and the engine refused it or did not answer.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// How the engine took what the store has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Entries that can have no effect, with the reason; they have left the store.
    pub refused: Vec<(Tag, String)>,
    /// Places whose documents the engine refuses, with its words.
    pub refused_places: Vec<(DataPath, String)>,
}

/// What the hub says of policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyNews {
    /// It has some: without them the agent is not ready.
    Expected,
    /// These are all of them now.
    Loaded(PolicySet),
    /// They cannot be had at the moment; why.
    Failed(String),
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
    /// The fetch that was begun for a job ended.
    Fetched(JobId, Result<Json, FetchError>),
    /// A write ended.
    Written(JobId, Result<(), WriteError>),
    /// [`Effect::PrepareEngine`] ended.
    Prepared(Result<Restored, EngineError>),
    /// [`Effect::ProbeEngine`] ended.
    Probed(Result<EngineState, EngineError>),
    /// The hub said something of policies.
    Policy(PolicyNews),
    /// [`Effect::SetPolicies`] ended.
    PoliciesSet(Result<(), EngineError>),
    /// The operator switched the connection on, or off.
    Connectivity(bool),
    /// Somebody waits until the agent is at least at this seq, until this moment.
    Wanted(Seq, Millis),
    /// The link has a new token; the socket is still of the old one.
    Renewed,
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
    /// Fetch a job's data, which others may share. [`Input::Fetched`] follows, once.
    Fetch(JobId, Source),
    /// Record a job's data in the store, with the mark of this moment; when it is durable
    /// there, write it into the engine. At most one is under way.
    Write(Ready, Mark),
    /// Record all parts of a commit in the store, with the mark of this moment; when they are
    /// durable there, give the engine these policies, in place of the hub's it has, together with
    /// the data. [`Input::Written`] of the commit's job follows. It is a write, of which at most
    /// one is under way.
    Commit(ReadyCommit, PolicySet, Mark),
    /// The engine refused what was recorded last, which is this: the store need not keep it.
    Discard(Vec<Tag>),
    /// Keep the mark.
    Save(Mark),
    /// Keep the mark, and forget which entries the store has: what follows is another log,
    /// or the same once more.
    BeginAgain(Mark),
    /// Give the engine these policies of the hub's, and what the store has.
    PrepareEngine(PolicySet),
    /// Give the engine these policies in place of those it has. Nothing is written meanwhile.
    SetPolicies(PolicySet),
    /// The engine has these policies: they are the last good ones.
    KeepPolicies(PolicySet),
    /// Ask the engine whether it is still ours.
    ProbeEngine,
    /// Tell an update's callbacks what became of it.
    Tell(UpdateReport),
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
    /// The engine has the policies of this revision.
    PoliciesSet(Option<String>),
    /// Policies could not be had, or the engine refuses them; the old ones stay.
    PoliciesFailed(String),
    /// The engine is down; the next look is in so many milliseconds.
    EngineDown(String, u64),
    /// The engine was emptied, or nobody knows what it has: everything is put into it again.
    Refill,
    /// Somebody else changed the engine: everything is put right.
    Altered,
    /// The engine refuses a document that the store has.
    NotRestored(DataPath, String),
    /// The store does not take a write; the next try is in so many milliseconds.
    NotRecorded(String, u64),
    /// We have not seen the updates that the hub has: everything is asked for again.
    Diverged(String),
}
