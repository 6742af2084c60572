//! The hub as a state machine: no sockets, no clock, no storage of its own.
//!
//! A shell feeds it what happened and carries out what it decides, in order:
//!
//! * **Append** is checked against the log by id, numbered, written, answered, delivered.
//!   The answer and the deliveries are effects of the same step as the write, and the
//!   platform holds effects back until the write is durable: nobody hears of an update
//!   that could be lost. What it makes unnecessary is [dropped](crate::compaction). Updates
//!   that come together share a commit, and a frame to each subscriber.
//! * **A subscriber** is `Opened`, then `Replaying` from its cursor in batches it asks for
//!   one by one, then `Live`. Only a live one is pushed to, so a slow replay is a number
//!   in the log and not a queue in memory. A live one that shows no sign of life is sent a
//!   `pause` and is behind in the log as well.
//! * Live subscribers with the same topics form a **group**: what matches, what `prev`
//!   is, and the frame's text are worked out once for all of them.
//! * **A client of the OPAL dialect** is `Opened` and pushed to from its `subscribe` on. It has
//!   no cursor; what it missed it fetches when it connects ([`HubRequest::Snapshot`]).
//! * **A publisher may wait**: its answer is an effect of a later step, when agents have
//!   said what became of the update, or when its time is up.
//!
//! | question | file |
//! |---|---|
//! | What can happen, and what can be decided? | `machine.rs` |
//! | How does an update get into the log, and to whom? | `publishing.rs` |
//! | How does a socket become a live subscriber? | `subscribing.rs` |
//! | What does a client of the OPAL dialect say, and what is it told? | `opal.rs`, `notifying.rs` |
//! | What of the log does it fetch? | `snapshot.rs` |
//! | What of the log, and of the sockets, is shown to people? | `reading.rs` |
//! | What does the hub keep for the router? What is a scope? | `documents.rs` |
//! | What is the policy, and what was it before? | `policy.rs` |
//! | How does a policy get to agents, in the log? | `commit.rs` |
//! | How do agents get base sources, and again those that are periodic? | `base.rs` |
//! | Who is told that a bundle is another one now? | `watching.rs` |
//! | Who may do what with grants and facts, and what becomes of it? | `plane.rs` |
//! | Who is a user, and which roles has he? | `directory.rs` |
//! | What do OPAs without an agent report? | `reports.rs` |

mod base;
mod commit;
mod directory;
mod documents;
mod notifying;
mod opal;
mod plane;
mod policy;
mod publishing;
mod reading;
mod reports;
mod snapshot;
mod subscribing;
mod watching;

use std::borrow::Cow;

use protocol::internal::{HubAnswer, HubRequest, Revocation, Session};
use protocol::opal::data::Sources;
use protocol::opal::rpc::CLOSE_BAD_FRAME;
use protocol::planted::{Bug, planted};
use protocol::socket::{Delivery, HubFrame, SocketError, close};
use protocol::{Claims, DEFAULT_SCOPE, Entry, Millis, Problem, Seq, limits};
use serde::{Deserialize, Serialize};

pub use plane::PlaneLimits;

use crate::log::{Log, LogError, Record, Retention};
use crate::polls::Polls;
use crate::refusal::Refusal;
use crate::sockets::Sockets;
pub use crate::sockets::{Attachment, OpalState, SocketId, Subscription};
use crate::waits::{Done, Waits};
use publishing::Batch;

/// The shell's name of a request that is to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(pub u64);

/// What happened.
#[derive(Clone, Debug)]
pub enum Input<'i> {
    /// Functions ask. For each request this step or a later one has one [`Effect::Answer`].
    Requests(Vec<(RequestId, HubRequest)>),
    /// A socket was opened by a verified bearer.
    Opened(SocketId, Box<Session>),
    /// A socket said something.
    Text(SocketId, &'i str),
    /// A socket said something that is not text.
    Binary(SocketId),
    /// What an [`Effect::Attach`] asked for is larger than the platform keeps.
    Unkept(SocketId),
    /// A socket is gone.
    Closed(SocketId),
    /// The moment of [`Machine::next_tick`] has come.
    Tick,
}

/// What the shell has to do, in order.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Answer a request.
    Answer(RequestId, Result<HubAnswer, Problem>),
    /// Send one text frame to each of the sockets.
    Send(Vec<SocketId>, String),
    /// Remember this for the socket, so that it is there after the hub slept.
    Attach(SocketId, Box<Attachment>),
    /// Close a socket.
    Close(SocketId, u16, Cow<'static, str>),
}

/// What a hub holds itself to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How much of the log is kept.
    pub retention: Retention,
    /// Bytes of a replay's batch.
    pub replay_batch: usize,
    /// Bytes that may be on the way to one socket, at most.
    pub push_window: usize,
    /// Parts of a commit of policy in one update. Compaction looks at no more than
    /// [`crate::compaction::MAX_DOCUMENTS`] of one.
    pub commit_parts: usize,
    /// What is kept of facts and grants.
    pub plane: PlaneLimits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            retention: Retention::default(),
            replay_batch: limits::REPLAY_BATCH_BYTES,
            push_window: limits::MAX_PUSH_WINDOW_BYTES,
            commit_parts: crate::compaction::MAX_DOCUMENTS,
            plane: PlaneLimits::default(),
        }
    }
}

/// Milliseconds between the refusal of a client of the OPAL dialect and the close of its
/// socket. It connects again at once, forever (`spec/opal-protocol.md` §1.8); and it waits for
/// the answer to its `subscribe` without a limit.
const REFUSED_FOR: u64 = 2_000;

/// The hub of one scope.
#[derive(Debug)]
pub struct Machine {
    settings: Settings,
    /// Which.
    scope: String,
    sockets: Sockets,
    waits: Waits,
    polls: Polls,
    /// Clients that were let in, and since when they are counted.
    admitted: (Millis, u32),
    /// When the first thing happened.
    since: Option<Millis>,
    /// Base sources of the default scope where nobody has set others.
    default_sources: Option<Sources>,
    base: base::Due,
    plane: plane::Plane,
    /// True once nothing is left of a change of the directory that was interrupted.
    is_directory_whole: bool,
}

impl Default for Machine {
    fn default() -> Self {
        Self::new(Settings::default())
    }
}

impl Machine {
    /// A hub without sockets.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            scope: DEFAULT_SCOPE.to_owned(),
            sockets: Sockets::default(),
            waits: Waits::default(),
            polls: Polls::default(),
            admitted: (Millis(0), 0),
            since: None,
            default_sources: None,
            base: base::Due::Unknown,
            plane: plane::Plane::default(),
            is_directory_whole: false,
        }
    }

    /// Tells the machine of which scope it is the hub; the default one until then.
    pub fn set_scope(&mut self, scope: &str) {
        if self.scope != scope {
            scope.clone_into(&mut self.scope);
        }
    }

    /// Tells the machine of the base sources of the settings.
    pub fn set_default_sources(&mut self, sources: Sources) {
        self.default_sources = Some(sources);
    }

    /// Takes a socket back after the hub slept.
    pub fn restore(&mut self, socket: SocketId, attachment: Attachment) {
        self.set_scope(&attachment.session.scope);
        self.sockets.restore(socket, attachment);
    }

    /// When the machine wants an [`Input::Tick`]: the end of a token, or of somebody's wait, or
    /// the turn of a periodic source.
    #[must_use]
    pub fn next_tick(&self) -> Option<Millis> {
        let due = [
            self.sockets.next_end(),
            self.waits.next_deadline(),
            self.polls.next_deadline(),
            self.next_base(),
        ];
        due.into_iter().flatten().min()
    }

    /// One step: everything that follows from one input.
    pub fn step(&mut self, now: Millis, input: Input<'_>, log: &mut dyn Log) -> Vec<Effect> {
        self.since.get_or_insert(now);
        self.know_base(log);
        match input {
            Input::Requests(requests) => self.requests(now, requests, log),
            Input::Opened(socket, session) => {
                let is_agent = session.opal.is_none();
                let mut effects = self.adopt_policy(now, log);
                effects.extend(self.opened(socket, *session, log));
                // Before its hello: what follows is in its replay.
                if is_agent {
                    effects.extend(self.adopt_base(now, log));
                }
                effects
            }
            Input::Text(socket, text) if self.is_opal(socket) => {
                self.opal_frame(now, socket, text, log)
            }
            Input::Text(socket, text) => self
                .frame(now, socket, text, log)
                .unwrap_or_else(|refusal| self.refuse(socket, refusal)),
            Input::Binary(socket) if self.is_opal(socket) => {
                self.refuse(socket, Refusal::opal(CLOSE_BAD_FRAME, "frames are text"))
            }
            Input::Binary(socket) => {
                self.refuse(socket, Refusal::bad_frame("frames are text, this one was binary"))
            }
            Input::Unkept(socket) => self.refuse(socket, Refusal::unkept()),
            Input::Closed(socket) => {
                self.sockets.close(socket);
                vec![]
            }
            Input::Tick => {
                let mut effects = self.tick(now);
                effects.extend(self.adopt_base(now, log));
                effects
            }
        }
    }

    fn tick(&mut self, now: Millis) -> Vec<Effect> {
        let mut effects: Vec<Effect> = self.waits.over(now).into_iter().map(done_waiting).collect();
        effects.extend(self.polls.over(now).into_iter().map(watching::unchanged));
        for socket in self.sockets.expired(now) {
            effects.extend(self.refuse(socket, Refusal::expired()));
        }
        for (socket, code, reason) in self.sockets.refused(now) {
            self.sockets.close(socket);
            effects.push(Effect::Close(socket, code, reason.into()));
        }
        effects
    }

    /// Answers requests in their order; what they append is delivered after that, together.
    fn requests(
        &mut self,
        now: Millis,
        requests: Vec<(RequestId, HubRequest)>,
        log: &mut dyn Log,
    ) -> Vec<Effect> {
        let (mut effects, mut batch) = (vec![], Batch::default());
        for (request, asked) in requests {
            // What happens to sockets comes after the answer.
            let mut then = vec![];
            let answered = self.answer(now, (request, asked), &mut batch, log, &mut then);
            // One that waits is answered later.
            effects.extend(answered.transpose().map(|answer| Effect::Answer(request, answer)));
            effects.extend(then);
        }
        effects.extend(self.finish(now, batch, log));
        effects
    }

    fn answer(
        &mut self,
        now: Millis,
        (request, asked): (RequestId, HubRequest),
        batch: &mut Batch,
        log: &mut dyn Log,
        then: &mut Vec<Effect>,
    ) -> Result<Option<HubAnswer>, Problem> {
        self.require_scope(&asked, log)?;
        let answer = match asked {
            HubRequest::Append { update, claims, wait } => {
                require_good(log, &claims)?;
                return self.append(now, (request, update, wait), batch, log);
            }
            HubRequest::Read { claims, topics, after, bytes } => {
                require_good(log, &claims)?;
                let bytes = bytes.unwrap_or(limits::REPLAY_BATCH_BYTES);
                HubAnswer::Log(reading::page(log, &claims, topics, after, bytes)?)
            }
            HubRequest::Check(claims) => {
                require_good(log, &claims)?;
                HubAnswer::Good
            }
            HubRequest::Revoke(revocation) => {
                let (closed, refusals) = self.revoke(now, &revocation, log)?;
                *then = refusals;
                HubAnswer::Revoked { closed }
            }
            HubRequest::Snapshot { claims, topics, after, inline_bytes, origin } => {
                require_good(log, &claims)?;
                let wanted = snapshot::Wanted { topics, after, inline_bytes, origin };
                HubAnswer::Snapshot(snapshot::take(log, &self.scope, &claims, wanted)?)
            }
            HubRequest::Fetch { seq, place, key } => {
                HubAnswer::Data(snapshot::fetch(log, seq, place, &key)?)
            }
            HubRequest::Peers(claims) => {
                require_good(log, &claims)?;
                HubAnswer::Peers(self.peers())
            }
            HubRequest::SetPolicy { claims, revision: name, files, wait } => {
                claims.map_or(Ok(()), |claims| require_good(log, &claims))?;
                let wanted = policy::Wanted { name, files, wait };
                return self.set_policy(now, (request, wanted), batch, log, then);
            }
            HubRequest::Policy { claims, base } => {
                require_good(log, &claims)?;
                HubAnswer::Policy(policy::read(log, base.as_deref())?.map(Box::new))
            }
            HubRequest::Clear(claims) => {
                require_good(log, &claims)?;
                *then = self.clear(log)?;
                HubAnswer::Good
            }
            HubRequest::Watch { claims, of, known, wait_ms } => {
                require_good(log, &claims)?;
                return self.watch(now, (request, claims, of, known, wait_ms), log);
            }
            HubRequest::Report { claims, report } => {
                require_good(log, &claims)?;
                reports::take(log, now, &report)?;
                HubAnswer::Good
            }
            HubRequest::Reported { claims, which } => {
                require_good(log, &claims)?;
                HubAnswer::Reported(reports::show(log, which)?)
            }
            HubRequest::Plane { asked, wait } => {
                return self.plane(now, (request, *asked, wait), batch, log);
            }
            HubRequest::Directory { asked, wait } => {
                return self.directory(now, (request, *asked, wait), batch, log);
            }
            HubRequest::Admit { most, per_ms } => self.admit(now, most, per_ms)?,
            HubRequest::Keep { claims, name, body } => {
                let kept = HubRequest::Keep { claims, name: name.clone(), body };
                let answer = documents::answer(log, kept)?;
                if base::is_about(&name) {
                    self.renew_base(now, batch, log)?;
                }
                answer
            }
            kept => documents::answer(log, kept)?,
        };
        Ok(Some(answer))
    }

    /// Refuses tokens from now on: how many sockets that closes, and what closes them.
    fn revoke(
        &mut self,
        now: Millis,
        revocation: &Revocation,
        log: &mut dyn Log,
    ) -> Result<(u32, Vec<Effect>), Problem> {
        log.revoke(now, revocation).map_err(|_| {
            Problem::unavailable("the hub's storage refused; nothing was revoked, try again")
        })?;
        let revoked = self.sockets.revoked(revocation);
        let closed = u32::try_from(revoked.len()).unwrap_or(u32::MAX);
        let refusals = revoked.into_iter().flat_map(|it| self.refuse(it, Refusal::revoked()));
        Ok((closed, refusals.collect()))
    }

    fn is_opal(&self, socket: SocketId) -> bool {
        self.sockets.get(socket).is_some_and(|it| it.session.opal.is_some())
    }

    fn refuse(&mut self, socket: SocketId, refusal: Refusal) -> Vec<Effect> {
        let is_opal = self.is_opal(socket);
        self.sockets.close(socket);
        let Refusal { close: close_code, code, message, retry_after } = refusal;
        if is_opal {
            // There is no frame for it: the close frame has to say it.
            return vec![Effect::Close(socket, close_code, close::reason(message).into())];
        }
        let error = SocketError { code: code.to_owned(), message, retry_after };
        vec![
            send(vec![socket], &HubFrame::Error(error)),
            Effect::Close(socket, close_code, code.into()),
        ]
    }
}

fn require_good(log: &dyn Log, claims: &Claims) -> Result<(), Problem> {
    match log.is_revoked(claims) {
        Ok(false) => Ok(()),
        Ok(true) if planted(Bug::RevocationForgotten) => Ok(()),
        Ok(true) => Err(Problem::unauthorized(
            "Access token was revoked; ask whoever runs this for a new one",
        )),
        Err(error) => Err(unanswered(error)),
    }
}

/// The last number of the part of the log, a quarter, that retention gives up next. What stands
/// there and is needed is said again before.
fn soon_given_up(log: &dyn Log) -> Seq {
    const PART: u64 = 4;
    let (floor, head) = (log.floor(), log.head());
    Seq(floor.0 + head.0.saturating_sub(floor.0) / PART)
}

fn unanswered(_: LogError) -> Problem {
    Problem::unavailable("the hub's storage did not answer; try again")
}

fn unstored(_: LogError) -> Problem {
    Problem::unavailable("the hub's storage refused; nothing was changed, try again")
}

fn done_waiting((request, answer): Done) -> Effect {
    Effect::Answer(request, Ok(answer))
}

fn delivery<E>(record: &Record, prev: Seq, entries: Vec<E>, places: Vec<u32>) -> Delivery<E> {
    Delivery {
        seq: record.seq,
        prev,
        id: record.id.clone(),
        at: record.at,
        reason: record.update.reason.clone(),
        entries,
        places,
        callback: record.update.callback.clone(),
    }
}

fn attach(socket: SocketId, attachment: Attachment) -> Effect {
    Effect::Attach(socket, Box::new(attachment))
}

fn reset(socket: SocketId, reason: &str) -> Effect {
    send(vec![socket], &HubFrame::Reset { reason: reason.to_owned() })
}

fn send(to: Vec<SocketId>, frame: &HubFrame<&Entry>) -> Effect {
    // Strings, numbers and verbatim JSON: nothing in a frame can fail to encode.
    Effect::Send(to, frame.encode().unwrap_or_default())
}
