//! What is known of a source: when to look at it, and what has become of what was found there.
//!
//! | somebody wants a look, because … | there is one if … |
//! |---|---|
//! | the Worker started | there was none in the last minute |
//! | time has passed | one is due by the interval, or a failure is to be tried again |
//! | there is a hint (webhook, changed source) | always |
//! | somebody asks for a refresh | always, and all is checked and published again |

use protocol::repository::{Looked, RepositoryState, Source, Wanted, Why};
use protocol::{Millis, Problem, Seq};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// A Worker that starts does not look again so soon: there may be many of them.
const START_GAP_MS: u64 = 60_000;
/// A look that has not ended by then never will: the object was moved meanwhile. It is begun anew.
const LOOK_WITHIN_MS: u64 = 300_000;
/// How long after the first failure it is tried again; doubled after each.
const FIRST_RETRY_MS: u64 = 5_000;
/// The longest time between two tries.
const LONGEST_RETRY_MS: u64 = 300_000;
/// So many failures in a row are tried again: for about an hour. Then it takes the interval, a
/// hint, or somebody who asks.
const MAX_RETRIES: u32 = 18;

/// What is known of a source. It is kept as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    source: Option<Source>,
    /// The commit, or the bundle's tag, that was found last.
    head: Option<String>,
    /// What has become of it; none if that is still to be seen.
    settled: Option<Settled>,
    /// The revision that was published last, as the hub calls it.
    revision: Option<String>,
    /// The number in the log of the update that completes it.
    seq: Seq,
    /// When the look began that is under way.
    begun: Option<Millis>,
    last_look: Option<Millis>,
    last_success: Option<Millis>,
    error: Option<Problem>,
    /// The error may go away by itself.
    is_temporary: bool,
    failures: u32,
}

/// What has become of what was found, with the files that were wanted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Settled {
    wanted: Wanted,
    /// Why it is not the policy; none if it is.
    refused: Option<Problem>,
}

/// What is to be done with what was found.
#[derive(Clone, Debug, PartialEq)]
pub enum Todo {
    /// Check and publish it.
    Publish,
    /// Nothing; this is the answer.
    Nothing(Result<Looked, Problem>),
}

impl Record {
    /// What is followed.
    #[must_use]
    pub fn source(&self) -> Option<&Source> {
        self.source.as_ref()
    }

    /// Follows this from now on. True if it is at another place than before: what is kept of
    /// that is of no use.
    pub fn follow(&mut self, source: Option<Source>) -> bool {
        let place = |source: &Option<Source>| source.as_ref().map(|it| it.place.clone());
        let is_elsewhere = place(&self.source) != place(&source);
        if is_elsewhere {
            *self = Self { begun: self.begun, ..Self::default() };
        }
        self.source = source;
        is_elsewhere
    }

    /// True if there is to be a look.
    #[must_use]
    pub fn is_wanted(&self, why: Why, now: Millis) -> bool {
        match why {
            Why::Start => self.last_look.is_none_or(|last| now.since(last) >= START_GAP_MS),
            Why::Clock => self.alarm().is_some_and(|due| due <= now),
            Why::Hint | Why::Refresh => true,
        }
    }

    /// A look begins.
    pub fn begin(&mut self, now: Millis) {
        if self.begun.is_some() {
            // Whatever ended it has left no word.
            let why = "the look before this one did not end; it may take more memory than there is";
            self.failed(Failure::Passing(Problem::unavailable(why)));
        }
        self.begun = Some(now);
        self.last_look = Some(now);
    }

    /// What the source may take as known, whatever else is: git's objects are kept.
    #[must_use]
    pub fn head(&self) -> Option<&str> {
        self.head.as_deref()
    }

    /// What the source need not send again, where nothing of it is kept.
    #[must_use]
    pub fn settled_head(&self, is_thorough: bool) -> Option<&str> {
        self.head().filter(|_| !is_thorough && self.settled().is_some())
    }

    /// This is what is there.
    pub fn found(&mut self, head: &str, is_thorough: bool) -> Todo {
        if self.head.as_deref() != Some(head) {
            self.head = Some(head.to_owned());
            self.settled = None;
        }
        let Some(settled) = self.settled().filter(|_| !is_thorough) else { return Todo::Publish };
        Todo::Nothing(match settled.refused.clone() {
            Some(refused) => Err(refused),
            None => {
                let hash = self.revision.clone().unwrap_or_default();
                Ok(Looked { hash, changed: false, seq: self.seq })
            }
        })
    }

    /// What was kept of what was found is not complete: it is to be fetched again.
    pub fn lost(&mut self) {
        (self.head, self.settled) = (None, None);
    }

    /// What was found is the policy.
    pub fn published(&mut self, now: Millis, looked: Looked) -> Looked {
        self.settle(None);
        self.begun = None;
        (self.revision, self.seq) = (Some(looked.hash.clone()), looked.seq);
        self.last_success = Some(now);
        (self.error, self.is_temporary, self.failures) = (None, false, 0);
        looked
    }

    /// The look did not end with a policy: the one before stays.
    pub fn failed(&mut self, failure: Failure) -> Problem {
        let (why, is_temporary) = match failure {
            Failure::Passing(why) => (why, true),
            Failure::Lasting(why) => (why, false),
            Failure::Refused(why) => {
                self.settle(Some(why.clone()));
                (why, false)
            }
        };
        self.begun = None;
        self.failures = self.failures.saturating_add(1);
        self.error = Some(why.clone());
        self.is_temporary = is_temporary;
        why
    }

    /// The look was of something that is not followed any more.
    pub fn dropped(&mut self) {
        self.begun = None;
    }

    /// When something has to be done without anybody asking for it.
    #[must_use]
    pub fn alarm(&self) -> Option<Millis> {
        let is_tried = self.source.is_some() && self.failures <= MAX_RETRIES;
        match self.begun.filter(|_| is_tried) {
            Some(begun) => Some(begun.plus(LOOK_WITHIN_MS)),
            None => self.next_look(),
        }
    }

    /// How things stand.
    #[must_use]
    pub fn state(&self) -> RepositoryState {
        RepositoryState {
            place: self.source.as_ref().map(|source| source.place.clone()),
            head: self.head.clone(),
            revision: self.revision.clone(),
            looking: self.begun.is_some(),
            last_look: self.last_look,
            last_success: self.last_success,
            error: self.error.clone(),
            failures: self.failures,
            next_look: self.next_look(),
        }
    }

    fn next_look(&self) -> Option<Millis> {
        let (source, last) = (self.source.as_ref()?, self.last_look?);
        let poll = source.poll_ms.map(|interval| last.plus(interval));
        let retry = (self.is_temporary && self.failures <= MAX_RETRIES).then(|| {
            let doubled = 1_u64.checked_shl(self.failures.saturating_sub(1)).unwrap_or(u64::MAX);
            last.plus(FIRST_RETRY_MS.saturating_mul(doubled).min(LONGEST_RETRY_MS))
        });
        poll.into_iter().chain(retry).min()
    }

    /// What has become of what was found, if the same files were wanted.
    fn settled(&self) -> Option<&Settled> {
        let wanted = self.source.as_ref().map(|source| &source.wanted);
        self.settled.as_ref().filter(|settled| Some(&settled.wanted) == wanted)
    }

    fn settle(&mut self, refused: Option<Problem>) {
        let wanted = self.source.as_ref().map(|source| source.wanted.clone());
        self.settled = wanted.map(|wanted| Settled { wanted, refused });
    }
}

#[cfg(test)]
mod tests {
    use protocol::repository::{Access, Place};

    use super::*;

    const NOW: Millis = Millis(1_000_000);

    fn source(branch: &str, poll_ms: Option<u64>) -> Source {
        Source {
            place: Place::Git { url: "https://h/x".to_owned(), branch: branch.to_owned() },
            access: Access::Open,
            wanted: Wanted::default(),
            poll_ms,
        }
    }

    fn following(poll_ms: Option<u64>) -> Record {
        let mut record = Record::default();
        assert!(record.follow(Some(source("main", poll_ms))));
        record
    }

    fn looked(hash: &str) -> Looked {
        Looked { hash: hash.to_owned(), changed: true, seq: Seq(7) }
    }

    #[test]
    fn a_start_looks_unless_somebody_just_did() {
        let mut record = following(None);
        assert!(record.is_wanted(Why::Start, NOW));
        record.begin(NOW);
        assert!(!record.is_wanted(Why::Start, NOW.plus(59_999)));
        assert!(record.is_wanted(Why::Start, NOW.plus(60_000)));
        assert!(record.is_wanted(Why::Hint, NOW) && record.is_wanted(Why::Refresh, NOW));
    }

    #[test]
    fn without_an_interval_nobody_looks_again_unasked() {
        let mut record = following(None);
        record.begin(NOW);
        record.found("c1", false);
        record.published(NOW, looked("c1"));
        assert_eq!(record.alarm(), None);
        let mut record = following(Some(30_000));
        record.begin(NOW);
        record.found("c1", false);
        record.published(NOW.plus(400), looked("c1"));
        assert_eq!(record.alarm(), Some(NOW.plus(30_000)));
        assert!(!record.is_wanted(Why::Clock, NOW.plus(29_999)));
        assert!(record.is_wanted(Why::Clock, NOW.plus(30_000)));
    }

    #[test]
    fn what_may_pass_is_tried_again_later_each_time_and_not_for_ever() {
        let mut record = following(None);
        let down = || Failure::Passing(Problem::unavailable("down"));
        let mut waits = vec![];
        for _ in 0..MAX_RETRIES {
            record.begin(NOW);
            record.failed(down());
            waits.push(record.alarm().unwrap().since(NOW) / 1_000);
        }
        assert_eq!(waits.get(..8).unwrap(), [5, 10, 20, 40, 80, 160, 300, 300]);
        record.failed(down());
        assert_eq!(record.alarm(), None);
        let mut polled = following(Some(7_000));
        polled.begin(NOW);
        for (failures, seconds) in [(1, 5), (2, 7), (30, 7)] {
            polled.failures = failures - 1;
            polled.failed(down());
            assert_eq!(polled.alarm(), Some(NOW.plus(seconds * 1_000)));
        }
        let mut gone = following(None);
        gone.begin(NOW);
        gone.failed(Failure::Lasting(Problem::conflict("no branch")));
        assert_eq!(gone.alarm(), None, "nobody mends that by waiting");
    }

    #[test]
    fn a_look_that_was_lost_is_begun_anew() {
        let mut record = following(None);
        record.begin(NOW);
        assert_eq!(record.alarm(), Some(NOW.plus(LOOK_WITHIN_MS)));
        assert!(record.is_wanted(Why::Clock, NOW.plus(LOOK_WITHIN_MS)));
    }

    #[test]
    fn what_was_published_is_not_published_again_unless_somebody_asks() {
        let mut record = following(None);
        assert_eq!(record.found("c1", false), Todo::Publish);
        assert_eq!(record.settled_head(false), None, "it may not be published yet");
        record.published(NOW, looked("c1"));
        let same = Looked { hash: "c1".to_owned(), changed: false, seq: Seq(7) };
        assert_eq!(record.found("c1", false), Todo::Nothing(Ok(same)));
        assert_eq!(record.settled_head(false), Some("c1"));
        assert_eq!(record.found("c1", true), Todo::Publish);
        assert_eq!(record.settled_head(true), None);
        assert_eq!(record.found("c2", false), Todo::Publish);
    }

    #[test]
    fn what_was_refused_stays_refused_and_what_was_published_stays_the_policy() {
        let mut record = following(None);
        record.found("c1", false);
        record.published(NOW, looked("c1"));
        record.found("c2", false);
        let refused = Problem::invalid("a.rego:1:1: no");
        record.failed(Failure::Refused(refused.clone()));
        assert_eq!(record.found("c2", false), Todo::Nothing(Err(refused)));
        let state = record.state();
        assert_eq!((state.head.as_deref(), state.revision.as_deref()), (Some("c2"), Some("c1")));
        assert_eq!((state.failures, state.error.unwrap().status), (1, 422));
        assert_eq!(record.found("c3", false), Todo::Publish);
        record.published(NOW, looked("c3"));
        assert_eq!(record.state().error, None);
    }

    #[test]
    fn a_publication_that_was_lost_is_made_again() {
        let mut record = following(None);
        record.begin(NOW);
        record.found("c1", false);
        record.failed(Failure::of(Problem::unavailable("the hub did not answer")));
        assert_eq!(record.found("c1", false), Todo::Publish);
    }

    #[test]
    fn other_wanted_files_make_another_policy_of_the_same_commit() {
        let mut record = following(None);
        record.found("c1", false);
        record.published(NOW, looked("c1"));
        let mut other = source("main", None);
        other.wanted.directories = vec!["app".to_owned()];
        assert!(!record.follow(Some(other)), "the objects are still of use");
        assert_eq!(record.found("c1", false), Todo::Publish);
    }

    #[test]
    fn a_look_that_never_ended_counts_as_a_failure_and_not_for_ever() {
        let mut record = Record::default();
        record.follow(Some(source("main", None)));
        record.begin(NOW);
        for failures in 1..=MAX_RETRIES + 1 {
            assert_eq!(record.alarm(), Some(NOW.plus(LOOK_WITHIN_MS)));
            record.begin(NOW);
            assert_eq!(record.state().failures, failures);
            assert!(record.state().error.is_some_and(|it| it.detail.contains("did not end")));
        }
        assert_eq!(record.alarm(), None);
    }

    #[test]
    fn where_nothing_is_followed_there_is_no_alarm() {
        let mut record = Record::default();
        record.follow(Some(source("main", Some(30_000))));
        record.begin(NOW);
        record.follow(None);
        assert_eq!(record.alarm(), None);
    }

    #[test]
    fn another_branch_is_begun_from_nothing() {
        let mut record = following(None);
        record.found("c1", false);
        record.published(NOW, looked("c1"));
        assert!(!record.follow(Some(source("main", Some(1)))));
        assert_eq!(record.head(), Some("c1"));
        assert!(record.follow(Some(source("other", None))));
        assert_eq!((record.head(), record.state().revision), (None, None));
        assert!(record.follow(None));
        assert_eq!(record.alarm(), None);
    }
}
