//! The fetchers against real servers: one file a kind of source.
//!
//! `cargo xtask test fetch` installs the servers and runs this; each test starts its own, on
//! loopback, and is skipped with a word where there is none.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod exec;
mod ldap;
#[cfg(feature = "mongodb")]
mod mongodb;
mod mysql;
mod postgres;
mod redis;
mod refused;
#[cfg(feature = "s3")]
mod s3;
mod support;
