//! PostgreSQL as a source.
//!
//! | question | file |
//! |---|---|
//! | What becomes of a value? | [`types`] |

pub mod types;
