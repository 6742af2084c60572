//! The agent's state machine, driven step by step.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking"
)]

mod commit;
mod engine;
mod fetching;
mod grants;
mod health;
mod kept;
mod order;
mod policies;
mod results;
mod rig;
mod subscription;
