//! An agent's process around the core, its disk, and its engine.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use edge_agent::core::queue::JobId;
use edge_agent::core::status::{ConnectionState, Pending, PendingState};
use edge_agent::core::{Config, Core, Effect, Input, Kept, Report, Restored, WriteError};
use edge_agent::engine::{EngineError, EngineState};
use edge_agent::fetch::{FetchError, Source};
use edge_agent::policy::PolicySet;
use edge_agent::store::{Mark, Record, Tag};
use hub::log::Log;
use hub::machine::SocketId;
use protocol::planted::{Bug, planted};
use protocol::socket::{AgentFrame, HubFrame};
use protocol::topic::TopicSet;
use protocol::{Millis, Seq};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::engine::{Engine, Outcome};
use crate::guard::Guard;
use crate::history::History;
use crate::network::{Up, What};
use crate::profile::AgentChoices;
use crate::store::{self, Store};
use crate::workload;
use crate::world::{Event, World};

/// Fetches that an agent makes at one time: all sources are at one address.
const PLACES: usize = 8;

/// Something that happens to an agent in one life of it.
#[derive(Debug)]
pub(crate) enum Happening {
    Boots,
    Input(Box<Input>),
    /// A connection that it closed is gone.
    Disconnected(SocketId),
    /// The disk takes the records of a job, or does not.
    Record(JobId, Vec<Record>, Mark),
    /// The book takes a grant that the store has, of the log of this generation.
    Noted(JobId, u64, Record),
    Save(Mark),
    Tick,
}

/// What an engine is asked; it answers to the life that asked, if that still is.
#[derive(Debug)]
pub(crate) enum Call {
    Write {
        life: u64,
        run: u64,
        job: JobId,
        records: Vec<Record>,
        mark: Mark,
    },
    /// A write that the agent has given up already.
    LateWrite {
        run: u64,
        records: Vec<Record>,
    },
    Restore {
        life: u64,
        run: u64,
        doc: Value,
        records: Vec<Record>,
        restored: Restored,
    },
    Probe {
        life: u64,
        run: u64,
    },
}

/// One agent.
#[derive(Debug)]
pub(crate) struct Agent {
    at: usize,
    topics: Vec<String>,
    /// Its engine is a process of its own.
    pub(crate) beside: bool,
    /// It goes by the grants that it has whenever it heard of the hub.
    is_patient: bool,
    seed: u64,
    pub(crate) life: u64,
    core: Option<Core>,
    pub(crate) guard: Option<Guard>,
    pub(crate) connection: Option<SocketId>,
    pub(crate) store: Store,
    pub(crate) engine: Engine,
    /// The fence of its writes.
    run: u64,
    tick_at: Option<u64>,
    /// Fetches that are under way.
    fetching: usize,
    pub(crate) frozen_until: u64,
    /// What the store has and the engine may not have yet.
    writing: Option<Tag>,
    /// The hub could not go on from where it was: it has what it had, and what came since.
    began_again: bool,
}

impl Agent {
    pub(crate) fn new(at: usize, choices: AgentChoices, seed: u64) -> Self {
        let AgentChoices { topics, beside, is_patient } = choices;
        let mut engine = Engine::default();
        engine.empty();
        Self {
            at,
            topics,
            beside,
            is_patient,
            seed,
            life: 0,
            core: None,
            guard: None,
            connection: None,
            store: Store::default(),
            engine,
            run: 0,
            tick_at: None,
            fetching: 0,
            frozen_until: 0,
            writing: None,
            began_again: false,
        }
    }

    fn config(&self) -> Config {
        Config {
            agent: format!("agent-{}", self.at),
            topics: TopicSet::new(self.topics.iter().cloned()).unwrap_or_default(),
            engine: if self.beside { "opa" } else { "regorus" },
            probe_engine: self.beside,
            seed: self.seed.wrapping_add(self.life),
        }
    }

    /// True if it has everything, also what the hub has said by itself, and nothing is under way.
    pub(crate) fn is_settled(&self, history: &History, log: &dyn Log) -> bool {
        let Some(core) = &self.core else { return false };
        let last = history.entries_for(&self.topics).last().map_or(Seq::ZERO, |it| it.tag.seq);
        let status = core.status(Millis(0));
        status.connection.state == ConnectionState::Live
            && status.pending_total == 0
            && self.writing.is_none()
            && self.guard.as_ref().is_some_and(Guard::is_settled)
            && self.is_ours()
            && core.progress().at.is_some_and(|at| at >= last)
            // Retention may have given up what is still on its way.
            && log.digests(&self.config().topics).is_ok_and(|digests| digests == status.digests)
    }

    /// True if nothing has happened to the engine behind the agent's back.
    fn is_ours(&self) -> bool {
        self.engine.run == Some(self.run) && !self.engine.altered
    }

    pub(crate) fn core(&self) -> Option<&Core> {
        self.core.as_ref()
    }

    pub(crate) fn topics(&self) -> &[String] {
        &self.topics
    }

    /// True if it does not have what it had of the log before that began anew.
    pub(crate) fn has_begun_again(&self) -> bool {
        self.began_again
    }

    /// How it is, for a person.
    pub(crate) fn shown(&self) -> String {
        let Some(core) = &self.core else { return "dead".to_owned() };
        let status = core.status(Millis(0));
        let state = status.connection.state;
        format!("{state:?} at {:?}, {:?}", core.progress().at, status.pending)
    }
}

impl World {
    pub(crate) fn agent_happens(&mut self, at: usize, life: u64, happening: Happening) {
        let now = self.schedule.now();
        let agent = &mut self.agents[at];
        if agent.life != life {
            return;
        }
        match happening {
            Happening::Boots => {
                let kept = Kept {
                    mark: agent.store.mark().clone(),
                    written: agent.store.written(),
                    fresh: None,
                    policies: agent.store.policies(),
                    last_good: None,
                };
                self.note(|_| format!("agent {at}: starts from {kept:?}"));
                let agent = &mut self.agents[at];
                agent.guard = Some(Guard::new(&agent.store, agent.is_patient));
                agent.core = Some(Core::new(agent.config(), kept));
                self.agent_steps(at, Input::Start);
            }
            Happening::Input(input) => self.agent_steps(at, *input),
            Happening::Disconnected(socket) => {
                if agent.connection == Some(socket) {
                    agent.connection = None;
                    self.agent_steps(at, Input::LinkDown("closed".to_owned()));
                }
            }
            Happening::Record(job, records, mark) => self.record(at, job, records, mark),
            Happening::Noted(job, generation, record) => {
                self.grant_noted(at, job, generation, &record);
            }
            Happening::Save(mark) => {
                if now >= agent.store.fails_until {
                    agent.store.save(mark);
                }
            }
            Happening::Tick => {
                agent.tick_at = None;
                self.agent_steps(at, Input::Tick);
            }
        }
    }

    pub(crate) fn agent_link(&mut self, at: usize, what: What) {
        let input = match what {
            What::Open => Input::LinkUp,
            What::Closed => {
                self.agents[at].connection = None;
                Input::LinkDown("the connection is gone".to_owned())
            }
            What::Text(text, _) => match HubFrame::decode(&text) {
                Ok(Some(frame)) => {
                    self.check_frame(&frame);
                    Input::Frame(frame)
                }
                other => return self.violated(format!("{other:?}: {text}")),
            },
        };
        self.agent_steps(at, input);
    }

    fn agent_steps(&mut self, at: usize, input: Input) {
        let now = Millis(self.schedule.now());
        self.note(|_| format!("agent {at}: {input:?}"));
        match &input {
            Input::Written(..) | Input::Prepared(_) => self.agents[at].writing = None,
            Input::Fetched(..) => self.agents[at].fetching -= 1,
            _ => {}
        }
        let Some(core) = &mut self.agents[at].core else { return };
        let effects = core.step(now, input);
        let tick = core.next_tick();
        let (owes, progress) = (core.owes_grants(), core.progress());
        self.require(tick.is_none_or(|tick| tick > now), || {
            format!("agent {at} wants a tick at {tick:?} that is due")
        });
        for effect in effects {
            self.carry_out(at, effect);
        }
        if let Some(guard) = &mut self.agents[at].guard {
            guard.settle(owes, progress);
        }
        if let Some(Millis(tick)) = tick {
            let agent = &mut self.agents[at];
            if agent.tick_at.is_none_or(|set| set > tick) {
                agent.tick_at = Some(tick);
                let life = agent.life;
                self.schedule.at(tick, Event::Agent(at, life, Happening::Tick));
            }
        }
    }

    /// Something comes back to the agent, if it still lives.
    pub(crate) fn reply(&mut self, at: usize, life: u64, delay: u64, input: Input) {
        self.schedule.after(delay, Event::Agent(at, life, Happening::Input(Box::new(input))));
    }

    fn carry_out(&mut self, at: usize, effect: Effect) {
        self.note(|_| format!("agent {at}: → {effect:?}"));
        let life = self.agents[at].life;
        if let Some(guard) = &mut self.agents[at].guard {
            guard.hear(&effect);
        }
        match effect {
            Effect::Connect => {
                let socket = self.connect(at, life);
                self.agents[at].connection = Some(socket);
            }
            Effect::Disconnect => {
                if let Some(socket) = self.agents[at].connection {
                    self.disconnect(socket);
                }
            }
            Effect::Send(frame) => {
                self.check_receipt(at, &frame);
                if let (Some(socket), Ok(text)) = (self.agents[at].connection, frame.encode()) {
                    self.send_up(socket, Up::Text(text));
                }
            }
            Effect::Fetch(job, source) => self.fetch(at, life, job, &source),
            Effect::Write(ready, mark) => {
                self.check_fresh(at, &ready.record);
                let delay = self.rng.u64(..5);
                let record = Happening::Record(ready.job, vec![ready.record], mark);
                self.schedule.after(delay, Event::Agent(at, life, record));
            }
            Effect::Commit(commit, set, mark) => {
                self.check_set(at, &set);
                let delay = self.rng.u64(..5);
                let record = Happening::Record(commit.job, commit.records, mark);
                self.schedule.after(delay, Event::Agent(at, life, record));
            }
            Effect::Discard(tags) => self.agents[at].store.discard(&tags),
            Effect::Save(mark) => {
                let delay = self.rng.u64(..20);
                self.schedule.after(delay, Event::Agent(at, life, Happening::Save(mark)));
            }
            Effect::BeginAgain(mark) => {
                let agent = &mut self.agents[at];
                agent.store.begin_again(mark);
                agent.engine.forget_tags();
                agent.began_again = true;
            }
            Effect::PrepareEngine(_) => {
                let run = self.fresh();
                let agent = &mut self.agents[at];
                agent.run = run;
                let (doc, refused) = agent.store.state(planted(Bug::RestoreIncomplete));
                let records = agent.store.records().cloned().collect();
                let restored = Restored { refused, refused_places: vec![] };
                let delay = self.engine_delay(at);
                let restore = Call::Restore { life, run, doc, records, restored };
                self.schedule.after(delay, Event::Engine(at, restore));
            }
            Effect::ProbeEngine => {
                let (run, delay) = (self.agents[at].run, self.engine_delay(at));
                self.schedule.after(delay, Event::Engine(at, Call::Probe { life, run }));
            }
            // Sets are of opal-servers, of which there is none.
            Effect::SetPolicies(_) | Effect::KeepPolicies(_) | Effect::Tell(_) => {}
            Effect::Report(report) => self.check_report(at, &report),
            Effect::GiveUp(reason) => self.violated(format!("agent {at} gives up: {reason}")),
        }
    }

    fn fetch(&mut self, at: usize, life: u64, job: JobId, source: &Source) {
        let fails = self.schedule.now() < self.sources.fail_until || self.percent(5);
        // The source is read when it is asked, and takes its time to answer.
        let found = self.sources.read(&source.url);
        let result = match found.map(|data| RawValue::from_string(data.to_string())) {
            _ if fails => Err(self.source_error()),
            Some(Ok(data)) => Ok(data.into()),
            _ => Err(FetchError::permanent("there is no such thing")),
        };
        let longest = if self.percent(10) { 4_000 } else { 500 };
        let delay = self.some(longest);
        self.agents[at].fetching += 1;
        self.reply(at, life, delay, Input::Fetched(job, result));
    }

    fn source_error(&mut self) -> FetchError {
        if self.percent(20) {
            let wait = Duration::from_millis(self.some(2_000));
            return FetchError::new("too many requests").retry_after(wait);
        }
        FetchError::new("the source does not answer")
    }

    fn record(&mut self, at: usize, job: JobId, records: Vec<Record>, mark: Mark) {
        let (now, agent) = (self.schedule.now(), &mut self.agents[at]);
        let (life, run) = (agent.life, agent.run);
        if now < agent.store.fails_until {
            let full = WriteError::NotRecorded("no space left".to_owned());
            return self.agent_steps(at, Input::Written(job, Err(full)));
        }
        if let [record] = &records[..]
            && record.path.is_grant()
        {
            let record = record.clone();
            agent.store.append(&records, mark.clone());
            return self.note_grant(at, job, record, &mark);
        }
        agent.writing = records.last().map(|record| record.tag);
        if !planted(Bug::EngineFirst) {
            agent.store.append(&records, mark.clone());
        }
        let delay = self.engine_delay(at);
        // A process beside us may do what we no longer wait for.
        let slow = self.agents[at].beside && self.agents[at].engine.slow_until > now;
        if slow && self.rng.bool() {
            let given_up = EngineError::Unavailable("no answer in time".to_owned()).into();
            self.reply(at, life, delay, Input::Written(job, Err(given_up)));
            let late = delay + self.some(2_000);
            self.schedule.after(late, Event::Engine(at, Call::LateWrite { run, records }));
        } else {
            let write = Call::Write { life, run, job, records, mark };
            self.schedule.after(delay, Event::Engine(at, write));
        }
    }

    fn engine_delay(&mut self, at: usize) -> u64 {
        let is_slow = self.agents[at].engine.slow_until > self.schedule.now();
        self.some(if is_slow { 1_500 } else { 10 })
    }

    pub(crate) fn engine_call(&mut self, at: usize, call: Call) {
        let now = self.schedule.now();
        let agent = &mut self.agents[at];
        let down = || EngineError::Unavailable("connection refused".to_owned());
        let is_down = agent.engine.down_until > now;
        let fence = agent.beside && !planted(Bug::NoFence);
        match call {
            // An engine inside the agent dies with it.
            Call::Write { life, .. } | Call::Restore { life, .. } | Call::Probe { life, .. }
                if !agent.beside && life != agent.life => {}
            Call::LateWrite { run, records } => {
                if !is_down {
                    let outcome = agent.engine.write(Some(run), &records, fence);
                    let tag = records.last().map(|record| record.tag);
                    self.note(|_| format!("engine {at}: late {tag:?} {outcome:?}"));
                    self.check_outcome(at, outcome);
                }
            }
            Call::Write { life, run, job, records, mark } => {
                let result = if is_down {
                    Err(down())
                } else {
                    let outcome = agent.engine.write(Some(run), &records, fence);
                    let result = match &outcome {
                        Outcome::Done | Outcome::Wrong(_) => Ok(()),
                        Outcome::Refused if !agent.engine.altered => {
                            Err(EngineError::Rejected("no such place".to_owned()))
                        }
                        Outcome::Refused | Outcome::Fenced => {
                            Err(EngineError::Unavailable("emptied, or altered".to_owned()))
                        }
                    };
                    if planted(Bug::EngineFirst) && result.is_ok() && life == agent.life {
                        agent.store.append(&records, mark);
                    }
                    self.note(|_| format!("engine {at}: {outcome:?}"));
                    self.check_outcome(at, outcome);
                    result
                };
                let delay = self.rng.u64(..5);
                self.reply(at, life, delay, Input::Written(job, result.map_err(WriteError::from)));
            }
            Call::Restore { life, run, doc, records, restored } => {
                let result = if is_down {
                    Err(down())
                } else {
                    agent.engine.restore(run, doc, records.iter());
                    Ok(restored)
                };
                self.note(|_| format!("engine {at}: restored by {life}: {result:?}"));
                let delay = self.rng.u64(..5);
                self.reply(at, life, delay, Input::Prepared(result));
            }
            Call::Probe { life, run } => {
                let result = match () {
                    () if is_down => Err(down()),
                    () if agent.engine.run != Some(run) => Ok(EngineState::Empty),
                    () if agent.engine.altered => Ok(EngineState::Altered),
                    () => Ok(EngineState::Filled),
                };
                self.reply(at, life, 1, Input::Probed(result));
            }
        }
    }

    // === faults ===

    /// The process dies; what it had asked of a process beside it is done all the same.
    pub(crate) fn kill_agent(&mut self, at: usize) {
        self.note(|_| format!("agent {at}: killed"));
        let agent = &mut self.agents[at];
        agent.life += 1;
        agent.core = None;
        agent.guard = None;
        agent.connection = None;
        agent.tick_at = None;
        agent.writing = None;
        agent.fetching = 0;
        agent.frozen_until = 0;
        if !agent.beside {
            agent.engine.empty();
        }
        let life = agent.life;
        let sockets = self.connections.iter().filter(|(_, it)| it.agent == at && it.agent_has_it);
        for socket in sockets.map(|(socket, _)| *socket).collect::<Vec<_>>() {
            if let Some(connection) = self.connections.get_mut(&socket) {
                connection.agent_has_it = false;
            }
            self.break_connection(socket, true, 500);
        }
        let delay = self.some(2_000);
        self.schedule.after(delay, Event::Agent(at, life, Happening::Boots));
    }

    /// Somebody waits until an agent is at least here.
    pub(crate) fn want(&mut self, at: usize, seq: Seq) {
        if self.agents[at].core.is_some() {
            let until = Millis(self.schedule.now() + self.some(3_000));
            self.agent_steps(at, Input::Wanted(seq, until));
        }
    }

    // === checks ===

    /// Nobody hears of what could still be lost.
    fn check_frame(&mut self, frame: &HubFrame) {
        let HubFrame::Updates(updates) = frame else { return };
        let (last, head) = (updates.last().map(|it| it.seq), self.history.head());
        self.require(last <= Some(head), || {
            format!("{last:?} is sent, and the log ends at {head}")
        });
    }

    /// A receipt is the truth: the engine is as if it had the update.
    fn check_receipt(&mut self, at: usize, frame: &AgentFrame) {
        if let AgentFrame::Receipt(receipt) = frame
            && receipt.applied
        {
            self.check_engine(at, Some(receipt.seq));
            self.check_book(at, Some(receipt.seq));
        }
    }

    fn check_report(&mut self, at: usize, report: &Report) {
        let is_wrong = match report {
            Report::Diverged(_) => true,
            Report::Reset(_) => !self.hub.has_forgotten(),
            _ => false,
        };
        self.require(!is_wrong, || format!("agent {at}: {report:?}"));
    }

    /// Whatever is to be fetched is being fetched, if there is a place and nothing newer makes it
    /// unnecessary. What is under way for the same place may be waited for, a little.
    pub(crate) fn check_waiting(&mut self, at: usize) {
        let agent = &self.agents[at];
        let Some(core) = agent.core.as_ref().filter(|_| agent.fetching < PLACES) else { return };
        let pending = core.status(Millis(self.schedule.now())).pending;
        let idle = (0..pending.len()).find(|&at| {
            let (entry, before) = (&pending[at], &pending[..at]);
            let newer = |it: &&Pending| it.error.is_none() && it.dst_path.covers(&entry.dst_path);
            let is_under_way = |it: &Pending| {
                it.state == PendingState::Fetching && entry.dst_path.covers(&it.dst_path)
            };
            entry.state == PendingState::Waiting
                && pending[at + 1..].iter().find(newer).is_none()
                && !before.iter().any(is_under_way)
        });
        if let Some(idle) = idle {
            let what = format!("agent {at} does not fetch {:?} of {pending:?}", pending[idle]);
            self.violated(what);
        }
    }

    /// What was fetched is not older than the update that wanted it.
    fn check_fresh(&mut self, at: usize, record: &Record) {
        let Some((id, entry)) = self.history.entry(record.tag) else { return };
        let Some(url) = &entry.url else { return };
        let data = store::read(record);
        let is_fresh = self.sources.is_fresh(id, record.tag.place, url, &data);
        let what = format!("agent {at}: {data} of {url} is older than {id}");
        self.require(is_fresh, || what);
    }

    fn check_outcome(&mut self, at: usize, outcome: Outcome) {
        if let Outcome::Wrong(what) = outcome
            && !self.agents[at].began_again
        {
            self.violated(format!("agent {at}: {what}"));
        }
    }

    /// The policies that an engine is given are those of a revision, as a whole.
    fn check_set(&mut self, at: usize, set: &PolicySet) {
        if self.agents[at].began_again || self.hub.has_forgotten() {
            return;
        }
        let modules = set.modules.iter().map(|it| (it.id.clone(), it.rego.clone())).collect();
        let revision = set.revision.as_deref().unwrap_or_default();
        let is_whole = self.policies.is_revision(revision, &modules);
        self.require(is_whole, || format!("agent {at}: {modules:?} are not {revision:?}"));
    }

    /// The engine holds what the log says, up to where the agent says it is; and an update
    /// more, if it says that of one.
    pub(crate) fn check_engine(&mut self, at: usize, also: Option<Seq>) {
        let agent = &self.agents[at];
        let Some(reached) = agent.core.as_ref().and_then(|core| core.progress().at) else { return };
        let is_whole = !agent.began_again && !self.hub.has_forgotten();
        if agent.writing.is_some() || !is_whole || !agent.is_ours() {
            return;
        }
        let above: BTreeSet<Tag> = agent.store.records().map(|record| record.tag).collect();
        let has = |tag: Tag| tag.seq <= reached || Some(tag.seq) == also || above.contains(&tag);
        let expected = self.history.document(&agent.topics, &agent.store.data, has);
        if agent.engine.doc != expected {
            let found = &agent.engine.doc;
            let what =
                format!("agent {at} at {reached} and {also:?} has {found}\n and not {expected}");
            self.violated(what);
        }
    }

    /// Everybody has everything, and a replay from nothing gives the same.
    pub(crate) fn check_end(&mut self) {
        let mut different = vec![];
        let log = &self.hub.durable;
        for agent in &self.agents {
            let expected = self.history.document(&agent.topics, &agent.store.data, |_| true);
            let at = agent.at;
            let is_whole = !agent.began_again && !self.hub.has_forgotten();
            if is_whole && agent.engine.doc != expected {
                different
                    .push(format!("agent {at} ends with {} and not {expected}", agent.engine.doc));
            }
            let digests = agent.core.as_ref().map(|core| core.status(Millis(0)).digests);
            let topics = agent.config().topics;
            if log.digests(&topics).ok() != digests {
                different.push(format!("agent {at} has seen other updates than the hub has"));
            }
        }
        if !self.hub.has_forgotten() {
            let audiences = workload::TOPICS.iter().map(|topic| vec![(*topic).to_owned()]);
            for topics in audiences.chain(self.agents.iter().map(|it| it.topics.clone())) {
                let expected = self.history.document(&topics, &BTreeMap::new(), |_| true);
                let replayed = History::replayed(log, &topics);
                if replayed != expected {
                    different.push(format!(
                        "a replay for {topics:?} gives {replayed} and not {expected}"
                    ));
                }
                let replayed = History::permissions_of(log, &topics);
                let expected = self.history.permissions(&topics, |_| true);
                if replayed != expected {
                    different.push(format!(
                        "a replay for {topics:?} gives {replayed:?} and not {expected:?}"
                    ));
                }
            }
        }
        for what in different {
            self.violated(what);
        }
    }
}
