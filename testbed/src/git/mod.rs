//! Repositories with policy, and a git server over HTTP.
//!
//! | question | file |
//! |---|---|
//! | how is a repository made, changed and rewritten? | `repository.rs` |
//! | how is it served, with which credentials, how does the server fail? | `server.rs` |

mod repository;
mod server;

pub use repository::Repository;
pub use server::GitServer;
