//! The topic hub of one scope: numbers updates, keeps them in a durable log, and delivers
//! each to the sockets that subscribed to its topics.
//!
//! It never fetches anything, never waits for a subscriber, and never verifies a token:
//! the router does that before a request gets here.
//!
//! | question | file |
//! |---|---|
//! | What does the hub decide, and in which order? | [`machine`] |
//! | Which sockets are there, and what is on the way to them? | `sockets` |
//! | Which publishers wait for agents? | `waits` |
//! | Which OPAs wait for another bundle? | `polls` |
//! | What need no longer be in the log? | [`compaction`] |
//! | What must storage be able to do? | [`log`] |
//! | How does SQLite do it, and how do tests? | `sql_log`, [`memory_log`] |
//! | Who may fetch data that was too large to be sent? | `reference` |
//! | Why would a socket be closed? | `refusal` |
//! | How does it live in a Durable Object? | `durable` |

pub mod compaction;
pub mod log;
pub mod machine;
pub mod memory_log;

#[expect(missing_docs, reason = "the platform's macro writes methods of its own")]
mod durable;
mod polls;
mod reference;
mod refusal;
mod sockets;
mod sql_log;
mod waits;

pub use durable::Hub;
