//! What `--install` makes in the database, and `--uninstall` takes away.

use tokio_postgres::Client;

use super::catalog::{self, Found};
use super::slot;
use super::source::{Database, sql};
use super::{Mode, Plan, WatchError};

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
                slot::drop(&client, &slot).await?;
            }
            let publication = postgres_protocol::escape::escape_identifier(&plan.publication);
            let command = format!("DROP PUBLICATION IF EXISTS {publication}");
            client.batch_execute(&command).await.map_err(|error| sql(&error))?;
            tracing::info!("{command}");
            Ok(())
        }
        Mode::Notify => Ok(()),
    }
}
