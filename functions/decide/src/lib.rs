//! Decides at the edge, without an agent: a Durable Object holds a scope's policy and data in memory,
//! follows the scope's log, and answers as OPA does.
//!
//! It keeps nothing: what it has follows from the log, and is read again when the platform has put
//! it away. A request that finds it older than [`settings::Settings::max_age_ms`] has it read on
//! first, so it costs nothing while nobody asks, and never decides on what is older than that. What
//! it cannot do is answered with 501 that says why, never with a decision on something else: data
//! that only an agent fetches, functions of Rego that are not there, more data than an object may
//! hold.
//!
//! | question | file |
//! |---|---|
//! | What do policy and data of the log come to? | `follower.rs` |
//! | Who is asked from where, how old may it be? | `settings.rs` |
//! | What do router and object say to each other? | this one |
//! | How is the log read without a gap? | `reading.rs` |
//! | How does the Durable Object follow? | `durable.rs` |

#[expect(missing_docs, reason = "the platform's macro writes methods of its own")]
mod durable;
mod follower;
mod reading;
pub mod settings;

use decision::Reply;
use protocol::{Claims, Seq};
use serde::{Deserialize, Serialize};

pub use durable::Decider;

/// A request for a decision, as the router hands it on: the bearer is verified, the body read.
#[derive(Debug, Serialize, Deserialize)]
pub struct DecideRequest {
    /// Who asks.
    pub claims: Claims,
    /// In capitals.
    pub method: String,
    /// Without what names the scope; as it came.
    pub path: String,
    /// What stands behind the `?`.
    pub query: String,
    /// The `Content-Type`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// The body as text; what is none is no JSON either.
    pub body: String,
    /// The update that must have taken effect.
    pub at_least: Seq,
}

/// What the object answers.
#[derive(Debug, Serialize, Deserialize)]
pub struct Decided {
    /// The HTTP status.
    pub status: u16,
    /// The `Content-Type`, if there is a body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// The `Location` of a redirection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// The body.
    pub body: String,
    /// Everything up to here had taken effect.
    pub seq: Seq,
    /// So many milliseconds ago there was nothing newer.
    pub age_ms: u64,
}

impl Decided {
    fn new(reply: Reply, seq: Seq, age_ms: u64) -> Self {
        let Reply { status, content_type, location, body } = reply;
        Self { status, content_type: content_type.map(str::to_owned), location, body, seq, age_ms }
    }
}

/// An answer that nothing was decided for.
impl From<Reply> for Decided {
    fn from(reply: Reply) -> Self {
        Self::new(reply, Seq::ZERO, 0)
    }
}
