//! Follows a branch of a git repository over HTTP, without a clone on a disk.
//!
//! Git's smart HTTP protocol, version 2, as a client that wants to know one thing: what are the
//! files of the newest commit of a branch? It asks where the branch is, and if that is new it
//! fetches the objects that it does not have yet, without history. Nothing in here sends a
//! request, reads a clock or knows where objects are kept: a shell sends what [`Look::request`]
//! says and hands in what comes back, in pieces of any size.
//!
//! | question | file |
//! |---|---|
//! | How does a look go, from the first request to the last byte? | [`look`] |
//! | Which repository, with which credentials, and where do they go? | [`remote`] |
//! | How are lines framed on the wire? | [`packet`] |
//! | How does a pack become objects? | [`pack`] |
//! | What is an object, and where is it kept? | [`object`] |
//! | What are the files of a commit, and which are refused? | [`checkout`] |
//! | How much may a repository be? | [`limits`] |
//! | What can go wrong, and what is to be done? | [`error`] |

mod checkout;
pub mod error;
pub mod limits;
pub mod look;
pub mod object;
pub mod pack;
pub mod packet;
pub mod remote;

pub use checkout::{Selection, checkout, reachable};
pub use error::GitError;
pub use limits::Limits;
pub use look::{HttpRequest, Look, Next, Outcome, Server};
pub use object::{Kind, MemoryObjects, Object, ObjectId, Objects, StoreError};
pub use protocol::repository::Secret;
pub use remote::{Auth, Remote};
