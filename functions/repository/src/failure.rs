//! What can go wrong at a look, and what that means for the next one.

use archive::ArchiveError;
use git::GitError;
use protocol::Problem;

/// Why a look did not end with a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It may be over soon, with nobody doing anything.
    Passing(Problem),
    /// Somebody has to mend the source or the settings.
    Lasting(Problem),
    /// What is there cannot be the policy. It need not be fetched again.
    Refused(Problem),
}

impl Failure {
    /// What one of ours says, by the status.
    #[must_use]
    pub fn of(problem: Problem) -> Self {
        match problem.status {
            500 | 503 => Self::Passing(problem),
            413 | 422 => Self::Refused(problem),
            _ => Self::Lasting(problem),
        }
    }

    /// What a server answered that is neither a success nor a redirect.
    #[must_use]
    pub fn status(server: &str, status: u16) -> Self {
        match status {
            401 | 403 => Self::Lasting(Problem::new(
                502,
                format!("{server} answered {status}: credentials are missing, or it refuses them"),
            )),
            404 | 410 => Self::Lasting(Problem::new(
                502,
                format!("{server} answered {status}: check the address"),
            )),
            408 | 425 | 429 | 500.. => {
                Self::Passing(Problem::unavailable(format!("{server} answered {status}")))
            }
            _ => Self::Lasting(Problem::new(502, format!("{server} answered {status}"))),
        }
    }
}

impl Failure {
    /// The same of what was not found out: it says nothing of what was found before.
    #[must_use]
    pub fn of_nothing_found(self) -> Self {
        match self {
            Self::Refused(why) => Self::Lasting(why),
            other => other,
        }
    }
}

impl From<GitError> for Failure {
    /// 409 for a branch that is not there, 422 for what cannot be policy, 502 for other mistakes of
    /// the server or in the settings, and 503 for what passes.
    fn from(error: GitError) -> Self {
        let text = error.to_string();
        match error {
            _ if error.is_temporary() => Self::Passing(Problem::unavailable(text)),
            GitError::NoSuchBranch(_) => Self::Lasting(Problem::conflict(format!(
                "{text} (GIRASOL_POLICY_REPO_MAIN_BRANCH, or the scope's policy.branch)"
            ))),
            GitError::Path { .. } | GitError::Limit(_) => Self::Refused(Problem::invalid(text)),
            GitError::Order(_) => Self::Lasting(Problem::internal(text)),
            _ => Self::Lasting(Problem::new(502, text)),
        }
    }
}

impl From<ArchiveError> for Failure {
    fn from(error: ArchiveError) -> Self {
        Self::Refused(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_whether_waiting_helps() {
        let missing = Failure::from(GitError::NoSuchBranch("main".to_owned()));
        assert!(matches!(&missing, Failure::Lasting(it) if it.status == 409), "{missing:?}");
        let down = Failure::from(GitError::Status { status: 502, step: "x" });
        assert!(matches!(&down, Failure::Passing(it) if it.status == 503), "{down:?}");
        let path = GitError::Path { path: "a".to_owned(), reason: "a symlink".to_owned() };
        let refused = Failure::from(path);
        assert!(matches!(&refused, Failure::Refused(it) if it.status == 422), "{refused:?}");
        assert!(matches!(refused.of_nothing_found(), Failure::Lasting(it) if it.status == 422));
        for (status, passes) in [(401, false), (404, false), (429, true), (500, true), (418, false)]
        {
            let failure = Failure::status("the server", status);
            assert_eq!(matches!(failure, Failure::Passing(_)), passes, "{status}");
        }
    }
}
