//! Learns of changes from triggers: they write each change to an outbox (`outbox.sql`), in the
//! transaction that makes it, and notify.
//!
//! The outbox is what counts, a notification only says that it is worth a look: what was not
//! heard is found all the same. A transaction is one update; its rows are deleted once the hub has
//! accepted it.
//!
//! Transactions are published in the order of the last change that each has made. Where two change
//! the same row the later one made that change after the earlier one had been committed, so its
//! last number is higher; and whoever sees the later one sees the earlier one, too.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::TryStreamExt as _;
use serde_json::value::RawValue;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement};

use super::catalog::{self, Found};
use super::chunk::{Chunk, Target};
use super::publish::{Hub, Said};
use super::source::{Connected, Database, sql};
use super::value::write_member_text;
use super::{Plan, Progress, WatchError, install, key, slot, snapshot};

/// Transactions that are read at one time.
const BATCH: i64 = 500;
/// How often the outbox is looked at if nothing is heard.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Watches until something goes wrong.
pub(super) async fn session(
    database: &Database,
    plan: &Plan,
    hub: &Hub,
    progress: &mut Progress,
) -> Result<(), WatchError> {
    let mut client = database.connect().await?;
    let tables = catalog::tables(&client, plan).await?;
    if plan.install {
        install::notify(&mut client, plan, &tables).await?;
    }
    install::check_notify(&client, plan, &tables).await?;
    alone(&client, &plan.slot).await?;
    let listen = format!("LISTEN {}", install::trigger(&plan.slot));
    client.batch_execute(&listen).await.map_err(|error| sql(&error))?;
    let fingerprint = slot::fingerprint(&tables, hub.url().as_str());
    let copied = copied(&client, &plan.slot, &fingerprint).await?.filter(|_| !plan.copy);
    let copied = match copied {
        Some(copy) => copy,
        None => first_copy(&client, plan, &tables, &fingerprint, hub).await?,
    };
    progress.begun = true;
    tracing::info!("following {database}, triggers {}", install::trigger(&plan.slot));
    let outbox = Outbox::new(client, plan, tables, format!("pg:{copied}/{}", plan.slot)).await?;
    outbox.follow(hub, progress).await
}

/// Two watchers of one name would publish everything twice, though without effect.
async fn alone(client: &Client, slot: &str) -> Result<(), WatchError> {
    let lock = "SELECT pg_try_advisory_lock(hashtext('girasol'), hashtext($1))";
    let row = client.query_one(lock, &[&slot]).await.map_err(|error| sql(&error))?;
    if row.get(0) {
        return Ok(());
    }
    Err(WatchError::retry(format!("another watcher is called {slot}"))
        .hint("give this one a name of its own with --slot"))
}

/// What the copy of these tables to this hub is called, if there is one.
async fn copied(
    client: &Client,
    slot: &str,
    fingerprint: &str,
) -> Result<Option<String>, WatchError> {
    let query = "SELECT copy FROM girasol.watches WHERE slot = $1 AND fingerprint = $2";
    let row = client.query_opt(query, &[&slot, &fingerprint]).await;
    Ok(row.map_err(|error| sql(&error))?.map(|row| row.get(0)))
}

/// Publishes all rows as they are at one moment. What the outbox has by then is in them, and is
/// gone with the copy's own transaction; what comes meanwhile stays for later.
async fn first_copy(
    client: &Client,
    plan: &Plan,
    tables: &[Found],
    fingerprint: &str,
    hub: &Hub,
) -> Result<String, WatchError> {
    let failed = |error: tokio_postgres::Error| sql(&error);
    client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ").await.map_err(failed)?;
    let name = client.query_one("SELECT gen_random_uuid()::text", &[]).await.map_err(failed)?;
    let name: String = name.get(0);
    let delete = "DELETE FROM girasol.changes WHERE slot = $1";
    client.execute(delete, &[&plan.slot]).await.map_err(failed)?;
    snapshot::copy(client, tables, hub, &format!("pg:{name}/{}/copy", plan.slot)).await?;
    let note = "INSERT INTO girasol.watches (slot, fingerprint, copy) VALUES ($1, $2, $3) \
         ON CONFLICT (slot) DO UPDATE SET fingerprint = $2, copy = $3";
    client.execute(note, &[&plan.slot, &fingerprint, &name]).await.map_err(failed)?;
    client.batch_execute("COMMIT").await.map_err(failed)?;
    Ok(name)
}

/// The outbox of a watcher.
struct Outbox {
    client: Connected,
    slot: String,
    tables: Vec<Found>,
    targets: Vec<Target>,
    /// What ids begin with.
    prefix: String,
    list: Statement,
    read: Statement,
    delete: Statement,
}

/// The transaction that is being read.
struct Open {
    tx: i64,
    /// Updates that it was cut into so far.
    parts: usize,
    chunk: Chunk,
}

impl Outbox {
    async fn new(
        client: Connected,
        plan: &Plan,
        tables: Vec<Found>,
        prefix: String,
    ) -> Result<Self, WatchError> {
        let prepare = async |query| client.prepare(query).await.map_err(|error| sql(&error));
        let list = "SELECT tx FROM girasol.changes WHERE slot = $1 \
             GROUP BY tx ORDER BY max(id) LIMIT $2";
        let read = "SELECT changes.tx, tab, key, \"row\"::text \
             FROM unnest($2::bigint[]) WITH ORDINALITY AS wanted (tx, at) \
             JOIN girasol.changes ON slot = $1 AND changes.tx = wanted.tx ORDER BY at, id";
        let delete = "DELETE FROM girasol.changes WHERE slot = $1 AND tx = ANY($2)";
        let (list, read, delete) =
            (prepare(list).await?, prepare(read).await?, prepare(delete).await?);
        let targets = tables.iter().map(|found| found.table.target.clone()).collect();
        let slot = plan.slot.clone();
        Ok(Self { client, slot, tables, targets, prefix, list, read, delete })
    }

    async fn follow(&self, hub: &Hub, progress: &mut Progress) -> Result<(), WatchError> {
        let mut said = Said::default();
        loop {
            let there = self.client.query(&self.list, &[&self.slot, &BATCH]).await;
            let there: Vec<i64> =
                there.map_err(|error| sql(&error))?.iter().map(|row| row.get(0)).collect();
            if there.is_empty() {
                // What is notified between the look and here has been noted.
                let heard = self.client.told.notified();
                let _ = tokio::time::timeout(LOOK_EVERY, heard).await;
                continue;
            }
            self.publish(&there, hub, &mut said).await?;
            progress.accepted = true;
            let delete = self.client.execute(&self.delete, &[&self.slot, &there]).await;
            delete.map_err(|error| sql(&error))?;
        }
    }

    /// Publishes transactions, one after the other.
    async fn publish(
        &self,
        transactions: &[i64],
        hub: &Hub,
        said: &mut Said,
    ) -> Result<(), WatchError> {
        let parameters: [&(dyn ToSql + Sync); 2] = [&self.slot, &transactions];
        let rows = self.client.query_raw(&self.read, parameters).await;
        let rows = rows.map_err(|error| sql(&error))?;
        let mut rows = std::pin::pin!(rows);
        let mut open: Option<Open> = None;
        while let Some(row) = rows.try_next().await.map_err(|error| sql(&error))? {
            let tx = row.get(0);
            if let Some(before) = open.take_if(|open| open.tx != tx) {
                self.cut(before, hub, said).await?;
            }
            let now = open.get_or_insert_with(|| Open { tx, parts: 0, chunk: Chunk::default() });
            let (name, key, row): (&str, Option<Vec<String>>, Option<&str>) =
                (row.get(1), row.get(2), row.get(3));
            let is_it = |found: &Found| found.table.target.table == name;
            // A table that was watched before, and is no longer.
            let Some(table) = self.tables.iter().position(is_it) else { continue };
            let Some(key) = key else {
                now.chunk.clear(table);
                continue;
            };
            let (name, row) = (key::join(&key), self.row(table, row)?);
            if let Some(row) = now.chunk.note(&self.targets, (table, &name), row)?
                && let Some(full) = open.take()
            {
                let mut rest = self.cut(full, hub, said).await?;
                rest.chunk.note(&self.targets, (table, &name), row)?;
                open = Some(rest);
            }
        }
        match open {
            Some(last) => self.cut(last, hub, said).await.map(drop),
            None => Ok(()),
        }
    }

    /// A row as it is published.
    fn row(&self, table: usize, row: Option<&str>) -> Result<Option<String>, WatchError> {
        let wanted = self.tables.get(table).and_then(|found| found.table.columns.as_ref());
        let (Some(text), Some(wanted)) = (row, wanted) else { return Ok(row.map(str::to_owned)) };
        let members: BTreeMap<String, &RawValue> = serde_json::from_str(text)
            .map_err(|_| WatchError::stop("the outbox has a row that is no object"))?;
        let mut out = "{".to_owned();
        for (name, value) in members.iter().filter(|(name, _)| wanted.contains(name)) {
            write_member_text(&mut out, name, value.get());
        }
        out.push('}');
        Ok(Some(out))
    }

    /// Publishes what has been read of a transaction.
    async fn cut(&self, mut open: Open, hub: &Hub, said: &mut Said) -> Result<Open, WatchError> {
        let id = format!("{}/{}/{}", self.prefix, open.tx, open.parts);
        let what = format!("in the transaction {}", open.tx);
        if let Some(update) = open.chunk.take(&self.targets, &id, &what) {
            open.parts += 1;
            hub.publish(&update).await?;
            said.published(&update);
        }
        Ok(open)
    }
}
