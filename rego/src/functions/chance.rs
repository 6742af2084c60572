//! `rand.intn`: the same for the same arguments in one evaluation, and another in the next.

use std::cell::Cell;

use regorus::Value;
use ring::digest::{SHA256, digest};
use ring::rand::{SystemRandom, generate};

use super::{Failure, Row, text, undefined};

pub(super) const TABLE: &[Row] = &[Row("rand.intn", 2, below)];

type Seed = [u8; 16];

thread_local! {
    /// What the numbers of this thread's evaluation are made of, once one is asked for.
    static SEED: Cell<Option<Seed>> = const { Cell::new(None) };
}

/// An evaluation begins on this thread.
pub(crate) fn begin() {
    SEED.set(None);
}

/// A number from 0 up to, and without, the second argument, whose sign does not matter.
fn below(arguments: &[Value]) -> Result<Value, Failure> {
    let name = text(arguments, 0)?;
    let end = arguments.get(1).and_then(|it| it.as_i64().ok());
    let end = end.ok_or_else(|| undefined("operand 2 must be integer"))?.unsigned_abs();
    let asked = [&seed()?, &end.to_le_bytes()[..], name.as_bytes()].concat();
    let number = digest(&SHA256, &asked).as_ref().first_chunk().copied().map(u64::from_le_bytes);
    Ok(Value::from(number.and_then(|number| number.checked_rem(end)).unwrap_or_default()))
}

fn seed() -> Result<Seed, Failure> {
    if let Some(seed) = SEED.get() {
        return Ok(seed);
    }
    let seed = generate::<Seed>(&SystemRandom::new());
    let seed = seed.map_err(|_| Failure::Error("the system has no randomness".to_owned()))?;
    let seed = seed.expose();
    SEED.set(Some(seed));
    Ok(seed)
}
