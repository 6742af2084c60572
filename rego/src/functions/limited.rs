//! Functions of regorus that make much of little: `numbers.range(1, 1e9)` is gigabytes before a
//! clock is looked at, and memory that is not there ends the process. Each is asked here first.

use regorus::Value;
use regorus::unstable::{BUILTINS, Expr, Ref, Source, Span};

use super::{Failure, Row, text, undefined};

/// Elements of a list that a function makes.
const MOST_ELEMENTS: i64 = 1_000_000;
/// Bits by which a number is shifted.
const MOST_BITS: i64 = 1 << 16;
/// Digits of a width or precision in `sprintf`: three digits are 999 characters.
const WIDTH_DIGITS: usize = 3;

pub(super) const TABLE: &[Row] = &[
    Row("bits.lsh", 2, lsh),
    #[cfg(feature = "std")]
    Row("net.cidr_expand", 1, cidr_expand),
    Row("numbers.range", 2, range),
    Row("numbers.range_step", 3, range_step),
    Row("sprintf", 2, sprintf),
    Row("strings.count", 2, count),
];

fn range(arguments: &[Value]) -> Result<Value, Failure> {
    elements(difference(arguments)?.saturating_add(1))?;
    regorus("numbers.range", arguments)
}

fn range_step(arguments: &[Value]) -> Result<Value, Failure> {
    let step = integer(arguments, 2)?;
    if step <= 0 {
        return Err(undefined("step must be a positive integer"));
    }
    elements(difference(arguments)?.div_euclid(step).saturating_add(1))?;
    regorus("numbers.range_step", arguments)
}

#[cfg(feature = "std")]
fn cidr_expand(arguments: &[Value]) -> Result<Value, Failure> {
    let cidr = text(arguments, 0)?;
    if let Some((address, length)) = cidr.split_once('/') {
        let all = if address.contains(':') { 128 } else { 32 };
        let length: u32 = length.parse().map_err(|_| undefined("invalid CIDR"))?;
        let hosts = 1_i64.checked_shl(u32::saturating_sub(all, length)).filter(|it| *it > 0);
        elements(hosts.unwrap_or(i64::MAX))?;
    }
    regorus("net.cidr_expand", arguments)
}

fn lsh(arguments: &[Value]) -> Result<Value, Failure> {
    if integer(arguments, 1)? > MOST_BITS {
        return Err(Failure::Error(format!("it shifts by at most {MOST_BITS} bits")));
    }
    regorus("bits.lsh", arguments)
}

fn sprintf(arguments: &[Value]) -> Result<Value, Failure> {
    let wide = |directive: &str| {
        let digits = directive.trim_start_matches(['+', '-', '#', ' ', '.']);
        let (width, rest) =
            digits.split_at(digits.find(|it: char| !it.is_ascii_digit()).unwrap_or(digits.len()));
        let precision = rest.strip_prefix('.').unwrap_or_default();
        let precision = precision.bytes().take_while(u8::is_ascii_digit).count();
        width.trim_start_matches('0').len() > WIDTH_DIGITS
            || precision > WIDTH_DIGITS
            || rest.starts_with('*')
    };
    if text(arguments, 0)?.replace("%%", "").split('%').skip(1).any(wide) {
        return Err(Failure::Error(format!("a width has at most {WIDTH_DIGITS} digits")));
    }
    regorus("sprintf", arguments)
}

/// As Go counts: what does not overlap, and of nothing one more than there are characters.
fn count(arguments: &[Value]) -> Result<Value, Failure> {
    let (searched, part) = (text(arguments, 0)?, text(arguments, 1)?);
    Ok(Value::from(if part.is_empty() {
        searched.chars().count() + 1
    } else {
        searched.matches(part).count()
    }))
}

fn elements(count: i64) -> Result<(), Failure> {
    if count > MOST_ELEMENTS {
        return Err(Failure::Error(format!("it makes at most {MOST_ELEMENTS} elements")));
    }
    Ok(())
}

/// How far the first two arguments are from each other.
fn difference(arguments: &[Value]) -> Result<i64, Failure> {
    let apart = integer(arguments, 0)?.checked_sub(integer(arguments, 1)?);
    Ok(apart.and_then(i64::checked_abs).unwrap_or(i64::MAX))
}

fn integer(arguments: &[Value], at: usize) -> Result<i64, Failure> {
    let value = arguments.get(at).and_then(|it| it.as_i64().ok());
    // A larger one is no reason to make anything, and no number of elements.
    value.ok_or_else(|| undefined(format!("operand {} must be integer", at + 1)))
}

/// What regorus makes of it.
fn regorus(name: &str, arguments: &[Value]) -> Result<Value, Failure> {
    let Some((function, _)) = BUILTINS.get(name) else {
        return Err(Failure::Error("the engine does not have it".to_owned()));
    };
    let source = Source::from_contents(name.to_owned(), String::new())
        .map_err(|error| Failure::Error(error.to_string()))?;
    let span = Span { source, line: 1, col: 1, start: 0, end: 0 };
    let written: Vec<Ref<Expr>> = arguments
        .iter()
        .map(|_| Ref::new(Expr::Null { span: span.clone(), value: Value::Null, eidx: 0 }))
        .collect();
    function(&span, &written, arguments, false).map_err(|error| undefined(error.to_string()))
}
