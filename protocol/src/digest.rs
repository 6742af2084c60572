//! What has been published to a topic, in sixteen bytes: hub and agent each keep the digest
//! of what they have seen, and compare.
//!
//! It covers every update that was ever accepted for the topic, also those that compaction
//! has dropped since. So an agent that was there all the time has exactly the hub's digest;
//! one that replayed a compacted log has seen fewer updates and takes the hub's over.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::Seq;

/// The digest of each topic.
pub type TopicDigests = BTreeMap<String, TopicDigest>;

/// The updates of one topic up to some seq.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicDigest {
    /// How many.
    pub updates: u64,
    /// Which: [`update_hash`] of all of them, combined by exclusive or.
    pub hash: u64,
}

impl TopicDigest {
    /// Adds one update.
    pub fn add(&mut self, seq: Seq, id: &str) {
        self.updates = self.updates.saturating_add(1);
        self.hash ^= update_hash(seq, id);
    }
}

/// The hash of one update by its number and id; the id stands for the content, since the hub
/// refuses another content under the same id. 52 bits of SHA-256, so that JavaScript and
/// SQLite keep it exactly.
#[must_use]
pub fn update_hash(seq: Seq, id: &str) -> u64 {
    let hash = Sha256::new().chain_update(seq.0.to_be_bytes()).chain_update(id).finalize();
    hash.iter().take(8).fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte)) >> 12
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_tells_numbers_and_ids_apart_and_fits_a_javascript_number() {
        let digest = |updates: &[(u64, &str)]| {
            let mut digest = TopicDigest::default();
            updates.iter().for_each(|(seq, id)| digest.add(Seq(*seq), id));
            digest
        };
        assert_eq!(digest(&[]), TopicDigest { updates: 0, hash: 0 });
        assert_ne!(digest(&[(1, "a")]), digest(&[(2, "a")]));
        assert_ne!(digest(&[(1, "a")]), digest(&[(1, "b")]));
        assert_ne!(digest(&[(1, "a"), (2, "b")]), digest(&[(1, "b"), (2, "a")]));
        assert!((1..1_000).all(|seq| update_hash(Seq(seq), "x") < 1 << 52));
    }
}
