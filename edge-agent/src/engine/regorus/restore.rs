//! Holding what the agent kept, and what a commit makes of it: all documents in one step.

use std::sync::Arc;

use protocol::DataPath;
use regorus::Value;

use super::{
    Inner, OwnedDocument, Policies, PolicyModule, Snapshot, document,
    document::Refused,
    drop_elsewhere, lock, patch,
    read::{self, SPLIT_BYTES, Seen},
};

impl Inner {
    /// Replaces policies and documents at one moment, or refuses and changes nothing.
    pub(super) fn commit(
        &self,
        modules: &[PolicyModule],
        documents: &[OwnedDocument],
    ) -> Result<(), Refused> {
        let policies = Policies::compile(modules, self.language)?;
        let texts: Vec<&str> =
            documents.iter().filter_map(|(_, text)| Some(text.as_ref()?.get())).collect();
        let mut values = read_all(&texts).into_iter();
        let _turn = lock(&self.turn);
        let current = self.current();
        let (mut data, mut old) = (current.data.clone(), vec![]);
        drop(current);
        for (path, text) in documents {
            if text.is_none() {
                document::remove(&mut data, path.segments());
                continue;
            }
            let value = values.next().unwrap_or_else(|| Err("it was not read".to_owned()))?;
            old.extend(document::put(&mut data, path.segments(), value)?);
        }
        policies.check_data(&data)?;
        self.replace(Snapshot::new(Arc::new(policies), data));
        old.into_iter().for_each(drop_elsewhere);
        Ok(())
    }

    /// Makes the data be these documents at their places. Returns what is refused: what is
    /// there stays.
    pub(super) fn restore(&self, owned: &[OwnedDocument]) -> Vec<(DataPath, Refused)> {
        let texts: Vec<&str> =
            owned.iter().filter_map(|(_, text)| Some(text.as_ref()?.get())).collect();
        let mut values = read_all(&texts).into_iter();
        let _turn = lock(&self.turn);
        let current = self.current();
        let (mut data, mut refused, mut old) = (current.data.clone(), vec![], vec![]);
        for (path, text) in owned {
            let done = match text {
                Some(_) => values.next().unwrap_or_else(|| Err("it was not read".to_owned())),
                // It makes the parents, which are there if something was removed from them.
                None => Ok(Value::Null),
            }
            .and_then(|value| {
                let segments = path.segments();
                if text.is_some() {
                    current.policies.check_put(segments, &value)?;
                }
                old.extend(document::put(&mut data, segments, value)?);
                if text.is_none() {
                    document::remove(&mut data, segments);
                }
                Ok(())
            });
            if let Err(why) = done {
                refused.push((path.clone(), why));
            }
        }
        self.replace(Snapshot::new(Arc::clone(&current.policies), data));
        drop(current);
        old.into_iter().for_each(drop_elsewhere);
        refused
    }
}

/// Reads all texts: a large one on two threads, and the others in two halves.
fn read_all(texts: &[&str]) -> Vec<Result<Value, Refused>> {
    let bytes: usize = texts.iter().map(|text| text.len()).sum();
    let largest = texts.iter().map(|text| text.len()).max().unwrap_or(0);
    if bytes < SPLIT_BYTES || largest > bytes / 2 {
        return read_here(texts, bytes);
    }
    let mut before = 0;
    let first = texts.iter().take_while(|text| {
        before += text.len();
        before < bytes / 2
    });
    let middle = first.count();
    let (first, second) = texts.split_at(middle);
    let half = |texts| move || read_here(texts, bytes / 2);
    let (mut all, other) = read::on_two_threads(bytes, half(second), half(first));
    all.append(&mut other.unwrap_or_else(half(second)));
    all
}

/// Reads texts of so many bytes together on this thread.
fn read_here(texts: &[&str], bytes: usize) -> Vec<Result<Value, Refused>> {
    let mut seen = Seen::new(bytes);
    texts.iter().map(|text| read::read_next(text, &mut seen, patch::MAX_DEPTH)).collect()
}
