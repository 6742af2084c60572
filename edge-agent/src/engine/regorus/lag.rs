//! Where policies read how fresh the data is: `data.girasol.lag_seconds`.

use std::sync::Arc;

use rego::document;
use regorus::Value;

use super::local::Local;
use super::{Inner, Snapshot, lock};

fn path() -> [String; 2] {
    ["girasol", "lag_seconds"].map(str::to_owned)
}

impl Inner {
    pub(super) fn set_lag(&self, seconds: u64) {
        let mut local = lock(&self.turn);
        local.lag = Some(seconds);
        let value = Value::from(seconds);
        if let Some(Ok(_)) = self.put_in_place(&path(), &value) {
            return;
        }
        let current = self.current();
        let mut data = current.data.clone();
        local.keep_lag(&mut data);
        self.replace(Snapshot::new(Arc::clone(&current.policies), data));
    }
}

impl Local {
    /// Puts the lag back into a document that may have been made without it.
    pub(super) fn keep_lag(&self, data: &mut Value) {
        let Some(seconds) = self.lag else { return };
        let value = Value::from(seconds);
        if document::put(data, &path(), value.clone()).is_err() {
            // Something else is in the reserved place: it is nobody's to be.
            document::remove(data, &["girasol".to_owned()]);
            let _ = document::put(data, &path(), value);
        }
    }
}
