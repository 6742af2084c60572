//! What can a server do?

use crate::error::{GitError, printable};
use crate::packet::{Packet, text};
use crate::remote::Remote;

use super::check_said;

/// What it is asked, for messages.
pub(super) const STEP: &str = "what it can do";
/// Where it is asked.
pub(super) const PATH: &str = "/info/refs?service=git-upload-pack";
/// What it answers.
pub(super) const CONTENT_TYPE: &str = "application/x-git-upload-pack-advertisement";
/// The line that servers of the older protocols begin with; some put it before version 2 too.
const SERVICE: &[u8] = b"# service=git-upload-pack";

/// What was found out of a server by a look; a later look at the same repository is shorter by
/// one request with it. To be kept in memory only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// The repository that was asked for.
    pub(super) asked: Remote,
    /// Where it is, after redirects.
    pub(super) remote: Remote,
    /// Whether it can leave out large files.
    pub(super) filter: bool,
}

/// The first request, and its answer so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Discovery {
    /// Where the repository is, if it was redirected.
    moved: Option<Remote>,
    said: Said,
}

#[derive(Clone, Debug, Default)]
struct Said {
    version: bool,
    lists: bool,
    fetches: bool,
    filter: bool,
    complete: bool,
}

// === impl Discovery ===

impl Discovery {
    /// Forgets an answer that has begun; where to ask.
    pub(super) fn begin<'r>(&'r mut self, asked: &'r Remote) -> &'r Remote {
        self.said = Said::default();
        self.to(asked)
    }

    /// Where it is asked.
    pub(super) fn to<'r>(&'r self, asked: &'r Remote) -> &'r Remote {
        self.moved.as_ref().unwrap_or(asked)
    }

    pub(super) fn redirect(&mut self, asked: &Remote, location: &str) -> Result<(), GitError> {
        self.moved = Some(self.to(asked).moved(PATH, location)?);
        Ok(())
    }

    pub(super) fn packet(&mut self, packet: Packet<'_>) -> Result<(), GitError> {
        let said = &mut self.said;
        match packet {
            Packet::Data(data) => {
                let line = text(data);
                check_said(line)?;
                match line {
                    b"version 2" => said.version = true,
                    SERVICE if !said.version => {}
                    _ if !said.version => return Err(GitError::Version),
                    capability => said.capability(capability)?,
                }
            }
            Packet::Flush => said.complete = said.version,
            mark => {
                let reason = format!("{mark:?} in its list of what it can do");
                return Err(GitError::Protocol(reason));
            }
        }
        Ok(())
    }

    pub(super) fn end(&self, asked: &Remote, is_between: bool) -> Result<Server, GitError> {
        let Said { lists, fetches, filter, complete, .. } = self.said;
        if !complete || !is_between {
            return Err(GitError::CutShort(STEP));
        }
        if !lists || !fetches {
            return Err(GitError::Protocol(
                "it cannot list branches and fetch a commit without history".to_owned(),
            ));
        }
        Ok(Server { asked: asked.clone(), remote: self.to(asked).clone(), filter })
    }
}

// === impl Said ===

impl Said {
    fn capability(&mut self, capability: &[u8]) -> Result<(), GitError> {
        let mut halves = capability.splitn(2, |byte| *byte == b'=');
        let name = halves.next().unwrap_or_default();
        let value = halves.next().unwrap_or_default();
        match name {
            b"ls-refs" => self.lists = true,
            b"fetch" => {
                let mut features = value.split(|byte| *byte == b' ');
                self.fetches = features.clone().any(|feature| feature == b"shallow");
                self.filter = features.any(|feature| feature == b"filter");
            }
            b"object-format" if value != b"sha1" => {
                return Err(GitError::ObjectFormat(printable(value)));
            }
            _ => {}
        }
        Ok(())
    }
}
