//! Change capture: what changes in tables of a PostgreSQL becomes updates by itself.
//!
//! A table has a place in the document, and each of its rows is a member of it, named by the row's
//! key. The rows are copied once, then changes follow: a transaction is one update, in the order of
//! commits. Nothing is lost over a restart of anybody, for the database keeps what the hub has not
//! accepted; and nothing has an effect twice, for a transaction that is read again has the ids that
//! it had. Nothing is kept here.
//!
//! There are two ways to learn of changes. **Replication** reads the write-ahead log: it costs the
//! database next to nothing, and needs `wal_level=logical` and the right to replicate. **Notify**
//! has triggers write changes to a table, and works wherever one may create those.
//!
//! | question | file |
//! |---|---|
//! | What is published, under which id, and when may the database forget? (no sockets) | `core.rs` |
//! | How do rows become an update, and how large may it be? | `chunk.rs`, `key.rs` |
//! | How do values look as JSON? | `value.rs` |
//! | What does a replication stream say? | `pgoutput.rs` |
//! | How is the stream read, and answered? | `replication.rs`, `wire.rs` |
//! | How do triggers tell of changes? | `notify.rs`, `outbox.sql` |
//! | How do tables get there at first? | `snapshot.rs` |
//! | What must be there in the database, and who makes it? | `catalog.rs`, `install.rs` |
//! | How does the database know what was copied, and what was dealt with? | `slot.rs` |
//! | Where is the database? | `source.rs` |
//! | How do updates get to the hub? | `publish.rs` |

mod catalog;
mod chunk;
mod core;
mod install;
mod key;
mod notify;
mod pgoutput;
mod publish;
mod replication;
mod slot;
mod snapshot;
mod source;
mod value;
mod wire;

use std::fmt;
use std::time::{Duration, Instant};

use crate::core::backoff::Backoff;
use crate::runtime::seed;
pub use install::uninstall;
pub use publish::Hub;
pub use source::Database;

/// Bytes of a watcher's name, at most.
pub const MAX_SLOT_BYTES: usize = slot::MAX_NAME_BYTES;

/// What is watched, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How changes are learnt of.
    pub mode: Mode,
    /// The tables, each with where it goes.
    pub tables: Vec<TablePlan>,
    /// What the watcher is called in the database; other watchers have other names.
    pub slot: String,
    /// The publication that the tables are in.
    pub publication: String,
    /// Makes in the database what is missing there.
    pub install: bool,
    /// Copies the tables even if they were copied before.
    pub copy: bool,
}

/// How changes are learnt of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// From the write-ahead log.
    Replication,
    /// From triggers.
    Notify,
}

/// A table, as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TablePlan {
    /// Its name as SQL has it, with or without its schema.
    pub name: String,
    /// The columns that name a row; if none, the primary key.
    pub key: Vec<String>,
    /// The columns that are published; if none, all.
    pub columns: Option<Vec<String>>,
    /// Where it goes in the engine's data; never the root.
    pub place: String,
    /// Who gets it.
    pub topics: Vec<String>,
}

/// Why nothing is watched at the moment, or will be.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct WatchError {
    message: String,
    hint: Option<String>,
    is_final: bool,
}

impl WatchError {
    /// It may be other soon.
    fn retry(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, is_final: false }
    }

    /// Somebody has to do something.
    fn stop(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, is_final: true }
    }

    fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// What to do about it.
    #[must_use]
    pub fn advice(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Debug for WatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?})", self.message, self.hint)
    }
}

/// How far a session got.
#[derive(Debug, Default)]
struct Progress {
    /// It follows changes.
    begun: bool,
    /// The hub has accepted one.
    accepted: bool,
}

/// A session that lasted for so long was one that worked.
const LONG: Duration = Duration::from_secs(60);

/// Watches until something is wrong that waiting does not put right.
///
/// # Errors
/// What that is, and what to do about it.
pub async fn watch(database: &Database, plan: &Plan, hub: &Hub) -> Result<(), WatchError> {
    let mut backoff = Backoff::new(seed());
    let mut plan = plan.clone();
    loop {
        let (mut progress, began) = (Progress::default(), Instant::now());
        let ended = match plan.mode {
            Mode::Replication => replication::session(database, &plan, hub, &mut progress).await,
            Mode::Notify => notify::session(database, &plan, hub, &mut progress).await,
        };
        let Err(error) = ended else { return Ok(()) };
        if error.is_final {
            return Err(error);
        }
        if progress.begun {
            // What had to be made or copied has been.
            (plan.install, plan.copy) = (false, false);
        }
        if progress.accepted || began.elapsed() > LONG {
            backoff.reset();
        }
        let wait = Duration::from_millis(backoff.next_delay());
        let advice = error.advice().map(|hint| format!(" ({hint})")).unwrap_or_default();
        tracing::warn!("{error}{advice}; again in {:.1} s", wait.as_secs_f64());
        tokio::time::sleep(wait).await;
    }
}
