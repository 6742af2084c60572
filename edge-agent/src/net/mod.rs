//! How anything here reaches out: where to, and with which TLS.
//!
//! | question | file |
//! |---|---|
//! | Which addresses may a source have? | [`reach`] |
//! | Whose certificates are trusted, which one is shown? | `tls` |

pub mod reach;
pub(crate) mod tls;

pub use reach::{Reach, Refused};
