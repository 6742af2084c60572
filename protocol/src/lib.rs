//! The words that every room of Girasol shares: what a publisher sends, what travels on
//! the socket, what a token claims, how topics and paths relate.
//!
//! This crate never does I/O, never reads a clock and never draws a random number. Time
//! and identity come in as arguments, so that the same code runs in a Worker, in the
//! agent and in a simulation.
//!
//! | question | file |
//! |---|---|
//! | What may a publisher send, and what is refused? | [`update`] |
//! | Which subscriber gets which entry? | [`topic`] |
//! | Which entries touch the same data? | [`path`] |
//! | How is policy in the log? | [`commit`] |
//! | What are grants and facts? | [`plane`] |
//! | What is asked of a scope's directory of users and roles? | [`directory`] |
//! | What travels between hub and agent? | [`socket`] |
//! | How do hub and agent find out that they have seen the same? | [`digest`] |
//! | What may the bearer of a token do? | [`claims`] |
//! | What in an update is a credential, and what of it is shown? | [`credentials`] |
//! | What does OPAL call these things? | [`opal`] |
//! | What is a bundle of an OPA made of, and what does an OPA report? | [`bundle`] |
//! | How do the functions call the hub? | [`internal`] |
//! | How do they have a policy followed? | [`repository`] |
//! | What does a refusal look like? | [`problem`] |
//! | Which bugs does the simulation plant? | [`planted`] |

pub mod bundle;
pub mod claims;
pub mod commit;
pub mod credentials;
pub mod digest;
pub mod directory;
mod hex;
pub mod internal;
pub mod json;
pub mod limits;
pub mod opal;
pub mod path;
pub mod plane;
pub mod planted;
pub mod problem;
pub mod repository;
pub mod seq;
pub mod socket;
pub mod topic;
pub mod update;

pub use claims::{Claims, PeerType};
pub use hex::hex;
pub use path::DataPath;
pub use problem::Problem;
pub use seq::{Millis, Seq};
pub use update::{Entry, SaveMethod, Update};

/// The scope of everybody who names none.
pub const DEFAULT_SCOPE: &str = "default";
