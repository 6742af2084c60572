//! The functions that the embedded engine has besides regorus's, and in place of some of them.
//!
//! | question | file |
//! |---|---|
//! | Which would make much of little, or panic? | `limited.rs` |
//! | Which need a network, and are an error? | `outside.rs` |
//! | Addresses and networks: `net.cidr_…`? | `networks.rs` |
//! | Chance: `rand.intn`? | `chance.rs` |
//! | Hashes and message authentication codes? | `hashes.rs` |
//! | Tokens: `io.jwt.…`? | `jwt/` |
//!
//! As in OPA, a function that cannot do what it is asked has no value, and the expression that
//! calls it is undefined. An error of the whole decision is what OPA would have done and we
//! cannot: never a decision that might be another one than OPA's.

use regorus::{Engine, Value};

#[cfg(feature = "std")]
pub(crate) mod chance;
#[cfg(feature = "std")]
mod hashes;
#[cfg(feature = "std")]
mod jwt;
mod limited;
mod networks;
mod outside;

/// Why a function has no value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It cannot be asked that: the call is undefined.
    Undefined(String),
    /// There is no decision.
    Error(String),
}

/// What a function is given, and what it makes of it.
type Function = fn(&[Value]) -> Result<Value, Failure>;

/// A function's name, how many arguments it takes, and what it does.
struct Row(&'static str, u8, Function);

/// All tables.
fn rows() -> impl Iterator<Item = &'static Row> {
    let rows = limited::TABLE.iter().chain(networks::TABLE).chain(outside::TABLE);
    #[cfg(feature = "std")]
    let rows = rows.chain(chance::TABLE).chain(hashes::TABLE).chain(jwt::TABLE);
    rows
}

/// Their names.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    rows().map(|Row(name, ..)| *name)
}

/// How many arguments one of these takes.
pub(crate) fn arguments(name: &str) -> Option<usize> {
    rows().find(|Row(known, ..)| *known == name).map(|Row(_, count, _)| usize::from(*count))
}

/// True if the function is one of these.
pub(crate) fn have(name: &str) -> bool {
    arguments(name).is_some()
}

/// Gives an engine the functions.
pub(crate) fn install(engine: &mut Engine) {
    for Row(name, count, function) in rows() {
        let call = move |arguments: Vec<Value>| match function(&arguments) {
            Ok(value) => Ok(value),
            Err(Failure::Undefined(_)) => Ok(Value::Undefined),
            Err(Failure::Error(why)) => Err(anyhow::anyhow!("{name}: {why}")),
        };
        // It fails only for a name that is taken, and each is there once.
        let _ = engine.add_extension((*name).to_owned(), *count, Box::new(call));
    }
}

/// One of the arguments as text.
fn text(arguments: &[Value], at: usize) -> Result<&str, Failure> {
    match arguments.get(at) {
        Some(Value::String(text)) => Ok(text),
        _ => Err(undefined(format!("operand {} must be string", at + 1))),
    }
}

fn undefined(why: impl Into<String>) -> Failure {
    Failure::Undefined(why.into())
}

#[cfg(test)]
mod tests;
