//! Compressed archives (tar in gzip) of text files: bundles, as OPA and OPAL have them.
//!
//! Whoever serves a bundle, or sends one, is a stranger. Nothing here trusts a size, a name or
//! a checksum that an archive states, nothing is ever unpacked to a disk, and memory is bounded
//! by [`Limits`] whatever the archive is. No I/O, no clock: bytes in, files out.
//!
//! | question | file |
//! |---|---|
//! | What is in an archive, and when is it refused? | [`read`](mod@read) |
//! | How is one written, the same bytes for the same files? | [`write`](mod@write) |
//! | What does a compressed body say? | [`gzip`] |

pub mod gzip;
pub mod read;
pub mod write;

pub use read::{ArchiveError, Fault, Limits, read, read_wanted};
pub use write::write;
