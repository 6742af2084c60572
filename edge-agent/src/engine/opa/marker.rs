//! The document that tells an OPA which the agent filled from one that was restarted or
//! emptied since: `data.girasol.agent`, gone with everything else when OPA forgets. It also
//! names the policies that are ours, so that the next run of the agent can take back those
//! that it does not put again.
//!
//! And it is the **fence**. Each restore draws a new name, and each write of data begins, in
//! its own transaction, with replacing the member of that name: OPA refuses all of a write
//! that was sent before the last restore, whenever it arrives. So what the engine has is
//! what the store had at the restore and what was written since, in that order.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use protocol::DataPath;
use serde::{Deserialize, Serialize};

/// Where the marker is.
const PATH: &str = "girasol/agent";

/// What the agent says of itself in an OPA.
pub(super) struct Marker(Mutex<Mark>);

/// The document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// A name that no other restore has.
    #[serde(default)]
    pub(super) run: String,
    /// The ids of the modules that the agent put.
    #[serde(default)]
    pub(super) policies: BTreeSet<String>,
    /// One member, named like the run: what a write replaces first.
    #[serde(default)]
    pub(super) writes: BTreeMap<String, bool>,
}

/// Where the marker is in the data document.
pub(super) fn path() -> DataPath {
    DataPath::parse(PATH).unwrap_or_default()
}

impl Marker {
    pub(super) fn new() -> Self {
        let marker = Self(Mutex::default());
        marker.renew();
        marker
    }

    /// Takes a new name: what was written under the old one is refused once the marker is
    /// in OPA.
    pub(super) fn renew(&self) {
        let mut random = [0; 16];
        // Without randomness the name is only less unique; the hub and the log name the
        // agent by other means.
        let _ = getrandom::fill(&mut random);
        let run = uuid::Builder::from_random_bytes(random).into_uuid().to_string();
        let mut mark = self.lock();
        mark.writes = BTreeMap::from([(run.clone(), true)]);
        mark.run = run;
    }

    /// The operation that a write begins with.
    pub(super) fn fence(&self) -> String {
        let run = &self.lock().run;
        format!(r#"{{"op":"replace","path":"/{PATH}/writes/{run}","value":true}}"#)
    }

    /// The modules that this run has put.
    pub(super) fn policies(&self) -> BTreeSet<String> {
        self.lock().policies.clone()
    }

    pub(super) fn set_policies(&self, ids: BTreeSet<String>) {
        self.lock().policies = ids;
    }

    pub(super) fn is_ours(&self, found: &Mark) -> bool {
        let mark = self.lock();
        found.run == mark.run && found.writes == mark.writes
    }

    pub(super) fn document(&self) -> String {
        // Strings always have a JSON form.
        serde_json::to_string(&*self.lock()).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Mark> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The text of a root object with the marker as its first member, and the lag beside it, so
    /// that replacing the root and marking it are one write.
    pub(super) fn splice(&self, object: &str, lag: Option<u64>) -> String {
        let lag = lag.map_or_else(String::new, |lag| format!(r#","lag_seconds":{lag}"#));
        let inner = object.strip_prefix('{').unwrap_or(object);
        let comma = if inner.trim_start().starts_with('}') { "" } else { "," };
        format!(r#"{{"girasol":{{"agent":{}{lag}}}{comma}{inner}"#, self.document())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spliced_object_has_its_members_and_the_marker() {
        let marker = Marker::new();
        marker.set_policies(BTreeSet::from(["a \"b\".rego".to_owned()]));
        for object in ["{}", "{ \n }", r#"{"a":{"b":1}}"#, r#"{ "a" : 1.0 }"#] {
            let mut spliced: serde_json::Value =
                serde_json::from_str(&marker.splice(object, Some(7))).unwrap();
            let members = spliced.as_object_mut().unwrap();
            let mut own = members.remove("girasol").unwrap();
            assert_eq!(own["lag_seconds"], 7);
            let mark = own["agent"].take();
            assert!(marker.is_ours(&serde_json::from_value(mark).unwrap()));
            assert_eq!(spliced, serde_json::from_str::<serde_json::Value>(object).unwrap());
        }
    }

    #[test]
    fn another_runs_mark_is_not_ours() {
        let other: Mark = serde_json::from_str(&Marker::new().document()).unwrap();
        assert!(!Marker::new().is_ours(&other));
        assert!(!Marker::new().is_ours(&Mark::default()));
        assert_eq!(path().to_string(), "/girasol/agent");
    }
}
