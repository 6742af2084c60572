//! Keys for references: who was sent one instead of an entry's data may fetch that data, and
//! nothing else. They are told from the log's secret, so none has to be kept.

use hmac::{Hmac, Mac as _};
use protocol::opal::data::{WireEntry, reference_path};
use protocol::{Seq, hex};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::log::Log;

/// Puts a reference in the place of an entry's inline data. It leads to `origin`, which is how
/// the client reached us.
pub(crate) fn refer(
    log: &dyn Log,
    scope: &str,
    origin: &str,
    (seq, place): (Seq, u32),
    entry: &mut WireEntry<'_>,
) {
    let path = reference_path(scope, seq, place);
    entry.refer(format!("{origin}{path}"), &key_for(log, seq, place));
}

/// The key for the inline data of an entry, 64 hexadecimal digits.
fn key_for(log: &dyn Log, seq: Seq, place: u32) -> String {
    key(log.secret(), &format!("data of {}/{seq}/{place}", log.epoch()))
}

/// True if `given` is that key. How long that takes says nothing about the key.
pub(crate) fn is_key_for(log: &dyn Log, seq: Seq, place: u32, given: &str) -> bool {
    key_for(log, seq, place).as_bytes().ct_eq(given.as_bytes()).into()
}

/// HMAC-SHA-256 of a purpose, in hex.
pub(crate) fn key(secret: &str, purpose: &str) -> String {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else {
        return String::new();
    };
    mac.update(purpose.as_bytes());
    hex(&mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory_log::MemoryLog;

    #[test]
    fn a_key_is_for_one_entry_of_one_log() {
        let (log, other) = (MemoryLog::new("e1"), MemoryLog::new("e2"));
        let key = key_for(&log, Seq(7), 1);
        assert_eq!(key.len(), 64);
        assert!(is_key_for(&log, Seq(7), 1, &key));
        assert!(!is_key_for(&log, Seq(7), 2, &key));
        assert!(!is_key_for(&log, Seq(71), 1, &key));
        // The log begins anew when its scope is made again, with the same secret.
        assert!(!is_key_for(&other, Seq(7), 1, &key));
        assert!(!is_key_for(&log, Seq(7), 1, ""));
    }
}
