//! The link to the hub and what has arrived on it.
//!
//! Every `hello` and every `resume` is answered by one replay, which ends with `bookmark`
//! or `caught_up`. While more than one of them is under way only the last one counts: what
//! belongs to an earlier one was asked for from a place that no longer holds.

use protocol::socket::{AgentFrame, Delivery, Hello, HubFrame};
use protocol::{Millis, Seq};

use super::backoff::Backoff;
use super::io::{Config, Effect, Report};
use super::status::{Connection, ConnectionState};

/// Milliseconds without a frame after which a replay is given up: the hub answers at once
/// or not at all.
const REPLAY_SILENCE: u64 = 30_000;

/// Where the link stands.
#[derive(Debug)]
enum Link {
    /// No socket: time of the next try.
    Waiting(Millis),
    /// A socket is being opened.
    Connecting,
    /// What was missed is coming, or is to be asked for.
    Replaying(Replay),
    /// The hub pushes.
    Live,
    /// The socket is being closed.
    Closing,
}

/// Whose turn it is in a replay.
#[derive(Debug)]
enum Replay {
    /// So many replays are to be answered; the last frame came at this moment.
    Asked { answers: u32, heard: Millis },
    /// The next batch is to be asked for, as soon as there is room for it.
    Paused,
}

/// What a frame means for the rest of the agent.
#[derive(Debug)]
pub(super) enum News {
    /// Nothing.
    None,
    /// These are new, in order.
    Updates(Vec<Delivery>),
    /// The log begins anew: what has not taken effect yet never will.
    Reset,
}

/// The subscription.
#[derive(Debug)]
pub(super) struct Subscription {
    link: Link,
    since: Millis,
    error: Option<String>,
    /// What the hub said before it closed this connection.
    refusal: Option<String>,
    backoff: Backoff,
    /// Everything of our topics up to here has arrived.
    received: Seq,
    epoch: Option<String>,
    scope: Option<String>,
    head: Option<Seq>,
}

impl Subscription {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            link: Link::Waiting(Millis(0)),
            since: Millis(0),
            error: None,
            refusal: None,
            backoff: Backoff::new(seed),
            received: Seq::ZERO,
            epoch: None,
            scope: None,
            head: None,
        }
    }

    pub(super) fn received(&self) -> Seq {
        self.received
    }

    pub(super) fn scope(&self) -> Option<&str> {
        self.scope.as_deref()
    }

    pub(super) fn head(&self) -> Option<Seq> {
        self.head
    }

    pub(super) fn is_live(&self) -> bool {
        matches!(self.link, Link::Live)
    }

    pub(super) fn connection(&self, now: Millis) -> Connection {
        let state = match self.link {
            Link::Waiting(_) | Link::Closing => ConnectionState::Waiting,
            Link::Connecting => ConnectionState::Connecting,
            Link::Replaying(_) => ConnectionState::Replaying,
            Link::Live => ConnectionState::Live,
        };
        Connection { state, for_ms: now.since(self.since), error: self.error.clone() }
    }

    pub(super) fn next_tick(&self) -> Option<Millis> {
        match self.link {
            Link::Waiting(at) => Some(at),
            Link::Replaying(Replay::Asked { heard, .. }) => Some(heard.plus(REPLAY_SILENCE)),
            _ => None,
        }
    }

    /// What time, or room in the queue, has made possible.
    pub(super) fn due(&mut self, now: Millis, has_room: bool, effects: &mut Vec<Effect>) {
        match self.link {
            Link::Waiting(at) if at <= now => {
                self.set(now, Link::Connecting);
                effects.push(Effect::Connect);
            }
            Link::Replaying(Replay::Paused) if has_room => self.ask(now, 0, effects),
            Link::Replaying(Replay::Asked { heard, .. }) if heard.plus(REPLAY_SILENCE) <= now => {
                self.refusal = Some("the hub does not go on with its replay".to_owned());
                self.set(now, Link::Closing);
                effects.push(Effect::Disconnect);
            }
            _ => {}
        }
    }

    /// The socket is open.
    pub(super) fn up(&mut self, now: Millis, config: &Config, effects: &mut Vec<Effect>) {
        self.set(now, Link::Replaying(Replay::Asked { answers: 1, heard: now }));
        effects.push(Effect::Send(AgentFrame::Hello(Hello {
            agent: config.agent.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            topics: config.topics.clone(),
            cursor: self.received,
            epoch: self.epoch.clone(),
        })));
    }

    /// There is no socket (any more).
    pub(super) fn down(&mut self, now: Millis, reason: String, effects: &mut Vec<Effect>) {
        let wait = self.backoff.next_delay();
        let reason = match self.refusal.take() {
            Some(refusal) => format!("{refusal} ({reason})"),
            None => reason,
        };
        effects.push(Effect::Report(Report::Disconnected(reason.clone(), wait)));
        self.set(now, Link::Waiting(now.plus(wait)));
        self.error = Some(reason);
    }

    /// The hub said something. Without room, what is pushed is left in the hub's log and
    /// asked for later.
    pub(super) fn hear(
        &mut self,
        now: Millis,
        frame: HubFrame,
        has_room: bool,
        effects: &mut Vec<Effect>,
    ) -> News {
        if let Link::Replaying(Replay::Asked { heard, .. }) = &mut self.link {
            *heard = now;
        }
        match frame {
            HubFrame::Welcome { scope, head, epoch } => {
                (self.scope, self.head, self.epoch) = (Some(scope), Some(head), Some(epoch));
            }
            HubFrame::Updates(updates) => return self.updates(now, updates, has_room, effects),
            HubFrame::Bookmark { seq } => {
                if self.is_last_answer() {
                    self.reach(seq);
                    self.link = Link::Replaying(Replay::Paused);
                }
            }
            HubFrame::CaughtUp { seq } => {
                if self.is_last_answer() {
                    self.reach(seq);
                    self.backoff.reset();
                    self.error = None;
                    self.set(now, Link::Live);
                    effects.push(Effect::Report(Report::Live(seq)));
                }
            }
            HubFrame::Reset { reason } => {
                effects.push(Effect::Report(Report::Reset(reason)));
                self.received = Seq::ZERO;
                if self.is_live() {
                    // A replay follows by itself.
                    self.set(now, Link::Replaying(Replay::Asked { answers: 1, heard: now }));
                }
                return News::Reset;
            }
            HubFrame::Error(error) => {
                self.refusal = Some(error.message.clone());
                effects.push(Effect::Report(Report::Refused(error.code, error.message)));
            }
        }
        News::None
    }

    /// Everything again from seq 0.
    pub(super) fn restart(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        self.received = Seq::ZERO;
        match self.link {
            Link::Replaying(Replay::Asked { answers, .. }) => self.ask(now, answers, effects),
            Link::Live | Link::Replaying(Replay::Paused) => self.ask(now, 0, effects),
            Link::Waiting(_) | Link::Connecting | Link::Closing => {}
        }
    }

    fn updates(
        &mut self,
        now: Millis,
        updates: Vec<Delivery>,
        has_room: bool,
        effects: &mut Vec<Effect>,
    ) -> News {
        if matches!(self.link, Link::Replaying(Replay::Asked { answers, .. }) if answers > 1) {
            return News::None;
        }
        let mut fresh = vec![];
        for update in updates {
            if update.seq <= self.received {
                continue;
            }
            let live = self.is_live();
            if update.prev > self.received {
                // Ask once: what is pushed until the answer comes has the same hole.
                if live {
                    effects.push(Effect::Report(Report::Hole(self.received)));
                    self.ask(now, 0, effects);
                }
                break;
            }
            if live && !has_room {
                self.set(now, Link::Replaying(Replay::Paused));
                break;
            }
            self.reach(update.seq);
            fresh.push(update);
        }
        News::Updates(fresh)
    }

    /// Counts the end of a replay; true if no other is to come.
    fn is_last_answer(&mut self) -> bool {
        match &mut self.link {
            Link::Replaying(Replay::Asked { answers, .. }) => {
                *answers = answers.saturating_sub(1);
                *answers == 0
            }
            _ => false,
        }
    }

    /// Asks for a replay of what follows, while so many others are still to be answered.
    fn ask(&mut self, now: Millis, others: u32, effects: &mut Vec<Effect>) {
        let answers = others.saturating_add(1);
        self.set(now, Link::Replaying(Replay::Asked { answers, heard: now }));
        effects.push(Effect::Send(AgentFrame::Resume { cursor: self.received }));
    }

    fn reach(&mut self, seq: Seq) {
        self.received = self.received.max(seq);
        self.head = self.head.max(Some(seq));
    }

    fn set(&mut self, now: Millis, link: Link) {
        self.link = link;
        self.since = now;
    }
}
