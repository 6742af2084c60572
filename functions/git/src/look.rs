//! One look at a branch: what can the server do → where is the branch → fetch what is new.

use crate::error::GitError;
use crate::limits::Limits;
use crate::object::{ObjectId, Objects};
use crate::remote::Remote;

/// A request that is to be sent. Redirects are **not** to be followed: hand in the status and the
/// location, [`Look`] says where to go next, and with which credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRequest {
    /// `GET` or `POST`.
    pub method: &'static str,
    /// Where to.
    pub url: String,
    /// Names in lower case, and values. One of them may be `authorization`: never log them.
    pub headers: Vec<(&'static str, String)>,
    /// The body; empty with `GET`.
    pub body: Vec<u8>,
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Send this, then call [`Look::head`], [`Look::chunk`] for each piece, [`Look::end`].
    Send(HttpRequest),
    /// The look is over.
    Done(Outcome),
}

/// What a look found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The branch is where it was.
    Unchanged,
    /// The branch is at this commit now, and all that it needs is in the store.
    New(ObjectId),
}

/// What was found out of a server by a look; a later look at the same repository is shorter by
/// one request with it. Not to be kept for longer than an hour: servers are updated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    remote: Remote,
    filter: bool,
}

/// One look at a branch.
#[derive(Debug)]
pub struct Look {
    limits: Limits,
}

impl Look {
    /// A look at `branch` (`main`, not `refs/heads/main`; empty for the repository's default
    /// one). `known` is the commit whose objects are all in the store: it is what is compared
    /// with, and what the server need not send again.
    ///
    /// # Errors
    /// [`GitError::BranchName`].
    pub fn new(
        _remote: Remote,
        _branch: &str,
        _known: Option<ObjectId>,
        limits: Limits,
    ) -> Result<Self, GitError> {
        Ok(Self { limits })
    }

    /// Makes use of what an earlier look found out of the server, if it was the same repository
    /// with the same credentials.
    #[must_use]
    pub fn with_server(self, _server: Option<&Server>) -> Self {
        self
    }

    /// What was found out of the server.
    #[must_use]
    pub fn server(&self) -> Option<&Server> {
        None
    }

    /// What is to be done next: at the beginning and after each [`Look::end`].
    pub fn request(&mut self) -> Next {
        let _ = self.limits;
        Next::Done(Outcome::Unchanged)
    }

    /// The answer begins. `location` is the header of that name.
    ///
    /// # Errors
    /// It is not what git answers.
    pub fn head(
        &mut self,
        _status: u16,
        _content_type: Option<&str>,
        _location: Option<&str>,
    ) -> Result<(), GitError> {
        Ok(())
    }

    /// The next bytes of the answer's body, decompressed if the answer was compressed.
    ///
    /// # Errors
    /// They are not what git answers, or over a limit. The look is over then.
    pub fn chunk(&mut self, _bytes: &[u8], _objects: &mut dyn Objects) -> Result<(), GitError> {
        Ok(())
    }

    /// The answer's body is complete.
    ///
    /// # Errors
    /// As with [`Look::chunk`], or the answer is cut short.
    pub fn end(&mut self, _objects: &mut dyn Objects) -> Result<(), GitError> {
        Ok(())
    }
}
