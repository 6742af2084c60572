//! Package `permit`: the policies' own, or else the built-in one.
//!
//! The built-in policy is compiled once, by itself, and decides on the same data. So it is not in
//! `data` of anybody else, and no policy that comes or goes compiles it again.

use std::sync::{Arc, LazyLock};

use rego::{Builtins, Policies};
use regorus::Value;

use super::{Inner, Language, RegorusEngine, Snapshot, read_value};
use crate::enforcement::{PACKAGE, POLICY, POLICY_ID};
use crate::engine::Undecided;
use crate::json::Json;

/// The built-in policy. A test sees to it that it compiles.
static BUILT_IN: LazyLock<Result<Arc<Policies>, String>> = LazyLock::new(|| {
    let compiled = Policies::compile([(POLICY_ID, POLICY)], Language::V1, Builtins::Embedded);
    compiled.map(Arc::new).map_err(|refused| refused.to_string())
});

impl RegorusEngine {
    /// Asks package `permit`, on a thread that may be blocked.
    pub(super) async fn ask_permit(
        &self,
        rule: &[&str],
        input: &Json,
    ) -> Result<Option<Json>, Undecided> {
        let gave_up = || Undecided::Engine("the engine broke on it".to_owned());
        // Fails only for a semaphore that was closed, which nobody does.
        let place = Arc::clone(&self.free).acquire_owned().await.map_err(|_| gave_up())?;
        let path: Vec<String> =
            [PACKAGE].iter().chain(rule).map(|name| (*name).to_owned()).collect();
        let (inner, input) = (Arc::clone(&self.inner), input.clone());
        let work = move || {
            // Kept by the work itself, which goes on when nobody waits any more.
            let _place = place;
            inner.permit(&path, &input)
        };
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(gave_up()))
    }
}

impl Inner {
    fn permit(&self, path: &[String], input: &Json) -> Result<Option<Json>, Undecided> {
        let input = read_value(input.get()).map_err(Undecided::Input)?;
        let current = self.current();
        let decided = current.with_permit()?.decide(path, Some(input));
        let decided = decided.map_err(|error| Undecided::Policy(error.to_string()))?;
        let text = decided.as_ref().map(Value::to_json_str).transpose();
        let text = text.map_err(|error| Undecided::Policy(error.to_string()))?;
        Ok(text.map(Json::known))
    }
}

impl Snapshot {
    /// This one, if its policies have the package, and else the one with the built-in policy.
    fn with_permit(&self) -> Result<&Self, Undecided> {
        if self.policies.has_package(PACKAGE) {
            return Ok(self);
        }
        let policy = BUILT_IN.as_ref().map_err(|why| Undecided::Policy(why.clone()))?;
        let built_in = self.built_in.get_or_init(|| {
            let mut data = self.data.clone();
            // It would hide the rules: whoever writes data would write decisions.
            if let Ok(data) = data.as_object_mut() {
                data.remove(&Value::from(PACKAGE));
            }
            Self::new(Arc::clone(policy), data)
        });
        Ok(built_in)
    }
}
