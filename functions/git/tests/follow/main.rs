//! Whole looks against a real `git http-backend`, and checkouts of what they fetched.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]
#![cfg(not(target_arch = "wasm32"))]

mod branches;
mod rig;
mod servers;
mod trees;
