//! Replication slots: how the database knows what a watcher has not dealt with.
//!
//! A slot's name ends with a fingerprint of what is watched and where it goes. A slot comes to be
//! only after the tables were copied, so that one that is there says: this has been copied, to
//! there, in this form. Whoever is then asked for other tables, columns or places finds no slot,
//! and copies.

use sha2::{Digest as _, Sha256};
use tokio_postgres::Client;

use super::WatchError;
use super::catalog::Found;
use super::source::sql;

/// Hex digits of the fingerprint.
const DIGITS: usize = 8;
/// Bytes of a watcher's name: PostgreSQL takes 63 for what is called after it, and some is added.
pub(crate) const MAX_NAME_BYTES: usize = 40;

/// The name of the slot for these tables and this hub.
pub(super) fn name(slot: &str, tables: &[Found], hub: &str) -> String {
    format!("{slot}_{}", fingerprint(tables, hub))
}

/// What tells one set of tables, in one form at one place of one hub, from another.
pub(super) fn fingerprint(tables: &[Found], hub: &str) -> String {
    let tables: Vec<_> = tables.iter().map(|found| &found.table).collect();
    // Its debug form has everything in it, and quotes what is text.
    let all = format!("{tables:?} {hub:?}");
    let digits: String =
        Sha256::digest(all.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    digits.get(..DIGITS).unwrap_or_default().to_owned()
}

/// True if the changes since the copy can still be had from a slot. One that has lost them is
/// taken away.
pub(super) async fn is_usable(client: &Client, slot: &str) -> Result<bool, WatchError> {
    let query = "SELECT coalesce(wal_status, '') FROM pg_replication_slots WHERE slot_name = $1";
    let row = client.query_opt(query, &[&slot]).await.map_err(|error| sql(&error))?;
    let Some(row) = row else { return Ok(false) };
    if row.get::<_, &str>(0) != "lost" {
        return Ok(true);
    }
    tracing::warn!(
        "the database no longer has all changes since the slot {slot} was read: the tables are \
         copied again (raise max_slot_wal_keep_size)"
    );
    drop(client, slot).await?;
    Ok(false)
}

/// The slots of a watcher's name, whatever they are for.
pub(super) async fn all(client: &Client, slot: &str) -> Result<Vec<String>, WatchError> {
    let query = "SELECT slot_name::text FROM pg_replication_slots \
         WHERE database = current_database() AND NOT temporary \
         AND slot_name ~ ('^' || $1 || '_[0-9a-f]{8}$')";
    let rows = client.query(query, &[&slot]).await.map_err(|error| sql(&error))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Checks that no other watcher has this name. It would be for other tables, and what is not for
/// these is taken away.
pub(super) async fn alone(client: &Client, slot: &str, own: &str) -> Result<(), WatchError> {
    let query = "SELECT slot_name::text FROM pg_replication_slots \
         WHERE active AND slot_name <> $2 AND slot_name ~ ('^' || $1 || '_[0-9a-f]{8}(_copy)?$')";
    match client.query(query, &[&slot, &own]).await.map_err(|error| sql(&error))?.first() {
        None => Ok(()),
        Some(other) => {
            let other: &str = other.get(0);
            Err(WatchError::retry(format!("another watcher is called {slot}: {other} is in use"))
                .hint("give this one a name of its own with --slot"))
        }
    }
}

/// Takes a slot away.
pub(super) async fn drop(client: &Client, slot: &str) -> Result<(), WatchError> {
    client
        .execute("SELECT pg_drop_replication_slot($1::text::name)", &[&slot])
        .await
        .map_err(|error| sql(&error))?;
    tracing::info!("the slot {slot} is dropped");
    Ok(())
}

/// Makes a slot that lasts of one that ends with its connection.
pub(super) async fn keep(client: &Client, temporary: &str, slot: &str) -> Result<(), WatchError> {
    let copy = "SELECT pg_copy_logical_replication_slot($1::text::name, $2::text::name, false)";
    client.execute(copy, &[&temporary, &slot]).await.map_err(|error| sql(&error))?;
    Ok(())
}
