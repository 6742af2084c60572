//! The data plane beside an application (`spec/opa-and-grants.md` §4.3, §4.7): the agent has the
//! grants from the scope's log, checks by itself, answers facts that it has, and hands everything
//! else to the functions, which check again.
//!
//! | question | file |
//! |---|---|
//! | Which grants are there, and may the agent go by them? | `book.rs` |
//! | What becomes of a request? | `serve.rs` |
//! | How is it handed on? | `forward.rs` |
//! | What is remembered of it? | `audits.rs` |
//!
//! **Invariant:** whatever cannot be decided is refused; no token and no value is in a log.

/// On a 401 of an agent that refuses everybody, since it does not know the hub's last word. Whoever
/// may wait asks again; without it the 401 is about the token.
pub(crate) const BEHIND: &str = "x-girasol-behind";

mod audits;
mod book;
mod forward;
mod serve;

pub(crate) use audits::Audits;
pub use book::Book;
pub(crate) use book::BookStatus;
pub(crate) use forward::{Functions, base, received, whole};
pub(crate) use serve::{DataPlane, router};
