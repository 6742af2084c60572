//! Follows the policy of a scope: looks at its git repository or its bundle server, checks what
//! is new, and makes it the policy.
//!
//! One object a scope. A look that finds something wrong, wherever that is, changes nothing but
//! the record of it: the last good policy stays. The crates `git` and `archive` read what comes,
//! `rego` says whether it can be policy, the hub keeps and tells it.
//!
//! | question | file |
//! |---|---|
//! | Which settings say what is followed? | [`settings`] |
//! | When is there a look, and what has become of what was found? | [`record`] |
//! | Who waits for which look? | [`turns`] |
//! | What can go wrong, and does waiting help? | [`failure`] |
//! | How is a bundle server asked, and an S3-compatible one? | [`bundle`] |
//! | When may what was found be the policy? | [`gate`] |
//! | How does it live in a Durable Object? | `durable` |
//! | Where are git's objects kept, and how are requests sent? | `durable/store.rs`, `durable/http.rs` |

pub mod bundle;
pub mod failure;
pub mod gate;
pub mod record;
pub mod settings;
pub mod turns;

#[expect(missing_docs, reason = "the platform's macro writes methods of its own")]
mod durable;

pub use durable::Repository;
