//! Requests to S3-compatible storage: where an object is, and the signature that opens it.
//!
//! No I/O and no clock, so that the functions and the agent use the same. It never sends
//! anything, and knows of no operation but reading one object.
//!
//! | question | file |
//! |---|---|
//! | How is a request signed? | `sign` |
//! | What is an object's address? | `place` |

mod place;
mod sign;

pub use place::{Place, PlaceError, Style, host};
pub use sign::Signer;
