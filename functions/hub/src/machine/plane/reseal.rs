//! Seals facts anew after a key was put before the others.

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

/// What became of a value.
enum Resealed {
    Done,
    Not,
    /// Nor will anything be that is sealed with the same key.
    SkipKey,
}

impl Step<'_> {
    /// Seals some of what is not sealed with the first key, and says how much is left.
    pub(super) fn reseal(&mut self) -> Result<Done, Refusal> {
        let keys = self.keys()?;
        let (mut done, mut after) = (0, String::new());
        while done < MAX_RESEALED {
            let next = self.log.names_after(VALUES, &after, 1).map_err(unanswered)?;
            let Some(name) = next.into_iter().next() else { break };
            let value = name.strip_prefix(VALUES).and_then(|rest| rest.split_once('/'));
            let Some((kid, id)) = value else { break };
            after = match self.reseal_one(&keys, kid, id)? {
                Resealed::Done => {
                    done += 1;
                    name
                }
                Resealed::Not => name,
                Resealed::SkipKey => past(kid),
            };
        }
        let all = self.log.count(VALUES).map_err(unanswered)?;
        let current = format!("{VALUES}{}/", keys.kid());
        let current = self.log.count(&current).map_err(unanswered)?;
        let left = all.saturating_sub(current);
        let log = self.log.reseal(MAX_RESEALED.saturating_sub(done)).map_err(unanswered)?;
        Done::shown(&json!({ "resealed": done + log.done, "left": left + log.left }))
    }

    fn reseal_one(&mut self, keys: &Keys, kid: &str, id: &str) -> Result<Resealed, Refusal> {
        if kid == keys.kid() {
            return Ok(Resealed::SkipKey);
        }
        let kept = facts::find(self.log, id)?.filter(|kept| kept.kid == kid);
        let Some(kept) = kept else {
            // Of a fact that is gone, or that was sealed anew.
            self.log.keep(&format!("{VALUES}{kid}/{id}"), None).map_err(unstored)?;
            return Ok(Resealed::Not);
        };
        match kept.open(keys, self.log) {
            Ok(value) => self.seal_again(keys, &kept, &value).map(|()| Resealed::Done),
            // It is among those that are left; who asks for it hears why.
            Err(refusal) if refusal.status == MISSING => Ok(Resealed::SkipKey),
            Err(_) => Ok(Resealed::Not),
        }
    }

    /// Until the fact is kept with the new key, the old value is what it has; from then on the old
    /// one is nobody's.
    fn seal_again(&mut self, keys: &Keys, kept: &Kept, value: &str) -> Result<(), Refusal> {
        let print = facts::prints(keys, &kept.fact, value).into_iter().next();
        let anew = Kept { kid: keys.kid().to_owned(), print, ..kept.clone() };
        anew.seal(keys, value, self.log)?;
        put(self.log, &anew.name(), &anew)?;
        kept.forget_value(self.log);
        Ok(())
    }
}

/// What every name of a value comes before that is sealed with this key: `0` follows `/`.
fn past(kid: &str) -> String {
    format!("{VALUES}{kid}0")
}
