//! How the functions call the hub of a scope: typed requests and answers, so that the hub
//! could live in a Worker of its own.
//!
//! The transport is an HTTP request to the Durable Object that only our own Worker can
//! make. Its body is a list of [`HubRequest`]s, since those that are made at the same time
//! travel together; the answer's body is [`HubAnswers`]. A websocket upgrade that the hub
//! refuses is answered with an `Err` of the latter.

use serde::{Deserialize, Serialize};

use crate::digest::TopicDigests;
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

/// The name of the Durable Object that holds a scope: one hub a scope, for now. The only
/// place that knows, so that a scope can grow relays without anybody else noticing.
#[must_use]
pub fn hub_name(scope: &str) -> String {
    format!("scope:{scope}")
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
    },
    /// Refuse tokens from now on, and close the sockets they opened.
    Revoke(Revocation),
    /// Is this bearer's token still good, as far as the hub knows?
    Check(Claims),
}

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
    /// The token is not revoked.
    Good,
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
