//! The link to the hub and what has arrived on it.
//!
//! Every `hello` and every `resume` is answered by one replay, which ends with `bookmark`
//! or `caught_up`. While more than one of them is under way only the last one counts: what
//! belongs to an earlier one was asked for from a place that no longer holds.
//!
//! Nothing but updates, and the end of the last replay, moves `received`: every other frame
//! may cross a hole that is still to be mended.

use protocol::digest::TopicDigests;
use protocol::planted::{Bug, planted};
use protocol::socket::{AgentFrame, Delivery, Hello, HubFrame};
use protocol::topic::{self, TopicSet};
use protocol::{Millis, Seq};

use super::backoff::Backoff;
use super::io::{Config, Effect, Report};
use super::queue::Queue;
use super::settling::Settling;
use super::status::{Connection, ConnectionState};
use crate::store::Mark;

/// Milliseconds without a frame after which a replay is given up: the hub answers at once
/// or not at all.
const REPLAY_SILENCE: u64 = 30_000;
/// Milliseconds between two questions to the hub on behalf of somebody who waits.
const ASK_EVERY: u64 = 250;

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
    /// The socket is being closed, for one with a new token.
    Renewing,
    /// The operator wants no connection; whether a socket is still to be closed.
    Off { closing: bool },
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
    /// The hub begins anew, for this reason: what has not taken effect yet never will.
    Reset(String),
    /// The hub has other updates than we have seen: everything is to be asked for again.
    Diverged(String),
    /// Somebody waits for our receipt of an update.
    Confirm(Seq),
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
    /// What of that is not certain yet.
    settling: Option<Settling>,
    epoch: Option<String>,
    scope: Option<String>,
    head: Option<Seq>,
    topics: TopicSet,
    /// What we have seen of each topic in this run.
    digests: TopicDigests,
    /// The log's end when we joined it, if we came with nothing.
    joined_at: Option<Seq>,
    /// Somebody waits for this seq, until this moment.
    wanted: Option<(Seq, Millis)>,
    asked: Option<Millis>,
}

impl Subscription {
    /// A subscription that has had everything up to the mark.
    pub(super) fn new(topics: TopicSet, mark: &Mark, seed: u64) -> Self {
        let Mark { cursor: received, settled, epoch, .. } = mark.clone();
        Self {
            link: Link::Waiting(Millis(0)),
            since: Millis(0),
            error: None,
            refusal: None,
            backoff: Backoff::new(seed),
            received,
            settling: Some(Settling::new(settled)),
            joined_at: epoch.as_ref().map(|_| Seq::ZERO),
            epoch,
            scope: None,
            head: None,
            topics,
            digests: TopicDigests::new(),
            wanted: None,
            asked: None,
        }
    }

    pub(super) fn received(&self) -> Seq {
        self.received
    }

    /// Up to where the effect of everything is certain, of what has been received.
    pub(super) fn settled(&self) -> Seq {
        self.settling.map_or(self.received, |it| it.from().min(self.received))
    }

    /// True if everything that an update meant for us, or what made up for it, has arrived;
    /// and, if it came with a replay, has taken effect.
    pub(super) fn has_all_of(&self, seq: Seq) -> bool {
        seq <= self.received && !self.settling.is_some_and(|it| it.is_open(seq))
    }

    /// Looks whether what was replayed has taken effect.
    pub(super) fn settle(&mut self, queue: &Queue) {
        self.settling = self.settling.filter(|it| !it.is_over(queue));
    }

    pub(super) fn scope(&self) -> Option<&str> {
        self.scope.as_deref()
    }

    pub(super) fn head(&self) -> Option<Seq> {
        self.head
    }

    pub(super) fn epoch(&self) -> Option<&str> {
        self.epoch.as_deref()
    }

    pub(super) fn digests(&self) -> &TopicDigests {
        &self.digests
    }

    /// True if an update was published after we joined: its callbacks expect to hear of us.
    pub(super) fn is_of_our_time(&self, seq: Seq) -> bool {
        self.joined_at.is_some_and(|joined| seq > joined)
    }

    pub(super) fn is_live(&self) -> bool {
        matches!(self.link, Link::Live)
    }

    pub(super) fn connection(&self, now: Millis) -> Connection {
        let state = match self.link {
            Link::Waiting(_) | Link::Closing | Link::Renewing => ConnectionState::Waiting,
            Link::Off { .. } => ConnectionState::Off,
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
            Link::Live => self.next_question(),
            _ => None,
        }
    }

    /// Somebody waits for `seq` until `until`. It may be of other topics than ours: only the
    /// hub knows whether there is anything for us before it.
    pub(super) fn want(&mut self, seq: Seq, until: Millis) {
        if seq > self.received {
            let (last, end) = self.wanted.unwrap_or_default();
            self.wanted = Some((last.max(seq), end.max(until)));
        }
    }

    fn next_question(&self) -> Option<Millis> {
        // While a replay settles, what it brought may be what is waited for.
        self.wanted
            .filter(|_| self.settling.is_none())
            .map(|_| self.asked.map_or(Millis(0), |asked| asked.plus(ASK_EVERY)))
    }

    /// What time, or room in the queue, has made possible.
    pub(super) fn due(&mut self, now: Millis, has_room: bool, effects: &mut Vec<Effect>) {
        match self.link {
            Link::Waiting(at) if at <= now => {
                self.set(now, Link::Connecting);
                effects.push(Effect::Connect);
            }
            Link::Replaying(Replay::Paused) if has_room => self.ask(now, 0, effects),
            Link::Live => {
                self.wanted =
                    self.wanted.filter(|(seq, until)| *seq > self.received && *until > now);
                if self.next_question().is_some_and(|at| at <= now) {
                    self.asked = Some(now);
                    self.ask(now, 0, effects);
                }
            }
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
        if matches!(self.link, Link::Off { .. } | Link::Renewing) {
            // It was to be closed before it was open.
            effects.push(Effect::Disconnect);
            return;
        }
        self.replay_begins();
        self.set(now, Link::Replaying(Replay::Asked { answers: 1, heard: now }));
        effects.push(Effect::Send(AgentFrame::Hello(Hello {
            agent: config.agent.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            topics: config.topics.clone(),
            cursor: self.received,
            epoch: self.epoch.clone(),
        })));
    }

    /// There is a new token: a new socket is needed, now and not after a failure.
    pub(super) fn renewed(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        match self.link {
            Link::Live | Link::Replaying(_) => {
                self.set(now, Link::Renewing);
                effects.push(Effect::Disconnect);
            }
            Link::Waiting(_) => self.set(now, Link::Waiting(now)),
            Link::Connecting | Link::Closing | Link::Renewing | Link::Off { .. } => {}
        }
    }

    /// The operator wants a connection, or none.
    pub(super) fn switch(&mut self, now: Millis, on: bool, effects: &mut Vec<Effect>) {
        match (&self.link, on) {
            (Link::Off { closing: true }, true) => self.set(now, Link::Renewing),
            (Link::Off { closing: false }, true) => self.set(now, Link::Waiting(now)),
            (Link::Off { .. }, false) | (_, true) => {}
            (Link::Waiting(_), false) => self.set(now, Link::Off { closing: false }),
            (_, false) => {
                self.set(now, Link::Off { closing: true });
                effects.push(Effect::Disconnect);
            }
        }
    }

    /// There is no socket (any more).
    pub(super) fn down(&mut self, now: Millis, reason: String, effects: &mut Vec<Effect>) {
        match self.link {
            Link::Renewing => return self.set(now, Link::Waiting(now)),
            Link::Off { .. } => return self.set(now, Link::Off { closing: false }),
            _ => {}
        }
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
                self.joined_at = self.joined_at.or(Some(head));
                (self.scope, self.head, self.epoch) = (Some(scope), Some(head), Some(epoch));
            }
            HubFrame::Updates(updates) => return self.updates(now, updates, has_room, effects),
            HubFrame::Bookmark { .. } => {
                if self.is_last_answer() {
                    self.link = Link::Replaying(Replay::Paused);
                }
            }
            HubFrame::Pause { .. } => {
                if self.is_live() && !planted(Bug::PauseIgnored) {
                    self.set(now, Link::Replaying(Replay::Paused));
                }
            }
            HubFrame::CaughtUp { seq, digests } => {
                if self.is_last_answer() {
                    self.reach(seq);
                    if let Some(settling) = &mut self.settling {
                        settling.ends(self.received);
                    }
                    self.backoff.reset();
                    self.error = None;
                    self.set(now, Link::Live);
                    if let Some(difference) = self.compare(digests) {
                        return News::Diverged(difference);
                    }
                    effects.push(Effect::Report(Report::Live(seq)));
                }
            }
            HubFrame::Confirm { seq } => return News::Confirm(seq),
            HubFrame::Reset { reason } => {
                effects.push(Effect::Report(Report::Reset(reason.clone())));
                self.begin_again();
                if self.is_live() {
                    // A replay follows by itself.
                    self.set(now, Link::Replaying(Replay::Asked { answers: 1, heard: now }));
                }
                return News::Reset(reason);
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
        self.begin_again();
        match self.link {
            Link::Replaying(Replay::Asked { answers, .. }) => self.ask(now, answers, effects),
            Link::Live | Link::Replaying(Replay::Paused) => self.ask(now, 0, effects),
            Link::Waiting(_)
            | Link::Connecting
            | Link::Closing
            | Link::Renewing
            | Link::Off { .. } => {}
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
            if update.seq <= self.received && !planted(Bug::TakenTwice) {
                continue;
            }
            let live = self.is_live();
            if update.prev > self.received && !planted(Bug::HoleOverlooked) {
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
            self.count(&update);
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
        self.replay_begins();
        self.set(now, Link::Replaying(Replay::Asked { answers, heard: now }));
        effects.push(Effect::Send(AgentFrame::Resume { cursor: self.received }));
    }

    fn replay_begins(&mut self) {
        let from = self.received;
        self.settling = Some(self.settling.map_or(Settling::new(from), |it| it.again(from)));
    }

    fn begin_again(&mut self) {
        self.received = Seq::ZERO;
        self.settling = Some(Settling::new(Seq::ZERO));
        self.digests.clear();
    }

    fn count(&mut self, update: &Delivery) {
        let published = || update.entries.iter().flat_map(|entry| &entry.topics);
        for ours in self.topics.iter() {
            if published().any(|topic| topic::expand(topic).any(|topic| topic == ours)) {
                self.digests.entry(ours.to_owned()).or_default().add(update.seq, &update.id);
            }
        }
    }

    /// Compares what we have seen with what the hub has, and takes the hub's over: of a log
    /// that was compacted while we were away we have seen less. Says what cannot be.
    fn compare(&mut self, theirs: TopicDigests) -> Option<String> {
        let different = theirs.iter().find(|(topic, theirs)| {
            let ours = self.digests.get(*topic).copied().unwrap_or_default();
            ours.updates > theirs.updates || (ours.updates == theirs.updates && ours != **theirs)
        });
        let difference = different.map(|(topic, _)| {
            format!("the updates seen of topic `{topic}` are not the ones that the hub has")
        });
        self.digests = theirs;
        difference
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
