//! Deterministic simulation: the hub's machine and several agents' cores under one seeded
//! scheduler, with engines, sources, disks and a network that fail.
//!
//! A seed decides everything: who publishes what, how long each thing takes, what goes wrong
//! and when. So a run that breaks a promise can be had again, to the last byte of its trace.
//! What is simulated is what is sans-I/O in the product; the shells around it (workerd,
//! tokio, files, a real OPA) are the chaos suite's.
//!
//! The promises that are checked:
//!
//! | promise | where |
//! |---|---|
//! | numbers without gaps; an id is in the log once; what was durable stays | `history.rs` |
//! | what is accepted, or delivered, is in the durable log | `publisher.rs`, `agent.rs` |
//! | an engine holds exactly what the log says up to where its agent says it is, always | `World::check_engine` |
//! | what is fetched for an update is not older than the update | `World::check_fresh` |
//! | what nothing makes unnecessary is fetched when there is a place | `World::check_waiting` |
//! | no entry takes effect twice, or after a newer one for the same place | `engine.rs` |
//! | the policies that an engine is given are those of one revision, as a whole | `World::check_set` |
//! | receipts are true, and nobody who waits is answered early | `World::check_receipt`, `World::check_wait` |
//! | an ended or revoked token does nothing | `hub_node.rs`, `publisher.rs` |
//! | what is on the way to a subscriber is bounded | `World::check_sockets` |
//! | an agent's book of grants allows what the log says up to where the agent is, always | `guard.rs` |
//! | the hub allows what its log says, and makes and revokes what was asked for | `granter.rs` |
//! | when the faults end all comes to rest, equal to a replay from nothing | `World::check_end` |
//!
//! To add a fault, add a row to `profile.rs` and an arm to `faults.rs`; to see that a promise
//! is checked, plant a bug against it ([`protocol::planted`]).

#![allow(
    clippy::indexing_slicing,
    reason = "an index that is not there is a bug of the simulation, which ends with it"
)]

mod agent;
mod document;
mod engine;
mod faults;
mod granter;
mod guard;
mod history;
mod hub_node;
mod network;
mod permissions;
mod policies;
mod profile;
mod publisher;
mod schedule;
mod sources;
mod store;
mod workload;
mod world;

pub use world::{Outcome, run};
