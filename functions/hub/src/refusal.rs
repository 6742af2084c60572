//! Why a socket is closed: one constructor a reason, with its code for programs, its close
//! code and its sentence for people.

use protocol::socket::close;
use protocol::{Problem, limits};

use crate::log::LogError;

/// A socket that has to go.
pub(crate) struct Refusal {
    /// The websocket close code.
    pub(crate) close: u16,
    /// The word in the error frame.
    pub(crate) code: &'static str,
    /// The sentence in the error frame.
    pub(crate) message: String,
    /// Seconds until a new try makes sense; `None` if none does.
    pub(crate) retry_after: Option<u32>,
}

impl Refusal {
    pub(crate) fn bad_frame(message: impl Into<String>) -> Self {
        Self {
            close: close::BAD_FRAME,
            code: "bad_frame",
            message: message.into(),
            retry_after: None,
        }
    }

    pub(crate) fn too_large(bytes: usize) -> Self {
        let message = format!("a frame of {bytes} bytes, the limit is {}", limits::MAX_FRAME_BYTES);
        Self { close: close::TOO_LARGE, code: "too_large", message, retry_after: None }
    }

    /// The platform keeps only so much for a socket, and a socket that is not kept would be
    /// forgotten when the hub sleeps.
    pub(crate) fn unkept() -> Self {
        let message = "the topics and the token's claims together are larger than the hub can \
                       keep for a socket; subscribe to parent topics, or permit fewer"
            .to_owned();
        Self { close: close::TOO_LARGE, code: "too_large", message, retry_after: None }
    }

    pub(crate) fn expired() -> Self {
        let message = "Access token is expired; connect with a new one".to_owned();
        Self { close: close::POLICY, code: "expired", message, retry_after: None }
    }

    pub(crate) fn revoked() -> Self {
        let message = "Access token was revoked; ask whoever runs this for a new one".to_owned();
        Self { close: close::POLICY, code: "revoked", message, retry_after: None }
    }

    pub(crate) fn forbidden(problem: Problem) -> Self {
        Self { close: close::POLICY, code: "forbidden", message: problem.detail, retry_after: None }
    }

    pub(crate) fn no_scope(scope: &str) -> Self {
        let message = format!("No such scope: {scope}; create it with PUT /scopes");
        Self { close: close::POLICY, code: "no_scope", message, retry_after: Some(60) }
    }

    /// In the OPAL dialect, whose clients know no other code for it.
    pub(crate) fn opal(close: u16, message: impl Into<String>) -> Self {
        Self { close, code: "opal", message: message.into(), retry_after: None }
    }

    pub(crate) fn storage(_: LogError) -> Self {
        let message = "the hub's storage did not answer; connect again".to_owned();
        Self { close: close::INTERNAL, code: "internal", message, retry_after: Some(1) }
    }
}
