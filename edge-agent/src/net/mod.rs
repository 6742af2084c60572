//! How anything here reaches out: where to, and with which TLS.
//!
//! | question | file |
//! |---|---|
//! | Which addresses may a source have? | [`reach`] |
//! | How is a rule about that written? | `rule` |
//! | Which paths does it match? | `path` |
//! | What is refused without any rule? | `never` |
//! | Which hosts may a fetch with secrets not leave? | `confined` |
//! | Whose certificates are trusted, which one is shown? | `tls` |
//! | Which proxy does a fetch go through? | `proxy` |

#[cfg(test)]
pub(crate) mod authority;
pub(crate) mod confined;
mod never;
mod path;
mod proxy;
pub mod reach;
pub(crate) mod rule;
pub(crate) mod tls;

pub use proxy::Proxies;
pub use reach::{ConnectError, Lookup, Reach, Refused, Why};
pub use tls::{Tls, TlsError};
