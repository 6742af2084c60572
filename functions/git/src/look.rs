//! One look at a branch: what can the server do → where is the branch → fetch what is new.
//!
//! Three requests of `gitprotocol-v2`, of which the first can be spared and the last is only made
//! if the branch moved:
//!
//! 1. `GET …/info/refs?service=git-upload-pack`: that the server speaks version 2, and what it can.
//! 2. `ls-refs` for the one branch.
//! 3. `fetch` of its commit, without history (`deepen 1`). Of the commit that is known the server
//!    is told that it is here, so it leaves out what did not change, and sends the rest as changes
//!    of it. Files over the limit are left out where the server can do that.
//!
//! History does not matter, so a force push is a commit like any other. If it turns out that
//! something is missing here, whoever is to blame, the commit is fetched once more in full.
//!
//! Redirects are followed for the first request only, at most [`MAX_REDIRECTS`] times, and
//! credentials never go to another scheme, host or port than the URL has.
//!
//! | question | file |
//! |---|---|
//! | How does a look go? | `look.rs` |
//! | What can a server do? | `discovery.rs` |
//! | Where is the branch? | `refs.rs` |
//! | How does a pack come out of an answer? | `fetch.rs` |

mod discovery;
mod fetch;
mod refs;
#[cfg(test)]
mod tests;

use crate::checkout::check_complete;
use crate::error::{GitError, printable};
use crate::limits::Limits;
use crate::object::{ObjectId, Objects};
use crate::packet::{Packet, Packets};
use crate::remote::Remote;

use discovery::Discovery;
pub use discovery::Server;
use fetch::Fetch;
use refs::Refs;

/// Redirects that are followed.
pub const MAX_REDIRECTS: u8 = 5;
/// Who we say that we are. Some hosts refuse those that are not git.
const AGENT: &str = concat!("git/girasol-", env!("CARGO_PKG_VERSION"));

/// A request that is to be sent. Redirects are **not** to be followed: hand in the status and the
/// location, [`Look`] says where to go next, and with which credentials.
#[derive(Clone, PartialEq, Eq)]
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
    /// The branch is at this commit now, and all that it needs is in the store, large files
    /// perhaps excepted.
    New(ObjectId),
}

/// One look at a branch.
#[derive(Debug)]
pub struct Look {
    remote: Remote,
    refs: Refs,
    known: Option<ObjectId>,
    limits: Limits,
    server: Option<Server>,
    /// Whether that comes from an earlier look, and may be out of date.
    is_remembered: bool,
    /// Whether the commit is fetched as if nothing were known.
    full: bool,
    redirects: u8,
    step: Step,
    answer: Answer,
    packets: Packets,
    /// Bytes of an answer that is not a pack.
    received: usize,
}

#[derive(Debug)]
enum Step {
    Discover(Discovery),
    List,
    Fetch(ObjectId, Box<Fetch>),
    Done(Outcome),
}

/// Where an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// It has not begun.
    Awaited,
    /// It is read.
    Read,
    /// What comes does not matter any more; the next request is ready.
    Skipped,
}

// === impl Look ===

impl Look {
    /// A look at `branch` (`main`, not `refs/heads/main`; empty for the repository's default
    /// one). `known` is the commit whose objects are all in the store, so one that an earlier
    /// look found [`Outcome::New`]: it is what is compared with, and what the server need not
    /// send again.
    ///
    /// # Errors
    /// [`GitError::BranchName`].
    pub fn new(
        remote: Remote,
        branch: &str,
        known: Option<ObjectId>,
        limits: Limits,
    ) -> Result<Self, GitError> {
        Ok(Self {
            remote,
            refs: Refs::new(branch)?,
            known,
            limits,
            server: None,
            is_remembered: false,
            full: false,
            redirects: 0,
            step: Step::Discover(Discovery::default()),
            answer: Answer::Awaited,
            packets: Packets::default(),
            received: 0,
        })
    }

    /// Makes use of what an earlier look found out of the server, if it was for the same
    /// repository with the same credentials. If it does not hold any more, it is found
    /// out anew.
    #[must_use]
    pub fn with_server(mut self, server: Option<&Server>) -> Self {
        if let Some(server) = server.filter(|server| server.asked == self.remote) {
            self.server = Some(server.clone());
            self.is_remembered = true;
            self.step = Step::List;
        }
        self
    }

    /// What was found out of the server.
    #[must_use]
    pub fn server(&self) -> Option<&Server> {
        self.server.as_ref()
    }

    /// What is to be done next: at the beginning and after each [`Look::end`]. After an error it
    /// is the request that failed.
    pub fn request(&mut self) -> Next {
        self.answer = Answer::Awaited;
        self.packets = Packets::default();
        self.received = 0;
        let remote = self.server.as_ref().map_or(&self.remote, |server| &server.remote);
        match &mut self.step {
            Step::Discover(discovery) => {
                let to = discovery.begin(&self.remote);
                Next::Send(request("GET", to, discovery::PATH, vec![]))
            }
            Step::List => {
                let body = self.refs.begin();
                Next::Send(request("POST", remote, SERVICE_PATH, body))
            }
            Step::Fetch(commit, fetch) => {
                let have = self.known.filter(|_| !self.full);
                let filter = self.server.as_ref().is_some_and(|server| server.filter);
                let body = fetch.begin(commit, have.as_ref(), filter, &self.limits);
                Next::Send(request("POST", remote, SERVICE_PATH, body))
            }
            Step::Done(outcome) => Next::Done(*outcome),
        }
    }

    /// The answer begins. `location` is the header of that name.
    ///
    /// # Errors
    /// It is not what git answers.
    pub fn head(
        &mut self,
        status: u16,
        content_type: Option<&str>,
        location: Option<&str>,
    ) -> Result<(), GitError> {
        match self.check_head(status, content_type, location) {
            // The repository may have moved, or the server was updated.
            Err(_) if self.is_remembered && matches!(self.step, Step::List) => {
                (self.is_remembered, self.server) = (false, None);
                self.step = Step::Discover(Discovery::default());
                self.answer = Answer::Skipped;
                Ok(())
            }
            checked => checked,
        }
    }

    /// The next bytes of the answer's body, decompressed if the answer was compressed.
    ///
    /// # Errors
    /// They are not what git answers, or over a limit. The look is over then.
    pub fn chunk(&mut self, bytes: &[u8], objects: &mut dyn Objects) -> Result<(), GitError> {
        match self.answer {
            Answer::Awaited => return Err(GitError::Order("a body before its head")),
            Answer::Skipped => return Ok(()),
            Answer::Read => {}
        }
        if !matches!(self.step, Step::Fetch(..)) {
            self.received = self.received.saturating_add(bytes.len());
            let limit = self.limits.answer_bytes;
            if self.received > limit {
                return Err(GitError::Limit(format!(
                    "the git server's list of what it has is over {limit} bytes, the limit"
                )));
            }
        }
        let mut packets = std::mem::take(&mut self.packets);
        let fed = packets.feed(bytes, &mut |packet| self.packet(packet, objects));
        self.packets = packets;
        self.or_in_full(fed)
    }

    /// The answer's body is complete.
    ///
    /// # Errors
    /// As with [`Look::chunk`], or the answer is cut short.
    pub fn end(&mut self, objects: &mut dyn Objects) -> Result<(), GitError> {
        match self.answer {
            Answer::Awaited => return Err(GitError::Order("an end before its head")),
            Answer::Skipped => return Ok(()),
            Answer::Read => {}
        }
        let is_between = self.packets.is_between();
        match &mut self.step {
            Step::Discover(discovery) => {
                self.server = Some(discovery.end(&self.remote, is_between)?);
                self.step = Step::List;
            }
            Step::List => {
                let commit = self.refs.end(is_between)?;
                self.step = if self.known == Some(commit) {
                    Step::Done(Outcome::Unchanged)
                } else {
                    Step::Fetch(commit, Box::new(Fetch::new(self.limits)))
                };
            }
            Step::Fetch(commit, fetch) => {
                let blobs = fetch.blobs();
                let done = fetch
                    .end(is_between)
                    .and_then(|()| check_complete(objects, commit, blobs, &self.limits));
                let outcome = Outcome::New(*commit);
                match done {
                    Ok(()) => self.step = Step::Done(outcome),
                    failed => return self.or_in_full(failed),
                }
            }
            Step::Done(_) => {}
        }
        Ok(())
    }

    fn check_head(
        &mut self,
        status: u16,
        content_type: Option<&str>,
        location: Option<&str>,
    ) -> Result<(), GitError> {
        let (step, expected, auth) = match &self.step {
            Step::Discover(discovery) => {
                (discovery::STEP, discovery::CONTENT_TYPE, discovery.to(&self.remote).auth())
            }
            Step::List => (refs::STEP, SERVICE_TYPE, self.service_remote().auth()),
            Step::Fetch(..) => (fetch::STEP, SERVICE_TYPE, self.service_remote().auth()),
            Step::Done(_) => return Err(GitError::Order("the look is over")),
        };
        match (status, location) {
            (200, _) => {}
            (301 | 302 | 303 | 307 | 308, Some(location)) => return self.redirect(location),
            (401 | 403, _) => {
                return Err(GitError::Credentials { status, given: auth.is_given() });
            }
            (404 | 410, _) => return Err(GitError::NotFound),
            _ => return Err(GitError::Status { status, step }),
        }
        let found = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        if !found.eq_ignore_ascii_case(expected) {
            let found = printable(found.as_bytes());
            return Err(GitError::NotGit(format!("the answer to {step} is `{found}`")));
        }
        self.answer = Answer::Read;
        Ok(())
    }

    fn packet(&mut self, packet: Packet<'_>, objects: &mut dyn Objects) -> Result<(), GitError> {
        match &mut self.step {
            Step::Discover(discovery) => discovery.packet(packet),
            Step::List => self.refs.packet(packet),
            Step::Fetch(_, fetch) => fetch.packet(packet, objects),
            Step::Done(_) => Err(GitError::Order("the look is over")),
        }
    }

    /// Where something is missing that the server took to be here, everything is asked for, once.
    fn or_in_full(&mut self, result: Result<(), GitError>) -> Result<(), GitError> {
        match result {
            Err(GitError::Missing { .. }) if self.known.is_some() && !self.full => {
                self.full = true;
                self.answer = Answer::Skipped;
                Ok(())
            }
            other => other,
        }
    }

    fn redirect(&mut self, location: &str) -> Result<(), GitError> {
        let Step::Discover(discovery) = &mut self.step else {
            return Err(GitError::Redirect(
                "after it had told where it is; it will be asked again from the start".to_owned(),
            ));
        };
        self.redirects += 1;
        if self.redirects > MAX_REDIRECTS {
            return Err(GitError::Redirect(format!("more than {MAX_REDIRECTS} times")));
        }
        discovery.redirect(&self.remote, location)?;
        self.answer = Answer::Skipped;
        Ok(())
    }

    fn service_remote(&self) -> &Remote {
        self.server.as_ref().map_or(&self.remote, |server| &server.remote)
    }
}

// === impl HttpRequest ===

impl std::fmt::Debug for HttpRequest {
    /// Without the headers, of which one is a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} ({} bytes)", self.method, self.url, self.body.len())
    }
}

/// The path of a repository's service, and what it answers.
const SERVICE_PATH: &str = "/git-upload-pack";
const SERVICE_TYPE: &str = "application/x-git-upload-pack-result";

fn request(method: &'static str, to: &Remote, path: &str, body: Vec<u8>) -> HttpRequest {
    let mut headers =
        vec![("git-protocol", "version=2".to_owned()), ("user-agent", AGENT.to_owned())];
    if method == "POST" {
        headers.push(("accept", SERVICE_TYPE.to_owned()));
        headers.push(("content-type", "application/x-git-upload-pack-request".to_owned()));
    }
    headers.extend(to.auth().header().map(|value| ("authorization", value)));
    HttpRequest { method, url: format!("{}{path}", to.url()), headers, body }
}

/// What a line of a server says if it is an error.
fn check_said(line: &[u8]) -> Result<(), GitError> {
    match line.strip_prefix(b"ERR ") {
        Some(said) => Err(GitError::Said(printable(said))),
        None => Ok(()),
    }
}
