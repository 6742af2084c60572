//! A core with its clock, and what its effects say.

use edge_agent::core::queue::{JobId, Ready};
use edge_agent::core::status::Status;
use edge_agent::core::{Config, Core, Effect, Input, Kept, Restored, WriteError};
use edge_agent::engine::EngineError;
use edge_agent::fetch::FetchError;
use protocol::socket::{AgentFrame, HubFrame};
use protocol::{Millis, Seq, topic::TopicSet};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// A core with its clock.
pub(crate) struct Rig {
    pub(crate) core: Core,
    pub(crate) now: Millis,
}

impl Rig {
    /// An agent whose engine has its policies.
    pub(crate) fn new() -> Self {
        let mut rig = Self::before_engine();
        rig.step(Input::Prepared(Ok(Restored::default())));
        rig
    }

    pub(crate) fn before_engine() -> Self {
        Self::started_with(Kept::default())
    }

    /// An agent that had something on disk; its engine is getting it.
    pub(crate) fn started_with(kept: Kept) -> Self {
        let config = Config {
            agent: "a1".to_owned(),
            topics: TopicSet::new(["users".to_owned()]).unwrap(),
            engine: "opa",
            probe_engine: true,
            seed: 1,
        };
        let mut rig = Self { core: Core::new(config, kept), now: Millis(1) };
        let effects = rig.step(Input::Start);
        assert!(matches!(effects[..], [Effect::PrepareEngine(_), Effect::Connect]), "{effects:?}");
        rig
    }

    /// An agent that has caught up at a seq.
    pub(crate) fn live(seq: u64) -> Self {
        let mut rig = Self::new();
        rig.step(Input::LinkUp);
        rig.step(Input::Frame(HubFrame::CaughtUp { seq: Seq(seq), digests: Default::default() }));
        rig
    }

    pub(crate) fn step(&mut self, input: Input) -> Vec<Effect> {
        let effects = self.core.step(self.now, input);
        let next = self.core.next_tick();
        assert!(next.is_none_or(|at| at > self.now), "a tick that is due already: {next:?}");
        effects
    }

    pub(crate) fn tick(&mut self, at: Millis) -> Vec<Effect> {
        self.now = at;
        self.step(Input::Tick)
    }

    pub(crate) fn frame(&mut self, frame: &Value) -> Vec<Effect> {
        let frame = HubFrame::decode(&frame.to_string()).unwrap().unwrap();
        self.step(Input::Frame(frame))
    }

    /// One update with its entries; each a path and inline data, or null to be fetched.
    pub(crate) fn deliver(
        &mut self,
        prev: u64,
        seq: u64,
        entries: &[(&str, Value)],
    ) -> Vec<Effect> {
        self.frame(&json!({ "updates": [update(prev, seq, entries)] }))
    }

    pub(crate) fn fetched(&mut self, job: JobId, data: &str) -> Vec<Effect> {
        self.step(Input::Fetched(job, Ok(RawValue::from_string(data.to_owned()).unwrap().into())))
    }

    pub(crate) fn fetch_failed(&mut self, job: JobId) -> Vec<Effect> {
        self.step(Input::Fetched(job, Err(FetchError::new("it is down"))))
    }

    pub(crate) fn written(&mut self, job: JobId) -> Vec<Effect> {
        self.step(Input::Written(job, Ok(())))
    }

    pub(crate) fn status(&self) -> Status {
        self.core.status(self.now)
    }
}

pub(crate) fn update(prev: u64, seq: u64, entries: &[(&str, Value)]) -> Value {
    let places: Vec<usize> = (0..entries.len()).collect();
    let entries: Vec<Value> = entries
        .iter()
        .map(|(path, data)| json!({"url": format!("http://s{path}"), "topics": ["users"], "dst_path": path, "data": data}))
        .collect();
    json!({"seq": seq, "prev": prev, "id": format!("u{seq}"), "at": 0, "entries": entries, "places": places})
}

pub(crate) fn fetches(effects: &[Effect]) -> Vec<JobId> {
    effects
        .iter()
        .filter_map(|it| if let Effect::Fetch(job, _) = it { Some(*job) } else { None })
        .collect()
}

pub(crate) fn write(effects: &[Effect]) -> Option<Ready> {
    let mut writes = effects
        .iter()
        .filter_map(|it| if let Effect::Write(ready, _) = it { Some(ready.clone()) } else { None });
    let first = writes.next();
    assert!(writes.next().is_none(), "one write at a time: {effects:?}");
    first
}

pub(crate) fn path_written(effects: &[Effect]) -> Option<String> {
    write(effects).map(|ready| ready.record.path.to_string())
}

pub(crate) fn resumes(effects: &[Effect]) -> Vec<Seq> {
    let cursor = |it: &Effect| match it {
        Effect::Send(AgentFrame::Resume { cursor }) => Some(*cursor),
        _ => None,
    };
    effects.iter().filter_map(cursor).collect()
}

pub(crate) fn is_disconnect(effects: &[Effect]) -> bool {
    effects.iter().any(|it| matches!(it, Effect::Disconnect))
}

pub(crate) fn rejected(reason: &str) -> WriteError {
    EngineError::Rejected(reason.to_owned()).into()
}

pub(crate) fn unavailable(reason: &str) -> WriteError {
    EngineError::Unavailable(reason.to_owned()).into()
}
