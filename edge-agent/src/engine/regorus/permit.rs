//! Package `permit`: the policies' own, or else the built-in one.
//!
//! The built-in policy is compiled once, by itself, and decides on the same data. So it is not in
//! `data` of anybody else, and no policy that comes or goes compiles it again.

use std::sync::{Arc, LazyLock};

use rego::{Builtins, Policies};
use regorus::Value;

use super::{Inner, Language, RegorusEngine, read_value};
use crate::enforcement::{PACKAGE, POLICY, POLICY_ID};
use crate::engine::Undecided;
use crate::json::Json;

/// The built-in policy. A test sees to it that it compiles.
static BUILT_IN: LazyLock<Result<Policies, String>> = LazyLock::new(|| {
    let compiled = Policies::compile([(POLICY_ID, POLICY)], Language::V1, Builtins::Embedded);
    compiled.map_err(|refused| refused.to_string())
});

impl RegorusEngine {
    /// Asks package `permit`, on a thread that may be blocked.
    pub(super) async fn ask_permit(
        &self,
        rule: &[&str],
        input: &Json,
    ) -> Result<Option<Json>, Undecided> {
        let gave_up = || Undecided::Engine("the engine broke on it".to_owned());
        let path: Vec<String> =
            [PACKAGE].iter().chain(rule).map(|name| (*name).to_owned()).collect();
        let (inner, input) = (Arc::clone(&self.inner), input.clone());
        let asked = self.threads.run(move || inner.permit(&path, &input)).await;
        asked.unwrap_or_else(|| Err(gave_up()))
    }
}

impl Inner {
    fn permit(&self, path: &[String], input: &Json) -> Result<Option<Json>, Undecided> {
        let input = read_value(input.get()).map_err(Undecided::Input)?;
        let current = self.current();
        let decided = if current.policies.has_package(PACKAGE) {
            current.decide(path, Some(input))
        } else {
            let policy = BUILT_IN.as_ref().map_err(|why| Undecided::Policy(why.clone()))?;
            policy.decide(path, &without_package(&current.data), Some(input))
        };
        let decided = decided.map_err(|error| Undecided::Policy(error.to_string()))?;
        let text = decided.as_ref().map(Value::to_json_str).transpose();
        let text = text.map_err(|error| Undecided::Policy(error.to_string()))?;
        Ok(text.map(Json::known))
    }
}

/// The data without what would hide the built-in rules: whoever writes data would write decisions.
fn without_package(data: &Value) -> Value {
    let mut data = data.clone();
    let package = Value::from(PACKAGE);
    let is_there = data.as_object().is_ok_and(|data| data.contains_key(&package));
    if is_there && let Ok(data) = data.as_object_mut() {
        data.remove(&package);
    }
    data
}
