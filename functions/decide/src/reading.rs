//! Reading a part of the log, page by page: nothing of it is taken before the head is reached, and
//! all of it is of one life of the log, without a gap.

use protocol::Seq;
use protocol::internal::LogPage;
use protocol::socket::Delivery;

/// Pages, one after the other.
pub(crate) struct Reading {
    /// Which life of the log is read.
    epoch: Option<String>,
    after: Seq,
    updates: Vec<Delivery>,
}

/// All up to the head.
pub(crate) struct Read {
    /// Which life of the log was read.
    pub(crate) epoch: String,
    /// Everything up to here has been read.
    pub(crate) at: Seq,
    /// In the log's order.
    pub(crate) updates: Vec<Delivery>,
}

/// What a page leads to.
pub(crate) enum Step {
    /// The next page is to be read.
    More(Reading),
    /// That was the last one.
    Done(Read),
    /// The page does not go on where the one before ended: the log began anew, or gave up what had
    /// not been read. Everything is to be read again, from the beginning.
    CutOff,
}

impl Reading {
    /// What comes after `after` in this life of the log, or in any if nothing was read yet.
    pub(crate) fn new(epoch: Option<String>, after: Seq) -> Self {
        Self { epoch, after, updates: vec![] }
    }

    /// The page after this number is to be read.
    pub(crate) const fn after(&self) -> Seq {
        self.after
    }

    /// Takes the page that was asked for.
    pub(crate) fn add(mut self, page: LogPage) -> Step {
        let LogPage { epoch, head, floor, updates, next, .. } = page;
        let is_other = self.epoch.as_ref().is_some_and(|known| *known != epoch);
        let is_gap = self.after > Seq::ZERO && (floor > self.after || head < self.after);
        if is_other || is_gap {
            return Step::CutOff;
        }
        self.updates.extend(updates);
        match next {
            Some(next) => {
                Step::More(Self { epoch: Some(epoch), after: next, updates: self.updates })
            }
            None => Step::Done(Read { epoch, at: head, updates: self.updates }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(epoch: &str, floor: u64, head: u64, next: Option<u64>) -> LogPage {
        LogPage {
            epoch: epoch.into(),
            head: Seq(head),
            floor: Seq(floor),
            updates: vec![],
            next: next.map(Seq),
            digests: Default::default(),
        }
    }

    /// Where reading ends; none if it is cut off.
    fn read(mut reading: Reading, pages: Vec<LogPage>) -> Option<Seq> {
        for page in pages {
            match reading.add(page) {
                Step::More(more) => reading = more,
                Step::Done(read) => return Some(read.at),
                Step::CutOff => return None,
            }
        }
        panic!("there is no last page")
    }

    #[test]
    fn a_log_that_began_anew_or_gave_up_what_was_not_read_cuts_off() {
        let from = |at: u64| Reading::new(Some("e".into()), Seq(at));
        assert_eq!(read(from(5), vec![page("e", 0, 6, None)]), Some(Seq(6)));
        assert_eq!(read(from(5), vec![page("e", 5, 7, None)]), Some(Seq(7)));
        assert_eq!(read(from(5), vec![page("other", 0, 6, None)]), None);
        assert_eq!(read(from(5), vec![page("e", 6, 7, None)]), None);
        assert_eq!(read(from(5), vec![page("e", 0, 4, None)]), None);
    }

    #[test]
    fn the_same_between_two_pages_cuts_off_too() {
        let first = || Reading::new(None, Seq::ZERO);
        let pages = |second| vec![page("e", 3, 9, Some(5)), second];
        assert_eq!(read(first(), pages(page("e", 5, 9, None))), Some(Seq(9)));
        assert_eq!(read(first(), pages(page("e", 6, 9, None))), None);
        assert_eq!(read(first(), pages(page("other", 0, 9, None))), None);
    }
}
