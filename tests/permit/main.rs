//! Critical updates: the real Permit SDK, in two versions, and raw requests against an agent and the
//! functions on workerd (`spec/critical-updates.md` §11).
//!
//! `cargo xtask test permit`
//!
//! | what is shown | file |
//! |---|---|
//! | the SDK writes, and checks at once | `sdk.rs`, `programs/` |
//! | for how long an answer is held, and what it says then | `holding.rs` |
//! | who goes away, who cannot be reached, who may write | `troubles.rs` |
//! | more agents than one | `agents.rs` |

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking"
)]

mod agents;
mod holding;
mod sdk;
mod support;
mod troubles;
