//! A decision as OPA's decision logs have it.

use std::collections::BTreeMap;

use protocol::{Millis, Seq};
use serde::Serialize;
use serde_json::value::RawValue;

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Asked {
    /// The document at a path, without `data`, segments joined by slashes.
    Path(String),
    /// A query.
    Query(String),
}

/// What was decided. Texts are JSON: whoever decides had them as text, and a value would hold on
/// to data that is to be changed.
#[derive(Clone, Debug)]
pub(crate) struct Decision {
    /// The id that the answer has.
    pub(crate) id: String,
    /// What was asked.
    pub(crate) asked: Asked,
    /// The input, if there was one.
    pub(crate) input: Option<Box<RawValue>>,
    /// The answer, if it is not undefined.
    pub(crate) result: Option<Box<RawValue>>,
    /// OPA's error document, if there is no answer.
    pub(crate) error: Option<Box<RawValue>>,
    /// The address of who asked.
    pub(crate) requested_by: String,
    /// When.
    pub(crate) at: Millis,
    /// For how long the engine was at it.
    pub(crate) evaluation_ns: u64,
    /// Everything up to this update had taken effect.
    pub(crate) seq: Option<Seq>,
    /// The policy's revision, if it has one.
    pub(crate) revision: Option<String>,
}

/// What is logged of it: OPA's members, and `custom.girasol_seq`.
#[derive(Debug, Serialize)]
pub(super) struct Event<'a> {
    labels: &'a BTreeMap<String, String>,
    decision_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    bundles: Option<Bundles<'a>>,
    #[serde(flatten)]
    asked: &'a Asked,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "str::is_empty")]
    requested_by: &'a str,
    timestamp: String,
    metrics: Metrics,
    #[serde(skip_serializing_if = "Option::is_none")]
    custom: Option<Custom>,
}

#[derive(Debug, Serialize)]
struct Bundles<'a> {
    girasol: Bundle<'a>,
}

#[derive(Debug, Serialize)]
struct Bundle<'a> {
    revision: &'a str,
}

#[derive(Debug, Serialize)]
struct Metrics {
    timer_rego_query_eval_ns: u64,
}

#[derive(Debug, Serialize)]
struct Custom {
    girasol_seq: Seq,
}

// === impl Decision ===

impl Decision {
    /// Bytes that it holds, about.
    pub(super) fn bytes(&self) -> usize {
        let of = |text: &Option<Box<RawValue>>| text.as_ref().map_or(0, |text| text.get().len());
        let asked = match &self.asked {
            Asked::Path(text) | Asked::Query(text) => text.len(),
        };
        asked + of(&self.input) + of(&self.result) + of(&self.error)
    }
}

// === impl Event ===

impl<'a> Event<'a> {
    pub(super) fn new(decision: &'a Decision, labels: &'a BTreeMap<String, String>) -> Self {
        Self {
            labels,
            decision_id: &decision.id,
            bundles: decision
                .revision
                .as_deref()
                .map(|revision| Bundles { girasol: Bundle { revision } }),
            asked: &decision.asked,
            input: decision.input.as_deref(),
            result: decision.result.as_deref(),
            error: decision.error.as_deref(),
            requested_by: &decision.requested_by,
            timestamp: decision.at.rfc3339(),
            metrics: Metrics { timer_rego_query_eval_ns: decision.evaluation_ns },
            custom: decision.seq.map(|girasol_seq| Custom { girasol_seq }),
        }
    }
}
