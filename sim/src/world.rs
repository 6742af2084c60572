//! Everything that takes part in a run, and the loop that lets it happen.

use std::collections::BTreeMap;

use fastrand::Rng;
use hub::machine::SocketId;
use protocol::Problem;
use protocol::internal::{HubAnswer, HubRequest};

use crate::agent::{self, Agent};
use crate::granter::{self, Granters};
use crate::history::History;
use crate::hub_node::{self, HubNode};
use crate::network::{Connection, Down, Up};
use crate::policies::{self, Policies};
use crate::profile::Profile;
use crate::publisher::{self, Ask, Publisher};
use crate::schedule::{Moment, Schedule};
use crate::sources::Sources;

/// Milliseconds during which faults happen.
pub(crate) const FAULTS_UNTIL: u64 = 20_000;
/// Milliseconds after which everything must have come to rest.
const END: u64 = 400_000;
/// Milliseconds between two looks at everything.
const LOOK_EVERY: u64 = 97;

/// Something that happens.
#[derive(Debug)]
pub(crate) enum Event {
    Publisher(usize, publisher::Turn),
    Granter(usize, granter::Turn),
    Policies(policies::Turn),
    Request(Ask, Box<HubRequest>),
    Answer(Ask, Box<Result<HubAnswer, Problem>>),
    Hub(hub_node::Happening),
    Up(SocketId, Up),
    Down(SocketId, Down),
    /// To an agent in this life of it.
    Agent(usize, u64, agent::Happening),
    /// To an agent's engine, whatever became of the agent.
    Engine(usize, agent::Call),
    Fault,
    Look,
}

/// A run.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) rng: Rng,
    pub(crate) profile: Profile,
    pub(crate) schedule: Schedule<Event>,
    pub(crate) hub: HubNode,
    pub(crate) agents: Vec<Agent>,
    pub(crate) publishers: Vec<Publisher>,
    pub(crate) granters: Granters,
    pub(crate) policies: Policies,
    pub(crate) connections: BTreeMap<SocketId, Connection>,
    pub(crate) history: History,
    pub(crate) sources: Sources,
    /// No faults any more, and nothing new but a last word to each topic.
    pub(crate) settling: bool,
    /// Everything has been looked at for the last time.
    is_at_rest: bool,
    last: u64,
    violation: Option<String>,
    trace: Option<Vec<String>>,
}

/// How a run ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The promise that was broken first, and when.
    pub violation: Option<String>,
    /// What happened, if that was asked for.
    pub trace: Vec<String>,
    /// Updates that were accepted.
    pub accepted: u64,
    /// Milliseconds that it took by the run's own clock.
    pub took: u64,
}

/// Runs a seed. The same seed gives the same run, to the last byte of its trace.
#[must_use]
pub fn run(seed: u64, trace: bool) -> Outcome {
    let mut world = World::new(seed, trace);
    world.run();
    Outcome {
        violation: world.violation,
        trace: world.trace.unwrap_or_default(),
        accepted: world.history.head().0,
        took: world.schedule.now(),
    }
}

impl World {
    fn new(seed: u64, trace: bool) -> Self {
        let mut rng = Rng::with_seed(seed);
        let profile = Profile::new(&mut rng);
        let agents = profile
            .agents
            .iter()
            .enumerate()
            .map(|(at, choices)| Agent::new(at, choices.clone(), seed));
        Self {
            agents: agents.collect(),
            publishers: profile.publishers.iter().map(|count| Publisher::new(*count)).collect(),
            granters: Granters::new(&profile.granters),
            policies: Policies::new(profile.revisions),
            hub: HubNode::new(profile.settings),
            rng,
            profile,
            schedule: Schedule::default(),
            connections: BTreeMap::new(),
            history: History::default(),
            sources: Sources::default(),
            settling: false,
            is_at_rest: false,
            last: 0,
            violation: None,
            trace: trace.then(Vec::new),
        }
    }

    fn run(&mut self) {
        self.note(|world| format!("{:#?}", world.profile));
        for at in 0..self.agents.len() {
            let delay = self.rng.u64(..2_000);
            self.schedule.after(delay, Event::Agent(at, 0, agent::Happening::Boots));
        }
        for at in 0..self.publishers.len() {
            let delay = self.rng.u64(..2_000);
            self.schedule.after(delay, Event::Publisher(at, publisher::Turn::Next));
        }
        for at in 0..self.granters.count() {
            let delay = self.rng.u64(..2_000);
            self.schedule.after(delay, Event::Granter(at, granter::Turn::Next));
        }
        let delay = self.rng.u64(..2_000);
        self.schedule.after(delay, Event::Policies(policies::Turn::Next));
        self.schedule.after(0, Event::Look);
        if !self.profile.faults.is_empty() {
            self.schedule.after(self.profile.fault_every, Event::Fault);
        }
        while self.violation.is_none() {
            let Some((moment, event)) = self.schedule.next() else { break };
            if self.is_at_rest {
                break;
            }
            self.happen(moment, event);
        }
    }

    fn happen(&mut self, moment: Moment, event: Event) {
        match event {
            Event::Agent(at, ..) | Event::Down(_, Down { agent: at, .. })
                if self.agents[at].frozen_until > moment.0 =>
            {
                let until = self.agents[at].frozen_until;
                self.schedule.postpone(moment, until, event);
            }
            Event::Publisher(at, turn) => self.publisher_turn(at, turn),
            Event::Granter(at, turn) => self.granter_turn(at, turn),
            Event::Policies(turn) => self.policies_turn(turn),
            Event::Request(ask, asked) => self.hub_request(ask, *asked),
            Event::Answer(ask, answer) => self.answered(ask, *answer),
            Event::Hub(happening) => self.hub_happens(happening),
            Event::Up(socket, up) => self.hub_hears(socket, up),
            Event::Down(socket, down) => self.agent_hears(socket, down),
            Event::Agent(at, life, happening) => self.agent_happens(at, life, happening),
            Event::Engine(at, call) => self.engine_call(at, call),
            Event::Fault => self.fault(),
            Event::Look => self.look(),
        }
    }

    /// A number that was not given before.
    pub(crate) fn fresh(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Up to `most` milliseconds, at least one.
    pub(crate) fn some(&mut self, most: u64) -> u64 {
        self.rng.u64(1..=most.max(1))
    }

    pub(crate) fn percent(&mut self, chance: u8) -> bool {
        self.rng.u8(..100) < chance
    }

    /// A line for the trace, if there is one.
    pub(crate) fn note(&mut self, line: impl FnOnce(&Self) -> String) {
        if self.trace.is_some() {
            let line = format!("{:>7} {}", self.schedule.now(), line(self));
            self.trace.get_or_insert_default().push(line);
        }
    }

    /// A promise was broken.
    pub(crate) fn violated(&mut self, what: impl Into<String>) {
        let what = format!("at {} ms: {}", self.schedule.now(), what.into());
        self.note(|_| format!("VIOLATION {what}"));
        self.violation.get_or_insert(what);
    }

    pub(crate) fn require(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.violated(what());
        }
    }

    /// Looks at everything, and leads the run to its end.
    fn look(&mut self) {
        let now = self.schedule.now();
        for at in 0..self.agents.len() {
            self.check_engine(at, None);
            self.check_book(at, None);
            self.check_waiting(at);
        }
        self.check_sockets();
        if !self.settling && now >= FAULTS_UNTIL {
            self.settle();
        }
        if self.settling && self.is_settled() {
            self.check_end();
            self.is_at_rest = true;
        } else if now > END {
            let states: Vec<String> = self.agents.iter().map(Agent::shown).collect();
            self.violated(format!("no rest: {}; head {}", states.join("; "), self.history.head()));
        }
        self.schedule.after(LOOK_EVERY, Event::Look);
    }

    /// From here on everything works.
    fn settle(&mut self) {
        self.note(|_| "no faults any more".to_owned());
        self.settling = true;
        let now = self.schedule.now();
        self.sources.fail_until = 0;
        self.hub.storage_works();
        self.connections.values_mut().for_each(|it| it.loses_a_push = false);
        for agent in &mut self.agents {
            agent.store.fails_until = 0;
            agent.engine.down_until = agent.engine.down_until.min(now);
            agent.engine.slow_until = 0;
        }
        // A publisher that nobody has revoked says the last word.
        self.publishers.push(Publisher::last());
        let at = self.publishers.len() - 1;
        self.schedule.after(1_000, Event::Publisher(at, publisher::Turn::Next));
    }

    fn is_settled(&self) -> bool {
        let published = self.publishers.iter().all(Publisher::has_ended)
            && self.granters.has_ended()
            && self.policies.has_ended();
        let (history, log) = (&self.history, &self.hub.durable);
        published && self.hub.is_idle() && self.agents.iter().all(|it| it.is_settled(history, log))
    }
}
