//! Tokens that were verified before: a signature costs more than the rest of a request, and
//! a publisher sends the same token with each.
//!
//! Kept are the claims, by the token's digest; the token itself is not.

use std::collections::BTreeMap;

use protocol::Claims;

/// Tokens of one generation; two are kept.
const GENERATION: usize = 512;

/// A token whose signature and claims are good. Whether it is valid *now* is still to be
/// checked each time.
#[derive(Clone)]
pub(crate) struct Verified {
    pub(crate) claims: Claims,
    /// The start of validity, in seconds since the epoch.
    pub(crate) not_before: u64,
}

type Generation = BTreeMap<[u8; 32], Verified>;

/// A bounded memory of verified tokens. When the newer generation is full it becomes the
/// older one, and what was only in that is forgotten: tokens in use stay.
#[derive(Default)]
pub(crate) struct Seen {
    newer: Generation,
    older: Generation,
}

impl Seen {
    /// What is known of the token with this SHA-256.
    pub(crate) fn find(&mut self, digest: &[u8; 32]) -> Option<Verified> {
        if let Some(verified) = self.newer.get(digest) {
            return Some(verified.clone());
        }
        let verified = self.older.remove(digest)?;
        self.keep(*digest, verified.clone());
        Some(verified)
    }

    pub(crate) fn keep(&mut self, digest: [u8; 32], verified: Verified) {
        if self.newer.len() >= GENERATION {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(digest, verified);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: usize) -> [u8; 32] {
        crate::digest(&number.to_string())
    }

    fn verified(number: usize) -> Verified {
        let claims = serde_json::json!({"sub": number.to_string(), "exp": 1});
        Verified { claims: serde_json::from_value(claims).unwrap(), not_before: 0 }
    }

    #[test]
    fn tokens_in_use_are_remembered_and_others_make_room() {
        let mut seen = Seen::default();
        seen.keep(digest(0), verified(0));
        for number in 1..10 * GENERATION {
            seen.keep(digest(number), verified(number));
            assert_eq!(seen.find(&digest(0)).unwrap().claims.sub, "0");
            assert!(seen.newer.len() + seen.older.len() <= 2 * GENERATION);
        }
        assert!(seen.find(&digest(1)).is_none());
        assert!(seen.find(&digest(10 * GENERATION - 1)).is_some());
    }
}
