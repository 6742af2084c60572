//! The hub as a state machine: no sockets, no clock, no storage of its own.
//!
//! A shell feeds it what happened and carries out what it decides, in order:
//!
//! * **Append** is checked against the log by id, numbered, written, answered, delivered.
//!   The answer and the deliveries are effects of the same step as the write, and the
//!   platform holds effects back until the write is durable: nobody hears of an update
//!   that could be lost.
//! * **A subscriber** is `Opened`, then `Replaying` from its cursor in batches it asks for
//!   one by one, then `Live`. Only a live one is pushed to, so a slow replay is a number
//!   in the log and not a queue in memory.
//! * Live subscribers with the same topics form a **group**: what matches, what `prev`
//!   is, and the frame's text are worked out once for all of them.

use std::collections::{BTreeMap, BTreeSet};

use protocol::internal::{HubAnswer, HubRequest, Session};
use protocol::socket::{AgentFrame, Delivery, Hello, HubFrame, SocketError};
use protocol::{Entry, Millis, Problem, Seq, Update, limits, topic::TopicSet};
use serde::{Deserialize, Serialize};

use crate::log::{Fingerprint, Log, LogError, Record};
use crate::refusal::Refusal;

/// The shell's name of an open socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SocketId(pub u64);

/// What happened.
#[derive(Clone, Debug)]
pub enum Input<'i> {
    /// A function asks; the step has one [`Effect::Answer`].
    Request(HubRequest),
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
}

/// What the shell has to do, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Answer the request of this step.
    Answer(Result<HubAnswer, Problem>),
    /// Send one text frame to each of the sockets.
    Send(Vec<SocketId>, String),
    /// Remember this for the socket, so that it is there after the hub slept.
    Attach(SocketId, Attachment),
    /// Close a socket.
    Close(SocketId, u16, &'static str),
}

/// What the hub must know of a socket after it slept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attachment {
    /// Who opened it.
    pub session: Session,
    /// What it said in its hello; `None` before that.
    pub subscription: Option<Subscription>,
}

/// What a socket subscribed to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Subscription {
    /// The agent's name.
    pub agent: String,
    /// What it wants.
    pub topics: TopicSet,
    /// True once it has caught up: updates are pushed to it.
    pub live: bool,
}

/// Live subscribers with the same topics.
#[derive(Debug, Default)]
struct Group {
    members: BTreeSet<SocketId>,
    /// The last update for these topics; looked up in the log when it is first needed.
    last: Option<Seq>,
}

/// The hub of one scope.
#[derive(Debug, Default)]
pub struct Machine {
    sockets: BTreeMap<SocketId, Attachment>,
    groups: BTreeMap<TopicSet, Group>,
}

impl Machine {
    /// Takes a socket back after the hub slept.
    pub fn restore(&mut self, socket: SocketId, attachment: Attachment) {
        if let Some(subscription) = attachment.subscription.as_ref().filter(|it| it.live) {
            self.join(socket, &subscription.topics);
        }
        self.sockets.insert(socket, attachment);
    }

    /// One step: everything that follows from one input.
    pub fn step(&mut self, now: Millis, input: Input<'_>, log: &mut dyn Log) -> Vec<Effect> {
        match input {
            Input::Request(HubRequest::Append(update)) => self.append(now, update, log),
            Input::Opened(socket, session) => {
                let attachment = Attachment { session, subscription: None };
                self.sockets.insert(socket, attachment.clone());
                vec![Effect::Attach(socket, attachment)]
            }
            Input::Text(socket, text) => self
                .frame(now, socket, text, log)
                .unwrap_or_else(|refusal| self.refuse(socket, refusal)),
            Input::Binary(socket) => {
                self.refuse(socket, Refusal::bad_frame("frames are text, this one was binary"))
            }
            Input::Unkept(socket) => self.refuse(socket, Refusal::unkept()),
            Input::Closed(socket) => {
                self.leave(socket);
                vec![]
            }
        }
    }

    // === appending ===

    fn append(&mut self, now: Millis, update: Update, log: &mut dyn Log) -> Vec<Effect> {
        let record = match accept(now, update, log) {
            Ok(Accepted::New(record)) => record,
            Ok(Accepted::Known(seq)) => {
                return vec![Effect::Answer(Ok(HubAnswer::Appended { seq }))];
            }
            Err(problem) => return vec![Effect::Answer(Err(problem))],
        };
        let mut effects = vec![Effect::Answer(Ok(HubAnswer::Appended { seq: record.seq }))];
        effects.extend(self.deliver(now, &record, log));
        effects
    }

    /// Delivers a record that is in the log to every live subscriber it is for.
    fn deliver(&mut self, now: Millis, record: &Record, log: &dyn Log) -> Vec<Effect> {
        let mut effects = vec![];
        let mut expired = vec![];
        for (topics, group) in &mut self.groups {
            let entries = record.entries_for(topics);
            if entries.is_empty() {
                continue;
            }
            // Without the true number a subscriber must be made to ask: `seq - 1` is one that
            // only who has everything can have.
            let prev = group.last.map_or_else(|| log.last_for(topics, record.seq), Ok);
            let prev = prev.unwrap_or_else(|_| Seq(record.seq.0.saturating_sub(1)));
            group.last = Some(record.seq);
            let (to, late) = group.members.iter().partition::<Vec<_>, _>(|member| {
                self.sockets.get(member).is_some_and(|socket| !socket.session.is_expired(now))
            });
            expired.extend(late);
            effects.push(send(to, &HubFrame::Updates(vec![delivery(record, prev, entries)])));
        }
        for socket in expired {
            effects.extend(self.refuse(socket, Refusal::expired()));
        }
        effects
    }

    // === subscribing ===

    fn frame(
        &mut self,
        now: Millis,
        socket: SocketId,
        text: &str,
        log: &dyn Log,
    ) -> Result<Vec<Effect>, Refusal> {
        let Some(attachment) = self.sockets.get(&socket) else {
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
            (None | Some(AgentFrame::Receipt(_) | AgentFrame::Status { .. }), _) => Ok(vec![]),
            (Some(AgentFrame::Hello(hello)), _) => self.hello(socket, hello, log),
            (Some(AgentFrame::Subscribe { topics, cursor }), Some(agent)) => {
                self.subscribe(socket, agent, topics)?;
                self.replay(socket, cursor, log)
            }
            (Some(AgentFrame::Resume { cursor }), Some(_)) => self.replay(socket, cursor, log),
            (Some(AgentFrame::Subscribe { .. } | AgentFrame::Resume { .. }), None) => {
                Err(Refusal::bad_frame("say hello first"))
            }
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
        let scope =
            self.sockets.get(&socket).map(|it| it.session.scope.clone()).unwrap_or_default();
        let head = log.head();
        let welcome = HubFrame::Welcome { scope, head, epoch: log.epoch().to_owned() };
        let mut effects = vec![send(vec![socket], &welcome)];
        let stranger = hello.epoch.as_deref().is_some_and(|epoch| epoch != log.epoch());
        let cursor = if stranger { Seq::ZERO } else { hello.cursor };
        if cursor != hello.cursor {
            effects.push(reset(socket, "the log was started anew since the cursor was given"));
        }
        effects.extend(self.replay(socket, cursor, log)?);
        Ok(effects)
    }

    /// Sets what a socket wants; it is not live until a replay has caught up.
    fn subscribe(
        &mut self,
        socket: SocketId,
        agent: String,
        topics: TopicSet,
    ) -> Result<(), Refusal> {
        self.leave_group(socket);
        let Some(attachment) = self.sockets.get_mut(&socket) else {
            return Ok(());
        };
        attachment.session.claims.require_topics(topics.iter()).map_err(Refusal::forbidden)?;
        attachment.subscription = Some(Subscription { agent, topics, live: false });
        Ok(())
    }

    /// Sends one batch of what a socket has missed since `cursor`, and says how it ended.
    fn replay(
        &mut self,
        socket: SocketId,
        mut cursor: Seq,
        log: &dyn Log,
    ) -> Result<Vec<Effect>, Refusal> {
        self.leave_group(socket);
        let Some(attachment) = self.sockets.get_mut(&socket) else {
            return Ok(vec![]);
        };
        let Some(subscription) = &mut attachment.subscription else {
            return Ok(vec![]);
        };
        let topics = subscription.topics.clone();
        let mut effects = vec![];
        let head = log.head();
        if cursor > head {
            let reason = format!("cursor {cursor} is ahead of the log, which ends at {head}");
            effects.push(reset(socket, &reason));
            cursor = Seq::ZERO;
        }
        let records =
            log.read(&topics, cursor, limits::REPLAY_BATCH_BYTES).map_err(Refusal::storage)?;
        let reached = records.last().map_or(cursor, |record| record.seq);
        let last = log.last_for(&topics, head.next()).map_err(Refusal::storage)?;
        let caught_up = reached >= last;
        subscription.live = caught_up;

        effects.push(Effect::Attach(socket, attachment.clone()));
        let mut prev = cursor;
        let mut deliveries = Vec::with_capacity(records.len());
        for record in &records {
            deliveries.push(delivery(record, prev, record.entries_for(&topics)));
            prev = record.seq;
        }
        if !deliveries.is_empty() {
            effects.push(send(vec![socket], &HubFrame::Updates(deliveries)));
        }
        let end = if caught_up {
            self.join(socket, &topics);
            HubFrame::CaughtUp { seq: head }
        } else {
            HubFrame::Bookmark { seq: reached }
        };
        effects.push(send(vec![socket], &end));
        Ok(effects)
    }

    // === leaving ===

    fn join(&mut self, socket: SocketId, topics: &TopicSet) {
        self.groups.entry(topics.clone()).or_default().members.insert(socket);
    }

    fn leave_group(&mut self, socket: SocketId) {
        let Some(subscription) = self.sockets.get(&socket).and_then(|it| it.subscription.as_ref())
        else {
            return;
        };
        if let Some(group) = self.groups.get_mut(&subscription.topics) {
            group.members.remove(&socket);
            if group.members.is_empty() {
                self.groups.remove(&subscription.topics);
            }
        }
    }

    fn leave(&mut self, socket: SocketId) {
        self.leave_group(socket);
        self.sockets.remove(&socket);
    }

    fn refuse(&mut self, socket: SocketId, refusal: Refusal) -> Vec<Effect> {
        self.leave(socket);
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
    match log.find(&id).map_err(refused)? {
        Some((seq, known)) if known == fingerprint => Ok(Accepted::Known(seq)),
        Some((seq, _)) => Err(Problem::conflict(format!(
            "id `{id}` was published before with other content, as number {seq}; choose another id"
        ))),
        None => {
            let record = Record { seq: log.head().next(), id, at: now, update };
            log.append(&record, &body, &fingerprint).map_err(refused)?;
            Ok(Accepted::New(record))
        }
    }
}

fn delivery<'r>(record: &'r Record, prev: Seq, entries: Vec<&'r Entry>) -> Delivery<&'r Entry> {
    Delivery {
        seq: record.seq,
        prev,
        id: record.id.clone(),
        at: record.at,
        reason: record.update.reason.clone(),
        entries,
    }
}

fn reset(socket: SocketId, reason: &str) -> Effect {
    send(vec![socket], &HubFrame::Reset { reason: reason.to_owned() })
}

fn send(to: Vec<SocketId>, frame: &HubFrame<&Entry>) -> Effect {
    // Strings, numbers and verbatim JSON: nothing in a frame can fail to encode.
    Effect::Send(to, frame.encode().unwrap_or_default())
}
