//! Change capture against a real PostgreSQL, and a hub that keeps count.
//!
//! `cargo xtask test watch` installs the server and runs this; each test starts its own, on
//! loopback, and is skipped with a word where there is none.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod both;
mod hub;
mod mistakes;
mod notify;
mod replication;
mod support;
