//! The settings of a PostgreSQL source, as `opal-fetcher-postgres` has them.

use serde::Deserialize;

use crate::fetch::FetchError;
use crate::fetch::endpoint::ConnectionParams;
use crate::fetch::rows::Shape;

/// The settings as they are written.
#[derive(Default, Deserialize)]
pub(super) struct PostgresConfig {
    #[serde(default)]
    query: Option<String>,
    #[serde(default)]
    connection_params: Option<ConnectionParams>,
    #[serde(default)]
    fetch_one: Option<bool>,
    /// The name that OPAL's documentation has.
    #[serde(default)]
    dict_key: Option<String>,
    /// The name that its package reads.
    #[serde(default)]
    fetch_key: Option<String>,
}

/// What is asked, and what the answer becomes.
pub(super) struct Asked {
    pub(super) query: String,
    pub(super) shape: Shape,
}

impl PostgresConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// There is no query.
    pub(super) fn checked(self) -> Result<(Asked, ConnectionParams), FetchError> {
        let query = self.query.filter(|query| !query.trim().is_empty()).ok_or_else(|| {
            FetchError::permanent("config.query: give the query whose rows are the data")
        })?;
        let shape = Shape::of(self.fetch_one == Some(true), self.dict_key.or(self.fetch_key));
        Ok((Asked { query, shape }, self.connection_params.unwrap_or_default()))
    }
}
