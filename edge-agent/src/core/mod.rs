//! The agent as a state machine: no sockets, no clock, no engine of its own.
//!
//! A shell ([`crate::runtime`]) feeds it what happened and carries out what it decides.
//! The same core runs in the agent and in a simulation: with the same inputs, times and
//! seed it decides the same.
//!
//! Connect → replay → fetch → apply → report, and these rules:
//!
//! * **Order.** Entries become [jobs](queue) in the log's order. Fetches run in parallel; a
//!   job is written only when no unfinished job before it touches what it depends on.
//! * **Fresh.** What is fetched for an entry is asked for after the entry came.
//! * **Nothing missed.** A delivery whose `prev` is beyond what was received shows a hole;
//!   the core asks for a replay from what it has.
//! * **Nothing twice.** A delivery that was received before is skipped, and so is an entry
//!   that the store has. The cursor is the seq before the first unfinished job.
//! * **Written ahead.** What goes into the engine is in the [store](crate::store) first, so
//!   the engine is never ahead of the disk. Whenever it is not certain what the engine has
//!   (at the start, after a write of unknown outcome, when it was emptied or altered), it
//!   is given what the store has, and goes on from there.
//! * **Bounded.** The queue has a limit; what does not fit stays in the hub's log.
//!
//! | question | file |
//! |---|---|
//! | What goes in, what comes out? | [`io`] |
//! | What happens on each input? | this one |
//! | Where does the link stand, what has arrived? | `subscription` |
//! | What does a replay leave open? | `settling` |
//! | Which job may be written now? | [`queue`] |
//! | Which fetches are made, and who shares them? | `queue/fetching.rs`, `queue/superseding.rs` |
//! | What does an entry depend on? | `extent` |
//! | What did the store have already? | [`known`] |
//! | What is kept, and when? | `keeping` |
//! | Which policies are to be put into the engine? | `policies` |
//! | How do policies and data of one commit get there together? | `commit` |
//! | Who hears what became of an update? | [`results`] |
//! | How long to wait before the next try? | [`backoff`] |
//! | What is shown to people? | [`status`] |

pub mod backoff;
mod commit;
mod extent;
pub mod io;
mod keeping;
pub mod known;
mod policies;
pub mod queue;
pub mod results;
mod settling;
pub mod status;
mod subscription;

use protocol::planted::{Bug, planted};
use protocol::socket::{AgentFrame, HubFrame, Receipt};
use protocol::{DataPath, Millis, Seq};

use crate::engine::{EngineError, EngineState};
use crate::fetch::FetchError;
use crate::json::Json;
use crate::store::Mark;
use backoff::Backoff;
pub use io::{Config, Effect, Input, Kept, PolicyNews, Report, Restored, WriteError};
use keeping::Keeping;
use known::Known;
use policies::Policies;
use queue::{Failed, Finished, JobId, Queue};
use results::Results;
use status::{EngineStatus, Failure, Progress};
use subscription::{News, Subscription};

/// Milliseconds between two looks at an engine that can be emptied behind our back.
const PROBE_EVERY: u64 = 1_000;

/// How the engine is, as far as we know.
#[derive(Debug)]
enum Engine {
    /// Policies and data are being put in.
    Preparing,
    /// Ready for writes. Time of the next probe, if it needs any.
    Up(Option<Millis>),
    /// A probe is under way.
    Probing,
    /// Other policies are being put in.
    Changing,
    /// Not reachable, or in doubt: it is to be prepared again at this moment.
    Down(Millis),
}

/// The agent's state machine.
#[derive(Debug)]
pub struct Core {
    config: Config,
    subscription: Subscription,
    engine: Engine,
    engine_error: Option<String>,
    engine_backoff: Backoff,
    /// The engine took our policies once.
    prepared_once: bool,
    /// Everything that was missed has taken effect, in this run or in one before it.
    complete: bool,
    queue: Queue,
    known: Known,
    keeping: Keeping,
    results: Results,
    policies: Policies,
    /// Places whose documents the engine refused when it was last prepared.
    not_restored: Vec<(DataPath, String)>,
    /// The highest update that took effect as a whole.
    last_applied: Option<Seq>,
    last_failure: Option<Failure>,
}

impl Core {
    /// An agent with what it kept.
    #[must_use]
    pub fn new(config: Config, kept: Kept) -> Self {
        let Kept { mark, written, fresh, policies, last_good } = kept;
        Self {
            subscription: Subscription::new(config.topics.clone(), &mark, config.seed),
            engine: Engine::Preparing,
            engine_error: None,
            engine_backoff: Backoff::new(config.seed.wrapping_add(1)),
            prepared_once: false,
            complete: mark.complete,
            queue: Queue::new(config.seed.wrapping_add(2)),
            known: Known::new(written),
            keeping: Keeping::new(mark, fresh, config.seed.wrapping_add(3)),
            results: Results::default(),
            policies: Policies::new(policies, last_good),
            not_restored: vec![],
            last_applied: None,
            last_failure: None,
            config,
        }
    }

    /// Up to where everything that was delivered has taken effect: the log goes on from here.
    #[must_use]
    pub fn cursor(&self) -> Seq {
        self.before(self.queue.first_unfinished())
    }

    /// Up to where everything has had its turn, and nothing is missing that was dropped from
    /// the log for a later update.
    fn settled(&self) -> Seq {
        self.before(self.queue.first_open()).min(self.subscription.settled())
    }

    /// What has been received before this update, or at all.
    fn before(&self, seq: Option<Seq>) -> Seq {
        seq.map_or(self.subscription.received(), |seq| Seq(seq.0.saturating_sub(1)))
    }

    /// When the core wants an [`Input::Tick`] if nothing happens before.
    #[must_use]
    pub fn next_tick(&self) -> Option<Millis> {
        let engine = match self.engine {
            // The probe waits for the write that is under way.
            Engine::Up(at) => at.filter(|_| !self.queue.is_writing()),
            Engine::Down(retry_at) => Some(retry_at),
            Engine::Preparing | Engine::Probing | Engine::Changing => None,
        };
        let keeping = self.keeping.next_tick();
        let due = [self.subscription.next_tick(), engine, self.queue.next_fetch(), keeping];
        due.into_iter().flatten().min()
    }

    /// One step: everything that follows from one input.
    pub fn step(&mut self, now: Millis, input: Input) -> Vec<Effect> {
        let mut effects = vec![];
        match input {
            Input::Start => self.prepare(&mut effects),
            Input::LinkUp => self.subscription.up(now, &self.config, &mut effects),
            Input::Frame(frame) => self.frame(now, frame, &mut effects),
            Input::LinkDown(reason) => {
                self.results.disconnected();
                self.subscription.down(now, reason, &mut effects);
            }
            Input::Fetched(job, result) => self.fetched(now, job, result, &mut effects),
            Input::Written(job, result) => self.written(now, job, result, &mut effects),
            Input::Prepared(result) => self.prepared(now, result, &mut effects),
            Input::Probed(result) => self.probed(now, result, &mut effects),
            Input::Policy(news) => self.policy(news, &mut effects),
            Input::PoliciesSet(result) => self.policies_set(now, result, &mut effects),
            Input::Connectivity(on) => self.subscription.switch(now, on, &mut effects),
            Input::Wanted(seq, until) => self.subscription.want(seq, until),
            Input::Renewed => self.subscription.renewed(now, &mut effects),
            Input::Tick => {}
        }
        self.due(now, &mut effects);
        effects
    }

    /// What time, or room in the queue, has made possible.
    fn due(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        self.subscription.settle(&self.queue);
        self.subscription.due(now, self.queue.has_room(), effects);
        match self.engine {
            Engine::Up(_) if self.policies.is_due() && !self.queue.is_writing() => {
                if let Some(set) = self.policies.take() {
                    self.engine = Engine::Changing;
                    effects.push(Effect::SetPolicies(set));
                }
            }
            Engine::Up(Some(at)) if at <= now && !self.queue.is_writing() => {
                self.engine = Engine::Probing;
                effects.push(Effect::ProbeEngine);
            }
            Engine::Down(retry_at) if retry_at <= now => self.prepare(effects),
            _ => {}
        }
        for (job, source) in self.queue.take_fetches(now) {
            effects.push(Effect::Fetch(job, source));
        }
        let store_is_open = self.keeping.is_open(now);
        let is_up = matches!(self.engine, Engine::Up(_));
        if store_is_open {
            if is_up {
                effects.extend(self.take_commit());
            }
            // A revocation does not wait for an engine that is down.
            let mark = self.mark();
            let ready = if is_up { self.queue.take_write() } else { self.queue.take_grant() };
            if let Some(ready) = ready {
                self.keeping.saved(mark.clone());
                effects.push(Effect::Write(ready, mark));
            }
        }
        if is_up {
            self.complete |= self.subscription.is_live() && self.queue.is_empty();
            let (receipts, reports) = self.results.due(&self.subscription, &self.queue);
            effects.extend(receipts.into_iter().map(AgentFrame::Receipt).map(Effect::Send));
            effects.extend(reports.into_iter().map(Effect::Tell));
        }
        if let Some(mark) = self.keeping.due(now, self.mark()) {
            effects.push(Effect::Save(mark));
        }
    }

    /// Where the agent stands, as the store keeps it.
    fn mark(&self) -> Mark {
        let ahead = planted(Bug::MarkAhead);
        let cursor = if ahead { self.subscription.received() } else { self.cursor() };
        Mark {
            cursor,
            settled: self.settled().min(cursor),
            epoch: self.subscription.epoch().map(str::to_owned),
            complete: self.complete,
            generation: self.keeping.generation(),
        }
    }

    fn frame(&mut self, now: Millis, frame: HubFrame, effects: &mut Vec<Effect>) {
        match self.subscription.hear(now, frame, self.queue.has_room(), effects) {
            News::None => {}
            News::Updates(updates) => {
                for update in updates {
                    let seq = update.seq;
                    self.results.arrived(&update, self.subscription.is_of_our_time(seq));
                    let replayed = !self.subscription.is_live();
                    self.queue.push(update, &self.known, replayed);
                    self.known.reached(seq);
                }
                if self.queue.has_parts() {
                    self.policies.hear(PolicyNews::Expected);
                }
            }
            News::Reset(reason) => self.begin_again(reason, effects),
            News::Diverged(difference) => {
                effects.push(Effect::Report(Report::Diverged(difference.clone())));
                self.subscription.restart(now, effects);
                self.begin_again(difference, effects);
            }
            News::Confirm(seq) => self.results.confirm(seq),
        }
    }

    /// Nothing is on its way any more, and everything comes again. What the engine has stays
    /// until it is replaced.
    fn begin_again(&mut self, why: String, effects: &mut Vec<Effect>) {
        self.complete = false;
        self.queue.clear();
        self.policies.forget();
        self.known.forget();
        self.results.forget();
        self.keeping.begin_again(why);
        let mark = self.mark();
        self.keeping.saved(mark.clone());
        effects.push(Effect::BeginAgain(mark));
    }

    // === fetching and writing ===

    fn fetched(
        &mut self,
        now: Millis,
        job: JobId,
        result: Result<Json, FetchError>,
        effects: &mut Vec<Effect>,
    ) {
        for failed in self.queue.fetched(now, job, result) {
            match failed {
                Failed::Again { seq, error, wait } => {
                    effects.push(Effect::Report(Report::FetchFailed(seq, error, wait)));
                }
                Failed::ForGood(finished, error) => self.give_up(finished, error, effects),
            }
        }
    }

    fn written(
        &mut self,
        now: Millis,
        job: JobId,
        result: Result<(), WriteError>,
        effects: &mut Vec<Effect>,
    ) {
        if !matches!(result, Err(WriteError::NotRecorded(_))) {
            self.keeping.works();
        }
        if self.queue.is_committing(job) {
            return self.commit_written(now, result, effects);
        }
        match result {
            Ok(()) => {
                self.engine_backoff.reset();
                let finished = self.queue.applied(job);
                finished.into_iter().for_each(|it| self.applied(it, effects));
            }
            Err(WriteError::Engine(EngineError::Rejected(error))) => {
                self.engine_backoff.reset();
                if let Some(finished) = self.queue.refused(job) {
                    effects.push(Effect::Discard(vec![finished.tag]));
                    self.give_up(finished, error, effects);
                }
            }
            Err(WriteError::Engine(EngineError::Unavailable(error))) => {
                self.queue.in_doubt(job);
                self.engine_down(now, error, effects);
            }
            Err(WriteError::NotRecorded(_)) if planted(Bug::RecordErrorIgnored) => {
                self.queue.applied(job);
            }
            Err(WriteError::NotRecorded(error)) => {
                self.queue.write_again();
                self.not_recorded(now, error, effects);
            }
        }
    }

    fn not_recorded(&mut self, now: Millis, error: String, effects: &mut Vec<Effect>) {
        let error = status::shown(error);
        let wait = self.keeping.fails(now, error.clone());
        effects.push(Effect::Report(Report::NotRecorded(error, wait)));
    }

    fn applied(&mut self, finished: Finished, effects: &mut Vec<Effect>) {
        self.results.ended(&finished, None);
        let seq = finished.tag.seq;
        let whole = self.last_failure.as_ref().is_none_or(|failure| failure.seq != seq);
        if finished.update_done && whole {
            self.last_applied = self.last_applied.max(Some(seq));
            effects.push(Effect::Report(Report::Applied(seq, finished.update)));
        }
    }

    fn give_up(&mut self, finished: Finished, error: String, effects: &mut Vec<Effect>) {
        let error = status::shown(error);
        self.results.ended(&finished, Some(&error));
        let (seq, dst_path) = (finished.tag.seq, finished.path);
        self.last_failure = Some(Failure { seq, dst_path, error: error.clone() });
        effects.push(Effect::Report(Report::GivenUp(seq, error)));
    }

    // === the engine ===

    fn prepare(&mut self, effects: &mut Vec<Effect>) {
        self.engine = Engine::Preparing;
        effects.push(Effect::PrepareEngine(self.policies.current()));
    }

    fn prepared(
        &mut self,
        now: Millis,
        result: Result<Restored, EngineError>,
        effects: &mut Vec<Effect>,
    ) {
        match result {
            Ok(restored) => {
                self.engine_backoff.reset();
                self.prepared_once = true;
                self.engine_up(now);
                effects.push(Effect::Report(Report::EnginePrepared));
                self.restored(restored, effects);
            }
            Err(EngineError::Rejected(error)) if self.queue.has_doubtful_commit() => {
                self.commit_refused(error, effects);
                self.prepare(effects);
            }
            Err(EngineError::Rejected(error)) if !self.prepared_once => {
                let error = status::shown(error);
                if self.policies.fall_back(error.clone()) {
                    effects.push(Effect::Report(Report::PoliciesFailed(error)));
                    self.prepare(effects);
                } else {
                    effects.push(Effect::GiveUp(error));
                }
            }
            Err(EngineError::Rejected(error) | EngineError::Unavailable(error)) => {
                self.engine_down(now, error, effects);
            }
        }
    }

    /// The engine has what the store has: the job in doubt, if there was one, has ended.
    fn restored(&mut self, restored: Restored, effects: &mut Vec<Effect>) {
        let Restored { refused, refused_places } = restored;
        self.known.refused(&refused, &refused_places);
        for (path, error) in &refused_places {
            let report = Report::NotRestored(path.clone(), status::shown(error.clone()));
            effects.push(Effect::Report(report));
        }
        if self.queue.has_doubtful_commit() {
            self.committed(effects);
        }
        if let Some((job, tag, path)) = self.queue.recorded() {
            let entry = refused.into_iter().find(|(refused, _)| *refused == tag);
            let place = refused_places.iter().find(|(place, _)| place.overlaps(path));
            match entry.or_else(|| place.map(|(_, error)| (tag, error.clone()))) {
                None => {
                    let finished = self.queue.applied(job);
                    finished.into_iter().for_each(|it| self.applied(it, effects));
                }
                Some((_, error)) => {
                    if let Some(finished) = self.queue.refused(job) {
                        effects.push(Effect::Discard(vec![tag]));
                        self.give_up(finished, error, effects);
                    }
                }
            }
        }
        self.not_restored = refused_places;
    }

    fn probed(
        &mut self,
        now: Millis,
        result: Result<EngineState, EngineError>,
        effects: &mut Vec<Effect>,
    ) {
        match result {
            Ok(EngineState::Filled) => self.engine_up(now),
            Ok(_) if planted(Bug::EmptinessOverlooked) => self.engine_up(now),
            Ok(state) => {
                effects.push(Effect::Report(match state {
                    EngineState::Altered => Report::Altered,
                    EngineState::Filled | EngineState::Empty => Report::Refill,
                }));
                self.prepare(effects);
            }
            Err(EngineError::Rejected(error) | EngineError::Unavailable(error)) => {
                self.engine_down(now, error, effects);
            }
        }
    }

    fn is_up(&self) -> bool {
        matches!(self.engine, Engine::Up(_) | Engine::Probing | Engine::Changing)
    }

    fn engine_up(&mut self, now: Millis) {
        self.engine_error = None;
        self.engine = Engine::Up(self.config.probe_engine.then(|| now.plus(PROBE_EVERY)));
    }

    fn engine_down(&mut self, now: Millis, error: String, effects: &mut Vec<Effect>) {
        let (error, wait) = (status::shown(error), self.engine_backoff.next_delay());
        effects.push(Effect::Report(Report::EngineDown(error.clone(), wait)));
        self.engine = Engine::Down(now.plus(wait));
        self.engine_error = Some(error);
    }

    // === for people ===

    /// How the agent is.
    #[must_use]
    pub fn status(&self, now: Millis) -> status::Status {
        let engine_up = self.is_up() && self.engine_error.is_none();
        status::Status::new(status::Parts {
            config: &self.config,
            scope: self.subscription.scope().map(str::to_owned),
            connection: self.subscription.connection(now),
            engine: EngineStatus { up: engine_up, error: self.engine_error.clone() },
            cursor: self.settled(),
            head: self.subscription.head(),
            last_applied: self.last_applied,
            last_failure: self.last_failure.clone(),
            pending_total: self.queue.len(),
            pending: self.queue.pending(now),
            failing: self.queue.failing(),
            complete: self.complete,
            not_restored: &self.not_restored,
            keeping: &self.keeping,
            policies: &self.policies,
            digests: self.subscription.digests().clone(),
        })
    }

    /// What became of an update here; none while it is on its way, or the engine may not have it.
    #[must_use]
    pub fn receipt(&self, seq: Seq) -> Option<Receipt> {
        let has_ended = self.is_up() && self.subscription.has_all_of(seq) && !self.queue.has(seq);
        has_ended.then(|| self.results.receipt(seq))
    }

    /// True if a grant or a revocation has come that the store does not have yet.
    #[must_use]
    pub fn owes_grants(&self) -> bool {
        self.queue.has_grants()
    }

    /// True while the hub pushes and everything that we heard of has taken effect.
    #[must_use]
    pub fn is_current(&self) -> bool {
        let Progress { at, head } = self.progress();
        self.subscription.is_live() && at.is_some() && at >= head
    }

    /// The revision of the hub's policies that the engine has.
    #[must_use]
    pub fn policy_revision(&self) -> Option<&str> {
        self.policies.revision()
    }

    /// How far the engine is, for those who wait.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let up = self.is_up();
        let early = planted(Bug::ProgressEarly);
        let at = if early { self.subscription.received() } else { self.settled() };
        Progress { at: up.then_some(at), head: self.subscription.head() }
    }
}
