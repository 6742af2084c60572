//! PostgreSQL as a source: OPAL's `PostgresFetchProvider`. The url says where and as whom, the
//! settings hold a query, and its rows are the data.
//!
//! The query is one statement in a read-only transaction that is rolled back, whatever it did: an
//! update chooses what is read and can change nothing, neither in the database nor in the
//! connection, which the next fetch may use. A fetch that is given up cancels its query at the
//! server.
//!
//! | question | file |
//! |---|---|
//! | What can the settings say? | `config` |
//! | What can the address say? | `address` |
//! | How is a connection made, what does `sslmode` mean? | `connection`, `tls` |
//! | How is the query run, when is it cancelled? | `query` |
//! | Which errors are worth another try? | `failure` |
//! | What becomes of a value? | [`types`] |

mod address;
mod config;
mod connection;
mod failure;
mod query;
pub(crate) mod tls;
pub mod types;

use futures::future::BoxFuture;

use self::address::Address;
use self::config::PostgresConfig;
use self::connection::Connection;
use super::idle::Idle;
use super::{FetchError, Fetcher, Means, Source, settings_of};
use crate::json::Json;

/// Fetches from PostgreSQL.
pub struct PostgresFetcher {
    means: Means,
    idle: Idle<Connection>,
}

impl PostgresFetcher {
    /// With what fetchers share.
    #[must_use]
    pub fn new(means: Means) -> Self {
        Self { means, idle: Idle::default() }
    }

    async fn rows(&self, source: &Source) -> Result<Json, FetchError> {
        let config: PostgresConfig = settings_of(source)?;
        let (asked, params) = config.checked()?;
        let address = Address::new(&source.url, params)?;
        address.check(&self.means)?;
        let identity = address.identity();
        // A kept connection may have died unnoticed; whether it did shows at the first question.
        while let Some(kept) = self.idle.take(&identity) {
            if let Ok(done) = query::run(&self.means, kept, &address, &asked).await {
                return self.done(identity, done);
            }
        }
        let opened = Connection::open(&self.means, &address).await?;
        match query::run(&self.means, opened, &address, &asked).await {
            Ok(done) => self.done(identity, done),
            Err(query::Dead) => Err(address.failed("the server closed the connection")),
        }
    }

    fn done(&self, identity: String, done: query::Done) -> Result<Json, FetchError> {
        if let Some(connection) = done.usable {
            self.idle.put(identity, connection);
        }
        done.answer
    }
}

impl Fetcher for PostgresFetcher {
    fn name(&self) -> &'static str {
        "PostgresFetchProvider"
    }

    fn fetch<'a>(&'a self, source: &'a Source) -> BoxFuture<'a, Result<Json, FetchError>> {
        Box::pin(self.rows(source))
    }
}
