//! `print-config`: every setting, its value, where it came from.

use std::fmt::Write as _;

use serde_json::{Map, json};

use super::{
    Resolved,
    kind::{UNITS, Value},
    resolve::{Entry, Origin},
};

/// What stands for a secret.
const MASKED: &str = "****";

/// How settings are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum PrintFormat {
    /// Columns for people.
    Table,
    /// An object of objects with `value` and `from`.
    Json,
    /// A configuration file; what is secret or not set is commented out.
    Toml,
}

impl Resolved {
    /// The settings as text. Secrets are masked in every format.
    #[must_use]
    pub fn print(&self, format: PrintFormat) -> String {
        match format {
            PrintFormat::Table => self.table(),
            PrintFormat::Json => self.json(),
            PrintFormat::Toml => self.toml(),
        }
    }

    fn table(&self) -> String {
        let values: Vec<String> = self.entries.iter().map(Entry::shown).collect();
        let name_width = self.entries.iter().map(|entry| entry.setting.name.len()).max();
        let value_width = values.iter().map(String::len).max();
        let (name_width, value_width) = (name_width.unwrap_or(0), value_width.unwrap_or(0));
        self.entries.iter().zip(values).fold(String::new(), |mut text, (entry, value)| {
            let name = entry.setting.name;
            // Writing to a string does not fail.
            let _ = writeln!(text, "{name:name_width$}  {value:value_width$}  {}", entry.origin);
            text
        })
    }

    fn json(&self) -> String {
        let members = self.entries.iter().map(|entry| {
            let value = match &entry.value {
                None => json!(null),
                Some(_) if entry.setting.secret => json!(MASKED),
                Some(Value::List(list)) => json!(list),
                Some(Value::Number(seconds)) => json!(seconds),
                Some(Value::Port(port)) => json!(port),
                Some(_) => json!(entry.shown()),
            };
            let described = json!({ "value": value, "from": entry.origin.to_string() });
            (entry.setting.name.to_owned(), described)
        });
        let object: Map<_, _> = members.collect();
        format!("{:#}\n", serde_json::Value::Object(object))
    }

    fn toml(&self) -> String {
        self.entries.iter().fold(String::new(), |mut text, entry| {
            let value = match &entry.value {
                Some(Value::List(list)) => toml::Value::from(list.clone()),
                Some(Value::Number(seconds)) => {
                    toml::Value::Integer(i64::try_from(*seconds).unwrap_or(i64::MAX))
                }
                Some(Value::Port(port)) => toml::Value::Integer(i64::from(*port)),
                _ => toml::Value::String(entry.shown()),
            };
            let name = entry.setting.name;
            let _ = match (&entry.origin, entry.setting.secret) {
                (Origin::Unset, _) => writeln!(text, "# {name} = \"\"  # {}", entry.origin),
                (_, true) => writeln!(text, "# {name} = \"{MASKED}\"  # {}", entry.origin),
                (_, false) => writeln!(text, "{name} = {value}  # {}", entry.origin),
            };
            text
        })
    }
}

impl Entry {
    fn shown(&self) -> String {
        match &self.value {
            None => "-".to_owned(),
            Some(_) if self.setting.secret => MASKED.to_owned(),
            Some(Value::Text(text)) => text.clone(),
            Some(Value::List(list)) => list.join(","),
            Some(Value::Url(url)) => url.as_str().trim_end_matches('/').to_owned(),
            Some(Value::Path(path)) => path.display().to_string(),
            Some(Value::Address(address)) => address.to_string(),
            Some(Value::Number(seconds)) => seconds.to_string(),
            Some(Value::Port(port)) => port.to_string(),
            Some(Value::Bytes(bytes)) => {
                let unit = UNITS.iter().find(|(_, size)| bytes.is_multiple_of(*size));
                unit.map_or_else(
                    || bytes.to_string(),
                    |(unit, size)| format!("{}{unit}", bytes / size),
                )
            }
        }
    }
}
