//! What a repository may be, in one table. Whatever is over a limit is an error that names it;
//! nothing is cut off silently.

use protocol::limits;

/// The limits of a look and of a checkout.
///
/// Memory while a pack comes in is about twice `object_bytes` (an object and the base it is a
/// change of), `waiting_bytes`, and 40 bytes for each object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of an answer that is not a pack: what the server can do, the list of its branches.
    pub answer_bytes: usize,
    /// Bytes of a pack, as it travels.
    pub pack_bytes: u64,
    /// Objects of a pack.
    pub objects: u32,
    /// Bytes of one object.
    pub object_bytes: usize,
    /// Bytes of all objects of a pack together: a small pack can hold much.
    pub inflated_bytes: u64,
    /// Bytes of changes whose base comes later in the pack. git sends the base first.
    pub waiting_bytes: usize,
    /// Folders within folders.
    pub depth: usize,
    /// Entries of all folders that are looked at. A folder that is in many places counts often.
    pub entries: usize,
    /// Files of a checkout.
    pub files: usize,
    /// Bytes of one file of a checkout.
    pub file_bytes: usize,
    /// Bytes of all files of a checkout.
    pub checkout_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            answer_bytes: 1 << 20,
            pack_bytes: 64 << 20,
            objects: 100_000,
            object_bytes: 8 << 20,
            inflated_bytes: 256 << 20,
            waiting_bytes: 8 << 20,
            depth: limits::MAX_PATH_SEGMENTS,
            entries: 1_000_000,
            files: limits::MAX_POLICY_FILES,
            file_bytes: limits::MAX_POLICY_FILE_BYTES,
            checkout_bytes: limits::MAX_POLICY_BYTES,
        }
    }
}
