//! How the functions call the hub of a scope: one request, one answer, both typed, so
//! that the hub could live in a Worker of its own.
//!
//! The transport is an HTTP request to the Durable Object that only our own Worker can
//! make. Its body is a [`HubRequest`], the answer's body a `Result<HubAnswer, Problem>`. A
//! websocket upgrade that the hub refuses is answered with the same `Result`.

use serde::{Deserialize, Serialize};

use crate::{Claims, Millis, Seq, Update};

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
    Append(Update),
}

/// What a hub answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HubAnswer {
    /// The update is in the log; it has this number.
    Appended {
        /// The update's number.
        seq: Seq,
    },
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
    /// True if the token that opened the socket is no longer valid.
    #[must_use]
    pub fn is_expired(&self, now: Millis) -> bool {
        self.claims.exp.saturating_mul(1_000) <= now.0
    }
}
