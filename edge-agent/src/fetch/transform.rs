//! `config.transform`: shapes what was fetched before it is stored. A text that begins with `/`
//! is a JSON pointer (RFC 6901) to the part that is the data; any other text is a Rego expression
//! that makes it out of `input`, such as `{u.id: u | some u in input.users}`. An object there is
//! a fetcher's own.
//!
//! A pointer takes text out of text, and no number loses a digit. An expression works on the
//! embedded engine's values: whole numbers of 64 bits keep every digit, others are floats.
//!
//! | question | file |
//! |---|---|
//! | What is at a pointer? | `pointer` |

mod pointer;

use std::io::{self, Write};
use std::time::Duration;

use rego::{Builtins, Language, Policies};
use regorus::Value;
use serde::Deserialize;
use tokio::sync::Semaphore;

use super::{FetchError, Source, settings_of};
use crate::engine::regorus::read_value;
use crate::json::Json;

/// The module that an expression becomes, which begins at its own line so that mistakes are
/// where they are written.
const HEAD: &str = "package transform\nresult :=\n";
/// Lines before the expression.
const HEAD_LINES: u32 = 2;
/// What the module is called in messages.
const FILE: &str = "transform";
/// An evaluation ends itself after ten seconds. Nobody waits for one that does not.
const PATIENCE: Duration = Duration::from_secs(15);

/// One at a time computes, each with as much memory as it takes; one that nobody waits for any
/// more still counts.
static TURN: Semaphore = Semaphore::const_new(1);

/// What is done to what was fetched.
pub(super) enum Transform {
    /// The part at this pointer is taken.
    Pointer(String),
    /// The expression makes something of it.
    Rego(Box<Policies>),
}

/// The one member of `config` that says so.
#[derive(Default, Deserialize)]
struct Settings {
    #[serde(default)]
    transform: Option<serde_json::Value>,
}

impl Transform {
    /// Reads a source's settings.
    ///
    /// # Errors
    /// The expression does not compile, or the pointer is none.
    pub(super) async fn of(source: &Source) -> Result<Option<Self>, FetchError> {
        // Settings that are no object are for the fetcher to refuse.
        let settings: Settings = settings_of(source).unwrap_or_default();
        match settings.transform {
            Some(serde_json::Value::String(text)) if text.starts_with('/') => {
                pointer::check(&text).map_err(|reason| permanent(&reason))?;
                Ok(Some(Self::Pointer(text)))
            }
            Some(serde_json::Value::String(text)) if !text.trim().is_empty() => {
                let compiled = blocking(move || compile(&text)).await?;
                compiled.map(Some).map_err(|reason| permanent(&reason))
            }
            _ => Ok(None),
        }
    }

    /// What becomes of `data`.
    ///
    /// # Errors
    /// Nothing does, or no object and no array, or too much.
    pub(super) async fn apply(self, data: Json, max_bytes: usize) -> Result<Json, FetchError> {
        let apply = move || match self {
            Self::Pointer(pointer) => pointer::at(&data, &pointer),
            Self::Rego(policies) => evaluate(&policies, &data, max_bytes),
        };
        blocking(apply).await?.map_err(|reason| FetchError::new(format!("config.{FILE}: {reason}")))
    }
}

fn permanent(reason: &str) -> FetchError {
    FetchError::permanent(format!("config.{FILE}: {reason}"))
}

/// Runs something that computes for a while on a thread that may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, FetchError> {
    let turn = tokio::time::timeout(PATIENCE, TURN.acquire()).await;
    let Ok(Ok(turn)) = turn else {
        return Err(FetchError::new(format!("config.{FILE}: others take too long")));
    };
    let work = move || {
        let _turn = turn;
        work()
    };
    let done = tokio::time::timeout(PATIENCE, tokio::task::spawn_blocking(work)).await;
    match done {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(_)) => Err(FetchError::new(format!("config.{FILE}: the engine broke on it"))),
        Err(_) => Err(permanent("it takes too long")),
    }
}

fn compile(expression: &str) -> Result<Transform, String> {
    let module = format!("{HEAD}{expression}\n");
    let compiled = Policies::compile([(FILE, module.as_str())], Language::V1, Builtins::Embedded);
    let policies = compiled.map_err(|refused| {
        let first = refused.mistakes.into_iter().next();
        first.map_or_else(String::new, |it| {
            format!("line {}: {}", it.row.saturating_sub(HEAD_LINES), it.reason)
        })
    })?;
    Ok(Transform::Rego(Box::new(policies)))
}

fn evaluate(policies: &Policies, data: &Json, max_bytes: usize) -> Result<Json, String> {
    let mut engine = policies.engine(Value::new_object())?;
    engine.set_input(read_value(data.get())?);
    let evaluated = engine.eval_rule("data.transform.result".to_owned());
    let result = evaluated.map_err(|error| reason(&format!("{error:#}")))?;
    match result {
        Value::Object(_) | Value::Array(_) | Value::Set(_) => {
            let mut text = Bounded { bytes: vec![], limit: max_bytes };
            serde_json::to_writer(&mut text, &result).map_err(|error| error.to_string())?;
            String::from_utf8(text.bytes).map(Json::known).map_err(|error| error.to_string())
        }
        Value::Undefined => Err("it has no value for what was fetched".to_owned()),
        _ => Err(NOT_DATA.to_owned()),
    }
}

/// What is said of a result that is no data.
const NOT_DATA: &str = "it gives a bare value; data is an object or an array";

/// The engine's words, at the expression's own line.
fn reason(drawn: &str) -> String {
    let line = rego::one_line(drawn);
    let located = || {
        let (row, rest) = line.strip_prefix(FILE)?.strip_prefix(':')?.split_once(':')?;
        let (_, reason) = rest.split_once(": ")?;
        let row = row.parse::<u32>().ok()?.saturating_sub(HEAD_LINES);
        Some(format!("line {row}: {reason}"))
    };
    located().unwrap_or(line)
}

/// Text of at most so many bytes.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len().saturating_add(bytes.len()) > self.limit {
            let limit = self.limit;
            return Err(io::Error::other(format!("it gives more than the limit of {limit} bytes")));
        }
        self.bytes.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
