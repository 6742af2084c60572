//! What Rego files and the data that they decide on are to everybody who has them: the edge
//! agent's embedded engine, and the functions, which let no policy in that does not compile. What
//! compiles here compiles there, and what is decided here is decided there, since both are this
//! crate.
//!
//! It has no I/O. What may go wrong in a file is a [`Mistake`] with file, row, column and reason.
//!
//! | question | file |
//! |---|---|
//! | May a set of files become the policy? | `gate.rs` |
//! | Do the modules compile, and which data would hide a rule? | `policies.rs` |
//! | Is a module too deep to be parsed? | `nesting.rs` |
//! | Which functions are unknown, which rules depend on themselves? | `names.rs` |
//! | Which rules are there, and what does a name stand for? | `rules.rs`, `reference.rs` |
//! | What is written in a rule? | `walk.rs` |
//! | Which package is a module in? | `package.rs` |
//! | What is read as it is not written? | `outputs.rs` |
//! | Which functions does an OPA have, which has the embedded engine? | `builtins.rs`, `functions/` |
//! | How is a decision made, and how fast? | `decide.rs`, `program.rs` |
//! | How is a query answered that is no part of a policy? | `adhoc.rs` |
//! | Where in the data is a path, how is it read, what does a JSON Patch do? | `document/` |
//! | What is in the `data.json` files? | `data.rs` |
//! | Do the tests pass? | `testing.rs` |
//! | How long may an evaluation take, and how much memory? | `clock.rs`, `memory.rs` |

mod adhoc;
mod builtins;
mod clock;
mod data;
mod decide;
pub mod document;
mod functions;
pub mod gate;
#[cfg(feature = "std")]
pub mod memory;
mod mistake;
mod names;
mod nesting;
mod outputs;
mod package;
mod policies;
mod program;
mod reference;
mod rules;
mod testing;
mod walk;

pub use adhoc::QueryError;
pub use builtins::Builtins;
pub use decide::{DecisionError, Interpreter, Location};
pub use mistake::{Mistake, Refused, one_line};
pub use package::package_root;
pub use policies::{DECISION_LIMIT, Policies, package};
pub use reference::query;

/// What a module is written in that does not say so itself with an import.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    /// Rego as it was before OPA 1.0: `allow { … }`.
    V0,
    /// Rego as it is since OPA 1.0: `allow if { … }`.
    #[default]
    V1,
}

/// True for a test's file: tests are no part of the policy, and are not published.
#[must_use]
pub fn is_test(path: &str) -> bool {
    path.ends_with("_test.rego")
}
