//! The document that tells an OPA which this run of the agent filled from one that was
//! restarted or emptied since: `data.girasol.agent`, gone with everything else when OPA
//! forgets. It also names the policies that are ours, so that the next run of the agent
//! can take back those that it does not put again.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use protocol::DataPath;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Where the marker is.
const PATH: &str = "girasol/agent";

/// What this run of the agent says of itself.
pub(super) struct Marker {
    run: String,
    policies: Mutex<BTreeSet<String>>,
}

/// The document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// A name that no other run of an agent has.
    #[serde(default)]
    pub(super) run: String,
    /// The ids of the modules that the agent put.
    #[serde(default)]
    pub(super) policies: BTreeSet<String>,
}

/// Where the marker is in the data document.
pub(super) fn path() -> DataPath {
    DataPath::parse(PATH).unwrap_or_default()
}

impl Marker {
    pub(super) fn new() -> Self {
        let mut random = [0; 16];
        // Without randomness the name is only less unique; the hub and the log name the
        // agent by other means.
        let _ = getrandom::fill(&mut random);
        let run = uuid::Builder::from_random_bytes(random).into_uuid();
        Self { run: Uuid::to_string(&run), policies: Mutex::default() }
    }

    /// The modules that this run has put.
    pub(super) fn policies(&self) -> BTreeSet<String> {
        self.policies.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_policies(&self, ids: BTreeSet<String>) {
        *self.policies.lock().unwrap_or_else(PoisonError::into_inner) = ids;
    }

    pub(super) fn is_ours(&self, found: &Mark) -> bool {
        found.run == self.run
    }

    pub(super) fn document(&self) -> String {
        let mark = Mark { run: self.run.clone(), policies: self.policies() };
        // Strings always have a JSON form.
        serde_json::to_string(&mark).unwrap_or_default()
    }

    /// The text of a root object with the marker as its first member, so that replacing
    /// the root and marking it are one write.
    pub(super) fn splice(&self, object: &str) -> String {
        let inner = object.strip_prefix('{').unwrap_or(object);
        let comma = if inner.trim_start().starts_with('}') { "" } else { "," };
        format!(r#"{{"girasol":{{"agent":{}}}{comma}{inner}"#, self.document())
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
                serde_json::from_str(&marker.splice(object)).unwrap();
            let members = spliced.as_object_mut().unwrap();
            let mark = members.remove("girasol").unwrap()["agent"].take();
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
