//! What Rego files are to everybody who compiles them.
//!
//! | question | file |
//! |---|---|
//! | May a set of files become the policy? | `gate.rs` |

pub mod gate;
mod mistake;

pub use mistake::{Mistake, Refused};

/// What a module is written in that does not say so itself with an import.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    /// Rego as it was before OPA 1.0: `allow { … }`.
    V0,
    /// Rego as it is since OPA 1.0: `allow if { … }`.
    #[default]
    V1,
}
