//! The agent as a state machine: no sockets, no clock, no engine of its own.
//!
//! A shell ([`crate::runtime`]) feeds it what happened and carries out what it decides.
//! The same core runs in the agent and in a simulation: with the same inputs, times and
//! seed it decides the same.
//!
//! Connect → replay → fetch → apply → report, and these rules:
//!
//! * **Order.** Entries become [jobs](queue) in the log's order. Fetches run in parallel; a
//!   job is written only when no unfinished job before it touches the same paths.
//! * **Nothing missed.** A delivery whose `prev` is beyond what was received shows a hole;
//!   the core asks for a replay from what it has.
//! * **Nothing twice.** A delivery that was received before is skipped. The cursor is the
//!   seq before the first unfinished job. A patch of which nobody knows whether it was
//!   applied is not tried again: the engine is filled from the beginning.
//! * **Bounded.** The queue has a limit; what does not fit stays in the hub's log.
//! * **The engine comes first.** Nothing is written until the engine has its policies. An
//!   engine that is found empty gets them again, and then everything since seq 0.
//!
//! | question | file |
//! |---|---|
//! | What goes in, what comes out? | [`io`] |
//! | What happens on each input? | this one |
//! | Where does the link stand, what has arrived? | `subscription` |
//! | Which job may be written now? | [`queue`] |
//! | How long to wait before the next try? | [`backoff`] |
//! | What is shown to people? | [`status`] |

pub mod backoff;
pub mod io;
pub mod queue;
pub mod status;
mod subscription;

use protocol::socket::HubFrame;
use protocol::{Millis, Seq};
use serde_json::value::RawValue;

use crate::engine::{EngineError, EngineState};
use crate::fetch::FetchError;
use backoff::Backoff;
pub use io::{Config, Effect, Input, Report};
use queue::{Failed, Finished, JobId, Queue};
use status::{EngineStatus, Failure};
use subscription::{News, Subscription};

/// Milliseconds between two looks at an engine that can be emptied behind our back.
const PROBE_EVERY: u64 = 1_000;

/// How the engine is, as far as we know.
#[derive(Debug)]
enum Engine {
    /// Policies are being put in.
    Preparing,
    /// Ready for writes. Time of the next probe, if it needs any.
    Up(Option<Millis>),
    /// A probe is under way.
    Probing,
    /// Not reachable: time and kind of the next try.
    Down { retry_at: Millis, prepared: bool },
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
    /// The engine may or may not have a patch: it has to be filled from the beginning.
    in_doubt: bool,
    /// Everything that was missed has taken effect since the engine was last empty.
    complete: bool,
    queue: Queue,
    /// The highest update that took effect as a whole.
    last_applied: Option<Seq>,
    last_failure: Option<Failure>,
}

impl Core {
    /// An agent that has nothing yet.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            subscription: Subscription::new(config.seed),
            engine: Engine::Preparing,
            engine_error: None,
            engine_backoff: Backoff::new(config.seed.wrapping_add(1)),
            prepared_once: false,
            in_doubt: false,
            complete: false,
            queue: Queue::new(config.seed.wrapping_add(2)),
            last_applied: None,
            last_failure: None,
            config,
        }
    }

    /// Up to where everything has taken effect.
    #[must_use]
    pub fn cursor(&self) -> Seq {
        self.queue
            .first_unfinished()
            .map_or(self.subscription.received(), |seq| Seq(seq.0.saturating_sub(1)))
    }

    /// When the core wants an [`Input::Tick`] if nothing happens before.
    #[must_use]
    pub fn next_tick(&self) -> Option<Millis> {
        let engine = match self.engine {
            // The probe waits for the write that is under way.
            Engine::Up(at) => at.filter(|_| !self.queue.is_writing()),
            Engine::Down { retry_at, .. } => Some(retry_at),
            Engine::Preparing | Engine::Probing => None,
        };
        let due = [self.subscription.next_tick(), engine, self.queue.next_retry()];
        due.into_iter().flatten().min()
    }

    /// One step: everything that follows from one input.
    pub fn step(&mut self, now: Millis, input: Input) -> Vec<Effect> {
        let mut effects = vec![];
        match input {
            Input::Start => effects.push(Effect::PrepareEngine),
            Input::LinkUp => self.subscription.up(now, &self.config, &mut effects),
            Input::Frame(frame) => self.frame(now, frame, &mut effects),
            Input::LinkDown(reason) => self.subscription.down(now, reason, &mut effects),
            Input::Fetched(job, result) => self.fetched(now, job, result, &mut effects),
            Input::Written(job, result) => self.written(now, job, result, &mut effects),
            Input::Prepared(result) => self.prepared(now, result, &mut effects),
            Input::Probed(result) => self.probed(now, result, &mut effects),
            Input::Tick => {}
        }
        self.due(now, &mut effects);
        effects
    }

    /// What time, or room in the queue, has made possible.
    fn due(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        self.subscription.due(now, self.queue.has_room(), effects);
        match self.engine {
            Engine::Up(Some(at)) if at <= now && !self.queue.is_writing() => {
                self.engine = Engine::Probing;
                effects.push(Effect::ProbeEngine);
            }
            Engine::Down { retry_at, prepared } if retry_at <= now => {
                self.engine = if prepared { Engine::Probing } else { Engine::Preparing };
                effects.push(if prepared { Effect::ProbeEngine } else { Effect::PrepareEngine });
            }
            _ => {}
        }
        for (job, source) in self.queue.take_fetches(now) {
            effects.push(Effect::Fetch(job, source));
        }
        if matches!(self.engine, Engine::Up(_)) {
            effects.extend(self.queue.take_write().map(Effect::Write));
            self.complete |= self.subscription.is_live() && self.queue.is_empty();
        }
    }

    fn frame(&mut self, now: Millis, frame: HubFrame, effects: &mut Vec<Effect>) {
        match self.subscription.hear(now, frame, self.queue.has_room(), effects) {
            News::None => {}
            News::Updates(updates) => {
                for update in updates {
                    self.queue.push(update);
                }
            }
            News::Reset => self.forget(),
        }
    }

    /// Nothing is on its way any more. What is in the engine stays until it is replaced.
    fn forget(&mut self) {
        self.complete = false;
        self.queue.clear();
    }

    // === fetching and writing ===

    fn fetched(
        &mut self,
        now: Millis,
        job: JobId,
        result: Result<Box<RawValue>, FetchError>,
        effects: &mut Vec<Effect>,
    ) {
        match self.queue.fetched(now, job, result) {
            None => {}
            Some(Failed::Again { seq, error, wait }) => {
                effects.push(Effect::Report(Report::FetchFailed(seq, error, wait)));
            }
            Some(Failed::ForGood(finished, error)) => self.give_up(finished, error, effects),
        }
    }

    fn written(
        &mut self,
        now: Millis,
        job: JobId,
        result: Result<(), EngineError>,
        effects: &mut Vec<Effect>,
    ) {
        match result {
            Ok(()) => {
                self.engine_backoff.reset();
                if let Some(finished) = self.queue.applied(job) {
                    self.applied(finished, effects);
                }
            }
            Err(EngineError::Rejected(error)) => {
                self.engine_backoff.reset();
                if let Some(finished) = self.queue.refused(job) {
                    self.give_up(finished, error, effects);
                }
            }
            Err(EngineError::Unavailable(error)) => {
                self.in_doubt |= self.queue.write_again(job);
                self.engine_down(now, error, true, effects);
            }
        }
    }

    fn applied(&mut self, finished: Finished, effects: &mut Vec<Effect>) {
        let whole = self.last_failure.as_ref().is_none_or(|failure| failure.seq != finished.seq);
        if finished.update_done && whole {
            self.last_applied = self.last_applied.max(Some(finished.seq));
            effects.push(Effect::Report(Report::Applied(finished.seq, finished.update)));
        }
    }

    fn give_up(&mut self, finished: Finished, error: String, effects: &mut Vec<Effect>) {
        let (seq, dst_path) = (finished.seq, finished.path);
        let error = status::shown(error);
        self.last_failure = Some(Failure { seq, dst_path, error: error.clone() });
        effects.push(Effect::Report(Report::GivenUp(seq, error)));
    }

    // === the engine ===

    fn prepared(
        &mut self,
        now: Millis,
        result: Result<(), EngineError>,
        effects: &mut Vec<Effect>,
    ) {
        match result {
            Ok(()) => {
                self.engine_backoff.reset();
                self.prepared_once = true;
                self.engine_up(now);
                effects.push(Effect::Report(Report::EnginePrepared));
            }
            Err(EngineError::Rejected(error)) if !self.prepared_once => {
                effects.push(Effect::GiveUp(error));
            }
            Err(EngineError::Rejected(error) | EngineError::Unavailable(error)) => {
                self.engine_down(now, error, false, effects);
            }
        }
    }

    fn probed(
        &mut self,
        now: Millis,
        result: Result<EngineState, EngineError>,
        effects: &mut Vec<Effect>,
    ) {
        match result {
            Ok(EngineState::Filled) if !self.in_doubt => self.engine_up(now),
            Ok(_) => {
                self.engine = Engine::Preparing;
                effects.push(Effect::Report(Report::Refill));
                effects.push(Effect::PrepareEngine);
                self.in_doubt = false;
                self.forget();
                self.subscription.restart(now, effects);
            }
            Err(EngineError::Rejected(error) | EngineError::Unavailable(error)) => {
                self.engine_down(now, error, true, effects);
            }
        }
    }

    fn engine_up(&mut self, now: Millis) {
        self.engine_error = None;
        self.engine = Engine::Up(self.config.probe_engine.then(|| now.plus(PROBE_EVERY)));
    }

    fn engine_down(
        &mut self,
        now: Millis,
        error: String,
        prepared: bool,
        effects: &mut Vec<Effect>,
    ) {
        let (error, wait) = (status::shown(error), self.engine_backoff.next_delay());
        effects.push(Effect::Report(Report::EngineDown(error.clone(), wait)));
        self.engine = Engine::Down { retry_at: now.plus(wait), prepared };
        self.engine_error = Some(error);
    }

    // === for people ===

    /// How the agent is.
    #[must_use]
    pub fn status(&self, now: Millis) -> status::Status {
        let engine_up =
            matches!(self.engine, Engine::Up(_) | Engine::Probing) && self.engine_error.is_none();
        status::Status::new(status::Parts {
            config: &self.config,
            scope: self.subscription.scope().map(str::to_owned),
            connection: self.subscription.connection(now),
            engine: EngineStatus { up: engine_up, error: self.engine_error.clone() },
            cursor: self.cursor(),
            head: self.subscription.head(),
            last_applied: self.last_applied,
            last_failure: self.last_failure.clone(),
            pending_total: self.queue.len(),
            pending: self.queue.pending(now),
            failing: self.queue.failing(),
            complete: self.complete,
        })
    }
}
