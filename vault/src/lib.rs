//! Facts where they are kept: of which types they are, and how they are sealed.
//!
//! | question | file |
//! |---|---|
//! | How is a text sealed, opened, and found again? | [`keys`] |
//! | Which values does a type take? | [`types`] |
//!
//! **Invariant:** no I/O, no clock, no randomness; no value is in an error or in what `Debug` shows.

pub mod keys;
pub mod types;

pub use keys::Keys;
