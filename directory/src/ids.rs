//! Ids: UUIDs that follow from names, so that nobody has to remember them and a thing that comes
//! back has the one that it had.

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use uuid::Builder;

/// What Permit calls a scope: an environment of a project of an organisation. A scope has one of
/// each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ScopeIds {
    /// The organisation's.
    pub organization_id: String,
    /// The project's.
    pub project_id: String,
    /// The environment's.
    pub environment_id: String,
}

impl ScopeIds {
    /// The ids of a scope.
    #[must_use]
    pub fn of(scope: &str) -> Self {
        let id = |kind| derive(scope, kind, "");
        Self {
            organization_id: id("organization"),
            project_id: id("project"),
            environment_id: id("environment"),
        }
    }
}

/// The id of a thing of a scope: a UUID of version 8 (RFC 9562 §5.8).
pub(crate) fn derive(scope: &str, kind: &str, key: &str) -> String {
    let mut hash = Sha256::new();
    // With its length, no part can be taken for the beginning of the next.
    for part in [scope, kind, key] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let mut bytes = [0; 16];
    for (byte, hashed) in bytes.iter_mut().zip(hash.finalize()) {
        *byte = hashed;
    }
    Builder::from_custom_bytes(bytes).into_uuid().to_string()
}
