//! The hub's process: the machine, its storage with commits that take time, and the output
//! gate, which holds back what the machine decided until what it speaks of is durable.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use hub::log::Log as _;
use hub::machine::{Attachment, Effect, Input, Machine, RequestId, Settings, SocketId};
use hub::memory_log::MemoryLog;
use protocol::internal::{HubRequest, Session};
use protocol::planted::{Bug, planted};
use protocol::{Claims, Millis, Seq, Update};

use crate::history::History;
use crate::network::{Up, What};
use crate::permissions::Permissions;
use crate::publisher::Ask;
use crate::world::{Event, World};

/// The wall clock when a run begins: some day in 2026, in milliseconds.
const WALL: u64 = 1_790_000_000_000;

/// Something that happens to the hub.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Happening {
    Boots,
    /// A commit of this life is done.
    Committed(u64),
    Alarm,
    /// Storage works again.
    StorageWorks,
}

/// The hub.
#[derive(Debug)]
pub(crate) struct HubNode {
    settings: Settings,
    up: bool,
    life: u64,
    machine: Machine,
    /// As the machine sees it.
    pub(crate) log: MemoryLog,
    /// As it is on disk.
    pub(crate) durable: MemoryLog,
    /// How often the log was written to, and how much of that is durable.
    written: u64,
    committed: u64,
    /// The commit that is under way.
    commit: Option<(u64, MemoryLog)>,
    /// Updates that wait for its end.
    arrived: Vec<(RequestId, HubRequest)>,
    /// What leaves when so much is durable.
    held: VecDeque<(u64, Effect, bool)>,
    /// Requests without an answer so far.
    open: BTreeSet<RequestId>,
    asks: BTreeMap<RequestId, Ask>,
    /// What the platform keeps for each socket.
    attachments: BTreeMap<SocketId, Attachment>,
    /// Milliseconds that the wall clock is off.
    pub(crate) clock: u64,
    alarm: Option<u64>,
}

impl HubNode {
    pub(crate) fn new(settings: Settings) -> Self {
        let log = MemoryLog::new("e1");
        Self {
            settings,
            up: true,
            life: 0,
            machine: Machine::new(settings),
            durable: log.clone(),
            log,
            written: 0,
            committed: 0,
            commit: None,
            arrived: vec![],
            held: VecDeque::new(),
            open: BTreeSet::new(),
            asks: BTreeMap::new(),
            attachments: BTreeMap::new(),
            clock: 3_600_000,
            alarm: None,
        }
    }

    /// True if retention has taken something that nothing makes up for.
    pub(crate) fn has_forgotten(&self) -> bool {
        self.log.floor() > Seq::ZERO
    }

    pub(crate) fn storage_works(&mut self) {
        self.log.refuses = &[];
        self.log.takes = None;
    }

    /// The grants of its log.
    pub(crate) fn permissions(&self) -> Permissions {
        History::permissions_of(&self.log, &["grants:.".to_owned()])
    }

    /// True if nothing is on its way to the disk or out.
    pub(crate) fn is_idle(&self) -> bool {
        self.up && self.held.is_empty() && self.commit.is_none()
    }
}

impl World {
    /// The hub's wall clock.
    pub(crate) fn wall(&self) -> Millis {
        Millis(WALL + self.schedule.now() + self.hub.clock)
    }

    /// Whom the hub sees behind a token that was issued now.
    pub(crate) fn claims(&self, sub: String, jti: String, ttl: u64) -> Claims {
        let iat = self.wall().0 / 1_000;
        let (jti, iat) = (Some(jti), Some(iat));
        Claims {
            sub,
            jti,
            exp: iat.unwrap_or_default() + ttl,
            iat,
            peer_type: None,
            permitted_topics: None,
            allowed_scopes: None,
        }
    }

    pub(crate) fn hub_request(&mut self, mut ask: Ask, asked: HubRequest) {
        if !self.hub.up {
            return;
        }
        if let Ask::Grants(about) = &mut ask {
            self.grants_asked(about);
        }
        let request = RequestId(self.fresh());
        self.hub.open.insert(request);
        self.hub.asks.insert(request, ask);
        if matches!(asked, HubRequest::Append { .. }) {
            self.hub.arrived.push((request, asked));
            self.commit_together();
        } else {
            if matches!(
                asked,
                HubRequest::Revoke(_) | HubRequest::SetPolicy { .. } | HubRequest::Plane { .. }
            ) {
                self.hub.written += 1;
            }
            self.step(Input::Requests(vec![(request, asked)]));
            self.commit_together();
        }
    }

    pub(crate) fn hub_hears(&mut self, socket: SocketId, up: Up) {
        let ttl = self.profile.ttl;
        let Some(connection) = self.connections.get_mut(&socket) else { return };
        let is_closed = matches!(up, Up::Closed);
        if !self.hub.up || (connection.is_dead && !is_closed) {
            if matches!(up, Up::Open) {
                self.break_connection(socket, false, 100);
            }
            return;
        }
        match up {
            Up::Open => {
                connection.hub_has_it = true;
                let (agent, jti) = (connection.agent, connection.jti.clone());
                let claims = self.claims(format!("agent-{agent}"), jti, ttl);
                let session = Session { scope: "default".to_owned(), claims, opal: None };
                self.send_down(socket, What::Open);
                self.step(Input::Opened(socket, Box::new(session)));
            }
            Up::Text(text) if connection.hub_has_it => self.step(Input::Text(socket, &text)),
            Up::Text(_) => {}
            Up::Closed => {
                let had_it = std::mem::take(&mut connection.hub_has_it);
                if !connection.agent_has_it {
                    self.connections.remove(&socket);
                }
                if had_it {
                    self.hub.attachments.remove(&socket);
                    self.step(Input::Closed(socket));
                }
            }
        }
    }

    pub(crate) fn hub_happens(&mut self, happening: Happening) {
        match happening {
            Happening::Boots => {
                self.note(|_| "hub: boots".to_owned());
                self.hub.up = true;
                self.set_alarm();
            }
            Happening::Committed(life) if life == self.hub.life => {
                if let Some((written, log)) = self.hub.commit.take() {
                    self.committed(written, log);
                }
                self.commit_together();
            }
            Happening::Committed(_) => {}
            Happening::Alarm => {
                self.hub.alarm = None;
                if self.hub.up {
                    self.step(Input::Tick);
                    self.check_expiry();
                }
            }
            Happening::StorageWorks => self.hub.storage_works(),
        }
    }

    /// Steps what has arrived, and makes it durable; what arrives meanwhile is stepped
    /// together after that.
    fn commit_together(&mut self) {
        if self.hub.commit.is_some() {
            return;
        }
        let batch = std::mem::take(&mut self.hub.arrived);
        if !batch.is_empty() {
            self.hub.written += 1;
            self.step(Input::Requests(batch));
        }
        if self.hub.written > self.hub.committed {
            self.hub.commit = Some((self.hub.written, self.hub.log.clone()));
            let (delay, life) = (self.some(self.profile.commit), self.hub.life);
            self.schedule.after(delay, Event::Hub(Happening::Committed(life)));
        }
    }

    fn committed(&mut self, written: u64, log: MemoryLog) {
        self.hub.committed = written;
        self.hub.durable = log;
        let publishers = &self.publishers;
        let (policies, granters) = (&self.policies, &self.granters);
        let published = |id: &str| {
            let published = publishers.iter().find_map(|it| it.published(id));
            published.or_else(|| policies.update(id)).or_else(|| granters.update(id))
        };
        let kept = self.history.committed(&self.hub.durable, published);
        if let Err(violation) = kept {
            self.violated(violation);
        }
        self.release();
    }

    fn step(&mut self, input: Input<'_>) {
        let now = self.wall();
        let pushes = matches!(input, Input::Requests(..));
        let head = self.hub.log.head();
        let there = self.hub.permissions();
        let effects = self.hub.machine.step(now, input, &mut self.hub.log);
        let mut made = Ok(());
        for stored in self.hub.log.records.iter().filter(|it| it.record.seq > head) {
            if stored.record.id.starts_with(Update::POLICY_ID) {
                self.policies.made(&stored.record.id, &stored.record.update);
            }
            if stored.record.id.starts_with(Update::GRANT_ID) {
                let there = Some(&there).filter(|_| !self.hub.has_forgotten());
                made = made.and(self.granters.made(&stored.record, there));
            }
        }
        if let Err(violation) = made {
            self.violated(violation);
        }
        for effect in effects {
            match &effect {
                // The platform keeps it at once.
                Effect::Attach(socket, attachment) => {
                    if self.connections.get(socket).is_some_and(|it| it.hub_has_it) {
                        self.hub.attachments.insert(*socket, *attachment.clone());
                    }
                    continue;
                }
                Effect::Close(socket, ..) => {
                    self.hub.attachments.remove(socket);
                }
                Effect::Answer(request, _) => {
                    self.hub.open.remove(request);
                }
                Effect::Send(..) => {}
            }
            self.hub.held.push_back((self.hub.written, effect, pushes));
        }
        self.release();
        self.set_alarm();
    }

    /// Lets out what speaks of nothing that could be lost.
    fn release(&mut self) {
        let committed =
            if planted(Bug::AnswerBeforeCommit) { u64::MAX } else { self.hub.committed };
        while let Some((written, ..)) = self.hub.held.front()
            && *written <= committed
            && let Some((_, effect, pushed)) = self.hub.held.pop_front()
        {
            self.let_out(effect, pushed);
        }
    }

    fn let_out(&mut self, effect: Effect, pushed: bool) {
        match effect {
            Effect::Answer(request, answer) => {
                let Some(ask) = self.hub.asks.remove(&request) else { return };
                self.note(|_| format!("hub: answers {ask:?} {answer:?}"));
                let delay = self.some(self.profile.latency);
                self.schedule.after(delay, Event::Answer(ask, Box::new(answer)));
            }
            Effect::Send(sockets, frame) => {
                for socket in sockets {
                    self.note(|_| format!("hub: to {} {frame}", socket.0));
                    let is_push = pushed && frame.starts_with("{\"updates\"");
                    self.send_down(socket, What::Text(frame.clone(), is_push));
                }
            }
            Effect::Close(socket, ..) => {
                if let Some(connection) = self.connections.get_mut(&socket) {
                    connection.hub_has_it = false;
                    self.send_down(socket, What::Closed);
                }
            }
            Effect::Attach(..) => {}
        }
    }

    /// The alarm goes off when the machine wants it, by the wall clock as it is now.
    pub(crate) fn set_alarm(&mut self) {
        let Some(wanted) = self.hub.machine.next_tick() else { return };
        let delay = wanted.since(self.wall());
        let at = self.schedule.now() + delay;
        if self.hub.alarm.is_none_or(|set| set > at) {
            self.hub.alarm = Some(at);
            self.schedule.at(at, Event::Hub(Happening::Alarm));
        }
    }

    // === faults ===

    /// The process dies. A commit that is under way reached the disk, or it did not.
    pub(crate) fn kill_hub(&mut self) {
        if !self.hub.up {
            return;
        }
        let reached = self.rng.bool();
        self.note(|_| format!("hub: killed; a commit under way has reached the disk: {reached}"));
        if let Some((written, log)) = self.hub.commit.take().filter(|_| reached) {
            self.hub.held.clear();
            self.committed(written, log);
        }
        let hub = &mut self.hub;
        hub.up = false;
        hub.life += 1;
        hub.machine = Machine::new(hub.settings);
        hub.log = hub.durable.clone();
        hub.written = hub.committed;
        hub.arrived.clear();
        hub.held.clear();
        hub.open.clear();
        hub.asks.clear();
        hub.attachments.clear();
        let sockets: Vec<SocketId> = self.connections.keys().copied().collect();
        for socket in sockets {
            self.break_connection(socket, false, 200);
        }
        let delay = self.some(3_000);
        self.schedule.after(delay, Event::Hub(Happening::Boots));
    }

    /// Only with nothing under way does the platform let a hub sleep.
    pub(crate) fn hibernate(&mut self) {
        if !self.hub.is_idle() || !self.hub.open.is_empty() {
            return;
        }
        self.note(|_| "hub: sleeps".to_owned());
        self.hub.machine = Machine::new(self.hub.settings);
        for (socket, attachment) in &self.hub.attachments {
            self.hub.machine.restore(*socket, attachment.clone());
            if let Some(connection) = self.connections.get_mut(socket) {
                connection.forgotten += 1;
            }
        }
        self.hub.alarm = None;
        self.set_alarm();
    }

    // === checks ===

    /// No socket outlives its token.
    fn check_expiry(&mut self) {
        let now = self.wall();
        let late = self.hub.attachments.iter().find(|(_, it)| it.session.is_expired(now));
        if let Some((socket, _)) = late {
            self.violated(format!("socket {} is open after its token's end", socket.0));
        }
    }

    /// No socket is open whose token was revoked.
    pub(crate) fn check_revoked(&mut self, jti: &str) {
        let is_open = |it: &Attachment| it.session.claims.jti.as_deref() == Some(jti);
        let open = self.hub.attachments.values().any(is_open);
        self.require(!open, || format!("a socket of the revoked token {jti} is open"));
    }
}
