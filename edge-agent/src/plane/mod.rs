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

mod audits;
mod book;
mod forward;
mod serve;

pub(crate) use audits::Audits;
pub(crate) use book::{Book, BookStatus};
pub(crate) use forward::{Functions, base, received, whole};
pub(crate) use serve::{DataPlane, router};
