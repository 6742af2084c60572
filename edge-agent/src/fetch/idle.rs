//! Connections that are kept between fetches.
//!
//! A connection is taken out to be used and put back only when its answer was read to the end.
//! One whose fetch was given up is simply gone: nobody can meet what was left in it. How many
//! fetches there are at once is not decided here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

/// Connections kept for one source.
const PER_SOURCE: usize = 4;
/// Connections kept in all.
const IN_ALL: usize = 64;
/// How long one is kept: shorter than servers and firewalls wait.
const REST: Duration = Duration::from_secs(60);

/// Connections that nobody uses now, by what tells sources apart.
pub(super) struct Idle<C> {
    kept: Arc<Mutex<Kept<C>>>,
}

struct Kept<C> {
    by_source: HashMap<String, Vec<(Instant, C)>>,
    rest: Duration,
    /// Somebody will look after those that nobody takes.
    is_swept: bool,
}

// === impl Idle ===

impl<C> Default for Idle<C> {
    fn default() -> Self {
        Self::resting(REST)
    }
}

impl<C> Idle<C> {
    fn resting(rest: Duration) -> Self {
        let kept = Kept { by_source: HashMap::new(), rest, is_swept: false };
        Self { kept: Arc::new(Mutex::new(kept)) }
    }
}

impl<C: Send + 'static> Idle<C> {
    /// The connection to `source` that was used last, if there is one.
    pub(super) fn take(&self, source: &str) -> Option<C> {
        let mut kept = locked(&self.kept);
        forget_old(&mut kept);
        kept.by_source.get_mut(source)?.pop().map(|(_, connection)| connection)
    }

    /// Keeps one that is ready for another question.
    pub(super) fn put(&self, source: String, connection: C) {
        let mut kept = locked(&self.kept);
        forget_old(&mut kept);
        let in_all: usize = kept.by_source.values().map(Vec::len).sum();
        if in_all < IN_ALL {
            let own = kept.by_source.entry(source).or_default();
            if own.len() < PER_SOURCE {
                own.push((Instant::now(), connection));
            }
        }
        if !kept.is_swept
            && let Ok(runtime) = Handle::try_current()
        {
            kept.is_swept = true;
            runtime.spawn(sweep(Arc::clone(&self.kept)));
        }
    }

    /// Forgets those to `source`: one of them turned out to be dead.
    pub(super) fn forget(&self, source: &str) {
        locked(&self.kept).by_source.remove(source);
    }
}

/// Closes what nobody takes, and ends when there is nothing left: with no fetches there is no work.
async fn sweep<C>(kept: Arc<Mutex<Kept<C>>>) {
    let rest = locked(&kept).rest;
    loop {
        tokio::time::sleep(rest).await;
        let mut kept = locked(&kept);
        forget_old(&mut kept);
        if kept.by_source.is_empty() {
            kept.is_swept = false;
            return;
        }
    }
}

fn locked<C>(kept: &Mutex<Kept<C>>) -> MutexGuard<'_, Kept<C>> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

fn forget_old<C>(kept: &mut Kept<C>) {
    let rest = kept.rest;
    kept.by_source.retain(|_, own| {
        own.retain(|(since, _)| since.elapsed() < rest);
        !own.is_empty()
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_is_taken_once_and_by_its_own_source() {
        let idle = Idle::default();
        idle.put("a".to_owned(), 1);
        idle.put("a".to_owned(), 2);
        assert_eq!(idle.take("b"), None);
        assert_eq!(idle.take("a"), Some(2));
        assert_eq!(idle.take("a"), Some(1));
        assert_eq!(idle.take("a"), None);
    }

    #[test]
    fn only_so_many_are_kept() {
        let idle = Idle::default();
        for source in 0..IN_ALL {
            for number in 0..2 * PER_SOURCE {
                idle.put(source.to_string(), number);
            }
        }
        let kept = idle.kept.lock().unwrap();
        assert!(kept.by_source.values().all(|own| own.len() <= PER_SOURCE));
        assert_eq!(kept.by_source.values().map(Vec::len).sum::<usize>(), IN_ALL);
    }

    #[tokio::test]
    async fn what_nobody_takes_is_closed_after_a_while() {
        let rest = Duration::from_millis(20);
        let idle = Idle::resting(rest);
        let (connection, closed) = tokio::sync::oneshot::channel::<()>();
        idle.put("a".to_owned(), connection);
        let began = Instant::now();
        closed.await.unwrap_err();
        assert!(began.elapsed() >= rest);
        assert!(idle.take("a").is_none());
    }

    #[test]
    fn those_of_a_dead_server_are_forgotten() {
        let idle = Idle::default();
        idle.put("a".to_owned(), 1);
        idle.put("b".to_owned(), 2);
        idle.forget("a");
        assert_eq!((idle.take("a"), idle.take("b")), (None, Some(2)));
    }
}
