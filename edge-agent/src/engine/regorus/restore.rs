//! Holding what the agent kept, and what a commit makes of it: all documents in one step.

use std::{convert::Infallible, sync::Arc};

use protocol::DataPath;
use rego::document::{self, Refused};
use regorus::Value;

use super::{Inner, OwnedDocument, PolicyModule, drop_elsewhere, lock};

impl Inner {
    /// Replaces policies and documents at one moment, or refuses and changes nothing.
    pub(super) fn commit(
        &self,
        modules: &[PolicyModule],
        documents: &[OwnedDocument],
    ) -> Result<(), Refused> {
        let policies = self.compile(modules)?;
        let texts: Vec<&str> =
            documents.iter().filter_map(|(_, text)| Some(text.as_ref()?.get())).collect();
        let mut values = document::read_all(&texts).into_iter();
        let mut local = lock(&self.turn);
        let old = self.versions.replace_all(|_, mut data| {
            let mut old = vec![];
            for (path, text) in documents {
                Self::make_way(&mut local, &mut data, path.segments());
                local.owned.add(path.segments());
                if text.is_none() {
                    document::remove(&mut data, path.segments());
                    continue;
                }
                let value = values.next().unwrap_or_else(|| Err("it was not read".to_owned()))?;
                old.extend(document::put(&mut data, path.segments(), value)?);
            }
            local.keep_lag(&mut data);
            let policies = self.beside(&mut local, modules, policies, &mut data)?;
            Ok::<_, Refused>((Arc::new(policies), data, old))
        })?;
        old.into_iter().for_each(drop_elsewhere);
        Ok(())
    }

    /// Makes the data be these documents at their places. Returns what is refused: what is
    /// there stays.
    pub(super) fn restore(&self, owned: &[OwnedDocument]) -> Vec<(DataPath, Refused)> {
        let texts: Vec<&str> =
            owned.iter().filter_map(|(_, text)| Some(text.as_ref()?.get())).collect();
        let mut values = document::read_all(&texts).into_iter();
        let mut local = lock(&self.turn);
        let made = self.versions.replace_all(|policies, mut data| {
            let (mut refused, mut old) = (vec![], vec![]);
            for (path, text) in owned {
                Self::make_way(&mut local, &mut data, path.segments());
                local.owned.add(path.segments());
                let done = match text {
                    Some(_) => values.next().unwrap_or_else(|| Err("it was not read".to_owned())),
                    // It makes the parents, which are there if something was removed from them.
                    None => Ok(Value::Null),
                }
                .and_then(|value| {
                    let segments = path.segments();
                    if text.is_some() {
                        policies.check_put(segments, &value)?;
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
            local.keep_lag(&mut data);
            Ok::<_, Infallible>((Arc::clone(policies), data, (refused, old)))
        });
        let Ok((refused, old)) = made;
        old.into_iter().for_each(drop_elsewhere);
        refused
    }
}
