//! An agent's book of grants, as the agent's process leads it, and what it has to allow: what the
//! log says up to where the agent is.

use std::time::Duration;

use edge_agent::core::queue::JobId;
use edge_agent::core::status::Progress;
use edge_agent::core::{Effect, Input, Report};
use edge_agent::plane::Book;
use edge_agent::store::{Mark, Record, Tag};
use protocol::{Millis, Seq};

use crate::agent::Happening;
use crate::granter::question;
use crate::permissions::all_wanted;
use crate::store::Store;
use crate::world::{Event, World};

/// What stands beside an application: it lives as long as the agent's process.
#[derive(Debug)]
pub(crate) struct Guard {
    book: Book,
    /// Up to where a replay went whose updates have not all taken effect.
    caught_up: Option<Seq>,
    /// It may go by the book.
    is_trusted: bool,
    /// What the store has and the book does not.
    noting: Option<Tag>,
}

impl Guard {
    /// That of a new process. One that is patient goes by what it kept.
    pub(crate) fn new(store: &Store, is_patient: bool) -> Self {
        // By a clock that is not the run's; no run takes so long.
        let patience = (!is_patient).then_some(Duration::from_secs(1_000_000));
        let mark = store.mark();
        Self {
            book: Book::new(patience, mark, store.grants()),
            caught_up: None,
            is_trusted: is_patient && mark.complete,
            noting: None,
        }
    }

    /// True if it goes by the book, and nothing is on its way into that.
    pub(crate) fn is_settled(&self) -> bool {
        self.is_trusted && self.noting.is_none() && self.caught_up.is_none()
    }

    /// What an effect of the core is to the book.
    pub(crate) fn hear(&mut self, effect: &Effect) {
        match effect {
            Effect::Connect | Effect::Report(Report::Disconnected(..)) => {
                self.caught_up = None;
                self.book.lost();
            }
            Effect::Report(Report::Live(seq)) => self.caught_up = Some(*seq),
            Effect::BeginAgain(Mark { generation, .. }) => {
                self.caught_up = None;
                self.is_trusted = false;
                self.book.begin_again(*generation);
            }
            _ => {}
        }
    }

    /// After each step of the core.
    pub(crate) fn settle(&mut self, owes: bool, progress: Progress) {
        self.book.owes(owes);
        let is_there = |seq: &mut Seq| progress.at.is_some_and(|at| at >= *seq);
        if self.caught_up.take_if(is_there).is_some() {
            self.is_trusted = true;
            self.book.live();
        }
    }
}

impl World {
    /// The store has a grant, and the book gets it next.
    pub(crate) fn note_grant(&mut self, at: usize, job: JobId, record: Record, mark: &Mark) {
        let agent = &mut self.agents[at];
        let Some(guard) = &mut agent.guard else { return };
        guard.noting = Some(record.tag);
        let (life, delay) = (agent.life, self.rng.u64(..5));
        let noted = Happening::Noted(job, mark.generation, record);
        self.schedule.after(delay, Event::Agent(at, life, noted));
    }

    pub(crate) fn grant_noted(&mut self, at: usize, job: JobId, generation: u64, record: &Record) {
        let Some(guard) = &mut self.agents[at].guard else { return };
        guard.book.take(generation, &record.path, &record.data);
        guard.noting = None;
        self.check_book(at, None);
        let (life, delay) = (self.agents[at].life, self.rng.u64(..5));
        self.reply(at, life, delay, Input::Written(job, Ok(())));
    }

    /// The book allows what the log says, up to where the agent is; and with one update more, if
    /// the agent says that it has it. It allows nothing before the agent has had everything.
    pub(crate) fn check_book(&mut self, at: usize, also: Option<Seq>) {
        let now = self.wall();
        let agent = &self.agents[at];
        let (Some(core), Some(guard)) = (agent.core(), &agent.guard) else { return };
        let reached = core.status(Millis(0)).cursor;
        let above: Vec<Tag> = agent.store.records().map(|record| record.tag).collect();
        let has = |tag: Tag| {
            Some(tag.seq) == also
                || Some(tag) != guard.noting && (tag.seq <= reached || above.contains(&tag))
        };
        let there = self.history.permissions(agent.topics(), has);
        let is_whole = !agent.has_begun_again() && !self.hub.has_forgotten();
        let wrong = all_wanted().find_map(|wanted| {
            let found = guard.book.check(now, &question(wanted)).is_ok();
            let (expected, is_right) = if !guard.is_trusted {
                (false, !found)
            } else if is_whole {
                let expected = there.allow(now.0, wanted);
                (expected, found == expected)
            } else {
                // What retention gave up the agent may not have.
                let may = there.may_allow(now.0, wanted);
                (may, may || !found)
            };
            (!is_right).then_some((wanted, found, expected))
        });
        if let Some((wanted, found, expected)) = wrong {
            let trusted = guard.is_trusted;
            self.violated(format!(
                "agent {at} at {reached} and {also:?}, trusted: {trusted}, allows {wanted:?}: \
                 {found} and not {expected}; {there:?}"
            ));
        }
    }
}
