//! What one run is like: which faults it has, how large it is, what is tight in it. Chosen
//! from the seed alone. A run has some of the faults, not all of them a little, so that
//! different runs are different (swarm testing).

use fastrand::Rng;
use hub::log::Retention;
use hub::machine::Settings;

use crate::permissions::DOMAINS;
use crate::workload::TOPICS;

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A connection breaks, and both sides notice.
    CutSocket,
    /// A connection carries nothing any more, and nobody notices for a while.
    HalfOpen,
    /// A push does not arrive, and the connection stays.
    LosePush,
    /// The hub's process is killed: with a commit under way it is before it, or after it.
    KillHub,
    /// The hub forgets everything that hibernation forgets.
    Hibernate,
    /// The hub's storage refuses some calls.
    HubStorage,
    /// The hub's storage takes a few changes more, and refuses in the middle of what is done.
    HubStorageFull,
    /// The hub's wall clock jumps.
    ClockJump,
    /// An agent's process is killed.
    KillAgent,
    /// An agent does nothing for a while.
    Freeze,
    /// An agent's disk refuses.
    AgentStorage,
    /// An engine beside the agent starts anew, empty.
    RestartEngine,
    /// Somebody else writes into an engine.
    AlterEngine,
    /// An engine takes its time; the agent gives calls up that are done later.
    SlowEngine,
    /// The sources do not answer.
    Sources,
    /// A token is revoked.
    Revoke,
}

const FAULTS: [Fault; 16] = [
    Fault::CutSocket,
    Fault::HalfOpen,
    Fault::LosePush,
    Fault::KillHub,
    Fault::Hibernate,
    Fault::HubStorage,
    Fault::HubStorageFull,
    Fault::ClockJump,
    Fault::KillAgent,
    Fault::Freeze,
    Fault::AgentStorage,
    Fault::RestartEngine,
    Fault::AlterEngine,
    Fault::SlowEngine,
    Fault::Sources,
    Fault::Revoke,
];

/// What one agent is like.
#[derive(Clone, Debug)]
pub(crate) struct AgentChoices {
    /// What it subscribes to.
    pub(crate) topics: Vec<String>,
    /// Its engine is a process beside it.
    pub(crate) beside: bool,
    /// It goes by the grants that it has, whenever it heard of the hub.
    pub(crate) is_patient: bool,
}

/// One run's choices.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    /// The faults that happen.
    pub(crate) faults: Vec<Fault>,
    /// Milliseconds between two of them, on average.
    pub(crate) fault_every: u64,
    /// The agents.
    pub(crate) agents: Vec<AgentChoices>,
    /// How many updates each publisher has.
    pub(crate) publishers: Vec<u32>,
    /// How much each who makes and revokes grants does; nobody does in some runs.
    pub(crate) granters: Vec<u32>,
    /// How many revisions of its policy the hub is given.
    pub(crate) revisions: u32,
    /// Milliseconds between two updates of a publisher, at most.
    pub(crate) pause: u64,
    /// Milliseconds that a frame, a request or an answer takes, at most.
    pub(crate) latency: u64,
    /// Milliseconds that a commit takes, at most.
    pub(crate) commit: u64,
    /// Seconds that a token lives.
    pub(crate) ttl: u64,
    /// Of a hundred publishes, how many wait for receipts.
    pub(crate) waits: u8,
    /// Of a hundred publishes, how many are sent twice at once, or again with another body.
    pub(crate) repeats: u8,
    /// The hub's limits.
    pub(crate) settings: Settings,
}

impl Profile {
    /// The choices of a seed.
    pub(crate) fn new(rng: &mut Rng) -> Self {
        let faults = FAULTS.into_iter().filter(|_| rng.u8(..3) == 0).collect();
        let granters: Vec<u32> = match rng.bool() {
            true => (0..rng.usize(1..=2)).map(|_| rng.u32(2..=10)).collect(),
            false => vec![],
        };
        let agents = (0..rng.usize(1..=3)).map(|_| agent(rng, !granters.is_empty())).collect();
        let publishers = (0..rng.usize(1..=3)).map(|_| rng.u32(3..=12)).collect();
        let mut settings = Settings::default();
        if rng.bool() {
            settings.replay_batch = rng.usize(1..=600);
        }
        if rng.bool() {
            settings.push_window = rng.usize(1..=2_000);
        }
        if rng.bool() {
            settings.commit_parts = rng.usize(1..=3);
        }
        if rng.u8(..12) == 0 {
            settings.retention = Retention { max_bytes: rng.u64(200..=2_000), max_age: None };
        }
        Self {
            faults,
            fault_every: rng.u64(100..=3_000),
            agents,
            publishers,
            granters,
            revisions: if rng.bool() { rng.u32(1..=6) } else { 0 },
            pause: rng.u64(1..=1_500),
            latency: rng.u64(1..=60),
            commit: rng.u64(1..=40),
            ttl: if rng.u8(..5) == 0 { rng.u64(2..=8) } else { 3_600 },
            waits: if rng.bool() { rng.u8(..60) } else { 0 },
            repeats: if rng.bool() { rng.u8(..40) } else { 0 },
            settings,
        }
    }
}

fn agent(rng: &mut Rng, has_grants: bool) -> AgentChoices {
    let mut topics = topics(rng);
    if has_grants {
        match rng.u8(..6) {
            0 => {}
            1 => topics.push(format!("grants:{}", DOMAINS[0])),
            2 => topics.push(format!("grants:{}", DOMAINS[1])),
            _ => topics.push("grants:.".to_owned()),
        }
    }
    AgentChoices { topics, beside: rng.bool(), is_patient: rng.bool() }
}

fn topics(rng: &mut Rng) -> Vec<String> {
    let mut topics: Vec<&str> = TOPICS.into_iter().filter(|_| rng.bool()).collect();
    if topics.is_empty() {
        topics.push(TOPICS[rng.usize(..TOPICS.len())]);
    }
    // Most agents want the policies, too.
    let policies: &[&str] = if rng.u8(..4) > 0 { &["policy:.", "policy:.."] } else { &[] };
    topics.extend(policies);
    topics.into_iter().map(str::to_owned).collect()
}
