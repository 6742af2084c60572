//! The first copy: all rows of the tables as they are at one moment, and single rows as they are
//! now.

use futures::TryStreamExt as _;
use postgres_protocol::escape::{escape_identifier, escape_literal};
use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryRow};

use super::catalog::Found;
use super::chunk::{Chunk, Target};
use super::publish::Hub;
use super::source::sql;
use super::value::{self, Form};
use super::{WatchError, key};

/// Reads rows of a table.
pub(super) struct Reader {
    table: String,
    columns: Vec<Read>,
    /// Where the key's columns are.
    key: Vec<usize>,
}

/// A column that is read.
struct Read {
    name: String,
    form: Form,
    is_wanted: bool,
}

impl Reader {
    /// One for a table, whose types are looked up.
    pub(super) async fn new(client: &Client, found: &Found) -> Result<Self, WatchError> {
        let of = &found.table;
        let mut columns = vec![];
        for (name, kind) in &found.columns {
            let is_wanted = of.columns.as_ref().is_none_or(|wanted| wanted.contains(name));
            if is_wanted || of.key.contains(name) {
                let form = value::form(client, *kind).await?;
                columns.push(Read { name: name.clone(), form, is_wanted });
            }
        }
        let place = |name: &String| columns.iter().position(|column| column.name == *name);
        let key = of.key.iter().filter_map(place).collect();
        Ok(Self { table: found.sql.clone(), columns, key })
    }

    fn query(&self) -> String {
        let columns = self.columns.iter().map(|column| escape_identifier(&column.name));
        let columns = columns.collect::<Vec<_>>().join(", ");
        format!("SELECT {columns} FROM {}", self.table)
    }

    /// The row with a key, as JSON.
    pub(super) async fn one(
        &self,
        client: &Client,
        key: &[String],
    ) -> Result<Option<String>, WatchError> {
        let columns = self.key.iter().filter_map(|at| self.columns.get(*at));
        let terms = columns.zip(key).map(|(column, value)| {
            format!("{} = {}", escape_identifier(&column.name), escape_literal(value))
        });
        let query = format!("{} WHERE {}", self.query(), terms.collect::<Vec<_>>().join(" AND "));
        let rows = client.simple_query(&query).await.map_err(|error| sql(&error))?;
        let mut rows = rows.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(self.row(row)),
            _ => None,
        });
        Ok(rows.next())
    }

    /// A row as JSON.
    fn row(&self, row: &SimpleQueryRow) -> String {
        let mut out = "{".to_owned();
        for (at, column) in self.columns.iter().enumerate().filter(|(_, it)| it.is_wanted) {
            value::write_member(&mut out, &column.name, &column.form, row.get(at));
        }
        out.push('}');
        out
    }

    /// The name of a row.
    fn name(&self, row: &SimpleQueryRow) -> String {
        let values = self.key.iter().filter_map(|at| {
            let form = &self.columns.get(*at)?.form;
            Some(value::key_text(form, row.get(*at).unwrap_or_default()))
        });
        let values: Vec<_> = values.collect();
        key::join(&values)
    }
}

/// The readers of all tables.
pub(super) async fn readers(client: &Client, tables: &[Found]) -> Result<Vec<Reader>, WatchError> {
    let mut readers = vec![];
    for found in tables {
        readers.push(Reader::new(client, found).await?);
    }
    Ok(readers)
}

/// Publishes all rows of the tables as the client's transaction sees them. The first update of a
/// table replaces what is at its place; if the table fits into it, nobody sees half of it.
pub(super) async fn copy(
    client: &Client,
    tables: &[Found],
    hub: &Hub,
    id: &str,
) -> Result<(), WatchError> {
    let targets: Vec<Target> = tables.iter().map(|it| it.table.target.clone()).collect();
    let readers = readers(client, tables).await?;
    for (at, (reader, target)) in readers.iter().zip(&targets).enumerate() {
        let (mut chunk, mut part, mut count) = (Chunk::default(), 0_usize, 0_u64);
        chunk.clear(at);
        let rows = client.simple_query_raw(&reader.query()).await.map_err(|error| sql(&error))?;
        let mut rows = std::pin::pin!(rows);
        while let Some(message) = rows.try_next().await.map_err(|error| sql(&error))? {
            let SimpleQueryMessage::Row(row) = message else { continue };
            let name = reader.name(&row);
            count += 1;
            let left = chunk.note(&targets, (at, &name), Some(reader.row(&row)))?;
            let Some(left) = left else { continue };
            part = publish(hub, &mut chunk, (&targets, at), id, part).await?;
            chunk.note(&targets, (at, &name), left)?;
        }
        publish(hub, &mut chunk, (&targets, at), id, part).await?;
        tracing::info!(rows = count, "{} is copied", target.table);
    }
    Ok(())
}

async fn publish(
    hub: &Hub,
    chunk: &mut Chunk,
    (targets, table): (&[Target], usize),
    id: &str,
    part: usize,
) -> Result<usize, WatchError> {
    let id = format!("{id}/{table}/{part}");
    if let Some(update) = chunk.take(targets, &id, "copied") {
        hub.publish(&update).await?;
    }
    Ok(part + 1)
}
