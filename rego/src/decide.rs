//! Decisions.

use regorus::{Engine, LimitError, Value};

use crate::{Policies, clock, one_line, query};

/// Why there is no decision.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecisionError {
    /// The path cannot be asked for.
    #[error("invalid path: {0}")]
    Path(String),
    /// It took longer than a decision may.
    #[error("the decision took longer than it may")]
    TooLong,
    /// It took more memory than it may.
    #[error("the decision took more memory than it may")]
    TooMuch,
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

/// Decides by one set of policies on one version of the data, whatever the policies are. It is not
/// shared, and after an error it is not used again: it may have stopped anywhere.
pub struct Interpreter {
    engine: Engine,
}

impl Policies {
    /// Decides on `data`: the value of `data.<path>`, rules and data together, with `input` as the
    /// document of that name. A segment that is a number also names an array's element. None if it
    /// is undefined.
    ///
    /// Who decides often on the same data keeps interpreters, and tries [`Self::run`] before one.
    ///
    /// # Errors
    /// The path cannot be asked for, a rule has no one value, or it takes too long.
    pub fn decide(
        &self,
        path: &[String],
        data: &Value,
        input: Option<Value>,
    ) -> Result<Option<Value>, DecisionError> {
        let input = input.unwrap_or(Value::Undefined);
        match self.run(path, data, &input) {
            Some(decided) => decided,
            None => self.interpreter(data.clone())?.decide(path, input),
        }
    }

    /// Who decides by these policies on `data`.
    ///
    /// # Errors
    /// The data is no object.
    pub fn interpreter(&self, data: Value) -> Result<Interpreter, DecisionError> {
        let engine = self.engine(data).map_err(|error| DecisionError::evaluation(&error))?;
        Ok(Interpreter { engine })
    }
}

impl Interpreter {
    /// As [`Policies::decide`]; there is no input if it is [`Value::Undefined`].
    ///
    /// # Errors
    /// As there.
    pub fn decide(
        &mut self,
        path: &[String],
        input: Value,
    ) -> Result<Option<Value>, DecisionError> {
        check(path)?;
        clock::begin();
        self.engine.set_input(input);
        let results = self.engine.eval_query(query(path), false);
        let results = results.map_err(|error| DecisionError::of(&error))?;
        self.engine.set_input(Value::Undefined);
        let value = results.result.into_iter().next().and_then(|result| {
            result.expressions.into_iter().next().map(|expression| expression.value)
        });
        Ok(value.and_then(defined))
    }
}

/// None of what is undefined.
pub(crate) fn defined(value: Value) -> Option<Value> {
    Some(value).filter(|value| !matches!(value, Value::Undefined))
}

impl DecisionError {
    /// What it was given up for.
    pub(crate) fn given_up() -> Self {
        #[cfg(feature = "std")]
        if crate::memory::took_too_much() {
            return Self::TooMuch;
        }
        Self::TooLong
    }

    /// What regorus says.
    fn of(error: &anyhow::Error) -> Self {
        match error.downcast_ref() {
            Some(LimitError::TimeLimitExceeded { .. }) => Self::given_up(),
            _ => Self::evaluation(&one_line(&format!("{error:#}"))),
        }
    }

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
pub(crate) fn check(path: &[String]) -> Result<(), DecisionError> {
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
