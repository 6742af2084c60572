//! A scope's directory: users, tenants, role assignments, resource instances and the tuples that
//! relate them, asked for as Permit's facts are (`spec/critical-updates.md` §3, §7).
//!
//! A request is [read](read()) into a [`Call`], and [carried out](carry_out()) against what is kept:
//! out come the answer, the rows that change, and the documents that agents are told, all of which
//! the hub writes together. A call that is refused has changed nothing, since nothing is written
//! here.
//!
//! It never does I/O, never reads a clock and never draws a random number.
//!
//! | question | file |
//! |---|---|
//! | Which paths are there, and what do they mean? | `read.rs` |
//! | What may a body or a query hold? | `read/body.rs`, `read/query.rs` |
//! | What is kept, under which names? | `rows.rs` |
//! | How do changes build on each other before anything is written? | `draft.rs` |
//! | What does a change do? | `users.rs`, `tenants.rs`, `instances.rs`, `tuples.rs` |
//! | What do agents have of it? | `documents.rs` |
//! | How is a thing shown, and what is its id? | `shown.rs`, `ids.rs` |
//! | How is it listed? | `lists.rs` |

mod carry_out;
mod documents;
mod draft;
mod ids;
mod instances;
mod lists;
mod read;
mod rows;
mod shown;
mod tenants;
mod tuples;
mod users;

pub use carry_out::{Done, carry_out};
pub use documents::Document;
pub use draft::Store;
pub use ids::ScopeIds;
pub use protocol::directory::{Call, Refusal};
pub use read::read;

#[cfg(test)]
mod tests;
