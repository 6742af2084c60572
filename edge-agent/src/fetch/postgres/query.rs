//! A query is run: rows become text as they come.

use futures::TryStreamExt as _;
use tokio_postgres::{Client, Error, SimpleQueryMessage, Statement};

use super::address::Address;
use super::config::Asked;
use super::connection::{Busy, Connection};
use super::failure::{explain, is_end};
use super::types::{Form, SETTINGS};
use crate::fetch::rows::Rows;
use crate::fetch::{FetchError, Means};
use crate::json::Json;

/// Rows after the one that is wanted that are read and forgotten, rather than giving up the
/// connection.
const SPARE_ROWS: usize = 1_000;

/// Undoes what a query can do to a session: settings are the transaction's, locks need not be.
const END: &str = "ROLLBACK; SELECT pg_catalog.pg_advisory_unlock_all()";

/// The connection was closed before anything was answered.
pub(super) struct Dead;

/// A query was answered, or refused.
pub(super) struct Done {
    pub(super) answer: Result<Json, FetchError>,
    /// The connection, if it can be used again.
    pub(super) usable: Option<Connection>,
}

/// Why a query gave no document.
enum Failed {
    Server(Error),
    Other(FetchError),
    /// So much is on its way that the connection is better given up.
    Enough(Result<Json, FetchError>),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Server(error)
    }
}

impl From<FetchError> for Failed {
    fn from(error: FetchError) -> Self {
        Self::Other(error)
    }
}

/// Runs the query.
///
/// # Errors
/// The connection was dead already.
pub(super) async fn run(
    means: &Means,
    connection: Connection,
    address: &Address,
    asked: &Asked,
) -> Result<Done, Dead> {
    let busy = Busy::new(connection);
    let Some(client) = busy.client() else { return Err(Dead) };
    let answer = match begin(means, client, asked).await {
        Ok(statement) => rows(means, client, address, asked, &statement).await,
        Err(error) if is_end(&error) => return Err(Dead),
        Err(error) => Err(error.into()),
    };
    let answer = match answer {
        Ok(json) => Ok(json),
        Err(Failed::Server(error)) => Err(explain(address, &error)),
        Err(Failed::Other(error)) => Err(error),
        // Dropping what is busy cancels the query.
        Err(Failed::Enough(answer)) => return Ok(Done { answer, usable: None }),
    };
    let usable = match client.batch_execute(END).await {
        Ok(()) => busy.at_rest(),
        Err(_) => None,
    };
    Ok(Done { answer, usable })
}

/// Begins the transaction and has the query understood. Being one prepared statement, it cannot
/// be several, of which the first would end the transaction.
async fn begin(means: &Means, client: &Client, asked: &Asked) -> Result<Statement, Error> {
    let timeout = means.timeout.as_millis().clamp(1, i32::MAX as u128);
    let mut begin = format!("BEGIN READ ONLY; SET LOCAL statement_timeout = {timeout}");
    for (name, value) in SETTINGS {
        begin.push_str(&format!("; SET LOCAL {name} = '{value}'"));
    }
    // Both are on their way before the first is answered.
    let (begun, statement) =
        tokio::join!(client.batch_execute(&begin), client.prepare(&asked.query));
    begun?;
    statement
}

async fn rows(
    means: &Means,
    client: &Client,
    address: &Address,
    asked: &Asked,
    statement: &Statement,
) -> Result<Json, Failed> {
    let columns = statement.columns();
    if columns.is_empty() {
        let message = "config.query: it gives no rows; give a SELECT";
        return Err(FetchError::permanent(message).into());
    }
    let names = columns.iter().map(tokio_postgres::Column::name);
    let mut rows = Rows::new(asked.shape.clone(), names, means.max_bytes)?;
    let forms: Vec<Form> = columns.iter().map(|column| Form::of(column.type_())).collect();
    let mut spare = SPARE_ROWS;
    let messages = client.simple_query_raw(&asked.query).await?;
    let mut messages = std::pin::pin!(messages);
    while let Some(message) = messages.try_next().await? {
        let SimpleQueryMessage::Row(row) = message else { continue };
        if !rows.wants_more() {
            spare = spare.saturating_sub(1);
            if spare == 0 {
                return Err(Failed::Enough(rows.finish()));
            }
            continue;
        }
        let pushed = rows.push(|index, text| {
            let unreadable = |why: &str| {
                let name = columns.get(index).map_or("", tokio_postgres::Column::name);
                address.failed(&format!("column `{name}`: {why}"))
            };
            let value = row.try_get(index).map_err(|_| unreadable("it is not text"))?;
            let form = forms.get(index).unwrap_or(&Form::Text);
            form.write(text, value).map_err(|error| unreadable(&error.to_string()))
        });
        if let Err(error) = pushed {
            return Err(Failed::Enough(Err(error)));
        }
    }
    Ok(rows.finish()?)
}
