//! The time that an evaluation may take.
//!
//! With `std` that is time. Where the functions run no clock moves during a computation, so what
//! is counted there is work: regorus asks for the time after every so many steps, and is told
//! that a millisecond has gone by since it last asked.

use std::num::NonZeroU32;
use std::time::Duration;

use regorus::utils::limits::{ExecutionTimerConfig, monotonic_now};

/// Steps of the interpreter after which it asks for the time.
const STEPS: u32 = 1_000;

/// An engine's limit.
pub(crate) fn limit(limit: Duration) -> ExecutionTimerConfig {
    #[cfg(not(feature = "std"))]
    counting::install();
    let check_interval = NonZeroU32::MIN.saturating_add(STEPS - 1);
    ExecutionTimerConfig { limit, check_interval }
}

/// What has gone by since some moment.
pub(crate) fn now() -> Duration {
    monotonic_now().unwrap_or_default()
}

#[cfg(not(feature = "std"))]
mod counting {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use regorus::utils::limits::{TimeSource, set_time_source};

    /// Counts how often it was asked. It begins again after some weeks of computing.
    struct Counter(AtomicU32);

    impl TimeSource for Counter {
        fn now(&self) -> Option<Duration> {
            let asked = self.0.fetch_add(1, Ordering::Relaxed);
            Some(Duration::from_millis(asked.into()))
        }
    }

    static COUNTER: Counter = Counter(AtomicU32::new(0));

    /// Makes it regorus's clock, if it is not yet.
    pub(super) fn install() {
        let _ = set_time_source(&COUNTER);
    }
}
