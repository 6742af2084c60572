//! JSON Patch (RFC 6902) on a [`Value`], relative to a place of the document.

use regorus::Value;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::document::{self, Refused};

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
#[derive(Debug)]
pub(super) struct Patch(Vec<Operation>);

/// An operation as it is written.
#[derive(Deserialize)]
struct Written<'p> {
    op: Op,
    path: String,
    #[serde(default)]
    from: Option<String>,
    #[serde(borrow, default, deserialize_with = "present")]
    value: Option<&'p RawValue>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Op {
    Add,
    Remove,
    Replace,
    Move,
    Copy,
    Test,
}

/// A member that is `null` is there all the same.
fn present<'p, D: Deserializer<'p>>(deserializer: D) -> Result<Option<&'p RawValue>, D::Error> {
    Deserialize::deserialize(deserializer).map(Some)
}

impl Patch {
    /// Reads a list of operations.
    ///
    /// # Errors
    /// Names the operation that is wrong, by its place in the list.
    pub(super) fn parse(text: &str) -> Result<Self, Refused> {
        let written: Vec<Written<'_>> = serde_json::from_str(text)
            .map_err(|error| format!("not a list of JSON Patch operations: {error}"))?;
        written
            .into_iter()
            .enumerate()
            .map(|(at, operation)| {
                operation.read().map_err(|reason| format!("operation {at}: {reason}"))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Applies the operations in order to what is at `base`. After a refusal `root` is
    /// half patched: the caller gives a clone and drops it.
    pub(super) fn apply(self, root: &mut Value, base: &[String]) -> Result<(), Refused> {
        if document::get(root, base).is_none() {
            return Err(format!("there is nothing at {} to patch", pointer(base)));
        }
        for (at, operation) in self.0.into_iter().enumerate() {
            operation.apply(root, base).map_err(|reason| format!("operation {at}: {reason}"))?;
        }
        match root {
            Value::Object(_) => Ok(()),
            _ => Err("the whole data document can only be an object".to_owned()),
        }
    }
}

impl Written<'_> {
    fn read(self) -> Result<Operation, Refused> {
        let path = segments(&self.path)?;
        let value = || {
            let text = self.value.ok_or("it needs a `value`")?.get();
            Value::from_json_str(text).map_err(|_| "its `value` is nested too deeply")
        };
        let from = || match &self.from {
            Some(from) => segments(from),
            None => Err("it needs a `from`".to_owned()),
        };
        Ok(match self.op {
            Op::Add => Operation::Add(path, value()?),
            Op::Remove => Operation::Remove(path),
            Op::Replace => Operation::Replace(path, value()?),
            Op::Move => Operation::Move { from: from()?, to: path },
            Op::Copy => Operation::Copy { from: from()?, to: path },
            Op::Test => Operation::Test(path, value()?),
        })
    }
}

impl Operation {
    fn apply(self, root: &mut Value, base: &[String]) -> Result<(), Refused> {
        let place = |path: &[String]| [base, path].concat();
        match self {
            Self::Add(path, value) => add(root, &place(&path), value),
            Self::Remove(path) => remove(root, &place(&path)).map(drop),
            Self::Replace(path, value) => {
                let path = place(&path);
                let slot = document::get_mut(root, &path).ok_or_else(|| missing(&path))?;
                *slot = value;
                Ok(())
            }
            Self::Move { from, to } => {
                if to.len() > from.len() && to.starts_with(&from) {
                    return Err("`path` is inside `from`".to_owned());
                }
                let moved = remove(root, &place(&from))?;
                add(root, &place(&to), moved)
            }
            Self::Copy { from, to } => {
                let from = place(&from);
                let copied = document::get(root, &from).ok_or_else(|| missing(&from))?.clone();
                add(root, &place(&to), copied)
            }
            Self::Test(path, expected) => {
                let path = place(&path);
                match document::get(root, &path) {
                    Some(found) if *found == expected => Ok(()),
                    Some(_) => Err(format!("{} is not what the test expects", pointer(&path))),
                    None => Err(missing(&path)),
                }
            }
        }
    }
}

/// Adds a member, an element before another one, an element at the end (`-`), or replaces
/// what is there: the whole document, or a member. The parent exists.
fn add(root: &mut Value, path: &[String], value: Value) -> Result<(), Refused> {
    let Some((last, parents)) = path.split_last() else {
        *root = value;
        return Ok(());
    };
    let parent = document::get_mut(root, parents).ok_or_else(|| missing(parents))?;
    match parent {
        Value::Object(_) => {
            let object = parent.as_object_mut().map_err(|_| missing(parents))?;
            object.insert(Value::from(last.as_str()), value);
            Ok(())
        }
        Value::Array(_) => {
            let array = parent.as_array_mut().map_err(|_| missing(parents))?;
            let at = if last == "-" { Some(array.len()) } else { document::index(last) };
            let at = at.filter(|at| *at <= array.len()).ok_or_else(|| missing(path))?;
            let mut elements = std::mem::take(array).into_vec();
            elements.insert(at, value);
            array.extend(elements);
            Ok(())
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
    let parent = document::get_mut(root, parents).ok_or_else(gone)?;
    match parent {
        Value::Object(_) => {
            let object = parent.as_object_mut().map_err(|_| gone())?;
            object.remove(&Value::from(last.as_str())).ok_or_else(gone)
        }
        Value::Array(_) => {
            let array = parent.as_array_mut().map_err(|_| gone())?;
            let at = document::index(last).filter(|at| *at < array.len()).ok_or_else(gone)?;
            let mut elements = std::mem::take(array).into_vec();
            let removed = elements.remove(at);
            array.extend(elements);
            Ok(removed)
        }
        _ => Err(gone()),
    }
}

/// A JSON pointer's segments (RFC 6901).
fn segments(pointer: &str) -> Result<Vec<String>, Refused> {
    let mut parts = pointer.split('/');
    if parts.next() != Some("") {
        return Err("a path is empty or begins with /".to_owned());
    }
    Ok(parts.map(|part| part.replace("~1", "/").replace("~0", "~")).collect())
}

fn pointer(path: &[String]) -> String {
    if path.is_empty() {
        return "/".to_owned();
    }
    path.iter().map(|part| format!("/{}", part.replace('~', "~0").replace('/', "~1"))).collect()
}

fn missing(path: &[String]) -> Refused {
    format!("there is nothing at {}", pointer(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(json: &str) -> Value {
        Value::from_json_str(json).unwrap()
    }

    fn patched(before: &str, base: &str, operations: &str) -> Result<Value, Refused> {
        let mut root = value(before);
        Patch::parse(operations)?.apply(&mut root, &segments(base)?)?;
        Ok(root)
    }

    #[test]
    fn operations_do_what_rfc_6902_says() {
        for (before, operations, after) in [
            // The examples of its appendix A.
            (
                r#"{"foo":"bar"}"#,
                r#"[{"op":"add","path":"/baz","value":"qux"}]"#,
                r#"{"baz":"qux","foo":"bar"}"#,
            ),
            (
                r#"{"foo":["bar","baz"]}"#,
                r#"[{"op":"add","path":"/foo/1","value":"qux"}]"#,
                r#"{"foo":["bar","qux","baz"]}"#,
            ),
            (
                r#"{"baz":"qux","foo":"bar"}"#,
                r#"[{"op":"remove","path":"/baz"}]"#,
                r#"{"foo":"bar"}"#,
            ),
            (
                r#"{"foo":["bar","qux","baz"]}"#,
                r#"[{"op":"remove","path":"/foo/1"}]"#,
                r#"{"foo":["bar","baz"]}"#,
            ),
            (
                r#"{"baz":"qux","foo":"bar"}"#,
                r#"[{"op":"replace","path":"/baz","value":"boo"}]"#,
                r#"{"baz":"boo","foo":"bar"}"#,
            ),
            (
                r#"{"foo":{"bar":"baz","waldo":"fred"},"qux":{"corge":"grault"}}"#,
                r#"[{"op":"move","from":"/foo/waldo","path":"/qux/thud"}]"#,
                r#"{"foo":{"bar":"baz"},"qux":{"corge":"grault","thud":"fred"}}"#,
            ),
            (
                r#"{"foo":["all","grass","cows","eat"]}"#,
                r#"[{"op":"move","from":"/foo/1","path":"/foo/3"}]"#,
                r#"{"foo":["all","cows","eat","grass"]}"#,
            ),
            (
                r#"{"baz":"qux","foo":["a",2,"c"]}"#,
                r#"[{"op":"test","path":"/baz","value":"qux"},{"op":"test","path":"/foo/1","value":2}]"#,
                r#"{"baz":"qux","foo":["a",2,"c"]}"#,
            ),
            (
                r#"{"foo":"bar"}"#,
                r#"[{"op":"add","path":"/child","value":{"g":{}}}]"#,
                r#"{"foo":"bar","child":{"g":{}}}"#,
            ),
            (
                r#"{"foo":"bar"}"#,
                r#"[{"op":"add","path":"/baz","value":"qux","xyz":123}]"#,
                r#"{"foo":"bar","baz":"qux"}"#,
            ),
            (
                r#"{"/":9,"~1":10}"#,
                r#"[{"op":"test","path":"/~01","value":10}]"#,
                r#"{"/":9,"~1":10}"#,
            ),
            (
                r#"{"foo":["bar"]}"#,
                r#"[{"op":"add","path":"/foo/-","value":["abc","def"]}]"#,
                r#"{"foo":["bar",["abc","def"]]}"#,
            ),
            // And more.
            (r#"{"a":1}"#, "[]", r#"{"a":1}"#),
            (r#"{"a":1}"#, r#"[{"op":"add","path":"/a","value":null}]"#, r#"{"a":null}"#),
            (r#"{"a":1}"#, r#"[{"op":"test","path":"/a","value":1.0}]"#, r#"{"a":1}"#),
            (r#"{"a":1}"#, r#"[{"op":"add","path":"","value":{"b":2}}]"#, r#"{"b":2}"#),
            (r#"{"a":1}"#, r#"[{"op":"replace","path":"","value":{"b":2}}]"#, r#"{"b":2}"#),
            (
                r#"{"a":{"b":1}}"#,
                r#"[{"op":"copy","from":"/a","path":"/a/c"}]"#,
                r#"{"a":{"b":1,"c":{"b":1}}}"#,
            ),
            (r#"{"a":{"b":1}}"#, r#"[{"op":"move","from":"/a","path":"/a"}]"#, r#"{"a":{"b":1}}"#),
            (r#"{"a":{"b":1}}"#, r#"[{"op":"move","from":"/a/b","path":"/a"}]"#, r#"{"a":1}"#),
            (r#"{"":{"":1}}"#, r#"[{"op":"replace","path":"//","value":2}]"#, r#"{"":{"":2}}"#),
            (
                r#"{"a":[]}"#,
                r#"[{"op":"add","path":"/a/0","value":1},{"op":"add","path":"/a/0","value":0}]"#,
                r#"{"a":[0,1]}"#,
            ),
        ] {
            let result = patched(before, "", operations);
            assert_eq!(result.as_ref(), Ok(&value(after)), "{before} {operations}");
        }
    }

    #[test]
    fn paths_are_relative_to_where_the_patch_goes() {
        let before = r#"{"users":{"a":{"n":1}},"a":{"n":0}}"#;
        let after = patched(before, "/users", r#"[{"op":"copy","from":"/a/n","path":"/b"}]"#);
        assert_eq!(after, Ok(value(r#"{"users":{"a":{"n":1},"b":1},"a":{"n":0}}"#)));
        let after = patched(before, "/users/a", r#"[{"op":"replace","path":"","value":[]}]"#);
        assert_eq!(after, Ok(value(r#"{"users":{"a":[]},"a":{"n":0}}"#)));
        let after = patched(before, "/users/a", r#"[{"op":"remove","path":""}]"#);
        assert_eq!(after, Ok(value(r#"{"users":{},"a":{"n":0}}"#)));
    }

    #[test]
    fn what_cannot_be_applied_is_refused_and_named() {
        for (base, operations, words) in [
            ("", r#"{"op":"add"}"#, "not a list of JSON Patch operations"),
            ("", r#"[{"op":"put","path":"/a"}]"#, "unknown variant `put`"),
            (
                "",
                r#"[{"op":"add","path":"a","value":1}]"#,
                "operation 0: a path is empty or begins",
            ),
            ("", r#"[{"op":"add","path":"/a"}]"#, "operation 0: it needs a `value`"),
            ("", r#"[{"op":"move","path":"/a"}]"#, "operation 0: it needs a `from`"),
            (
                "",
                r#"[{"op":"remove","path":"/a"},{"op":"remove","path":"/a"}]"#,
                "operation 1: there is nothing at /a",
            ),
            ("", r#"[{"op":"replace","path":"/z","value":1}]"#, "nothing at /z"),
            ("", r#"[{"op":"add","path":"/z/y","value":1}]"#, "nothing at /z"),
            ("", r#"[{"op":"add","path":"/a/y","value":1}]"#, "/a has no members to add to"),
            ("", r#"[{"op":"add","path":"/l/3","value":1}]"#, "nothing at /l/3"),
            ("", r#"[{"op":"add","path":"/l/01","value":1}]"#, "nothing at /l/01"),
            ("", r#"[{"op":"remove","path":"/l/-"}]"#, "nothing at /l/-"),
            ("", r#"[{"op":"copy","from":"/z","path":"/a"}]"#, "nothing at /z"),
            ("", r#"[{"op":"move","from":"/o","path":"/o/p"}]"#, "`path` is inside `from`"),
            ("", r#"[{"op":"test","path":"/a","value":"1"}]"#, "/a is not what the test expects"),
            ("", r#"[{"op":"remove","path":""}]"#, "cannot be removed"),
            ("", r#"[{"op":"replace","path":"","value":5}]"#, "can only be an object"),
            ("/nowhere", "[]", "nothing at /nowhere to patch"),
        ] {
            let refused =
                patched(r#"{"a":1,"l":[1,2],"o":{"p":1}}"#, base, operations).unwrap_err();
            assert!(refused.contains(words), "{operations}: {refused}");
        }
    }
}
