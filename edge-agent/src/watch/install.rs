//! What `--install` makes in the database, and `--uninstall` takes away.

use postgres_protocol::escape::{escape_identifier, escape_literal};
use tokio_postgres::Client;

use super::catalog::{self, Found};
use super::slot;
use super::source::{Database, sql};
use super::{Mode, Plan, WatchError};

/// The comment on a publication that a watcher made, and may take away.
const MADE_HERE: &str = "made by edge-agent watch";

/// Makes what replication needs and is not there.
pub(super) async fn replication(
    client: &Client,
    plan: &Plan,
    tables: &[Found],
) -> Result<(), WatchError> {
    catalog::check_log(client).await?;
    let mut commands: Vec<String> =
        tables.iter().filter(|found| !found.sends_key()).map(Found::send_key).collect();
    let name = &plan.publication;
    match catalog::publication(client, name).await? {
        None => {
            let all: Vec<_> = tables.iter().map(|found| found.sql.as_str()).collect();
            commands.push(catalog::create_publication(name, &all));
            let (name, made) = (escape_identifier(name), escape_literal(MADE_HERE));
            commands.push(format!("COMMENT ON PUBLICATION {name} IS {made}"));
        }
        Some(publication) => {
            let missing = catalog::missing(&publication, tables);
            commands.extend(missing.iter().map(|table| catalog::add_table(name, table)));
        }
    }
    for command in commands {
        client.batch_execute(&command).await.map_err(|error| sql(&error))?;
        tracing::info!("{command}");
    }
    Ok(())
}

/// What a watcher's triggers are called, and what it listens to.
pub(super) fn trigger(slot: &str) -> String {
    format!("girasol_{slot}")
}

/// The arguments of a table's triggers: for whom, for which table, by which key.
fn arguments<'f>(slot: &'f str, found: &'f Found) -> Vec<&'f str> {
    let table = &found.table;
    let key = table.key.iter().map(String::as_str);
    [slot, table.target.table.as_str()].into_iter().chain(key).collect()
}

/// Makes the outbox and the triggers, where they are not there or are others.
pub(super) async fn notify(
    client: &mut Client,
    plan: &Plan,
    tables: &[Found],
) -> Result<(), WatchError> {
    client.batch_execute(include_str!("outbox.sql")).await.map_err(|error| sql(&error))?;
    for found in tables {
        if has_triggers(client, &plan.slot, found).await? {
            continue;
        }
        let name = trigger(&plan.slot);
        let arguments: Vec<_> =
            arguments(&plan.slot, found).iter().map(|it| escape_literal(it)).collect();
        let (table, arguments) = (&found.sql, arguments.join(", "));
        let command = format!(
            "DROP TRIGGER IF EXISTS {name} ON {table}; \
             DROP TRIGGER IF EXISTS {name}_truncate ON {table}; \
             CREATE TRIGGER {name} AFTER INSERT OR UPDATE OR DELETE ON {table} \
                 FOR EACH ROW EXECUTE FUNCTION girasol.capture({arguments}); \
             CREATE TRIGGER {name}_truncate AFTER TRUNCATE ON {table} \
                 FOR EACH STATEMENT EXECUTE FUNCTION girasol.capture({arguments})"
        );
        // Together they are one transaction: no change falls between two triggers.
        client.batch_execute(&command).await.map_err(|error| sql(&error))?;
        tracing::info!("the triggers {name} are on {table}");
    }
    Ok(())
}

/// Checks that the outbox and the triggers are there.
pub(super) async fn check_notify(
    client: &Client,
    plan: &Plan,
    tables: &[Found],
) -> Result<(), WatchError> {
    let advice = "run once with --install, as the owner of the tables";
    let outbox = "SELECT to_regclass('girasol.changes') IS NOT NULL";
    let outbox = client.query_one(outbox, &[]).await.map_err(|error| sql(&error))?;
    if !outbox.get::<_, bool>(0) {
        return Err(WatchError::stop("there is no outbox, girasol.changes").hint(advice));
    }
    for found in tables {
        if !has_triggers(client, &plan.slot, found).await? {
            let (table, name) = (&found.table.target.table, trigger(&plan.slot));
            return Err(WatchError::stop(format!("{table} has no triggers {name} for this key"))
                .hint(advice));
        }
    }
    Ok(())
}

/// True if a table has both triggers, for this key.
async fn has_triggers(client: &Client, slot: &str, found: &Found) -> Result<bool, WatchError> {
    let arguments: Vec<u8> = arguments(slot, found)
        .into_iter()
        .flat_map(|argument| argument.bytes().chain([0]))
        .collect();
    let query = "SELECT count(*) = 2 FROM pg_trigger WHERE tgrelid = $1 AND tgenabled <> 'D' \
         AND tgname IN ($2::text, $2::text || '_truncate') AND tgargs = $3";
    let row = client.query_one(query, &[&found.oid, &trigger(slot), &arguments]).await;
    Ok(row.map_err(|error| sql(&error))?.get(0))
}

/// Takes away what a watcher of this name has in the database. Replica identities stay, others may
/// have come to need them.
///
/// # Errors
/// Something is in use, or is not this user's to take away.
pub async fn uninstall(database: &Database, plan: &Plan) -> Result<(), WatchError> {
    let client = database.connect().await?;
    match plan.mode {
        Mode::Replication => {
            for slot in slot::all(&client, &plan.slot).await? {
                let dropped = slot::drop(&client, &slot).await;
                dropped.map_err(|error| error.hint("end the watcher first"))?;
            }
            drop_publication(&client, &plan.publication).await
        }
        Mode::Notify => uninstall_notify(&client, &plan.slot).await,
    }
}

/// Takes a publication away if a watcher made it and nobody else can be reading it: a slot that
/// is behind cannot do without one, even if it is made again.
async fn drop_publication(client: &Client, publication: &str) -> Result<(), WatchError> {
    let query = "SELECT coalesce(obj_description(oid, 'pg_publication') = $2, false) \
         AND NOT EXISTS (SELECT FROM pg_replication_slots \
             WHERE database = current_database() AND plugin = 'pgoutput') \
         FROM pg_publication WHERE pubname = $1";
    let found = client.query_opt(query, &[&publication, &MADE_HERE]).await;
    match found.map_err(|error| sql(&error))?.map(|row| row.get::<_, bool>(0)) {
        None => {}
        Some(true) => {
            let command = format!("DROP PUBLICATION {}", escape_identifier(publication));
            client.batch_execute(&command).await.map_err(|error| sql(&error))?;
            tracing::info!("{command}");
        }
        Some(false) => tracing::info!(
            "the publication {publication} stays: others may use it; if not, drop it by hand"
        ),
    }
    Ok(())
}

async fn uninstall_notify(client: &Client, slot: &str) -> Result<(), WatchError> {
    let failed = |error: tokio_postgres::Error| sql(&error);
    let name = trigger(slot);
    let tables = "SELECT DISTINCT tgrelid::regclass::text FROM pg_trigger \
         WHERE tgname IN ($1::text, $1::text || '_truncate') AND tgparentid = 0";
    for row in client.query(tables, &[&name]).await.map_err(failed)? {
        let table: &str = row.get(0);
        let command = format!(
            "DROP TRIGGER IF EXISTS {name} ON {table}; \
             DROP TRIGGER IF EXISTS {name}_truncate ON {table}"
        );
        client.batch_execute(&command).await.map_err(failed)?;
        tracing::info!("the triggers {name} are no longer on {table}");
    }
    let outbox = "SELECT to_regclass('girasol.changes') IS NOT NULL";
    if !client.query_one(outbox, &[]).await.map_err(failed)?.get::<_, bool>(0) {
        return Ok(());
    }
    for delete in ["girasol.changes", "girasol.watches"] {
        let delete = format!("DELETE FROM {delete} WHERE slot = $1");
        client.execute(&delete, &[&slot]).await.map_err(failed)?;
    }
    let others = "SELECT count(*) FROM pg_trigger WHERE tgfoid = 'girasol.capture'::regproc";
    if client.query_one(others, &[]).await.map_err(failed)?.get::<_, i64>(0) == 0 {
        client.batch_execute("DROP SCHEMA girasol CASCADE").await.map_err(failed)?;
        tracing::info!("the schema girasol is dropped");
    }
    Ok(())
}
