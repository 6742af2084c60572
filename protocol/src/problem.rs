//! A refusal: a status and a sentence that says what to change.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::limits;

/// Why a request was refused, in the shape OPAL uses: `{"detail": …}`
/// (`spec/opal-protocol.md` §2).
///
/// The `detail` never repeats a token, a key or a body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{status}: {detail}")]
pub struct Problem {
    /// The HTTP status, 400 to 599.
    pub status: u16,
    /// A sentence that names the fix.
    pub detail: String,
}

impl Problem {
    /// A refusal with any status.
    #[must_use]
    pub fn new(status: u16, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into() }
    }

    /// 401: the token is missing, wrong, expired, or not of the type that is needed.
    #[must_use]
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(401, detail)
    }

    /// 404: there is nothing here.
    #[must_use]
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(404, detail)
    }

    /// 409: it contradicts what is already there.
    #[must_use]
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(409, detail)
    }

    /// 413: over a limit of [`crate::limits`].
    #[must_use]
    pub fn too_large(detail: impl Into<String>) -> Self {
        Self::new(413, detail)
    }

    /// 413: an update over [`limits::MAX_UPDATE_BYTES`], whoever finds out: the router as it
    /// reads, the parser, or the hub, which stores the defaults as well.
    #[must_use]
    pub fn update_too_large(bytes: usize) -> Self {
        let limit = limits::MAX_UPDATE_BYTES;
        Self::too_large(format!(
            "the update has at least {bytes} bytes, the limit is {limit}, and defaults that are \
             filled in count too; publish a `url` to fetch from instead of inline data, or split it"
        ))
    }

    /// 422: understood, and wrong.
    #[must_use]
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(422, detail)
    }

    /// 500: our fault. The cause goes to the log, not to the caller.
    #[must_use]
    pub fn internal(detail: impl Into<String>) -> Self {
        Self::new(500, detail)
    }

    /// 503: not configured, or not able to answer now.
    #[must_use]
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(503, detail)
    }

    /// The body of the answer. Authentication errors carry OPAL's inner object.
    #[must_use]
    pub fn body(&self) -> Value {
        match self.status {
            401 => json!({ "detail": { "error": self.detail } }),
            _ => json!({ "detail": self.detail }),
        }
    }
}
