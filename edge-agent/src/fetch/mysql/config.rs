//! The `config` of a MySQL source, as OPAL's `MySQLFetchProvider` has it.

use serde::Deserialize;

use crate::fetch::FetchError;
use crate::fetch::endpoint::{ConnectionParams, Endpoint};
use crate::fetch::rows::Shape;

/// The settings as they are written.
#[derive(Default, Deserialize)]
pub(super) struct MySqlConfig {
    #[serde(default)]
    query: Option<String>,
    #[serde(default)]
    connection_params: Option<ConnectionParams>,
    #[serde(default)]
    fetch_one: Option<bool>,
    #[serde(default)]
    dict_key: Option<String>,
    #[serde(default)]
    fetch_key: Option<String>,
    /// Columns whose text is JSON, which MariaDB does not tell apart from other text.
    #[serde(default)]
    json_columns: Option<Vec<String>>,
}

/// What is asked, and what the answer becomes.
pub(super) struct Asked {
    pub(super) query: String,
    pub(super) shape: Shape,
    pub(super) json_columns: Vec<String>,
}

impl MySqlConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// There is no query.
    pub(super) fn checked(self) -> Result<(Asked, Option<ConnectionParams>), FetchError> {
        let query = self.query.filter(|query| !query.trim().is_empty()).ok_or_else(|| {
            FetchError::permanent("config.query: give the query whose rows are the data")
        })?;
        let shape = Shape::of(self.fetch_one == Some(true), self.dict_key.or(self.fetch_key));
        let json_columns = self.json_columns.unwrap_or_default();
        Ok((Asked { query, shape, json_columns }, self.connection_params))
    }
}

/// What the values of `ssl-mode` mean here. A certificate is always checked: who wants TLS wants
/// to know whom it is with.
const MODES: [(&str, bool); 5] = [
    ("disabled", false),
    ("required", true),
    ("verify_ca", true),
    ("verify_identity", true),
    ("verify-full", true),
];

/// Whether an address asks for TLS: `ssl-mode=REQUIRED`, or `require_ssl=true`.
///
/// # Errors
/// It asks for something else.
pub(super) fn wants_tls(endpoint: &Endpoint) -> Result<bool, FetchError> {
    let mut wanted = false;
    for (name, value) in &endpoint.options {
        wanted = match name.to_ascii_lowercase().as_str() {
            "ssl-mode" | "ssl_mode" | "sslmode" => {
                let mode = MODES.iter().find(|(mode, _)| mode.eq_ignore_ascii_case(value));
                mode.map(|(_, tls)| *tls).ok_or_else(|| {
                    let message = "url: ssl-mode is one of DISABLED, REQUIRED, VERIFY_IDENTITY";
                    FetchError::permanent(message)
                })?
            }
            "require_ssl" | "ssl" => match value.to_ascii_lowercase().as_str() {
                "true" | "1" => true,
                "false" | "0" => false,
                _ => {
                    let message = format!("url: {name} is true or false");
                    return Err(FetchError::permanent(message));
                }
            },
            _ => wanted,
        };
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::mysql::SCHEMES;

    #[test]
    fn an_address_says_whether_it_wants_tls() {
        for (options, wanted) in [
            ("", Some(false)),
            ("?charset=utf8", Some(false)),
            ("?ssl-mode=REQUIRED", Some(true)),
            ("?ssl-mode=verify_identity", Some(true)),
            ("?ssl-mode=DISABLED", Some(false)),
            ("?require_ssl=true", Some(true)),
            ("?ssl-mode=PREFERRED", None),
            ("?require_ssl=perhaps", None),
        ] {
            let endpoint = Endpoint::new(&format!("mysql://h{options}"), None, &SCHEMES).unwrap();
            assert_eq!(wants_tls(&endpoint).ok(), wanted, "{options}");
        }
    }
}
