//! The one retry policy: exponential, capped, jittered, without end.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(30);

/// How long to wait before each next try: 100 ms, doubling, up to 30 s, each with as much
/// again at random, so that a fleet does not come back in step.
#[derive(Debug)]
pub struct Backoff {
    seed: u64,
    delays: ExponentialBackoff,
}

impl Backoff {
    /// A policy before its first failure. The same seed gives the same waits.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, delays: delays(seed) }
    }

    /// Milliseconds to wait after one more failure.
    pub fn next_delay(&mut self) -> u64 {
        let delay = self.delays.next().unwrap_or(LONGEST);
        u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)
    }

    /// After a success the next failure is a first one again.
    pub fn reset(&mut self) {
        self.seed = self.seed.wrapping_add(1);
        self.delays = delays(self.seed);
    }
}

fn delays(seed: u64) -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(FIRST)
        .with_max_delay(LONGEST)
        .with_factor(2.0)
        .without_max_times()
        .with_jitter()
        .with_jitter_seed(seed)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_the_cap_and_begin_again_after_a_success() {
        let mut backoff = Backoff::new(7);
        let waits: Vec<u64> = (0..20).map(|_| backoff.next_delay()).collect();
        assert!((100..=200).contains(&waits[0]), "{waits:?}");
        assert!(waits.iter().all(|&wait| wait <= 60_000), "{waits:?}");
        assert!(waits[19] >= 30_000, "{waits:?}");
        backoff.reset();
        assert!(backoff.next_delay() <= 200);
    }

    #[test]
    fn the_same_seed_gives_the_same_waits() {
        let waits = |seed| {
            let mut backoff = Backoff::new(seed);
            (0..5).map(|_| backoff.next_delay()).collect::<Vec<_>>()
        };
        assert_eq!(waits(1), waits(1));
        assert_ne!(waits(1), waits(2));
    }
}
