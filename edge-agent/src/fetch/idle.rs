//! Connections that are kept between fetches.
//!
//! A connection is taken out to be used and put back only when its answer was read to the end.
//! One whose fetch was given up is simply gone: nobody can meet what was left in it. How many
//! fetches there are at once is not decided here.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Connections kept for one source.
const PER_SOURCE: usize = 4;
/// Connections kept in all.
const IN_ALL: usize = 64;
/// How long one is kept: shorter than servers and firewalls wait.
const REST: Duration = Duration::from_secs(60);

/// Connections that nobody uses now, by what tells sources apart.
pub(super) struct Idle<C> {
    kept: Mutex<HashMap<String, Vec<(Instant, C)>>>,
}

// === impl Idle ===

impl<C> Default for Idle<C> {
    fn default() -> Self {
        Self { kept: Mutex::default() }
    }
}

impl<C> Idle<C> {
    /// The connection to `source` that was used last, if there is one.
    pub(super) fn take(&self, source: &str) -> Option<C> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        forget_old(&mut kept);
        kept.get_mut(source)?.pop().map(|(_, connection)| connection)
    }

    /// Keeps one that is ready for another question.
    pub(super) fn put(&self, source: String, connection: C) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        forget_old(&mut kept);
        let in_all: usize = kept.values().map(Vec::len).sum();
        if in_all < IN_ALL {
            let own = kept.entry(source).or_default();
            if own.len() < PER_SOURCE {
                own.push((Instant::now(), connection));
            }
        }
    }

    /// Forgets those to `source`: one of them turned out to be dead.
    pub(super) fn forget(&self, source: &str) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.remove(source);
    }
}

fn forget_old<C>(kept: &mut HashMap<String, Vec<(Instant, C)>>) {
    kept.retain(|_, own| {
        own.retain(|(since, _)| since.elapsed() < REST);
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
        assert!(kept.values().all(|own| own.len() <= PER_SOURCE));
        assert_eq!(kept.values().map(Vec::len).sum::<usize>(), IN_ALL);
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
