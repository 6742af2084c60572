//! What a token says about its bearer (`spec/opal-protocol.md` §3).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{DEFAULT_SCOPE, Problem, topic};

/// The role of a token's bearer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerType {
    /// Subscribes and reads.
    #[default]
    Client,
    /// Publishes, and may all that a client may.
    Datasource,
    /// Reads reports and statistics.
    Listener,
}

impl fmt::Display for PeerType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Datasource => "datasource",
            Self::Listener => "listener",
        })
    }
}

/// A verified token's claims: the registered ones and OPAL's.
///
/// The names of the fields are the names of the claims.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who: a UUID, as 32 hexadecimal digits.
    pub sub: String,
    /// This token's own id, what revocation names; a renewal keeps it. Absent in tokens that
    /// OPAL minted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// End of validity, in seconds since the epoch.
    pub exp: u64,
    /// When it was issued, in seconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iat: Option<u64>,
    /// The role. OPAL demands it only where a role matters; a token without it may do
    /// what every valid token may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_type: Option<PeerType>,
    /// If present, the bearer may subscribe and publish to exactly these topics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permitted_topics: Option<Vec<String>>,
    /// If present, the bearer may read these scopes besides the default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_scopes: Option<Vec<String>>,
}

impl Claims {
    /// Checks that the bearer has a role.
    ///
    /// # Errors
    /// 401 that names the role that is needed, in OPAL's words.
    pub fn require(&self, needed: PeerType) -> Result<(), Problem> {
        match self.peer_type {
            Some(actual) if actual == needed => Ok(()),
            Some(actual) => Err(Problem::unauthorized(format!(
                "Incorrect 'peer_type' claim for OPAL jwt token: {actual}, expected: {needed}; \
                 mint one with {{\"type\":\"{needed}\"}} at POST /token"
            ))),
            None => Err(Problem::unauthorized("Missing 'peer_type' claim for OPAL jwt token")),
        }
    }

    /// Checks that the bearer may read a scope: its token has to name it
    /// (`spec/opal-protocol.md` §2.5), but for the default one.
    ///
    /// # Errors
    /// 403.
    pub fn require_scope(&self, scope: &str) -> Result<(), Problem> {
        let mut allowed = self.allowed_scopes.iter().flatten();
        if scope == DEFAULT_SCOPE || allowed.any(|allowed| allowed == scope) {
            return Ok(());
        }
        Err(Problem::new(403, "Forbidden"))
    }

    /// Checks that the bearer may change a scope: a token that names scopes is for those alone.
    ///
    /// # Errors
    /// 403.
    pub fn require_change(&self, scope: &str) -> Result<(), Problem> {
        match &self.allowed_scopes {
            Some(allowed) if !allowed.iter().any(|allowed| allowed == scope) => {
                Err(Problem::new(403, "Forbidden"))
            }
            _ => Ok(()),
        }
    }

    /// True if the bearer may use one of the topics that something for `topics` is published to.
    #[must_use]
    pub fn permits_any(&self, topics: &[String]) -> bool {
        let published = || topics.iter().flat_map(|topic| topic::expand(topic));
        self.permitted_topics.as_ref().is_none_or(|permitted| {
            published().any(|topic| permitted.iter().any(|permitted| permitted == topic))
        })
    }

    /// Checks that the bearer may use all of `topics`.
    ///
    /// # Errors
    /// 401 naming the first topic that is not permitted.
    pub fn require_topics<'t>(
        &self,
        topics: impl IntoIterator<Item = &'t str>,
    ) -> Result<(), Problem> {
        let Some(allowed) = &self.permitted_topics else {
            return Ok(());
        };
        // Compared as plain strings (`spec/opal-protocol.md` §3.2).
        let mut topics = topics.into_iter();
        match topics.find(|topic| !allowed.iter().any(|permitted| permitted == topic)) {
            None => Ok(()),
            Some(outside) => Err(Problem::unauthorized(format!(
                "topic `{outside}` is not among the token's permitted_topics"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permitted_topics_are_compared_as_strings() {
        let claims = Claims {
            sub: String::new(),
            jti: None,
            exp: 0,
            iat: None,
            peer_type: None,
            permitted_topics: Some(vec!["users".to_owned()]),
            allowed_scopes: None,
        };
        assert_eq!(claims.require_topics(["users"]), Ok(()));
        let problem = claims.require_topics(["users", "users/eu"]).unwrap_err();
        assert!(problem.detail.contains("`users/eu`"), "{problem}");
        let topics = |topic: &str| vec!["other".to_owned(), topic.to_owned()];
        assert!(claims.permits_any(&topics("users/eu")) && !claims.permits_any(&topics("user")));
        let anything = Claims { permitted_topics: None, ..claims };
        assert!(anything.permits_any(&topics("user")));
        assert_eq!(anything.require_topics(["users/eu"]), Ok(()));
    }
}
