//! What a hub knows of the bundles and reports of an OPA that has no agent
//! (`spec/opa-and-grants.md` part 2).

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::topic::TopicSet;
use crate::{Millis, Seq};

/// What a bundle is made of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ingredients {
    /// The folders whose policy is in it, in order, every one if none is named; absent if no
    /// policy is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Vec<String>>,
    /// What of the log's data is in it; absent if none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<LogData>,
}

/// What of the log's data is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LogData {
    /// Only these topics; every topic that the bearer may see if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topics: Option<TopicSet>,
}

/// A moment in the life of what a bundle is made of: two that are equal have the same content.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mark {
    /// Which policy files: [`crate::opal::policy::Revision::mark`]; empty for none.
    pub policy: String,
    /// Which life of the log; empty without data.
    pub epoch: String,
    /// The number of the last update for the topics; 0 without data.
    pub seq: Seq,
}

/// What an OPA says of itself, as it came.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// How it is. It takes the place of what the same OPA said before.
    Status {
        /// Which OPA: the label `id`.
        instance: String,
        /// What the OPA's configuration calls it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        partition: Option<String>,
        /// An object.
        body: Box<RawValue>,
    },
    /// What it decided.
    Decisions {
        /// What the OPA's configuration calls it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        partition: Option<String>,
        /// Objects, in the order of decision.
        events: Vec<Box<RawValue>>,
    },
}

/// Which reports somebody reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reported {
    /// The last status of each OPA.
    Statuses,
    /// So many of the newest decisions, the newest first.
    Decisions(usize),
}

/// One report, as it is shown.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Shown {
    /// When it came.
    pub at: Millis,
    /// What the OPA's configuration calls the partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<String>,
    /// What the OPA said.
    pub report: Box<RawValue>,
}
