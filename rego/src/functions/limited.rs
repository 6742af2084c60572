//! Functions of regorus that make much of little: `numbers.range(1, 1e9)` is gigabytes before a
//! clock is looked at, and memory that is not there ends the process. Each is asked here first.

use regorus::Value;
use regorus::unstable::{BUILTINS, Expr, Ref, Source, Span};

use super::{Failure, Row, text, undefined};

/// Elements of a list that a function makes.
const MOST_ELEMENTS: i64 = 1_000_000;
/// Bits by which a number is shifted.
const MOST_BITS: i64 = 1 << 16;
/// Comparisons that a function makes, of each part of one argument with each of another.
const MOST_PAIRS: usize = 5_000_000;
/// Factors of a product, whose digits grow with each.
const MOST_FACTORS: usize = 10_000;
/// Steps on the way through a graph whose paths are listed, and how long a path is.
const MOST_STEPS: usize = 50_000;
const LONGEST_PATH: usize = 1_000;
/// Bytes of a text that a function makes.
const MOST_BYTES: usize = 64 << 20;
/// Digits of a width or precision in `sprintf`: three digits are 999 characters.
const WIDTH_DIGITS: usize = 3;

pub(super) const TABLE: &[Row] = &[
    Row("bits.lsh", 2, lsh),
    Row("graph.reachable_paths", 2, reachable_paths),
    Row("json.marshal", 1, |arguments| marshal("json.marshal", arguments)),
    Row("json.marshal_with_options", 2, |it| marshal("json.marshal_with_options", it)),
    Row("numbers.range", 2, range),
    Row("numbers.range_step", 3, range_step),
    Row("product", 1, product),
    Row("regex.replace", 3, regex_replace),
    Row("replace", 3, replace),
    Row("sprintf", 2, sprintf),
    Row("strings.any_prefix_match", 2, |it| any_match("strings.any_prefix_match", it)),
    Row("strings.any_suffix_match", 2, |it| any_match("strings.any_suffix_match", it)),
    Row("strings.count", 2, count),
    Row("strings.replace_n", 2, replace_n),
    #[cfg(feature = "std")]
    Row("yaml.marshal", 1, |arguments| marshal("yaml.marshal", arguments)),
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
    bytes(arguments.iter().map(size).fold(0, usize::saturating_add))?;
    regorus("sprintf", arguments)
}

fn marshal(name: &str, arguments: &[Value]) -> Result<Value, Failure> {
    bytes(arguments.first().map_or(0, size))?;
    regorus(name, arguments)
}

fn replace(arguments: &[Value]) -> Result<Value, Failure> {
    replaced(text(arguments, 0)?, text(arguments, 1)?, text(arguments, 2)?)?;
    regorus("replace", arguments)
}

/// Each pattern in what those before it have made, as regorus does it.
fn replace_n(arguments: &[Value]) -> Result<Value, Failure> {
    let patterns = match arguments.first() {
        Some(Value::Object(patterns)) => patterns,
        _ => return Err(undefined("operand 1 must be object")),
    };
    let mut made = text(arguments, 1)?.to_owned();
    for (old, new) in patterns.iter_sorted() {
        let (Value::String(old), Value::String(new)) = (old, new) else {
            return Err(undefined("operand 1 must be object of strings"));
        };
        replaced(&made, old, new)?;
        made = made.replace(&**old, new);
    }
    Ok(Value::from(made))
}

/// How often an expression matches is not known before: it may be everywhere, and each group may be
/// the whole text.
fn regex_replace(arguments: &[Value]) -> Result<Value, Failure> {
    let (searched, new) = (text(arguments, 0)?.len(), text(arguments, 2)?);
    let groups = new.matches('$').count();
    let places = searched.saturating_add(1);
    bytes(places.saturating_mul(new.len().max(1)).saturating_add(searched.saturating_mul(groups)))?;
    regorus("regex.replace", arguments)
}

/// Refuses what becomes too long when one text takes the place of another.
fn replaced(searched: &str, old: &str, new: &str) -> Result<(), Failure> {
    if new.len() <= old.len() {
        return Ok(());
    }
    let count = searched.matches(old).count();
    bytes(searched.len().saturating_add(count.saturating_mul(new.len() - old.len())))
}

/// Bytes of a value as text, at least, as far as they are counted: a value may be there many times
/// over.
fn size(value: &Value) -> usize {
    let (mut size, mut left) = (0_usize, vec![value]);
    while let Some(value) = left.pop() {
        size = size.saturating_add(match value {
            Value::String(text) => text.len(),
            _ => 1,
        });
        if size > MOST_BYTES {
            break;
        }
        match value {
            Value::Array(items) => left.extend(items.iter()),
            Value::Set(items) => left.extend(items.iter()),
            Value::Object(members) => {
                left.extend(members.iter().flat_map(|(key, value)| [key, value]));
            }
            _ => {}
        }
    }
    size
}

fn bytes(count: usize) -> Result<(), Failure> {
    if count > MOST_BYTES {
        return Err(Failure::Error(format!("it makes at most {MOST_BYTES} bytes")));
    }
    Ok(())
}

fn any_match(name: &str, arguments: &[Value]) -> Result<Value, Failure> {
    let pairs = arguments.iter().map(|it| parts(it).len().max(1)).fold(1, usize::saturating_mul);
    if pairs > MOST_PAIRS {
        return Err(Failure::Error(format!("it compares at most {MOST_PAIRS} pairs")));
    }
    regorus(name, arguments)
}

fn product(arguments: &[Value]) -> Result<Value, Failure> {
    if arguments.first().is_some_and(|it| parts(it).len() > MOST_FACTORS) {
        return Err(Failure::Error(format!("it multiplies at most {MOST_FACTORS} numbers")));
    }
    regorus("product", arguments)
}

/// There can be twice as many paths for each node, and regorus looks for them one call inside the
/// other. So the way is gone once before.
fn reachable_paths(arguments: &[Value]) -> Result<Value, Failure> {
    if let (Some(Value::Object(graph)), Some(first)) = (arguments.first(), arguments.get(1)) {
        let (mut steps, mut path, mut left) = (0, vec![], vec![parts(first)]);
        while let Some(next) = left.last_mut() {
            let Some(node) = next.pop() else {
                left.pop();
                path.pop();
                continue;
            };
            if path.contains(&node) {
                continue;
            }
            steps += 1;
            if steps > MOST_STEPS || path.len() >= LONGEST_PATH {
                return Err(Failure::Error(format!(
                    "it goes at most {MOST_STEPS} steps, on paths of {LONGEST_PATH}"
                )));
            }
            path.push(node);
            left.push(graph.get(node).map(parts).unwrap_or_default());
        }
    }
    regorus("graph.reachable_paths", arguments)
}

/// The elements of an array or a set; none of anything else.
fn parts(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Set(items) => items.iter().collect(),
        _ => vec![],
    }
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

pub(super) fn elements(count: i64) -> Result<(), Failure> {
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
