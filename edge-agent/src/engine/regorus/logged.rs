//! What policies want to be logged of decisions.

use regorus::Value;

use super::RegorusEngine;
use crate::decision_log::Rules;

impl Rules for RegorusEngine {
    fn exist(&self) -> bool {
        self.inner.current().policies.have_rules_below(&["system", "log"].map(str::to_owned))
    }

    fn ask(
        &self,
        name: &'static str,
        event: &serde_json::Value,
    ) -> Result<Option<serde_json::Value>, String> {
        let input = Value::from_json_str(&event.to_string()).map_err(|it| it.to_string())?;
        let path = ["system", "log", name].map(str::to_owned);
        let value = self.decide(&path, Some(input)).map_err(|it| it.to_string())?;
        let text = value.map(|value| value.to_json_str()).transpose();
        let text = text.map_err(|it| it.to_string())?;
        text.map(|text| serde_json::from_str(&text)).transpose().map_err(|it| it.to_string())
    }
}
