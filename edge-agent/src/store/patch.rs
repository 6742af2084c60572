//! JSON Patch (RFC 6902) on a [`Document`], relative to a place of it.

use protocol::DataPath;
use rego::document::operation::{Op, Written, index, missing, operations, pointer, segments};

use super::{
    document::{Document, Node, Refused},
    text::Text,
};
use crate::json::Json;

/// What takes one change back. Places are as they are after the change.
enum Undo {
    /// This was at the place.
    Replaced(Vec<String>, Node),
    /// The member was this, or not there.
    Member(Vec<String>, String, Option<Node>),
    /// The element was not there.
    Inserted(Vec<String>, usize),
    /// The element was there.
    Removed(Vec<String>, usize, Node),
}

impl Document {
    /// Applies a patch to what is at `path`: all of it, or nothing.
    pub(super) fn patch(&mut self, path: &DataPath, operations: &str) -> Result<(), Refused> {
        let operations = self::operations(operations)?;
        let base = path.segments();
        if path.is_apart() {
            return Err("policies and grants are replaced, never patched".to_owned());
        }
        if self.root.at(base)?.is_none() {
            return Err(format!("there is nothing at {} to patch", pointer(base)));
        }
        let mut done = Vec::new();
        let mut result = operations.iter().enumerate().try_for_each(|(at, operation)| {
            self.apply(base, operation, &mut done)
                .map_err(|reason| format!("operation {at}: {reason}"))
        });
        if result.is_ok() && !self.root.is_object() {
            result = Err("the whole data document can only be an object".to_owned());
        }
        if result.is_err() {
            done.into_iter().rev().for_each(|undo| self.take_back(undo));
        }
        result
    }

    fn apply(
        &mut self,
        base: &[String],
        operation: &Written<'_>,
        done: &mut Vec<Undo>,
    ) -> Result<(), Refused> {
        let place = |path: &str| segments(path).map(|path| [base, &path].concat());
        let path = place(&operation.path)?;
        let value = || match operation.value {
            Some(value) => Ok(Node::Text(Text::new(value.to_owned().into()))),
            None => Err("it needs a `value`".to_owned()),
        };
        let from = || match &operation.from {
            Some(from) => place(from),
            None => Err("it needs a `from`".to_owned()),
        };
        match operation.op {
            Op::Add => self.add(path, value()?, done),
            Op::Remove => self.remove(&path, done),
            Op::Replace => {
                let value = value()?;
                let slot = self.root.at(&path)?.ok_or_else(|| missing(&path))?;
                let old = std::mem::replace(slot, value);
                done.push(Undo::Replaced(path, old));
                Ok(())
            }
            Op::Move => {
                let from = from()?;
                if path.len() > from.len() && path.starts_with(&from) {
                    return Err("`path` is inside `from`".to_owned());
                }
                let moved = self.copy(&from)?;
                self.remove(&from, done)?;
                self.add(path, moved, done)
            }
            Op::Copy => {
                let copied = self.copy(&from()?)?;
                self.add(path, copied, done)
            }
            Op::Test => {
                let (expected, found) = (value()?, self.copy(&path)?);
                if same(&found.to_json(), &expected.to_json()) {
                    return Ok(());
                }
                Err(format!("{} is not what the test expects", pointer(&path)))
            }
        }
    }

    fn copy(&mut self, path: &[String]) -> Result<Node, Refused> {
        let found = self.root.at(path)?.ok_or_else(|| missing(path))?;
        Ok(found.clone().into_document())
    }

    /// Adds a member, an element before another one or at the end (`-`), or replaces the
    /// member that is there. The parent exists.
    fn add(
        &mut self,
        mut path: Vec<String>,
        value: Node,
        done: &mut Vec<Undo>,
    ) -> Result<(), Refused> {
        let Some(last) = path.pop() else {
            let old = std::mem::replace(&mut self.root, value);
            done.push(Undo::Replaced(path, old));
            return Ok(());
        };
        let parent = self.root.at(&path)?.ok_or_else(|| missing(&path))?;
        parent.split()?;
        match parent {
            Node::Way(members) | Node::Object(members) => {
                let old = members.insert(last.clone(), value);
                done.push(Undo::Member(path, last, old));
            }
            Node::Array(elements) => {
                let at = if last == "-" { Some(elements.len()) } else { index(&last) };
                let Some(at) = at.filter(|at| *at <= elements.len()) else {
                    path.push(last);
                    return Err(missing(&path));
                };
                elements.insert(at, value);
                done.push(Undo::Inserted(path, at));
            }
            Node::Text(_) | Node::Gone => {
                return Err(format!("{} has no members to add to", pointer(&path)));
            }
        }
        Ok(())
    }

    fn remove(&mut self, path: &[String], done: &mut Vec<Undo>) -> Result<(), Refused> {
        let Some((last, parents)) = path.split_last() else {
            return Err("the whole data document cannot be removed".to_owned());
        };
        let gone = || missing(path);
        let parent = self.root.at(parents)?.ok_or_else(gone)?;
        parent.split()?;
        match parent {
            Node::Way(members) => {
                let there = members.get_mut(last).filter(|node| !matches!(node, Node::Gone));
                let old = std::mem::replace(there.ok_or_else(gone)?, Node::Gone);
                done.push(Undo::Member(parents.to_vec(), last.clone(), Some(old)));
            }
            Node::Object(members) => {
                let old = members.remove(last).ok_or_else(gone)?;
                done.push(Undo::Member(parents.to_vec(), last.clone(), Some(old)));
            }
            Node::Array(elements) => {
                let at = index(last).filter(|at| *at < elements.len()).ok_or_else(gone)?;
                done.push(Undo::Removed(parents.to_vec(), at, elements.remove(at)));
            }
            Node::Text(_) | Node::Gone => return Err(gone()),
        }
        Ok(())
    }

    fn take_back(&mut self, undo: Undo) {
        let path = match &undo {
            Undo::Replaced(path, _)
            | Undo::Member(path, ..)
            | Undo::Inserted(path, _)
            | Undo::Removed(path, ..) => path.clone(),
        };
        // Both are there: changes are taken back in the reverse order.
        let Ok(Some(node)) = self.root.at(&path) else { return };
        match (undo, node) {
            (Undo::Replaced(_, old), node) => *node = old,
            (Undo::Member(_, name, old), Node::Way(members) | Node::Object(members)) => {
                match old {
                    Some(old) => members.insert(name, old),
                    None => members.remove(&name),
                };
            }
            (Undo::Inserted(_, at), Node::Array(elements)) => drop(elements.remove(at)),
            (Undo::Removed(_, at, old), Node::Array(elements)) => elements.insert(at, old),
            _ => {}
        }
    }
}

/// True if both texts stand for the same value.
fn same(left: &Json, right: &Json) -> bool {
    let read = |text: &Json| regorus::Value::from_json_str(text.get()).ok();
    read(left).is_some_and(|left| Some(left) == read(right))
}
