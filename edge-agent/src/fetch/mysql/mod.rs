//! `MySQLFetchProvider`: a query to MySQL or MariaDB, whose rows are the data.
//!
//! | question | file |
//! |---|---|
//! | What can the settings say? | `config` |
//! | What JSON is a value? | `value` |
//! | How is a connection made, and how does it end? | `session` |
//! | What is said when something fails? | `failure` |

use futures::future::BoxFuture;
use mysql_async::prelude::Queryable as _;

use super::endpoint::{Endpoint, Scheme};
use super::idle::Idle;
use super::rows::Rows;
use super::{FetchError, Fetcher, Means, Source, settings_of};
use crate::json::Json;
use config::{Asked, MySqlConfig, wants_tls};
use failure::{Failure, failure};
use session::Session;
use value::Form;

mod config;
mod failure;
mod session;
mod value;

const SCHEMES: [Scheme; 2] = [
    Scheme { name: "mysql", port: 3306, tls: false },
    Scheme { name: "mariadb", port: 3306, tls: false },
];

/// OPAL's `MySQLFetchProvider`.
pub struct MySqlFetcher {
    means: Means,
    idle: Idle<Session>,
}

impl MySqlFetcher {
    /// Connects with `means`.
    #[must_use]
    pub fn new(means: Means) -> Self {
        Self { means, idle: Idle::default() }
    }

    async fn fetch(&self, source: &Source) -> Result<Json, FetchError> {
        let (asked, params) = settings_of::<MySqlConfig>(source)?.checked()?;
        let endpoint = Endpoint::new(&source.url, params, &SCHEMES)?;
        endpoint.check(&self.means)?;
        let tls = wants_tls(&endpoint)?;
        let identity = endpoint.identity();
        if let Some(kept) = self.idle.take(&identity) {
            match self.ask(&endpoint, kept, &asked).await {
                // It may have been dead for long; the server may not.
                Err(Failure::Broken(_)) => self.idle.forget(&identity),
                done => return self.keep(done, identity).await,
            }
        }
        let fresh = Session::new(&endpoint, &self.means, tls).await?;
        let done = self.ask(&endpoint, fresh, &asked).await;
        self.keep(done, identity).await
    }

    async fn keep(
        &self,
        done: Result<(Session, Json), Failure>,
        identity: String,
    ) -> Result<Json, FetchError> {
        match done {
            Ok((mut session, json)) => {
                if session.rest().await {
                    self.idle.put(identity, session);
                }
                Ok(json)
            }
            Err(Failure::Broken(error) | Failure::Said(error)) => Err(error),
        }
    }

    /// Runs a query, and writes its rows down as they come.
    async fn ask(
        &self,
        endpoint: &Endpoint,
        mut session: Session,
        asked: &Asked,
    ) -> Result<(Session, Json), Failure> {
        let failed = |error| failure(endpoint, &error);
        // Prepared, it is one statement and no more; and what it would do is known before it is
        // done.
        let statement = session.conn(endpoint)?.prep(&asked.query).await.map_err(failed)?;
        let refused = match (statement.num_columns(), statement.num_params()) {
            (0, _) => Some("config.query: it is not one that gives rows; give a SELECT"),
            (_, 0) => None,
            _ => Some("config.query: it has a place for a parameter (`?` or `:name`)"),
        };
        if let Some(message) = refused {
            return Err(Failure::Said(endpoint.permanent(message)));
        }
        let columns = statement.columns();
        let names: Vec<_> = columns.iter().map(mysql_async::Column::name_str).collect();
        let forms: Vec<Form> = columns
            .iter()
            .zip(&names)
            .map(|(column, name)| {
                let json = asked.json_columns.iter().any(|listed| listed == name);
                if json { Form::Json } else { Form::of(column) }
            })
            .collect();
        let names = names.iter().map(AsRef::as_ref);
        let mut rows =
            Rows::new(asked.shape.clone(), names, self.means.max_bytes).map_err(Failure::Said)?;

        session.busy = true;
        let conn = session.conn(endpoint)?;
        let mut result = match conn.exec_iter(&statement, ()).await {
            Ok(result) => result,
            Err(error) => {
                session.busy = false;
                return Err(failed(error));
            }
        };
        let ended = loop {
            let row = match result.next().await {
                Ok(Some(row)) if rows.wants_more() => row,
                Ok(more) => break Ok(more.is_none()),
                Err(error) => break Err(error),
            };
            rows.push(|index, text| {
                let (Some(form), Some(value)) = (forms.get(index), row.as_ref(index)) else {
                    return Err(endpoint.failed("answered a row that lacks a column"));
                };
                form.write(text, value).map_err(|_| {
                    let column = columns.get(index).map(|column| column.name_str());
                    let column = column.unwrap_or_default();
                    endpoint.failed(&format!("the column `{column}` holds no JSON"))
                })
            })
            .map_err(Failure::Said)?;
        };
        drop(result);
        match ended {
            Ok(last) => session.busy = !last,
            Err(error) => {
                // Only an answer of the server is its last word.
                session.busy = !matches!(error, mysql_async::Error::Server(_));
                return Err(failed(error));
            }
        }
        rows.finish().map(|json| (session, json)).map_err(Failure::Said)
    }
}

impl Fetcher for MySqlFetcher {
    fn name(&self) -> &'static str {
        "MySQLFetchProvider"
    }

    fn fetch<'a>(&'a self, source: &'a Source) -> BoxFuture<'a, Result<Json, FetchError>> {
        Box::pin(self.fetch(source))
    }
}
