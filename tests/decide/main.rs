//! The embedded decision point held against a real OPA: the same policy, the same data and the same
//! requests, and the answers compared.
//!
//! | what is shown | file |
//! |---|---|
//! | what is read is answered as OPA answers it | `reading.rs`, requests in `requests.rs`, `queries.rs` and `random.rs` |
//! | what is written beside Girasol is taken and refused as OPA does with a bundle | `writing.rs` |
//! | the Worker answers as OPA does, or says that it cannot | `at_the_edge.rs` |
//! | agent and Worker come to the same by any updates | `followed.rs` |
//! | who may ask, if not everybody; that no mistake allows anything | `access.rs` |
//! | what is too much: policies and requests that would take all there is | `limits.rs` |
//! | what is in the decision log | `logged.rs` |
//! | how fresh a decision is, and policies that go by it | `freshness.rs` |
//! | policy and data | `world.rs`, `world/` |
//! | how answers are compared, and what may differ | `same.rs`, `known.rs` |

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking"
)]

mod access;
mod ask;
mod at_the_edge;
mod followed;
mod freshness;
mod known;
mod limits;
mod logged;
mod queries;
mod random;
mod reading;
mod requests;
mod same;
mod world;
mod writing;
