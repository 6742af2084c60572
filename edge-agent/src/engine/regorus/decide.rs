//! One decision on a snapshot.

use std::sync::LazyLock;

use rego::{one_line, query};
use regorus::{Engine, Value};

use super::{RegorusEngine, Snapshot, lock};
use crate::decision_log::Rules;

/// Why there is no decision.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecisionError {
    /// The path cannot be asked for.
    #[error("invalid path: {0}")]
    Path(String),
    /// Evaluating failed, for example because a rule has two values.
    #[error("{message}")]
    Evaluation {
        /// What happened.
        message: String,
        /// Where, if that is known.
        location: Option<Location>,
    },
}

/// A place in a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The module's id.
    pub file: String,
    /// From 1.
    pub row: u32,
    /// From 1.
    pub col: u32,
}

/// Decisions at one time, and engines kept ready for them: more than cores only make each
/// other slower.
pub(crate) static DECIDERS: LazyLock<usize> =
    LazyLock::new(|| std::thread::available_parallelism().map_or(2, |cores| cores.get().max(2)));

impl Snapshot {
    pub(super) fn decide(
        &self,
        path: &[String],
        input: Option<Value>,
    ) -> Result<Option<Value>, DecisionError> {
        check(path)?;
        let failed = |error: &str| DecisionError::evaluation(&one_line(error));
        let mut engine = self.take().map_err(|error| failed(&error))?;
        engine.set_input(input.unwrap_or(Value::Undefined));
        // After an error an engine is not used again: it may have stopped anywhere.
        let results =
            engine.eval_query(query(path), false).map_err(|error| failed(&format!("{error:#}")))?;
        engine.set_input(Value::Undefined);
        self.give_back(engine);
        let value = results.result.into_iter().next().and_then(|result| {
            result.expressions.into_iter().next().map(|expression| expression.value)
        });
        Ok(value.filter(|value| !matches!(value, Value::Undefined)))
    }

    fn take(&self) -> Result<Engine, String> {
        let idle = lock(&self.idle).pop();
        idle.map_or_else(|| self.policies.engine(self.data.clone()), Ok)
    }

    fn give_back(&self, engine: Engine) {
        let mut idle = lock(&self.idle);
        if idle.len() < *DECIDERS {
            idle.push(engine);
        }
    }
}

/// What policies want to be logged of decisions.
impl Rules for RegorusEngine {
    fn exist(&self) -> bool {
        self.inner.current().policies.have_rules_below(&["system", "log"])
    }

    fn ask(
        &self,
        name: &'static str,
        event: &serde_json::Value,
    ) -> Result<Option<serde_json::Value>, String> {
        let input = Value::from_json_str(&event.to_string()).map_err(|it| it.to_string())?;
        let path = ["system", "log", name].map(str::to_owned);
        let value = self.decide(&path, Some(input)).map_err(|it| it.to_string())?;
        let text = value.map(|value| value.to_json_str()).transpose();
        let text = text.map_err(|it| it.to_string())?;
        text.map(|text| serde_json::from_str(&text)).transpose().map_err(|it| it.to_string())
    }
}

impl DecisionError {
    /// Reads `file:row:col: message`.
    fn evaluation(text: &str) -> Self {
        let mut parts = text.splitn(4, ':');
        let located = (|| {
            let (file, row) = (parts.next()?.to_owned(), parts.next()?.parse().ok()?);
            let (col, message) = (parts.next()?.parse().ok()?, parts.next()?.trim());
            Some((Location { file, row, col }, message.to_owned()))
        })();
        match located {
            Some((location, message)) => Self::Evaluation { message, location: Some(location) },
            None => Self::Evaluation { message: text.to_owned(), location: None },
        }
    }
}

/// OPA's two refusals: it makes a query of the path, too.
fn check(path: &[String]) -> Result<(), DecisionError> {
    for segment in path {
        if segment.contains('"') {
            return Err(DecisionError::Path(format!("invalid ref term '{segment}'")));
        }
        if segment.chars().any(char::is_control) {
            return Err(DecisionError::Path("failed to parse query".to_owned()));
        }
    }
    Ok(())
}
