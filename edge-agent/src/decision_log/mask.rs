//! What a policy wants dropped or hidden (`data.system.log`): OPA's rules.
//!
//! `data.system.log.drop` is true for what is not to be logged. `data.system.log.mask` is a set:
//! a JSON pointer such as `"/input/password"` for what is taken out, or an object
//! `{"op":"remove"|"upsert","path":…,"value":…}`. Pointers lead into `/input`, `/result` or
//! `/nd_builtin_cache`. What was done is in the members `erased` and `masked`.

use serde_json::{Map, Value};

use super::event::Event;

/// What has a say in what is logged: the policies of the moment.
pub(crate) trait Rules: Send + Sync {
    /// True if there are rules below `data.system.log`.
    fn exist(&self) -> bool;

    /// The value of `data.system.log.<name>` for an event; none if it is undefined.
    ///
    /// # Errors
    /// Evaluating failed.
    fn ask(&self, name: &'static str, event: &Value) -> Result<Option<Value>, String>;
}

/// Where a pointer may lead.
const ROOTS: [&str; 3] = ["input", "result", "nd_builtin_cache"];

/// One thing that is hidden.
#[derive(Debug, PartialEq)]
struct Mask {
    pointer: Vec<String>,
    shown: String,
    /// What is put there; none if it is taken out.
    put: Option<Value>,
}

/// The event as JSON, without what is to be hidden; none if it is to be dropped.
///
/// # Errors
/// The policy failed, or says what cannot be followed: then the event must not be logged.
pub(super) fn apply(event: &Event<'_>, rules: &dyn Rules) -> Result<Option<String>, String> {
    if !rules.exist() {
        return serde_json::to_string(event).map(Some).map_err(|error| error.to_string());
    }
    let mut event = serde_json::to_value(event).map_err(|error| error.to_string())?;
    let dropped = rules.ask("drop", &event).map_err(|it| format!("data.system.log.drop: {it}"))?;
    if dropped == Some(Value::Bool(true)) {
        return Ok(None);
    }
    let masks = rules.ask("mask", &event).map_err(|it| format!("data.system.log.mask: {it}"))?;
    if let Some(masks) = masks {
        hide(&mut event, &masks).map_err(|it| format!("data.system.log.mask: {it}"))?;
    }
    Ok(Some(event.to_string()))
}

fn hide(event: &mut Value, masks: &Value) -> Result<(), String> {
    let masks = masks.as_array().ok_or("it is no set")?;
    let masks = masks.iter().map(Mask::read).collect::<Result<Vec<_>, _>>()?;
    let Value::Object(event) = event else { return Ok(()) };
    let (mut erased, mut masked) = (vec![], vec![]);
    for mask in masks {
        let (done, list) = match mask.put {
            None => (remove(event, &mask.pointer), &mut erased),
            Some(value) => (upsert(event, &mask.pointer, value), &mut masked),
        };
        if done {
            list.push(Value::String(mask.shown));
        }
    }
    for (name, list) in [("erased", erased), ("masked", masked)] {
        if !list.is_empty() {
            event.insert(name.to_owned(), Value::Array(list));
        }
    }
    Ok(())
}

impl Mask {
    fn read(rule: &Value) -> Result<Self, String> {
        let (path, put) = match rule {
            Value::String(path) => (path, None),
            Value::Object(rule) => {
                let path = match rule.get("path") {
                    Some(Value::String(path)) => path,
                    _ => return Err("a rule without `path`".to_owned()),
                };
                let put = match rule.get("op").and_then(Value::as_str) {
                    Some("remove") => None,
                    Some("upsert") => Some(rule.get("value").cloned().unwrap_or_default()),
                    _ => return Err(format!("{path}: `op` is `remove` or `upsert`")),
                };
                (path, put)
            }
            _ => return Err("a rule is a string or an object".to_owned()),
        };
        let pointer: Vec<String> = path
            .strip_prefix('/')
            .ok_or_else(|| format!("{path:?} does not begin with a slash"))?
            .split('/')
            .map(|segment| segment.replace("~1", "/").replace("~0", "~"))
            .collect();
        if !pointer.first().is_some_and(|first| ROOTS.contains(&first.as_str())) {
            return Err(format!("{path}: a path begins with /input, /result or /nd_builtin_cache"));
        }
        Ok(Self { pointer, shown: path.clone(), put })
    }
}

/// Takes out what is at a pointer; false if nothing is.
fn remove(event: &mut Map<String, Value>, pointer: &[String]) -> bool {
    let Some((last, above)) = pointer.split_last() else { return false };
    let Some((first, between)) = above.split_first() else { return event.remove(last).is_some() };
    let parent = between
        .iter()
        .try_fold(event.get_mut(first), |node, key| Some(node.and_then(|node| child(node, key))));
    match parent.flatten() {
        Some(Value::Object(object)) => object.remove(last).is_some(),
        Some(Value::Array(array)) => match last.parse::<usize>() {
            Ok(index) if index < array.len() => {
                array.remove(index);
                true
            }
            _ => false,
        },
        _ => false,
    }
}

/// Puts a value at a pointer, making the objects on the way; false where that cannot be.
fn upsert(event: &mut Map<String, Value>, pointer: &[String], value: Value) -> bool {
    let Some((first, below)) = pointer.split_first() else { return false };
    let Some(mut node) = event.get_mut(first) else { return false };
    for key in below {
        if let Value::Object(object) = node {
            node = object.entry(key.clone()).or_insert_with(|| Value::Object(Map::new()));
        } else if let Some(next) = child(node, key) {
            node = next;
        } else {
            return false;
        }
    }
    *node = value;
    true
}

fn child<'v>(node: &'v mut Value, key: &str) -> Option<&'v mut Value> {
    match node {
        Value::Object(object) => object.get_mut(key),
        Value::Array(array) => key.parse().ok().and_then(|index: usize| array.get_mut(index)),
        _ => None,
    }
}
