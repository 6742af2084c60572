//! Follows the write-ahead log (`pgoutput`, version 1).
//!
//! A session: look at the tables, copy them if that was not done, stream. The copy sees the tables
//! as they are where the stream begins: a temporary slot holds that place while it is made, and
//! becomes the slot that lasts once the hub has all of it. A watcher that ends before leaves
//! nothing behind, and copies again.

use std::collections::VecDeque;
use std::time::Duration;

use postgres_protocol::escape::escape_identifier;
use tokio::sync::mpsc;

use super::catalog::{self, Found};
use super::chunk::Update;
use super::core::Core;
use super::pgoutput::{Frame, Message};
use super::publish::{Hub, Said};
use super::snapshot::{self, Reader};
use super::source::{Connected, Database, sql};
use super::wire::Wire;
use super::{Plan, Progress, WatchError, install, slot, value};

/// How often the database hears from us if there is nothing to say.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);
/// Updates that wait for the hub before the stream is no longer read.
const QUEUE: usize = 8;

/// Watches until something goes wrong.
pub(super) async fn session(
    database: &Database,
    plan: &Plan,
    hub: &Hub,
    progress: &mut Progress,
) -> Result<(), WatchError> {
    let client = database.connect().await?;
    let mut tables = catalog::tables(&client, plan).await?;
    if plan.install {
        install::replication(&client, plan, &tables).await?;
        tables = catalog::tables(&client, plan).await?;
    }
    catalog::check_replication(&client, plan, &tables).await?;
    let slot = slot::name(&plan.slot, &tables, hub.url().as_str());
    slot::alone(&client, &plan.slot, &slot).await?;
    let mut wire = Wire::connect(database).await?;
    let system = system(&mut wire).await?;
    if plan.copy && slot::is_usable(&client, &slot).await? {
        slot::drop(&client, &slot).await?;
    }
    if !slot::is_usable(&client, &slot).await? {
        first_copy((database, &client), (wire, &system), (&tables, &slot), hub).await?;
        wire = Wire::connect(database).await?;
    }
    for other in slot::all(&client, &plan.slot).await?.iter().filter(|other| **other != slot) {
        slot::drop(&client, other).await?;
    }
    let publication = escape_identifier(&plan.publication).replace('\'', "''");
    let start = format!(
        "START_REPLICATION SLOT {} LOGICAL 0/0 (proto_version '1', publication_names '{publication}')",
        escape_identifier(&slot)
    );
    wire.start(&start).await?;
    progress.begun = true;
    tracing::info!("following {database}, slot {slot}");
    let core = Core::new(
        tables.iter().map(|found| found.table.clone()).collect(),
        format!("{system}/{slot}"),
    );
    let readers = snapshot::readers(&client, &tables).await?;
    let stream = Stream { client, wire, core, readers, unsent: VecDeque::new() };
    follow(stream, hub, progress).await
}

/// What tells one database from another, and from itself after it was set back: the first part of
/// every id.
async fn system(wire: &mut Wire) -> Result<String, WatchError> {
    let answer = wire.query("IDENTIFY_SYSTEM").await?;
    match answer.first().map(Vec::as_slice) {
        Some([Some(system), Some(timeline), ..]) => Ok(format!("pg:{system}/{timeline}")),
        _ => Err(WatchError::retry("the database does not say which one it is")),
    }
}

/// Publishes all rows as they are where the slot begins.
async fn first_copy(
    (database, client): (&Database, &Connected),
    (mut wire, system): (Wire, &str),
    (tables, slot): (&[Found], &str),
    hub: &Hub,
) -> Result<(), WatchError> {
    let temporary = format!("{slot}_copy");
    let create = format!(
        "CREATE_REPLICATION_SLOT {} TEMPORARY LOGICAL pgoutput EXPORT_SNAPSHOT",
        escape_identifier(&temporary)
    );
    let answer = wire.query(&create).await?;
    let Some([_, Some(begin), Some(exported), ..]) = answer.first().map(Vec::as_slice) else {
        return Err(WatchError::retry("the database made no slot"));
    };
    let reading = database.connect().await?;
    let exported = exported.replace('\'', "''");
    let see = format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT '{exported}'"
    );
    reading.batch_execute(&see).await.map_err(|error| sql(&error))?;
    let id = format!("{system}/{slot}/copy/{begin}");
    snapshot::copy(&reading, tables, hub, &id).await?;
    reading.batch_execute("COMMIT").await.map_err(|error| sql(&error))?;
    slot::keep(client, &temporary, slot).await?;
    wire.end().await;
    Ok(())
}

/// The stream, and what it takes to read it.
struct Stream {
    client: Connected,
    wire: Wire,
    core: Core,
    readers: Vec<Reader>,
    /// What the hub's queue had no room for.
    unsent: VecDeque<Update>,
}

/// Reads and publishes at the same time: the hub's time for one update is the database's for the
/// next.
///
/// While the hub is away there is no stream. A database that is to stop waits until what follows
/// its log has all of it, and would wait for the hub, too.
async fn follow(mut stream: Stream, hub: &Hub, progress: &mut Progress) -> Result<(), WatchError> {
    let (to_hub, mut waiting) = mpsc::channel::<Update>(QUEUE);
    let (accept, accepted) = mpsc::unbounded_channel();
    let publishing = async {
        let mut said = Said::default();
        while let Some(update) = waiting.recv().await {
            hub.publish_soon(&update).await?;
            progress.accepted = true;
            said.published(&update);
            // The other half ends with this one.
            let _ = accept.send(());
        }
        Ok(())
    };
    tokio::select! {
        ended = publishing => ended,
        ended = stream.read(to_hub, accepted) => ended,
    }
}

impl Stream {
    async fn read(
        &mut self,
        to_hub: mpsc::Sender<Update>,
        mut accepted: mpsc::UnboundedReceiver<()>,
    ) -> Result<(), WatchError> {
        let mut alive = tokio::time::interval(SIGN_OF_LIFE);
        loop {
            tokio::select! {
                room = to_hub.reserve(), if !self.unsent.is_empty() => {
                    let room = room.map_err(|_| WatchError::retry("nobody publishes any more"))?;
                    if let Some(update) = self.unsent.pop_front() {
                        room.send(update);
                    }
                }
                Some(()) = accepted.recv() => {
                    self.core.accepted();
                    while accepted.try_recv().is_ok() {
                        self.core.accepted();
                    }
                    self.wire.confirm(self.core.flushed()).await?;
                }
                frame = self.wire.frame(), if self.unsent.is_empty() => {
                    self.frame(&frame?).await?;
                    // Without asking around in between, as long as there is nothing to send.
                    while self.unsent.is_empty()
                        && let Some(frame) = self.wire.arrived()?
                    {
                        self.frame(&frame).await?;
                    }
                }
                _ = alive.tick() => self.wire.confirm(self.core.flushed()).await?,
            }
        }
    }

    async fn frame(&mut self, frame: &[u8]) -> Result<(), WatchError> {
        match Frame::read(frame)? {
            Frame::Keepalive { end, reply } => {
                self.core.alive(end);
                if reply {
                    self.wire.confirm(self.core.flushed()).await?;
                }
            }
            Frame::Data(data) => {
                let message = Message::read(data)?;
                if let Message::Relation(relation) = &message {
                    for kind in self.core.unknown_types(relation) {
                        self.core.learn(kind, value::form(&self.client, kind).await?);
                    }
                }
                if let Some(wanted) = self.core.message(message)? {
                    let reader = self.readers.get(wanted.table);
                    let reader = reader.ok_or_else(|| WatchError::retry("a table is gone"))?;
                    let row = reader.one(&self.client, &wanted.key).await?;
                    self.core.reread(&wanted, row)?;
                }
                self.unsent.extend(std::iter::from_fn(|| self.core.next()));
            }
        }
        Ok(())
    }
}
