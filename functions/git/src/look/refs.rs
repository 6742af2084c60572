//! Where is the branch?

use crate::error::{GitError, printable};
use crate::object::ObjectId;
use crate::packet::{DELIMITER, FLUSH, Packet, push_line, text};

use super::{AGENT, check_said};

/// What the server is asked, for messages.
pub(super) const STEP: &str = "where the branch is";
/// Bytes of a branch's name, at most: hosts allow 255.
const MAX_NAME_BYTES: usize = 255;
/// The default branch.
const HEAD: &str = "HEAD";

/// The second request, and its answer so far.
#[derive(Clone, Debug)]
pub(super) struct Refs {
    /// The full name of what is looked for.
    name: String,
    found: Option<ObjectId>,
    complete: bool,
}

// === impl Refs ===

impl Refs {
    pub(super) fn new(branch: &str) -> Result<Self, GitError> {
        let name = match branch {
            "" => HEAD.to_owned(),
            branch if is_allowed(branch) => format!("refs/heads/{branch}"),
            branch => return Err(GitError::BranchName(printable(branch.as_bytes()))),
        };
        Ok(Self { name, found: None, complete: false })
    }

    /// Forgets an answer that has begun; the request's body.
    pub(super) fn begin(&mut self) -> Vec<u8> {
        (self.found, self.complete) = (None, false);
        let mut body = vec![];
        push_line(&mut body, "command=ls-refs");
        push_line(&mut body, &format!("agent={AGENT}"));
        body.extend_from_slice(DELIMITER);
        push_line(&mut body, &format!("ref-prefix {}", self.name));
        body.extend_from_slice(FLUSH);
        body
    }

    pub(super) fn packet(&mut self, packet: Packet<'_>) -> Result<(), GitError> {
        let wrong = |what: String| Err(GitError::Protocol(format!("{what} in its list of refs")));
        match packet {
            _ if self.complete => wrong("more after the end".to_owned()),
            Packet::Data(data) => {
                let line = text(data);
                check_said(line)?;
                let mut words = line.splitn(3, |byte| *byte == b' ');
                let (id, name) = (words.next().unwrap_or_default(), words.next());
                let id: Option<ObjectId> =
                    std::str::from_utf8(id).ok().and_then(|id| id.parse().ok());
                match (id, name) {
                    // Others have the name as the beginning of theirs.
                    (Some(id), Some(name)) if name == self.name.as_bytes() => {
                        self.found = Some(id);
                    }
                    (Some(_), Some(_)) => {}
                    _ => return wrong(format!("`{}`", printable(line))),
                }
                Ok(())
            }
            Packet::Flush => {
                self.complete = true;
                Ok(())
            }
            mark => wrong(format!("{mark:?}")),
        }
    }

    pub(super) fn end(&self, is_between: bool) -> Result<ObjectId, GitError> {
        if !self.complete || !is_between {
            return Err(GitError::CutShort(STEP));
        }
        let name = self.name.strip_prefix("refs/heads/").unwrap_or(&self.name);
        self.found.ok_or_else(|| GitError::NoSuchBranch(name.to_owned()))
    }
}

/// The rules of `git check-ref-format`, for what comes after `refs/heads/`.
fn is_allowed(branch: &str) -> bool {
    let is_good =
        |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
    branch.len() <= MAX_NAME_BYTES
        && branch.split('/').all(is_good)
        && !branch.ends_with('.')
        && !["..", "@{"].iter().any(|bad| branch.contains(bad))
        && branch != "@"
        && !branch.starts_with('-')
        && !branch.chars().any(|it| it.is_control() || " ~^:?*[\\".contains(it))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_branches_are_those_that_git_allows() {
        for good in ["main", "feature/x-1", "v1.2", "größe", "a@b", "x.locks"] {
            assert!(Refs::new(good).is_ok(), "{good}");
        }
        let long = "x".repeat(256);
        for bad in [
            "/a", "a/", "a//b", ".a", "a/.b", "a.lock", "a.lock/b", "a..b", "a.", "a@{b", "@",
            "-a", "a b", "a\nb", "a~1", "a^", "a:b", "a?", "a*", "a[", "a\\b", &long,
        ] {
            assert!(matches!(Refs::new(bad), Err(GitError::BranchName(_))), "{bad:?}");
        }
    }
}
