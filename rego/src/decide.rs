//! Decisions.

use regorus::{Engine, Value};

use crate::{Policies, one_line, query};

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

/// Decides by one set of policies on one version of the data. It is not shared, and after an error
/// it is not used again: it may have stopped anywhere.
pub struct Decider {
    engine: Engine,
}

impl Policies {
    /// Who decides by these policies on `data`.
    ///
    /// # Errors
    /// The data is no object.
    pub fn decider(&self, data: Value) -> Result<Decider, DecisionError> {
        let engine = self.engine(data).map_err(|error| DecisionError::evaluation(&error))?;
        Ok(Decider { engine })
    }
}

impl Decider {
    /// The value of `data.<path>`, rules and data together, with `input` as the document of that
    /// name. A segment that is a number also names an array's element. None if it is undefined.
    ///
    /// # Errors
    /// The path cannot be asked for, or a rule has no one value.
    pub fn decide(
        &mut self,
        path: &[String],
        input: Option<Value>,
    ) -> Result<Option<Value>, DecisionError> {
        check(path)?;
        self.engine.set_input(input.unwrap_or(Value::Undefined));
        let results = self.engine.eval_query(query(path), false);
        let results =
            results.map_err(|error| DecisionError::evaluation(&one_line(&format!("{error:#}"))))?;
        self.engine.set_input(Value::Undefined);
        let value = results.result.into_iter().next().and_then(|result| {
            result.expressions.into_iter().next().map(|expression| expression.value)
        });
        Ok(value.filter(|value| !matches!(value, Value::Undefined)))
    }
}

impl DecisionError {
    /// What the engine says in one line.
    pub(crate) fn of_text(text: &str) -> Self {
        Self::evaluation(text)
    }

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
        // Those that Rego has an escape for can be in a query.
        let escaped = ['\n', '\r', '\t', '\u{8}', '\u{c}'];
        if segment.chars().any(|it| it.is_control() && !escaped.contains(&it)) {
            return Err(DecisionError::Path("failed to parse query".to_owned()));
        }
    }
    Ok(())
}
