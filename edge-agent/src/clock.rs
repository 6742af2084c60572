//! The time, as the hub and the logs have it.

use std::time::{SystemTime, UNIX_EPOCH};

use protocol::Millis;

/// This moment.
pub(crate) fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
