//! How the functions call the hub of a scope: typed requests and answers, so that the hub
//! could live in a Worker of its own.
//!
//! The transport is an HTTP request to the Durable Object that only our own Worker can
//! make. Its body is a list of [`HubRequest`]s, since those that are made at the same time
//! travel together; the answer's body is [`HubAnswers`]. A websocket upgrade that the hub
//! refuses is answered with an `Err` of the latter.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::bundle::{Ingredients, Mark, Report, Reported, Shown};
use crate::digest::TopicDigests;
use crate::directory::{self, DirectoryAnswer, DirectoryRequest};
use crate::opal::policy::{Files, Revision};
use crate::opal::rpc::Statistics;
use crate::plane::{PlaneAnswer, PlaneRequest, Refusal};
use crate::socket::{Delivery, Receipt};
use crate::topic::TopicSet;
use crate::{Claims, Millis, Problem, Seq, Update};

/// The path of a [`HubRequest`] inside the Durable Object.
pub const CALL_PATH: &str = "/call";
/// The path of a websocket upgrade inside the Durable Object.
pub const SOCKET_PATH: &str = "/ws";
/// The header in which the router hands a verified [`Session`] to the hub, as JSON. The
/// router sets it on every request that it forwards, so a caller cannot.
pub const SESSION_HEADER: &str = "x-girasol-session";

/// The header in which the router says of which scope a hub is.
pub const SCOPE_HEADER: &str = "x-girasol-scope";

/// The name of the Durable Object that holds a scope: one hub a scope, for now. The only
/// place that knows, so that a scope can grow relays without anybody else noticing.
#[must_use]
pub fn hub_name(scope: &str) -> String {
    format!("scope:{scope}")
}

/// The name of the Durable Object that decides for a scope at a location.
#[must_use]
pub fn decider_name(scope: &str, location: Option<&str>) -> String {
    // No location has a colon.
    format!("{}:{scope}", location.unwrap_or_default())
}

/// What a hub can be asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HubRequest {
    /// Append an update to the log and deliver it.
    Append {
        /// What to append.
        update: Update,
        /// Who publishes, as the router verified it.
        claims: Claims,
        /// Answer only when agents have it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        wait: Option<Wait>,
    },
    /// Show what is in the log.
    Read {
        /// Who reads, as the router verified it: permitted topics limit what is shown.
        claims: Claims,
        /// Only these topics; every topic if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        topics: Option<TopicSet>,
        /// Updates with higher numbers than this.
        after: Seq,
        /// Bytes of the page, about; as many as a replay's if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bytes: Option<usize>,
    },
    /// Refuse tokens from now on, and close the sockets they opened.
    Revoke(Revocation),
    /// Is this bearer's token still good, as far as the hub knows?
    Check(Claims),
    /// The log as entries for an OPAL client that connects.
    Snapshot {
        /// Who asks: permitted topics limit what is in it.
        claims: Claims,
        /// Only these topics; every topic if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        topics: Option<TopicSet>,
        /// Updates with higher numbers than this.
        after: Seq,
        /// Bytes of inline data in the answer; what is beyond it becomes references.
        inline_bytes: usize,
        /// Where references lead.
        origin: String,
    },
    /// The inline data of an entry, for who has the key that was given with a reference to it.
    Fetch {
        /// The update.
        seq: Seq,
        /// The entry's place in it.
        place: u32,
        /// The key.
        key: String,
    },
    /// Who is connected?
    Peers(Claims),
    /// Reads something that the hub keeps for the router.
    Document {
        /// Who asks; none where the router asks on its own account.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        claims: Option<Claims>,
        /// Its name.
        name: String,
    },
    /// Reads everything that the hub keeps under names that begin so.
    Documents {
        /// Who asks; none where the router asks on its own account.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        claims: Option<Claims>,
        /// How the names begin.
        prefix: String,
    },
    /// Lists the names that begin so, of what the hub keeps.
    Names {
        /// How they begin.
        prefix: String,
    },
    /// Keeps something for the router, or forgets it.
    Keep {
        /// Who asks.
        claims: Claims,
        /// Its name.
        name: String,
        /// JSON; absent to forget it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        body: Option<Box<RawValue>>,
    },
    /// Replaces the policy: in the log, for agents, and by telling clients of OPAL.
    SetPolicy {
        /// Who asks; none where the Worker asks on its own account.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        claims: Option<Claims>,
        /// What the revision is called, such as a commit's hash; a hash of the files if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        revision: Option<String>,
        /// Every file.
        files: Files,
        /// Answer only when agents have it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        wait: Option<Wait>,
    },
    /// The policy.
    Policy {
        /// Who asks.
        claims: Claims,
        /// The revision that the asker has: what of it is known comes with the answer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        base: Option<String>,
    },
    /// Of which moment is what a bundle is made of? Held back while it is the known one.
    Watch {
        /// Who asks: permitted topics limit what is watched.
        claims: Claims,
        /// What the bundle is made of.
        of: Ingredients,
        /// What the asker has.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        known: Option<Mark>,
        /// For how many milliseconds at most, of which 0 is for who does not wait.
        wait_ms: u64,
    },
    /// An OPA reports.
    Report {
        /// Who.
        claims: Claims,
        /// What.
        report: Report,
    },
    /// Shows what OPAs reported.
    Reported {
        /// Who asks.
        claims: Claims,
        /// Which.
        which: Reported,
    },
    /// Asks a plane: for grants, facts, audits.
    Plane {
        /// What.
        asked: Box<PlaneRequest>,
        /// Answer only when agents have it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        wait: Option<Wait>,
    },
    /// Asks the directory: for users, tenants, roles, instances, relationships.
    Directory {
        /// What.
        asked: Box<DirectoryRequest>,
        /// Answer only when agents have it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        wait: Option<Wait>,
    },
    /// Forgets everything, and closes every socket: the scope is gone.
    Clear(Claims),
    /// What was ever revoked, for the hub of a new scope.
    Revocations,
    /// Remembers what was revoked before there was this scope.
    Inherit(Vec<(Revocation, Millis)>),
    /// One more client wants to begin: no more than so many in so many milliseconds.
    Admit {
        /// How many.
        most: u32,
        /// In how many milliseconds.
        per_ms: u64,
    },
}

/// The name under which the hub of a scope keeps what the scope is: without it there is no scope.
pub const SCOPE_DOCUMENT: &str = "scope";
/// The name under which the hub of the default scope keeps base sources that were set at run
/// time. Those of another scope are in its [`SCOPE_DOCUMENT`].
pub const SOURCES_DOCUMENT: &str = "sources";

/// The answer to each of the requests that travelled together, in their order; an error if the
/// hub could take none of them. Updates take effect in the order in which they are listed; other
/// requests of the same list do not wait for them.
pub type HubAnswers = Result<Vec<Result<HubAnswer, Problem>>, Problem>;

/// What a hub answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HubAnswer {
    /// The update is in the log; it has this number.
    Appended {
        /// The update's number.
        seq: Seq,
        /// What agents said of it, if that was asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        receipts: Option<Receipts>,
    },
    /// A page of the log.
    Log(LogPage),
    /// The tokens are refused.
    Revoked {
        /// How many sockets were closed.
        closed: u32,
    },
    /// The token is not revoked; or it is done.
    Good,
    /// A part of the log as entries.
    Snapshot(Snapshot),
    /// Inline data.
    Data(Box<RawValue>),
    /// Who is connected.
    Peers(Peers),
    /// What is kept under a name; none if nothing is.
    Document(Option<Box<RawValue>>),
    /// What is kept under several, by name.
    Documents(BTreeMap<String, Box<RawValue>>),
    /// Names.
    Names(Vec<String>),
    /// The policy is this now.
    PolicySet {
        /// Its revision.
        hash: String,
        /// False if it had these files before.
        changed: bool,
        /// The number of the update that completes it: who is at least there has it.
        seq: Seq,
        /// What agents said of it, if that was asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        receipts: Option<Receipts>,
    },
    /// The policy; none if nobody has given one.
    Policy(Option<Box<Policy>>),
    /// What a bundle is made of is of this moment.
    Mark(Mark),
    /// What OPAs reported.
    Reported(Vec<Shown>),
    /// What a plane says.
    Plane {
        /// It itself.
        answer: Result<PlaneAnswer, Refusal>,
        /// What agents said of the update that it made, if that was asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        receipts: Option<Receipts>,
    },
    /// What the directory says.
    Directory {
        /// It itself.
        answer: Result<DirectoryAnswer, directory::Refusal>,
        /// What agents said of the update that it made, if that was asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        receipts: Option<Receipts>,
    },
    /// What was revoked.
    Revocations(Vec<(Revocation, Millis)>),
}

/// A part of the log as an OPAL client takes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Snapshot {
    /// Entries as in [`crate::opal::data::WireEntry`], in the log's order.
    pub entries: Vec<Box<RawValue>>,
    /// Bytes of inline data in them.
    pub inline_bytes: usize,
    /// Ask `after` this for more; absent if there is no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Seq>,
}

/// A policy as the hub keeps it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Policy {
    /// Which it is.
    pub revision: Revision,
    /// Its files.
    pub files: Files,
    /// The revision that was asked about, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Revision>,
}

/// Who is connected to a hub.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Peers {
    /// Since when the hub has been awake.
    pub since: Millis,
    /// Each socket.
    pub peers: Vec<PeerInfo>,
}

/// One socket of a hub.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PeerInfo {
    /// The hub's name of the socket.
    pub socket: u64,
    /// What an agent calls itself; none for a client of the OPAL dialect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// How it came, in the OPAL dialect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opal: Option<OpalPeer>,
    /// What it subscribed to.
    pub topics: Vec<String>,
    /// What it said of itself, if statistics are on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statistics: Option<Statistics>,
}

/// How a client of the OPAL dialect came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpalPeer {
    /// Its address, where the platform tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// When.
    pub connected: Millis,
    /// The parameters of its address; values of those that name a token are left out.
    #[serde(default)]
    pub query: BTreeMap<String, String>,
    /// Scheme and host by which it reached us, and so by which it can fetch.
    pub origin: String,
    /// The hub asks who it is, and keeps what it says.
    #[serde(default)]
    pub statistics: bool,
}

/// How long an answer is held back for the agents' receipts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// For which agents.
    pub agents: Quorum,
    /// For how many milliseconds at most.
    pub timeout_ms: u64,
}

/// Which agents a publisher waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quorum {
    /// Every agent whose subscription the update is for and that is connected when it is
    /// accepted. One that loses its connection meanwhile is waited for still.
    All,
    /// So many agents, whichever are first.
    AtLeast(u32),
}

/// What agents said of an update until the answer was given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipts {
    /// True if everybody who was waited for has answered, however that went.
    pub complete: bool,
    /// How many agents were waited for.
    pub expected: u32,
    /// One each agent that answered, in the order of arrival.
    pub receipts: Vec<AgentReceipt>,
}

/// One agent's word about an update.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentReceipt {
    /// The agent's name.
    pub agent: String,
    /// What it said.
    #[serde(flatten)]
    pub receipt: Receipt,
}

/// A part of the log, for people.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LogPage {
    /// Which life of the log.
    pub epoch: String,
    /// The log's last number.
    pub head: Seq,
    /// The highest number whose update was given up to the retention limit; 0 if none was.
    pub floor: Seq,
    /// Updates in order, with the entries that are still necessary and may be seen.
    pub updates: Vec<Delivery>,
    /// Ask `after` this for more; absent if there is no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Seq>,
    /// What has been published to each of the topics that were asked for.
    #[serde(default, skip_serializing_if = "TopicDigests::is_empty")]
    pub digests: TopicDigests,
}

/// Which tokens are refused from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Revocation {
    /// The token of this `jti`, and those it was renewed to, which keep it.
    Jti(String),
    /// Every token of this `sub` that was issued until now.
    Sub(String),
}

/// Who opened a socket, as the router verified it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The scope of the hub.
    pub scope: String,
    /// The token's claims.
    pub claims: Claims,
    /// How it came, if it speaks the OPAL dialect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opal: Option<OpalPeer>,
}

impl Session {
    /// When the token that opened the socket ends.
    #[must_use]
    pub fn expiry(&self) -> Millis {
        Millis(self.claims.exp.saturating_mul(1_000))
    }

    /// True if the token that opened the socket is no longer valid.
    #[must_use]
    pub fn is_expired(&self, now: Millis) -> bool {
        self.expiry() <= now
    }
}
