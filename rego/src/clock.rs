//! What an evaluation may take.
//!
//! regorus asks for the time after every so many steps, and gives up when it is late. With `std` it
//! is told the time, or, if the evaluation has taken too much memory by then, one that is always too
//! late (`memory.rs`). Where the functions run no clock moves during a computation, so what is
//! counted there is work: a millisecond has gone by since it last asked.

use std::num::NonZeroU32;
use std::sync::Once;
use std::time::Duration;

use regorus::utils::limits::{ExecutionTimerConfig, TimeSource, monotonic_now, set_time_source};

/// Steps of the interpreter after which it asks for the time.
const STEPS: u32 = 1_000;

/// An engine's limit.
pub(crate) fn limit(limit: Duration) -> ExecutionTimerConfig {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // It fails only if there is one.
        let _ = set_time_source(&SOURCE);
    });
    let check_interval = NonZeroU32::MIN.saturating_add(STEPS - 1);
    ExecutionTimerConfig { limit, check_interval }
}

/// An evaluation begins on this thread. Without it, it counts on with the one before.
pub(crate) fn begin() {
    #[cfg(feature = "std")]
    {
        crate::memory::begin();
        crate::functions::chance::begin();
    }
}

/// What has gone by since some moment.
pub(crate) fn now() -> Duration {
    monotonic_now().unwrap_or_default()
}

#[cfg(feature = "std")]
static SOURCE: Clock = Clock(std::sync::LazyLock::new(std::time::Instant::now));

/// The time since it was first asked.
#[cfg(feature = "std")]
struct Clock(std::sync::LazyLock<std::time::Instant>);

#[cfg(feature = "std")]
impl TimeSource for Clock {
    fn now(&self) -> Option<Duration> {
        Some(if crate::memory::is_too_much() { Duration::MAX / 2 } else { self.0.elapsed() })
    }
}

#[cfg(not(feature = "std"))]
static SOURCE: Counter = Counter(std::sync::atomic::AtomicU32::new(0));

/// Counts how often it was asked. It begins again after some weeks of computing.
#[cfg(not(feature = "std"))]
struct Counter(std::sync::atomic::AtomicU32);

#[cfg(not(feature = "std"))]
impl TimeSource for Counter {
    fn now(&self) -> Option<Duration> {
        let asked = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Some(Duration::from_millis(asked.into()))
    }
}
