//! Why a look or a checkout failed, in sentences that name the fix.

use crate::object::{ObjectId, StoreError};

/// Characters of what a server says that are repeated.
const SAID: usize = 200;

/// Why a look or a checkout failed. No text of it holds credentials, or a user in a URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GitError {
    /// The URL cannot be followed.
    #[error("the repository's URL {0}")]
    Url(String),
    /// The branch has a name that git does not allow.
    #[error("`{0}` is no name of a branch")]
    BranchName(String),
    /// The branch was deleted, was never there, or the repository is empty.
    #[error("the repository has no branch `{0}`: push it, or set the branch's name")]
    NoSuchBranch(String),
    /// 401 or 403.
    #[error(
        "the git server answered {status}: {}",
        if *.given { "it refused the credentials; give others, that may read the repository" }
        else { "it wants credentials; give a token or a user and a password" }
    )]
    Credentials {
        /// What it answered.
        status: u16,
        /// Whether credentials were sent.
        given: bool,
    },
    /// 404. Many servers say so too if credentials are missing.
    #[error(
        "the git server answered 404: there is no such repository, or credentials that may read \
         it are missing; check its URL and the token"
    )]
    NotFound,
    /// Another status that is no success.
    #[error("the git server answered {status} to {step}")]
    Status {
        /// What it answered.
        status: u16,
        /// What it was asked.
        step: &'static str,
    },
    /// It redirects, in a way that is not followed.
    #[error("the git server redirects {0}")]
    Redirect(String),
    /// The answer is not git's.
    #[error(
        "{0}: this is not a git server that speaks smart HTTP; check that the URL is the one that \
         `git clone` takes"
    )]
    NotGit(String),
    /// The server speaks an old version of the protocol only.
    #[error(
        "the git server does not speak protocol version 2: update it (git 2.18 or later), and let \
         what is in front of it pass the header `Git-Protocol`"
    )]
    Version,
    /// The ids are not SHA-1.
    #[error("the repository's object format is `{0}`; only sha1 is supported")]
    ObjectFormat(String),
    /// The server says why it does not go on.
    #[error("the git server says: {0}")]
    Said(String),
    /// The answer ended too early.
    #[error("the git server's answer to {0} was cut short; it will be asked again")]
    CutShort(&'static str),
    /// The answer breaks the rules of git's protocol.
    #[error("the git server's answer is not as the protocol has it: {0}")]
    Protocol(String),
    /// The pack as a whole is wrong.
    #[error("the pack {0}")]
    Pack(String),
    /// An object is wrong. It is named by its id, or by its place in the pack.
    #[error("object {object}: {reason}")]
    Object {
        /// Which.
        object: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Something points to an object that is not there.
    #[error("object {id} is missing: {whose} needs it, and the git server did not send it")]
    Missing {
        /// Which.
        id: ObjectId,
        /// What points to it.
        whose: String,
    },
    /// A path of the commit cannot be policy.
    #[error("`{path}`: {reason}")]
    Path {
        /// Which, with what cannot be printed escaped.
        path: String,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// The commit is over a limit as a whole.
    #[error("{0}")]
    Limit(String),
    /// The machine was used in a wrong order: a mistake in the code around it.
    #[error("a step out of order: {0}")]
    Order(&'static str),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl GitError {
    /// Whether the same look may go well later, with nobody doing anything: the server is down,
    /// busy, or the branch moved meanwhile.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500..),
            Self::Said(_) | Self::CutShort(_) | Self::Missing { .. } | Self::Store(_) => true,
            _ => false,
        }
    }

    pub(crate) fn object(object: &impl ToString, reason: impl Into<String>) -> Self {
        Self::Object { object: object.to_string(), reason: reason.into() }
    }

    pub(crate) fn path(path: &[u8], reason: impl Into<String>) -> Self {
        Self::Path { path: printable(path), reason: reason.into() }
    }
}

/// What a server said, fit for a log: one line, and not long.
pub(crate) fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let line = text.trim().chars().take(SAID);
    line.flat_map(|it| if it.is_control() { it.escape_default().collect() } else { vec![it] })
        .collect()
}
