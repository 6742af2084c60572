//! Who decides, at one moment, and who hears of it.

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Instant;

use decision::{Asked, Decides, Decision, DecisionError, QueryError, Reply, Request};
use regorus::Value;
use serde_json::value::RawValue;

use super::{Parts, local};
use crate::clock;
use crate::core::status::Progress;
use crate::decision_log;

/// The engine, for one request.
pub(super) struct At<'a> {
    pub(super) own: &'a Parts,
    /// What had taken effect before.
    pub(super) progress: Progress,
    /// Who asks.
    pub(super) peer: Option<SocketAddr>,
    pub(super) pace: Pace<'a>,
}

/// How long it may take.
pub(super) enum Pace<'a> {
    /// As long as a decision may.
    Any,
    /// No time at all, for everything else of the agent waits. What would take longer is given up:
    /// then the answer is none, and nobody has heard of it.
    Quick { gave_up: &'a Cell<bool> },
}

static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

impl At<'_> {
    /// True for what may take long, where that is not wanted: it is given up.
    fn gives_up(&self) -> bool {
        if let Pace::Quick { gave_up } = self.pace {
            gave_up.set(true);
        }
        self.gave_up()
    }

    fn gave_up(&self) -> bool {
        matches!(self.pace, Pace::Quick { gave_up } if gave_up.get())
    }
}

impl Decides for At<'_> {
    fn decide(
        &self,
        path: &[String],
        input: Option<Value>,
    ) -> Result<Option<Value>, DecisionError> {
        if let Pace::Any = self.pace {
            return self.own.engine.decide(path, input);
        }
        let decided = self.own.engine.decide_quickly(path, input);
        decided.unwrap_or_else(|| {
            self.gives_up();
            Err(DecisionError::TooLong)
        })
    }

    fn query(&self, text: &str, input: Option<Value>) -> Result<Vec<Value>, QueryError> {
        if self.gives_up() {
            return Ok(Vec::new());
        }
        self.own.engine.query(text, input)
    }

    fn has_rule(&self, path: &[String]) -> bool {
        self.own.engine.has_rule(path)
    }

    fn modules(&self) -> Vec<(String, String)> {
        if self.gives_up() {
            return Vec::new();
        }
        self.own.engine.modules()
    }

    fn revision(&self) -> Option<String> {
        self.own.freshness.borrow().revision.as_deref().map(str::to_owned)
    }

    fn nanoseconds(&self) -> u64 {
        u64::try_from(BEGIN.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn default_decision(&self) -> Vec<String> {
        self.own.settings.default_decision.clone()
    }

    fn decided(&self, decision: &Decision<'_>) -> Option<String> {
        let log = self.own.log.as_ref().filter(|_| !self.gave_up())?;
        let mut random = [0; 16];
        // Without randomness an id is only less unique.
        let _ = getrandom::fill(&mut random);
        let id = uuid::Builder::from_random_bytes(random).into_uuid().to_string();
        let text = |value: &Value| raw(&decision::to_json(value)?);
        log.record(decision_log::Decision {
            id: id.clone(),
            asked: match decision.asked {
                Asked::Path(path) => decision_log::Asked::Path(path.to_owned()),
                Asked::Query(query) => decision_log::Asked::Query(query.to_owned()),
            },
            input: decision.input.and_then(text),
            result: decision.result.and_then(text),
            error: decision.error.and_then(|error| in_one_line(&error.body)),
            requested_by: self.peer.map(|it| it.to_string()).unwrap_or_default(),
            at: clock::now(),
            evaluation_ns: decision.evaluation_ns,
            seq: self.progress.at,
            revision: self.revision(),
        });
        Some(id)
    }

    fn write(&self, request: &Request<'_>) -> Reply {
        match self.own.settings.read_only || self.gives_up() {
            true => Reply::written_through_girasol(),
            false => local::write(&self.own.engine, request),
        }
    }
}

/// JSON that is answered indented: in the log, a line is a decision.
fn in_one_line(text: &str) -> Option<Box<RawValue>> {
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    raw(&value.to_string())
}

/// JSON text, as it is.
fn raw(text: &str) -> Option<Box<RawValue>> {
    RawValue::from_string(text.trim_end().to_owned()).ok()
}
