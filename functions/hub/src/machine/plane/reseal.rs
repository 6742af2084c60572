//! Seals facts anew after a key was put before the others.

use std::collections::BTreeSet;

use protocol::plane::Refusal;
use serde_json::json;
use vault::Keys;

use super::super::policy::put;
use super::super::{unanswered, unstored};
use super::facts::{self, Kept, VALUES};
use super::{Done, Step};

/// Facts and updates that are sealed anew at one time.
const MAX_RESEALED: usize = 500;
/// The status of a fact whose key is missing.
const MISSING: u16 = 503;

impl Step<'_> {
    /// Seals some of what is not sealed with the first key, and says how much is left.
    pub(super) fn reseal(&mut self) -> Result<Done, Refusal> {
        let keys = self.keys()?;
        let current = format!("{VALUES}{}/", keys.kid());
        let mut others = self.log.names(VALUES).map_err(unanswered)?;
        others.retain(|name| !name.starts_with(&current));
        let (mut done, mut left) = (0, 0);
        // One missing key is missing for all that it seals.
        let mut missing = BTreeSet::new();
        for name in &others {
            let value = name.strip_prefix(VALUES).and_then(|rest| rest.split_once('/'));
            let Some((kid, id)) = value else { continue };
            if done >= MAX_RESEALED || missing.contains(kid) {
                left += 1;
                continue;
            }
            let kept = facts::find(self.log, id)?.filter(|kept| kept.kid == kid);
            let Some(kept) = kept else {
                // Of a fact that is gone, or that was sealed anew.
                self.log.keep(name, None).map_err(unstored)?;
                continue;
            };
            match kept.open(&keys, self.log) {
                Ok(value) => {
                    self.reseal_one(&keys, &kept, &value)?;
                    done += 1;
                }
                // It is among those that are left; who asks for it hears why.
                Err(refusal) => {
                    left += 1;
                    if refusal.status == MISSING {
                        missing.insert(kid);
                    }
                }
            }
        }
        let log = self.log.reseal(MAX_RESEALED.saturating_sub(done)).map_err(unanswered)?;
        Done::shown(&json!({ "resealed": done + log.done, "left": left + log.left }))
    }

    /// Until the fact is kept with the new key, the old value is what it has; from then on the old
    /// one is nobody's.
    fn reseal_one(&mut self, keys: &Keys, kept: &Kept, value: &str) -> Result<(), Refusal> {
        let print = facts::prints(keys, &kept.fact, value).into_iter().next();
        let anew = Kept { kid: keys.kid().to_owned(), print, ..kept.clone() };
        anew.seal(keys, value, self.log)?;
        put(self.log, &anew.name(), &anew)?;
        kept.forget_value(self.log);
        Ok(())
    }
}
