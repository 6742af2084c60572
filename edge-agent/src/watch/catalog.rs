//! What the database says of itself: tables, their keys, and whether it can do what is asked.

use postgres_protocol::escape::escape_identifier;
use tokio_postgres::Client;

use super::chunk::Target;
use super::core::Table;
use super::source::sql;
use super::{Mode, Plan, TablePlan, WatchError};

/// The oldest release that has all that is used.
const OLDEST: i32 = 130_000;

/// A table that is there.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) table: Table,
    /// Its number in the catalog.
    pub(super) oid: u32,
    /// Its name as SQL has it, quoted.
    pub(super) sql: String,
    /// Its columns, each with the number of its type.
    pub(super) columns: Vec<(String, u32)>,
    /// What old rows are sent with: nothing (`n`), the primary key (`d`), an index (`i`), all (`f`).
    identity: String,
    indexes: Vec<Unique>,
}

/// An index that tells rows apart.
#[derive(Clone, Debug)]
struct Unique {
    name: String,
    columns: Vec<String>,
    is_primary: bool,
    is_identity: bool,
}

impl Found {
    /// True if a change of a row comes with the key that it had.
    pub(super) fn sends_key(&self) -> bool {
        let identity = match self.identity.as_str() {
            "f" => return true,
            "d" => self.indexes.iter().find(|index| index.is_primary),
            "i" => self.indexes.iter().find(|index| index.is_identity),
            _ => None,
        };
        let has = |column| identity.is_some_and(|index| index.columns.contains(column));
        self.table.key.iter().all(has)
    }

    /// The statement that makes changes come with their key.
    pub(super) fn send_key(&self) -> String {
        let same = |index: &&Unique| {
            index.columns.len() == self.table.key.len()
                && self.table.key.iter().all(|column| index.columns.contains(column))
        };
        // Somebody who chose an index may need that one; all columns suit everybody.
        let index = self.indexes.iter().find(same).filter(|_| self.identity != "i");
        let identity = match index {
            Some(index) if index.is_primary => "DEFAULT".to_owned(),
            Some(index) => format!("USING INDEX {}", escape_identifier(&index.name)),
            None => "FULL".to_owned(),
        };
        format!("ALTER TABLE {} REPLICA IDENTITY {identity}", self.sql)
    }
}

/// Looks for the tables of a plan.
pub(super) async fn tables(client: &Client, plan: &Plan) -> Result<Vec<Found>, WatchError> {
    let version = client.query_one("SELECT current_setting('server_version_num')::int", &[]).await;
    if version.map_err(|error| sql(&error))?.get::<_, i32>(0) < OLDEST {
        return Err(WatchError::stop("the database is older than PostgreSQL 13").hint("upgrade it"));
    }
    let mut found = vec![];
    for wanted in &plan.tables {
        found.push(table(client, plan.mode, wanted).await?);
    }
    Ok(found)
}

async fn table(client: &Client, mode: Mode, wanted: &TablePlan) -> Result<Found, WatchError> {
    let failed = |error: tokio_postgres::Error| sql(&error);
    let name = &wanted.name;
    let is_there = "SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text, \
         c.relreplident::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.oid = to_regclass($1)";
    let row = client.query_opt(is_there, &[name]).await.map_err(failed)?;
    let Some(row) = row.filter(|row| matches!(row.get::<_, &str>(3), "r" | "p")) else {
        return Err(WatchError::stop(format!("there is no table {name}"))
            .hint("name it with its schema: public.users"));
    };
    let (oid, schema, relation): (u32, String, String) = (row.get(0), row.get(1), row.get(2));
    let identity = row.get(4);
    // What is computed is not in the log.
    let columns = "SELECT attname::text, atttypid, attnotnull FROM pg_attribute WHERE attrelid = $1 \
         AND attnum > 0 AND NOT attisdropped AND (attgenerated = '' OR $2) ORDER BY attnum";
    let has_computed = mode == Mode::Notify;
    let columns = client.query(columns, &[&oid, &has_computed]).await.map_err(failed)?;
    let columns: Vec<(String, u32, bool)> =
        columns.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
    let indexes = "SELECT i.relname::text, x.indisprimary, x.indisreplident, ARRAY(\
             SELECT a.attname::text FROM generate_series(0, x.indnkeyatts - 1) AS at \
             JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = x.indkey[at] ORDER BY at) \
         FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid WHERE x.indrelid = $1 \
         AND x.indisunique AND x.indimmediate AND x.indisvalid \
         AND x.indpred IS NULL AND x.indexprs IS NULL ORDER BY x.indisprimary DESC, i.relname";
    let indexes = client.query(indexes, &[&oid]).await.map_err(failed)?;
    let indexes: Vec<_> = indexes
        .iter()
        .map(|row| Unique {
            name: row.get(0),
            is_primary: row.get(1),
            is_identity: row.get(2),
            columns: row.get(3),
        })
        .collect();
    let key = key(wanted, &columns, &indexes)?;
    let known = |column: &String| columns.iter().any(|(name, ..)| name == column);
    if let Some(unknown) = wanted.columns.iter().flatten().find(|column| !known(column)) {
        return Err(WatchError::stop(format!("{name} has no column {unknown}"))
            .hint("name columns that it has with --columns"));
    }
    let target = Target {
        table: format!("{schema}.{relation}"),
        place: wanted.place.clone(),
        topics: wanted.topics.clone(),
    };
    Ok(Found {
        sql: format!("{}.{}", escape_identifier(&schema), escape_identifier(&relation)),
        columns: columns.into_iter().map(|(name, kind, _)| (name, kind)).collect(),
        table: Table { schema, name: relation, key, columns: wanted.columns.clone(), target },
        oid,
        identity,
        indexes,
    })
}

/// The columns that name a row: each row has them, and no two rows the same.
fn key(
    wanted: &TablePlan,
    columns: &[(String, u32, bool)],
    indexes: &[Unique],
) -> Result<Vec<String>, WatchError> {
    let (name, key) = (&wanted.name, &wanted.key);
    if key.is_empty() {
        let primary = indexes.iter().find(|index| index.is_primary);
        let primary = primary.map(|index| index.columns.clone());
        return primary.ok_or_else(|| {
            WatchError::stop(format!("{name} has no primary key")).hint(format!(
                "give it one, or name columns that tell its rows apart: --key {name}=COLUMN"
            ))
        });
    }
    for column in key {
        match columns.iter().find(|(name, ..)| name == column) {
            None => {
                return Err(WatchError::stop(format!("{name} has no column {column}"))
                    .hint("name columns that it has with --key"));
            }
            Some((.., false)) => {
                return Err(WatchError::stop(format!(
                    "{name}.{column} may be null, so it is no key"
                ))
                .hint(format!("ALTER TABLE {name} ALTER COLUMN {column} SET NOT NULL")));
            }
            Some(_) => {}
        }
    }
    let is_in = |index: &Unique| index.columns.iter().all(|column| key.contains(column));
    if !indexes.iter().any(is_in) {
        let columns = key.join(", ");
        return Err(WatchError::stop(format!("two rows of {name} could have the same {columns}"))
            .hint(format!("CREATE UNIQUE INDEX ON {name} ({columns})")));
    }
    Ok(key.clone())
}

/// Checks that the log can be followed for these tables.
pub(super) async fn check_replication(
    client: &Client,
    plan: &Plan,
    tables: &[Found],
) -> Result<(), WatchError> {
    check_log(client).await?;
    if let Some(found) = tables.iter().find(|found| !found.sends_key()) {
        let table = &found.table.target.table;
        return Err(WatchError::stop(format!("changes of {table} come without the row's key"))
            .hint(format!("run once with --install, or: {}", found.send_key())));
    }
    let name = &plan.publication;
    match publication(client, name).await? {
        None => {
            let all: Vec<_> = tables.iter().map(|found| found.sql.as_str()).collect();
            Err(WatchError::stop(format!("there is no publication {name}"))
                .hint(format!("run once with --install, or: {}", create_publication(name, &all))))
        }
        Some(publication) if !publication.is_whole => {
            Err(WatchError::stop(format!("the publication {name} leaves out some operations"))
                .hint("give it all of them: insert, update, delete, truncate"))
        }
        Some(publication) => match missing(&publication, tables).as_slice() {
            [] => Ok(()),
            [table, ..] => {
                Err(WatchError::stop(format!("{table} is not in the publication {name}"))
                    .hint(format!("run once with --install, or: {}", add_table(name, table))))
            }
        },
    }
}

/// Checks that the log says what is needed.
pub(super) async fn check_log(client: &Client) -> Result<(), WatchError> {
    let level = client.query_one("SELECT current_setting('wal_level')", &[]).await;
    let level: String = level.map_err(|error| sql(&error))?.get(0);
    if level == "logical" {
        return Ok(());
    }
    Err(WatchError::stop(format!("wal_level is {level}, and not logical")).hint(
        "ALTER SYSTEM SET wal_level = logical, then restart PostgreSQL; or use --mode notify",
    ))
}

/// A publication.
pub(super) struct Publication {
    /// It has inserts, updates, deletes and truncates.
    is_whole: bool,
    /// The tables that are in it, with their schemas.
    tables: Vec<(String, String)>,
}

/// The tables that are not in a publication, quoted.
pub(super) fn missing<'f>(publication: &Publication, tables: &'f [Found]) -> Vec<&'f str> {
    let is_missing = |found: &&Found| {
        let name = (found.table.schema.clone(), found.table.name.clone());
        !publication.tables.contains(&name)
    };
    tables.iter().filter(is_missing).map(|found| found.sql.as_str()).collect()
}

/// Looks for a publication.
pub(super) async fn publication(
    client: &Client,
    name: &str,
) -> Result<Option<Publication>, WatchError> {
    let found = "SELECT pubinsert AND pubupdate AND pubdelete AND pubtruncate \
         FROM pg_publication WHERE pubname = $1";
    let found = client.query_opt(found, &[&name]).await.map_err(|error| sql(&error))?;
    let Some(found) = found else { return Ok(None) };
    let tables = "SELECT schemaname::text, tablename::text FROM pg_publication_tables \
         WHERE pubname = $1";
    let tables = client.query(tables, &[&name]).await.map_err(|error| sql(&error))?;
    let tables = tables.iter().map(|row| (row.get(0), row.get(1))).collect();
    Ok(Some(Publication { is_whole: found.get(0), tables }))
}

/// The statement that makes a publication of these tables, whose names are quoted.
pub(super) fn create_publication(name: &str, tables: &[&str]) -> String {
    let name = escape_identifier(name);
    let tables = tables.join(", ");
    format!("CREATE PUBLICATION {name} FOR TABLE {tables} WITH (publish_via_partition_root = true)")
}

/// The statement that adds a table, whose name is quoted, to a publication.
pub(super) fn add_table(publication: &str, table: &str) -> String {
    format!("ALTER PUBLICATION {} ADD TABLE {table}", escape_identifier(publication))
}
