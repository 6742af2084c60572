//! How fresh what the engine has is: since when the agent has not known itself current.
//!
//! It is current while it is connected to the hub and everything that it has heard of has taken
//! effect. Policies read for how long it has not been as `data.girasol.lag_seconds`, which is
//! written once a second while it is not 0, and never while it is.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tokio::time::Instant;

use crate::engine::Engine;

/// How often the lag is told to the engine while there is one.
const EVERY: Duration = Duration::from_secs(1);

/// Since when the agent has not been current.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Current {
    /// It is.
    Now,
    /// It was until then.
    Until(Instant),
    /// It never was since it began: it may know of nothing that happened in any time.
    Never,
}

/// What who decides says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fresh {
    pub(crate) current: Current,
    /// The revision of the hub's policies that the engine has.
    pub(crate) revision: Option<Arc<str>>,
}

/// Who asks holds one.
pub(crate) type Freshness = watch::Receiver<Fresh>;

/// The driver's end.
pub(crate) struct Teller(watch::Sender<Fresh>);

/// Both ends.
pub(crate) fn channel() -> (Teller, Freshness) {
    let (sender, receiver) = watch::channel(Fresh { current: Current::Never, revision: None });
    (Teller(sender), receiver)
}

// === impl Teller ===

impl Teller {
    /// What the core says after a step.
    pub(super) fn tell(&self, is_current: bool, revision: Option<&str>) {
        self.0.send_if_modified(|fresh| {
            let current = match (is_current, fresh.current) {
                (true, _) => Current::Now,
                (false, Current::Now) => Current::Until(Instant::now()),
                (false, before) => before,
            };
            let same = fresh.revision.as_deref() == revision;
            if same && current == fresh.current {
                return false;
            }
            fresh.current = current;
            if !same {
                fresh.revision = revision.map(Arc::from);
            }
            true
        });
    }
}

// === impl Current ===

impl Current {
    /// For how long the agent has not been current. If it never was, that is since 1970: no limit
    /// that a policy has lets it pass.
    pub(crate) fn age(self) -> Duration {
        match self {
            Self::Now => Duration::ZERO,
            Self::Until(then) => then.elapsed(),
            Self::Never => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::MAX),
        }
    }
}

/// Tells the engine of the lag until the process ends.
pub(super) async fn keep_lag(engine: Arc<dyn Engine>, mut freshness: Freshness) {
    // What the engine was told last; it has nothing before.
    let mut told = None;
    loop {
        let current = freshness.borrow_and_update().current;
        let lag = current.age().as_secs();
        if told != Some(lag) {
            told = match engine.tell_lag(lag).await {
                Ok(()) => Some(lag),
                Err(error) => {
                    tracing::debug!(%error, "the engine was not told how fresh its data is");
                    None
                }
            };
        }
        let changed = if current == Current::Now && told.is_some() {
            freshness.changed().await
        } else {
            tokio::time::timeout(EVERY, freshness.changed()).await.unwrap_or(Ok(()))
        };
        if changed.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_was_never_current_is_older_than_any_limit() {
        let (_teller, freshness) = channel();
        assert!(freshness.borrow().current.age() > Duration::from_secs(365 * 24 * 60 * 60));
    }

    #[test]
    fn age_counts_from_when_the_agent_was_last_current() {
        let (teller, mut freshness) = channel();
        let mut current = || freshness.borrow_and_update().current;
        teller.tell(false, None);
        assert_eq!(current(), Current::Never);
        teller.tell(true, None);
        assert_eq!((current(), current().age()), (Current::Now, Duration::ZERO));
        teller.tell(false, None);
        let lost = current();
        assert!(matches!(lost, Current::Until(_)));
        // Whatever is told meanwhile.
        teller.tell(false, Some("r2"));
        assert_eq!(current(), lost);
        teller.tell(true, Some("r2"));
        assert_eq!(current(), Current::Now);
    }

    #[test]
    fn nobody_is_woken_by_what_is_the_same() {
        let (teller, mut freshness) = channel();
        teller.tell(true, Some("r1"));
        assert!(freshness.has_changed().unwrap());
        freshness.mark_unchanged();
        teller.tell(true, Some("r1"));
        assert!(!freshness.has_changed().unwrap());
    }
}
