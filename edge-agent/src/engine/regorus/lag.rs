//! Where policies read how fresh the data is: `data.girasol.lag_seconds`.

use std::{convert::Infallible, sync::Arc};

use protocol::DataPath;
use protocol::commit::RESERVED;
use rego::document;
use regorus::Value;

use super::local::Local;
use super::{Inner, lock, versions::Change};

impl Inner {
    pub(super) fn set_lag(&self, seconds: u64) {
        let mut local = lock(&self.turn);
        local.lag = Some(seconds);
        self.put_lag(&local);
    }

    /// Puts the lag back if a patch of the whole document has taken it away.
    pub(super) fn mend_lag(&self, local: &Local) {
        let current = self.current();
        let found = document::get(&current.data, DataPath::lag_seconds().segments()).cloned();
        drop(current);
        if local.lag.is_some() && found != local.lag.map(Value::from) {
            self.put_lag(local);
        }
    }

    fn put_lag(&self, local: &Local) {
        let Some(seconds) = local.lag else { return };
        let change = Change::Put(DataPath::lag_seconds().segments().to_vec(), Value::from(seconds));
        if self.versions.change(change).is_err() {
            // Something else is in the reserved place.
            let Ok(()) = self.versions.replace_all(|policies, mut data| {
                local.keep_lag(&mut data);
                Ok::<_, Infallible>((Arc::clone(policies), data, ()))
            });
        }
    }
}

impl Local {
    /// Puts the lag back into a document that may have been made without it.
    pub(super) fn keep_lag(&self, data: &mut Value) {
        let Some(seconds) = self.lag else { return };
        let (place, value) = (DataPath::lag_seconds(), Value::from(seconds));
        if document::put(data, place.segments(), value.clone()).is_err() {
            // Something else is in the reserved place: it is nobody's to be.
            document::remove(data, &[RESERVED.to_owned()]);
            let _ = document::put(data, place.segments(), value);
        }
    }
}
