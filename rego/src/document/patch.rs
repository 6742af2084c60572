//! JSON Patch (RFC 6902) on a [`Value`], relative to a place of the document.

use regorus::{Value, value::Object};

use super::{
    Refused, get, get_mut,
    operation::{Op, Written, index, missing, operations, pointer, segments},
    read::{self, Seen},
};

/// Levels of a document. JSON is read to 128 levels, below a path of at most 32; walking a
/// much deeper value would overflow a thread's stack.
pub const MAX_DEPTH: usize = 160;
/// Values that one copy may stand for. Copies share memory, but whoever writes them out
/// writes each: copies of copies would double with every operation.
const MAX_COPIED: usize = 100_000;

/// An operation, its pointers split into segments.
#[derive(Clone, Debug)]
enum Operation {
    Add(Vec<String>, Value),
    Remove(Vec<String>),
    Replace(Vec<String>, Value),
    Move { from: Vec<String>, to: Vec<String> },
    Copy { from: Vec<String>, to: Vec<String> },
    Test(Vec<String>, Value),
}

/// A whole patch, read and checked as far as that is possible without the document.
#[derive(Clone, Debug)]
pub struct Patch(Vec<Operation>);

impl Patch {
    /// Reads a list of operations.
    ///
    /// # Errors
    /// Names the operation that is wrong, by its place in the list.
    pub fn parse(text: &str) -> Result<Self, Refused> {
        let mut seen = Seen::new(text.len());
        operations(text)?
            .iter()
            .enumerate()
            .map(|(at, written)| {
                Operation::read(written, &mut seen)
                    .map_err(|reason| format!("operation {at}: {reason}"))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Applies the operations in order to what is at `base`, and returns what was replaced
    /// or removed.
    ///
    /// # Errors
    /// Names the operation that cannot be done, by its place in the list. `root` is half patched
    /// then: the caller gives a clone and drops it.
    pub fn apply(self, root: &mut Value, base: &[String]) -> Result<Vec<Value>, Refused> {
        if get(root, base).is_none() {
            return Err(format!("there is nothing at {} to patch", pointer(base)));
        }
        let mut replaced = Vec::new();
        for (at, operation) in self.0.into_iter().enumerate() {
            let done = operation.apply(root, base);
            replaced.extend(done.map_err(|reason| format!("operation {at}: {reason}"))?);
        }
        match root {
            Value::Object(_) => Ok(replaced),
            _ => Err("the whole data document can only be an object".to_owned()),
        }
    }
}

impl Operation {
    /// Reads what is written, as far as that is possible without the document.
    fn read(written: &Written<'_>, seen: &mut Seen) -> Result<Self, Refused> {
        let path = segments(&written.path)?;
        let mut value = || {
            let text = written.value.ok_or("it needs a `value`")?;
            read::read_next(text.get(), seen, read::LEVELS)
        };
        let from = || match &written.from {
            Some(from) => segments(from),
            None => Err("it needs a `from`".to_owned()),
        };
        Ok(match written.op {
            Op::Add => Self::Add(path, value()?),
            Op::Remove => Self::Remove(path),
            Op::Replace => Self::Replace(path, value()?),
            Op::Move => Self::Move { from: from()?, to: path },
            Op::Copy => Self::Copy { from: from()?, to: path },
            Op::Test => Self::Test(path, value()?),
        })
    }

    fn apply(self, root: &mut Value, base: &[String]) -> Result<Option<Value>, Refused> {
        let place = |path: &[String]| [base, path].concat();
        match self {
            Self::Add(path, value) => {
                let path = place(&path);
                check(&path, &value, usize::MAX)?;
                add(root, &path, value)
            }
            Self::Remove(path) => remove(root, &place(&path)).map(Some),
            Self::Replace(path, value) => {
                let path = place(&path);
                check(&path, &value, usize::MAX)?;
                let slot = get_mut(root, &path).ok_or_else(|| missing(&path))?;
                Ok(Some(std::mem::replace(slot, value)))
            }
            Self::Move { from, to } => {
                if to.len() > from.len() && to.starts_with(&from) {
                    return Err("`path` is inside `from`".to_owned());
                }
                let (moved, to) = (remove(root, &place(&from))?, place(&to));
                check(&to, &moved, usize::MAX)?;
                add(root, &to, moved)
            }
            Self::Copy { from, to } => {
                let from = place(&from);
                let copied = get(root, &from).ok_or_else(|| missing(&from))?.clone();
                let to = place(&to);
                check(&to, &copied, MAX_COPIED)?;
                add(root, &to, copied)
            }
            Self::Test(path, expected) => {
                let path = place(&path);
                match get(root, &path) {
                    Some(found) if *found == expected => Ok(None),
                    Some(_) => Err(format!("{} is not what the test expects", pointer(&path))),
                    None => Err(missing(&path)),
                }
            }
        }
    }
}

/// Checks that a value has a place that is not too deep, and stands for at most so many.
fn check(path: &[String], value: &Value, most: usize) -> Result<(), Refused> {
    let mut left = most;
    let mut level = vec![value];
    for _ in path.len()..=MAX_DEPTH {
        left = left
            .checked_sub(level.len())
            .ok_or_else(|| format!("a copy may stand for at most {MAX_COPIED} values"))?;
        let below = level.iter().flat_map(|value| {
            let members = value.as_object().into_iter().flat_map(Object::values);
            members.chain(value.as_array().into_iter().flat_map(|array| array.iter()))
        });
        level = below.take(left.saturating_add(1)).collect();
        if level.is_empty() {
            return Ok(());
        }
    }
    Err(format!("the document would have more than {MAX_DEPTH} levels"))
}

/// Adds a member, an element before another one, an element at the end (`-`), or replaces
/// what is there: the whole document, or a member, which it returns. The parent exists.
fn add(root: &mut Value, path: &[String], value: Value) -> Result<Option<Value>, Refused> {
    let Some((last, parents)) = path.split_last() else {
        return Ok(Some(std::mem::replace(root, value)));
    };
    let parent = get_mut(root, parents).ok_or_else(|| missing(parents))?;
    match parent {
        Value::Object(_) => {
            let object = parent.as_object_mut().map_err(|_| missing(parents))?;
            Ok(object.insert(Value::from(last.as_str()), value))
        }
        Value::Array(_) => {
            let array = parent.as_array_mut().map_err(|_| missing(parents))?;
            let at = if last == "-" { Some(array.len()) } else { index(last) };
            let at = at.filter(|at| *at <= array.len()).ok_or_else(|| missing(path))?;
            let mut elements = std::mem::take(array).into_vec();
            elements.insert(at, value);
            array.extend(elements);
            Ok(None)
        }
        _ => Err(format!("{} has no members to add to", pointer(parents))),
    }
}

/// Takes a member or an element out.
fn remove(root: &mut Value, path: &[String]) -> Result<Value, Refused> {
    let Some((last, parents)) = path.split_last() else {
        return Err("the whole data document cannot be removed".to_owned());
    };
    let gone = || missing(path);
    let parent = get_mut(root, parents).ok_or_else(gone)?;
    match parent {
        Value::Object(_) => {
            let object = parent.as_object_mut().map_err(|_| gone())?;
            object.remove(&Value::from(last.as_str())).ok_or_else(gone)
        }
        Value::Array(_) => {
            let array = parent.as_array_mut().map_err(|_| gone())?;
            let at = index(last).filter(|at| *at < array.len()).ok_or_else(gone)?;
            let mut elements = std::mem::take(array).into_vec();
            let removed = elements.remove(at);
            array.extend(elements);
            Ok(removed)
        }
        _ => Err(gone()),
    }
}

#[cfg(test)]
#[path = "patch_tests.rs"]
mod tests;
