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
//!   seq before the first unfinished job.
//! * **The engine comes first.** Nothing is written until the engine has its policies. An
//!   engine that is found empty gets them again, and then everything since seq 0.
//!
//! | question | file |
//! |---|---|
//! | What goes in, what comes out? | [`io`] |
//! | What happens on each input? | this one |
//! | Which job may be written now? | [`queue`] |
//! | How long to wait before the next try? | [`backoff`] |
//! | What is shown to people? | [`status`] |

pub mod backoff;
pub mod io;
pub mod queue;
pub mod status;

use protocol::socket::{AgentFrame, Delivery, Hello, HubFrame};
use protocol::{Millis, Seq};
use serde_json::value::RawValue;

use crate::engine::{EngineError, EngineState};
use backoff::Backoff;
pub use io::{Config, Effect, Input, Report};
use queue::{JobId, Queue};
use status::{Connection, ConnectionState, EngineStatus, Failure};

/// Fetches at one time.
const MAX_FETCHES: usize = 64;
/// While more jobs than this wait, the agent does not ask for the next batch of a replay.
const MAX_QUEUE: usize = 1_024;
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

/// How the link to the hub is.
#[derive(Debug)]
enum Link {
    /// No socket: time of the next try.
    Waiting(Millis),
    /// A socket is being opened.
    Connecting,
    /// `hello` was said; batches of what was missed are coming. With `paused` the next
    /// batch is not asked for until the queue is shorter.
    Replaying { paused: bool },
    /// The hub pushes.
    Live,
}

/// The agent's state machine.
#[derive(Debug)]
pub struct Core {
    config: Config,
    link: Link,
    link_since: Millis,
    link_error: Option<String>,
    /// What the hub said before it closed this connection.
    refusal: Option<String>,
    link_backoff: Backoff,
    engine: Engine,
    engine_error: Option<String>,
    engine_backoff: Backoff,
    /// The engine took our policies once.
    prepared_once: bool,
    /// Everything that was missed has taken effect since the engine was last empty.
    complete: bool,
    queue: Queue,
    /// Everything of our topics up to here has arrived.
    received: Seq,
    epoch: Option<String>,
    scope: Option<String>,
    head: Option<Seq>,
    last_applied: Option<Seq>,
    last_failure: Option<Failure>,
}

impl Core {
    /// An agent that has nothing yet.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            link: Link::Waiting(Millis(0)),
            link_since: Millis(0),
            link_error: None,
            refusal: None,
            link_backoff: Backoff::new(config.seed),
            engine: Engine::Preparing,
            engine_error: None,
            engine_backoff: Backoff::new(config.seed.wrapping_add(1)),
            prepared_once: false,
            complete: false,
            queue: Queue::new(config.seed.wrapping_add(2)),
            received: Seq::ZERO,
            epoch: None,
            scope: None,
            head: None,
            last_applied: None,
            last_failure: None,
            config,
        }
    }

    /// Up to where everything has taken effect.
    #[must_use]
    pub fn cursor(&self) -> Seq {
        self.queue.first_unfinished().map_or(self.received, |seq| Seq(seq.0.saturating_sub(1)))
    }

    /// When the core wants an [`Input::Tick`] if nothing happens before.
    #[must_use]
    pub fn next_tick(&self) -> Option<Millis> {
        let link = match self.link {
            Link::Waiting(at) => Some(at),
            _ => None,
        };
        let engine = match self.engine {
            Engine::Up(at) => at,
            Engine::Down { retry_at, .. } => Some(retry_at),
            Engine::Preparing | Engine::Probing => None,
        };
        [link, engine, self.queue.next_retry()].into_iter().flatten().min()
    }

    /// One step: everything that follows from one input.
    pub fn step(&mut self, now: Millis, input: Input) -> Vec<Effect> {
        let mut effects = vec![];
        match input {
            Input::Start => effects.push(Effect::PrepareEngine),
            Input::LinkUp => self.link_up(now, &mut effects),
            Input::Frame(frame) => self.frame(now, frame, &mut effects),
            Input::LinkDown(reason) => self.link_down(now, reason, &mut effects),
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
        match self.link {
            Link::Waiting(at) if at <= now => {
                self.link = Link::Connecting;
                effects.push(Effect::Connect);
            }
            Link::Replaying { paused: true } if self.queue.len() <= MAX_QUEUE => {
                self.link = Link::Replaying { paused: false };
                effects.push(Effect::Send(AgentFrame::Resume { cursor: self.received }));
            }
            _ => {}
        }
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
        for (job, source) in self.queue.take_fetches(now, MAX_FETCHES) {
            effects.push(Effect::Fetch(job, source));
        }
        if matches!(self.engine, Engine::Up(_)) {
            effects.extend(self.queue.take_write().map(Effect::Write));
            self.complete |= matches!(self.link, Link::Live) && self.queue.is_empty();
        }
    }

    // === the link ===

    fn link_up(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        self.set_link(now, Link::Replaying { paused: false });
        effects.push(Effect::Send(AgentFrame::Hello(Hello {
            agent: self.config.agent.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            topics: self.config.topics.clone(),
            cursor: self.received,
            epoch: self.epoch.clone(),
        })));
    }

    fn link_down(&mut self, now: Millis, reason: String, effects: &mut Vec<Effect>) {
        let wait = self.link_backoff.next_delay();
        let reason = match self.refusal.take() {
            Some(refusal) => format!("{refusal} ({reason})"),
            None => reason,
        };
        effects.push(Effect::Report(Report::Disconnected(reason.clone(), wait)));
        self.set_link(now, Link::Waiting(now.plus(wait)));
        self.link_error = Some(reason);
    }

    fn set_link(&mut self, now: Millis, link: Link) {
        self.link = link;
        self.link_since = now;
    }

    fn frame(&mut self, now: Millis, frame: HubFrame, effects: &mut Vec<Effect>) {
        match frame {
            HubFrame::Welcome { scope, head, epoch } => {
                self.scope = Some(scope);
                self.head = Some(head);
                self.epoch = Some(epoch);
            }
            HubFrame::Updates(updates) => self.updates(updates, effects),
            HubFrame::Bookmark { seq } => {
                self.receive_up_to(seq);
                if let Link::Replaying { paused } = &mut self.link {
                    // `due` asks on, as soon as the queue has room.
                    *paused = true;
                }
            }
            HubFrame::CaughtUp { seq } => {
                self.receive_up_to(seq);
                self.link_backoff.reset();
                self.link_error = None;
                self.set_link(now, Link::Live);
                effects.push(Effect::Report(Report::Live(seq)));
            }
            HubFrame::Reset { reason } => {
                effects.push(Effect::Report(Report::Reset(reason)));
                self.forget();
            }
            HubFrame::Error(error) => {
                self.refusal = Some(error.message.clone());
                effects.push(Effect::Report(Report::Refused(error.code, error.message)));
            }
        }
    }

    fn updates(&mut self, updates: Vec<Delivery>, effects: &mut Vec<Effect>) {
        for update in updates {
            if update.seq <= self.received {
                continue;
            }
            if update.prev > self.received {
                // Ask once: what is pushed until the answer comes has the same hole.
                if matches!(self.link, Link::Live) {
                    self.link = Link::Replaying { paused: false };
                    effects.push(Effect::Report(Report::Hole(self.received)));
                    effects.push(Effect::Send(AgentFrame::Resume { cursor: self.received }));
                }
                return;
            }
            self.receive_up_to(update.seq);
            self.queue.push(update);
        }
    }

    fn receive_up_to(&mut self, seq: Seq) {
        self.received = self.received.max(seq);
        self.head = self.head.max(Some(seq));
    }

    /// Back to seq 0. What is in the engine stays until it is replaced.
    fn forget(&mut self) {
        self.received = Seq::ZERO;
        self.queue.clear();
    }

    // === fetching and writing ===

    fn fetched(
        &mut self,
        now: Millis,
        job: JobId,
        result: Result<Box<RawValue>, String>,
        effects: &mut Vec<Effect>,
    ) {
        if let Some((seq, error, wait)) = self.queue.fetched(now, job, result) {
            effects.push(Effect::Report(Report::FetchFailed(seq, error, wait)));
        }
    }

    fn written(
        &mut self,
        now: Millis,
        job: JobId,
        result: Result<(), EngineError>,
        effects: &mut Vec<Effect>,
    ) {
        let rejected = match result {
            Ok(()) => None,
            Err(EngineError::Rejected(error)) => Some(error),
            Err(EngineError::Unavailable(error)) => {
                self.queue.write_again(job);
                self.engine_down(now, error, true, effects);
                return;
            }
        };
        self.engine_backoff.reset();
        let Some(finished) = self.queue.finish(job) else {
            return;
        };
        match rejected {
            None if finished.update_done => {
                self.last_applied = Some(finished.seq);
                effects.push(Effect::Report(Report::Applied(finished.seq, finished.update)));
            }
            None => {}
            Some(error) => {
                let (seq, dst_path) = (finished.seq, finished.path);
                self.last_failure = Some(Failure { seq, dst_path, error: error.clone() });
                effects.push(Effect::Report(Report::WriteRejected(seq, error)));
            }
        }
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
            Ok(EngineState::Filled) => self.engine_up(now),
            Ok(EngineState::Empty) => {
                self.engine = Engine::Preparing;
                effects.push(Effect::Report(Report::EngineEmpty));
                effects.push(Effect::PrepareEngine);
                self.refill(effects);
            }
            Err(EngineError::Rejected(error) | EngineError::Unavailable(error)) => {
                self.engine_down(now, error, true, effects);
            }
        }
    }

    /// Everything again from seq 0, for an engine that has nothing.
    fn refill(&mut self, effects: &mut Vec<Effect>) {
        self.complete = false;
        self.forget();
        if matches!(self.link, Link::Live | Link::Replaying { .. }) {
            self.link = Link::Replaying { paused: false };
            effects.push(Effect::Send(AgentFrame::Resume { cursor: Seq::ZERO }));
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
        let wait = self.engine_backoff.next_delay();
        effects.push(Effect::Report(Report::EngineDown(error.clone(), wait)));
        self.engine = Engine::Down { retry_at: now.plus(wait), prepared };
        self.engine_error = Some(error);
    }

    // === for people ===

    /// How the agent is.
    #[must_use]
    pub fn status(&self, now: Millis) -> status::Status {
        let state = match self.link {
            Link::Waiting(_) => ConnectionState::Waiting,
            Link::Connecting => ConnectionState::Connecting,
            Link::Replaying { .. } => ConnectionState::Replaying,
            Link::Live => ConnectionState::Live,
        };
        let engine_up =
            matches!(self.engine, Engine::Up(_) | Engine::Probing) && self.engine_error.is_none();
        status::Status::new(status::Parts {
            config: &self.config,
            scope: self.scope.clone(),
            connection: Connection {
                state,
                for_ms: now.since(self.link_since),
                error: self.link_error.clone(),
            },
            engine: EngineStatus { up: engine_up, error: self.engine_error.clone() },
            cursor: self.cursor(),
            head: self.head,
            last_applied: self.last_applied,
            last_failure: self.last_failure.clone(),
            pending: self.queue.pending(now),
            complete: self.complete,
        })
    }
}
