//! How the functions ask for a scope's policy to be followed: typed requests to the Durable
//! Object that looks at its repository, or at its bundle server.
//!
//! The transport is as in [`crate::internal`]: the body is a [`RepositoryRequest`], the answer's
//! body a [`RepositoryAnswer`] or the `Problem` that is the reason of a refusal.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::opal::filter::Filter;
use crate::{Millis, Problem, Seq};

/// The name of the Durable Object that follows a scope's policy.
#[must_use]
pub fn repository_name(scope: &str) -> String {
    format!("repository:{scope}")
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Takes a text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the place that sends it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Where a policy comes from, and what of it is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Where it is.
    pub place: Place,
    /// How to get in there.
    pub access: Access,
    /// Which files are wanted.
    #[serde(default)]
    pub wanted: Wanted,
    /// Milliseconds between two looks; none if nobody looks without being asked to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poll_ms: Option<u64>,
}

/// Which files of it are wanted, as [`Filter`] takes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Wanted {
    /// Endings of files.
    pub extensions: Vec<String>,
    /// Patterns of what is left out.
    pub ignore: Vec<String>,
    /// Folders.
    pub directories: Vec<String>,
    /// Where the manifest is.
    pub manifest: String,
}

impl Wanted {
    /// What takes these files.
    #[must_use]
    pub fn filter(&self) -> Filter {
        Filter::default()
            .extensions(&self.extensions)
            .ignore(&self.ignore)
            .directories(&self.directories)
            .manifest(&self.manifest)
    }
}

/// Where a policy is. Addresses are of `http` or `https`, and have no userinfo.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// A branch of a git repository.
    Git {
        /// The repository's address.
        url: String,
        /// The branch.
        branch: String,
    },
    /// `bundle.tar.gz` on a web server.
    Bundle {
        /// The address of its folder.
        url: String,
    },
    /// `bundle.tar.gz` in an S3-compatible bucket.
    S3 {
        /// The address of its folder.
        url: String,
        /// The bucket's region.
        region: String,
    },
}

impl Place {
    /// Its address, which may be shown.
    #[must_use]
    pub fn url(&self) -> &str {
        match self {
            Self::Git { url, .. } | Self::Bundle { url } | Self::S3 { url, .. } => url,
        }
    }

    /// The branch; none where there are none.
    #[must_use]
    pub fn branch(&self) -> Option<&str> {
        match self {
            Self::Git { branch, .. } => Some(branch),
            Self::Bundle { .. } | Self::S3 { .. } => None,
        }
    }
}

/// The user's name that goes with a token: GitHub wants this one, others take any.
pub const TOKEN_USER: &str = "x-access-token";

/// How to get in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// It is open.
    Open,
    /// With a name and a password.
    Basic {
        /// The name.
        username: String,
        /// The password, or the token that stands in its place.
        password: Secret,
    },
    /// With a token.
    Bearer(Secret),
    /// With an access key whose secret signs each request.
    Key {
        /// Its id.
        id: String,
        /// Its secret.
        secret: Secret,
    },
}

/// Why somebody wants a look. What is asked for and when decides whether there is one
/// (`functions/repository/src/record.rs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The Worker has just started: whatever happened meanwhile was not heard of.
    Start,
    /// Time has passed.
    Clock,
    /// A hint that there is something new.
    Hint,
    /// Somebody wants to be certain: what was refused is checked again, and what was published is
    /// published again, which is no change if the hub has it.
    Refresh,
}

/// What the object can be asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RepositoryRequest {
    /// Look whether there is something new.
    Look {
        /// What is followed from now on; none for what was said before, or in the settings for
        /// the default scope.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<Box<Source>>,
        /// Why.
        why: Why,
        /// Answer when the look is over; else at once.
        wait: bool,
    },
    /// How do things stand?
    State,
    /// Follow nothing any more.
    Forget,
}

/// What it answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RepositoryAnswer {
    /// A look has begun, or will when the one is over that is under way; or none is due.
    Noted,
    /// A look is over.
    Looked(Looked),
    /// How things stand.
    State(Box<RepositoryState>),
}

/// What came of a look that found nothing wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Looked {
    /// The policy's revision, as the hub calls it.
    pub hash: String,
    /// True if it is another policy than before.
    pub changed: bool,
    /// The number in the scope's log of the update that completes it.
    pub seq: Seq,
}

/// How a policy that is followed stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepositoryState {
    /// Where it comes from; none if nothing is followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// What was found there last: a commit, or a bundle's tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
    /// The revision that is the policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// True while a look is under way.
    #[serde(default)]
    pub looking: bool,
    /// When the last look began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_look: Option<Millis>,
    /// When the last look ended at which nothing was wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success: Option<Millis>,
    /// What was wrong at the last look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Problem>,
    /// Looks in a row at which something was wrong.
    #[serde(default)]
    pub failures: u32,
    /// When there will be a look without anybody asking for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_look: Option<Millis>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_travel_and_are_not_shown() {
        let access =
            Access::Basic { username: "u".to_owned(), password: Secret("hunter2".to_owned()) };
        assert!(!format!("{access:?}").contains("hunter2"));
        let text = serde_json::to_string(&access).unwrap();
        assert_eq!(serde_json::from_str::<Access>(&text).unwrap(), access);
    }
}
