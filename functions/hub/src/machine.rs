//! The hub as a state machine: no sockets, no clock, no storage of its own.
//!
//! A shell feeds it what happened and carries out what it decides, in order:
//!
//! * **Append** is checked against the log by id, numbered, written, answered, delivered.
//!   The answer and the deliveries are effects of the same step as the write, and the
//!   platform holds effects back until the write is durable: nobody hears of an update
//!   that could be lost. What it makes unnecessary is [dropped](crate::compaction).
//! * **A subscriber** is `Opened`, then `Replaying` from its cursor in batches it asks for
//!   one by one, then `Live`. Only a live one is pushed to, so a slow replay is a number
//!   in the log and not a queue in memory. A live one that shows no sign of life is sent a
//!   `pause` and is behind in the log as well.
//! * Live subscribers with the same topics form a **group**: what matches, what `prev`
//!   is, and the frame's text are worked out once for all of them.
//! * **A publisher may wait**: its answer is an effect of a later step, when agents have
//!   said what became of the update, or when its time is up.

use protocol::internal::{HubAnswer, HubRequest, LogPage, Revocation, Session, Wait};
use protocol::planted::{Bug, planted};
use protocol::socket::{AgentFrame, Delivery, Hello, HubFrame, SocketError};
use protocol::{Claims, Entry, Millis, Problem, Seq, Update, limits, topic::TopicSet};
use serde::{Deserialize, Serialize};

use crate::compaction;
use crate::log::{Fingerprint, Log, LogError, Record, Retention};
use crate::refusal::Refusal;
use crate::sockets::Sockets;
pub use crate::sockets::{Attachment, SocketId, Subscription};
use crate::waits::{Done, Waits};

/// The shell's name of a request that is to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(pub u64);

/// What happened.
#[derive(Clone, Debug)]
pub enum Input<'i> {
    /// A function asks; this step or a later one has one [`Effect::Answer`].
    Request(RequestId, HubRequest),
    /// A socket was opened by a verified bearer.
    Opened(SocketId, Session),
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
    Attach(SocketId, Attachment),
    /// Close a socket.
    Close(SocketId, u16, &'static str),
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
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            retention: Retention::default(),
            replay_batch: limits::REPLAY_BATCH_BYTES,
            push_window: limits::MAX_PUSH_WINDOW_BYTES,
        }
    }
}

/// The hub of one scope.
#[derive(Debug, Default)]
pub struct Machine {
    settings: Settings,
    sockets: Sockets,
    waits: Waits,
}

impl Machine {
    /// A hub without sockets.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings, ..Self::default() }
    }

    /// Takes a socket back after the hub slept.
    pub fn restore(&mut self, socket: SocketId, attachment: Attachment) {
        self.sockets.restore(socket, attachment);
    }

    /// When the machine wants an [`Input::Tick`]: the end of a token, or of somebody's wait.
    #[must_use]
    pub fn next_tick(&self) -> Option<Millis> {
        let due = [self.sockets.next_expiry(), self.waits.next_deadline()];
        due.into_iter().flatten().min()
    }

    /// One step: everything that follows from one input.
    pub fn step(&mut self, now: Millis, input: Input<'_>, log: &mut dyn Log) -> Vec<Effect> {
        match input {
            Input::Request(request, asked) => self
                .request(now, request, asked, log)
                .unwrap_or_else(|problem| vec![Effect::Answer(request, Err(problem))]),
            Input::Opened(socket, session) => self.opened(socket, session, log),
            Input::Text(socket, text) => self
                .frame(now, socket, text, log)
                .unwrap_or_else(|refusal| self.refuse(socket, refusal)),
            Input::Binary(socket) => {
                self.refuse(socket, Refusal::bad_frame("frames are text, this one was binary"))
            }
            Input::Unkept(socket) => self.refuse(socket, Refusal::unkept()),
            Input::Closed(socket) => {
                self.sockets.close(socket);
                vec![]
            }
            Input::Tick => self.tick(now),
        }
    }

    fn tick(&mut self, now: Millis) -> Vec<Effect> {
        let mut effects: Vec<Effect> = self.waits.over(now).into_iter().map(answer).collect();
        for socket in self.sockets.expired(now) {
            effects.extend(self.refuse(socket, Refusal::expired()));
        }
        effects
    }

    // === requests ===

    fn request(
        &mut self,
        now: Millis,
        request: RequestId,
        asked: HubRequest,
        log: &mut dyn Log,
    ) -> Result<Vec<Effect>, Problem> {
        match asked {
            HubRequest::Append { update, claims, wait } => {
                require_good(log, &claims)?;
                self.append(now, request, update, wait, log)
            }
            HubRequest::Read { claims, topics, after } => {
                require_good(log, &claims)?;
                let page = read(log, &claims, topics, after)?;
                Ok(vec![Effect::Answer(request, Ok(HubAnswer::Log(page)))])
            }
            HubRequest::Revoke(revocation) => self.revoke(now, request, &revocation, log),
            HubRequest::Check(claims) => {
                require_good(log, &claims)?;
                Ok(vec![Effect::Answer(request, Ok(HubAnswer::Good))])
            }
        }
    }

    fn append(
        &mut self,
        now: Millis,
        request: RequestId,
        update: Update,
        wait: Option<Wait>,
        log: &mut dyn Log,
    ) -> Result<Vec<Effect>, Problem> {
        if wait.is_some() {
            self.waits.has_room()?;
        }
        // Only who waits needs it once more.
        let waited_for = wait.map(|wait| (wait, update.clone()));
        let (seq, deliveries) = match accept(now, update, log)? {
            Accepted::New(record) => {
                let deliveries = self.deliver(now, &record, log);
                compact(now, &record, self.settings.retention, log);
                (record.seq, deliveries)
            }
            Accepted::Known(seq) => (seq, vec![]),
        };
        let Some((wait, update)) = waited_for else {
            let answer = Ok(HubAnswer::Appended { seq, receipts: None });
            return Ok(std::iter::once(Effect::Answer(request, answer))
                .chain(deliveries)
                .collect());
        };
        let subscribers: Vec<(SocketId, String)> = self
            .sockets
            .subscribers(&update)
            .map(|(socket, agent)| (socket, agent.to_owned()))
            .collect();
        let mut effects = deliveries;
        let to: Vec<SocketId> = subscribers.iter().map(|(socket, _)| *socket).collect();
        if !to.is_empty() {
            effects.push(send(to, &HubFrame::Confirm { seq }));
        }
        let done = self.waits.begin(now, request, (seq, update), wait, &subscribers);
        effects.extend(done.map(answer));
        Ok(effects)
    }

    fn revoke(
        &mut self,
        now: Millis,
        request: RequestId,
        revocation: &Revocation,
        log: &mut dyn Log,
    ) -> Result<Vec<Effect>, Problem> {
        log.revoke(now, revocation).map_err(|_| {
            Problem::unavailable("the hub's storage refused; nothing was revoked, try again")
        })?;
        let revoked = self.sockets.revoked(revocation);
        let closed = u32::try_from(revoked.len()).unwrap_or(u32::MAX);
        let mut effects = vec![Effect::Answer(request, Ok(HubAnswer::Revoked { closed }))];
        for socket in revoked {
            effects.extend(self.refuse(socket, Refusal::revoked()));
        }
        Ok(effects)
    }

    /// Delivers a record that is in the log to every live subscriber it is for.
    fn deliver(&mut self, now: Millis, record: &Record, log: &dyn Log) -> Vec<Effect> {
        let mut frames = vec![];
        for (topics, group) in self.sockets.groups() {
            let (entries, places) = record.entries_for(Some(topics));
            if entries.is_empty() {
                continue;
            }
            // Without the true number a subscriber must be made to ask: `seq - 1` is one that
            // only who has everything can have.
            let prev = group.last.map_or_else(|| log.last_for(topics, record.seq), Ok);
            let prev = prev.unwrap_or_else(|_| Seq(record.seq.0.saturating_sub(1)));
            let prev = if planted(Bug::PrevIsZero) { Seq::ZERO } else { prev };
            group.last = Some(record.seq);
            let frame = HubFrame::Updates(vec![delivery(record, prev, entries, places)]);
            let members: Vec<SocketId> = group.members.iter().copied().collect();
            frames.push((members, frame.encode().unwrap_or_default()));
        }
        let mut effects = vec![];
        for (members, frame) in frames {
            let is_late = |socket: &SocketId| {
                self.sockets.get(*socket).is_none_or(|it| it.session.is_expired(now))
            };
            let (late, to): (Vec<_>, Vec<_>) = members.into_iter().partition(is_late);
            for socket in late {
                effects.extend(self.refuse(socket, Refusal::expired()));
            }
            let over = self.sockets.pushed(&to, frame.len(), self.settings.push_window);
            if !to.is_empty() {
                effects.push(Effect::Send(to, frame));
            }
            if !over.is_empty() {
                for socket in &over {
                    let attachment = self.sockets.set_live(*socket, false);
                    effects.extend(attachment.map(|it| Effect::Attach(*socket, it)));
                }
                effects.push(send(over, &HubFrame::Pause { seq: record.seq }));
            }
        }
        effects
    }

    // === subscribing ===

    fn opened(&mut self, socket: SocketId, session: Session, log: &dyn Log) -> Vec<Effect> {
        let revoked = log.is_revoked(&session.claims);
        let attachment = self.sockets.open(socket, session);
        match revoked {
            Ok(false) => vec![Effect::Attach(socket, attachment)],
            Ok(true) => self.refuse(socket, Refusal::revoked()),
            Err(error) => self.refuse(socket, Refusal::storage(error)),
        }
    }

    fn frame(
        &mut self,
        now: Millis,
        socket: SocketId,
        text: &str,
        log: &dyn Log,
    ) -> Result<Vec<Effect>, Refusal> {
        let Some(attachment) = self.sockets.get(socket) else {
            return Ok(vec![]);
        };
        if attachment.session.is_expired(now) {
            return Err(Refusal::expired());
        }
        if text.len() > limits::MAX_FRAME_BYTES {
            return Err(Refusal::too_large(text.len()));
        }
        let frame = AgentFrame::decode(text).map_err(Refusal::bad_frame)?;
        let agent = attachment.subscription.as_ref().map(|it| it.agent.clone());
        match (frame, agent) {
            (None | Some(AgentFrame::Status { .. }), _) => Ok(vec![]),
            (Some(AgentFrame::Hello(hello)), _) => self.hello(socket, hello, log),
            (Some(AgentFrame::Subscribe { topics, cursor }), Some(agent)) => {
                self.subscribe(socket, agent, topics)?;
                let mut effects = self.replay(socket, cursor, log)?;
                effects.extend(self.ask_for_receipts(socket));
                Ok(effects)
            }
            (Some(AgentFrame::Resume { cursor }), Some(_)) => self.replay(socket, cursor, log),
            (Some(AgentFrame::Receipt(receipt)), Some(_)) => {
                Ok(self.waits.receipt(socket, &receipt).into_iter().map(answer).collect())
            }
            (Some(_), None) => Err(Refusal::bad_frame("say hello first")),
        }
    }

    fn hello(
        &mut self,
        socket: SocketId,
        hello: Hello,
        log: &dyn Log,
    ) -> Result<Vec<Effect>, Refusal> {
        let limit = limits::MAX_AGENT_NAME_BYTES;
        if hello.agent.trim().is_empty() || hello.agent.len() > limit {
            return Err(Refusal::bad_frame(format!(
                "hello.agent: give a name of 1 to {limit} bytes"
            )));
        }
        self.subscribe(socket, hello.agent, hello.topics)?;
        let scope = self.sockets.get(socket).map(|it| it.session.scope.clone()).unwrap_or_default();
        let head = log.head();
        let welcome = HubFrame::Welcome { scope, head, epoch: log.epoch().to_owned() };
        let mut effects = vec![send(vec![socket], &welcome)];
        let stranger = hello.epoch.as_deref().is_some_and(|epoch| epoch != log.epoch());
        let cursor = if stranger { Seq::ZERO } else { hello.cursor };
        if cursor != hello.cursor {
            effects.push(reset(socket, "the log was started anew since the cursor was given"));
        }
        effects.extend(self.replay(socket, cursor, log)?);
        effects.extend(self.ask_for_receipts(socket));
        Ok(effects)
    }

    /// Sets what a socket wants; it is not live until a replay has caught up.
    fn subscribe(
        &mut self,
        socket: SocketId,
        agent: String,
        topics: TopicSet,
    ) -> Result<(), Refusal> {
        if let Some(attachment) = self.sockets.get(socket) {
            let claims = &attachment.session.claims;
            claims.require_topics(topics.iter()).map_err(Refusal::forbidden)?;
        }
        self.sockets.subscribe(socket, agent, topics);
        Ok(())
    }

    /// Asks a subscriber that was not there when an update was published for the receipts
    /// that somebody still waits for.
    fn ask_for_receipts(&mut self, socket: SocketId) -> Vec<Effect> {
        let Some(subscription) = self.sockets.get(socket).and_then(|it| it.subscription.clone())
        else {
            return vec![];
        };
        let is_for_it = |update: &Update| {
            update.entries.iter().any(|entry| subscription.topics.matches(&entry.topics))
        };
        let seqs = self.waits.joined(socket, &subscription.agent, is_for_it);
        seqs.into_iter().map(|seq| send(vec![socket], &HubFrame::Confirm { seq })).collect()
    }

    /// Sends one batch of what a socket has missed since `cursor`, and says how it ended.
    fn replay(
        &mut self,
        socket: SocketId,
        mut cursor: Seq,
        log: &dyn Log,
    ) -> Result<Vec<Effect>, Refusal> {
        let Some(subscription) = self.sockets.get(socket).and_then(|it| it.subscription.as_ref())
        else {
            return Ok(vec![]);
        };
        let topics = subscription.topics.clone();
        let mut effects = vec![];
        let (head, floor) = (log.head(), log.floor());
        if cursor > head {
            let reason = format!("cursor {cursor} is ahead of the log, which ends at {head}");
            effects.push(reset(socket, &reason));
            cursor = Seq::ZERO;
        }
        if Seq::ZERO < cursor && cursor < floor {
            let reason = format!(
                "cursor {cursor} is older than what is kept; updates up to {floor} were given up \
                 to the retention limit"
            );
            effects.push(reset(socket, &reason));
            cursor = Seq::ZERO;
        }
        let after = if planted(Bug::ReplaySkips) { cursor.next() } else { cursor };
        let records =
            log.read(Some(&topics), after, self.settings.replay_batch).map_err(Refusal::storage)?;
        let reached = records.last().map_or(cursor, |record| record.seq);
        let last = log.last_for(&topics, head.next()).map_err(Refusal::storage)?;
        let caught_up = reached >= last || planted(Bug::CaughtUpEarly);
        let end = if caught_up {
            let digests = log.digests(&topics).map_err(Refusal::storage)?;
            HubFrame::CaughtUp { seq: head, digests }
        } else {
            HubFrame::Bookmark { seq: reached }
        };
        let attachment = self.sockets.set_live(socket, caught_up);
        effects.extend(attachment.map(|it| Effect::Attach(socket, it)));
        let mut prev = cursor;
        let mut deliveries = Vec::with_capacity(records.len());
        for record in &records {
            let (entries, places) = record.entries_for(Some(&topics));
            deliveries.push(delivery(record, prev, entries, places));
            prev = record.seq;
        }
        if !deliveries.is_empty() {
            effects.push(send(vec![socket], &HubFrame::Updates(deliveries)));
        }
        effects.push(send(vec![socket], &end));
        Ok(effects)
    }

    fn refuse(&mut self, socket: SocketId, refusal: Refusal) -> Vec<Effect> {
        self.sockets.close(socket);
        let Refusal { close, code, message, retry_after } = refusal;
        let error = SocketError { code: code.to_owned(), message, retry_after };
        vec![send(vec![socket], &HubFrame::Error(error)), Effect::Close(socket, close, code)]
    }
}

/// What the log says to an update that wants in.
enum Accepted {
    /// It is in the log now.
    New(Record),
    /// It already was, with this number.
    Known(Seq),
}

/// Checks an update by its id and appends it if it is new.
fn accept(now: Millis, update: Update, log: &mut dyn Log) -> Result<Accepted, Problem> {
    let id = update.id.clone().ok_or_else(|| Problem::invalid("id: missing"))?;
    let body =
        serde_json::to_string(&update).map_err(|error| Problem::internal(error.to_string()))?;
    if body.len() > limits::MAX_UPDATE_BYTES {
        // Defaults were written out; what is stored must still fit into a frame.
        return Err(Problem::update_too_large(body.len()));
    }
    let fingerprint = Fingerprint::of(&body);
    let refused = |_: LogError| {
        Problem::unavailable("the hub's storage refused; nothing was stored, publish it again")
    };
    let known = log.find(&id).map_err(refused)?.filter(|_| !planted(Bug::AppendedTwice));
    match known {
        Some((seq, known)) if known == fingerprint || planted(Bug::BodyIgnored) => {
            Ok(Accepted::Known(seq))
        }
        Some((seq, _)) => Err(Problem::conflict(format!(
            "id `{id}` was published before with other content, as number {seq}; choose another id"
        ))),
        None => {
            let next = log.head().next();
            let next = if planted(Bug::NumberLeftOut) { next.next() } else { next };
            let record = Record::new(next, id, now, update);
            log.append(&record, &body, &fingerprint).map_err(refused)?;
            Ok(Accepted::New(record))
        }
    }
}

/// Drops what a record makes unnecessary, and what is beyond retention. What storage does
/// not do now is only space, and the next update's turn.
fn compact(now: Millis, record: &Record, retention: Retention, log: &mut dyn Log) {
    if let Ok(dropped) = compaction::superseded(log, record)
        && !dropped.is_empty()
    {
        let _ = log.drop_entries(&dropped);
    }
    let _ = log.retain(now, retention);
}

fn require_good(log: &dyn Log, claims: &Claims) -> Result<(), Problem> {
    match log.is_revoked(claims) {
        Ok(false) => Ok(()),
        Ok(true) if planted(Bug::RevocationForgotten) => Ok(()),
        Ok(true) => Err(Problem::unauthorized(
            "Access token was revoked; ask whoever runs this for a new one",
        )),
        Err(_) => Err(Problem::unavailable("the hub's storage did not answer; try again")),
    }
}

/// A page of the log, of what the bearer may see.
fn read(
    log: &dyn Log,
    claims: &Claims,
    topics: Option<TopicSet>,
    after: Seq,
) -> Result<LogPage, Problem> {
    let refused = |_: LogError| Problem::unavailable("the hub's storage did not answer; try again");
    let topics = match (topics, &claims.permitted_topics) {
        (Some(topics), _) => {
            claims.require_topics(topics.iter())?;
            Some(topics)
        }
        (None, Some(permitted)) => Some(TopicSet::new(permitted.iter().cloned())?),
        (None, None) => None,
    };
    let topics = topics.as_ref();
    let records = log.read(topics, after, limits::REPLAY_BATCH_BYTES).map_err(refused)?;
    let reached = records.last().map(|record| record.seq);
    let more = match reached {
        Some(reached) => !log.read(topics, reached, 0).map_err(refused)?.is_empty(),
        None => false,
    };
    let mut prev = after;
    let updates = records.iter().map(|record| {
        let (entries, places) = record.entries_for(topics);
        let entries = entries.into_iter().cloned().collect();
        let delivery = delivery(record, prev, entries, places);
        prev = record.seq;
        delivery
    });
    let updates = updates.collect();
    let digests = match topics {
        Some(topics) => log.digests(topics).map_err(refused)?,
        None => protocol::digest::TopicDigests::new(),
    };
    let (epoch, head, floor) = (log.epoch().to_owned(), log.head(), log.floor());
    Ok(LogPage { epoch, head, floor, updates, next: reached.filter(|_| more), digests })
}

fn answer((request, seq, receipts): Done) -> Effect {
    Effect::Answer(request, Ok(HubAnswer::Appended { seq, receipts: Some(receipts) }))
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

fn reset(socket: SocketId, reason: &str) -> Effect {
    send(vec![socket], &HubFrame::Reset { reason: reason.to_owned() })
}

fn send(to: Vec<SocketId>, frame: &HubFrame<&Entry>) -> Effect {
    // Strings, numbers and verbatim JSON: nothing in a frame can fail to encode.
    Effect::Send(to, frame.encode().unwrap_or_default())
}
