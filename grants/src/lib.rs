//! What the bearer of a grant's token may do, for functions and agent alike
//! (`spec/opa-and-grants.md` part 4): casbin's RBAC with domains, in Rust.
//!
//! | question | file |
//! |---|---|
//! | May this token do that? | [`model`] |
//! | What does a pattern match? | [`pattern`] |
//! | What is refused before anybody is asked? | [`front`] |
//! | How does a user test grants? | [`cases`] |
//!
//! **Invariant:** no I/O, no clock; nothing that a pattern or a path holds makes a decision take
//! longer than its length.

pub mod cases;
pub mod front;
pub mod model;
pub mod pattern;

pub use model::Model;
