//! The main job on real parts: functions on workerd, agents, data sources, OPA.
//!
//! | what is shown | file |
//! |---|---|
//! | mint, publish, fan out, fetch, apply, decide | `main_job.rs` |
//! | who may do what; what a bad token is told | `tokens.rs` |
//! | what a bad update is told, and that the log is unchanged | `updates.rs` |
//! | publishes at the same time | `together.rs` |
//! | the native dialect, frame by frame | `socket.rs` |
//! | receipts, one's own writes, tokens that end, state that stays | `promises.rs` |
//! | policy in the log, and agents that decide by it | `policy_log.rs` |
//! | sources that are down, slow, broken | `sources.rs` |
//! | a real OPA beside the agent, also one that restarts | `opa.rs` |
//! | the agent's commands, and mistakes at the command line | `commands.rs` |

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking"
)]

mod commands;
mod main_job;
mod opa;
mod policy_log;
mod promises;
mod socket;
mod sources;
mod support;
mod together;
mod tokens;
mod updates;
