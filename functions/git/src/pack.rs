//! How a pack becomes objects.
//!
//! A pack is `PACK`, a version, a count, that many objects and the SHA-1 of it all
//! (`gitformat-pack`). Each object is compressed, and may be given as a change of another one, its
//! base. The bytes come in pieces of any size and are never kept: an object is worked out as soon
//! as its last byte has come, goes to the store, and from there it comes again where it is a base.
//! So memory is that of an object and its base, however large the pack is. Only a change whose
//! base is still to come waits; git sends bases first, so that is rare, and bounded.
//!
//! Every size is looked at before memory is taken for it, and nothing is inflated beyond what was
//! declared. Every error names the object, by its place in the pack: its id is not known until it
//! has been read.
//!
//! gitoxide's crates were tried first; all of them build for WebAssembly. `gix-packetline` 0.24
//! and `gix-object` 0.66 bring 35 packages, a calendar with time zones among them, and 28 KB
//! gzipped for two short parsers; all of this crate, SHA-1 and zlib included, has 58 KB.
//! `gix-pack` 0.77 pulls from a blocking reader and keeps an index in a file or the pack in
//! memory; here bytes are pushed in as they come, there is no file, and memory is bounded.
//!
//! | question | file |
//! |---|---|
//! | How does a pack go from its first byte to its checksum? | `pack.rs` |
//! | What stands before an object? | `entry.rs` |
//! | How is it inflated, and no further than it says? | `inflate.rs` |
//! | How is a change applied? | `delta.rs` |
//! | Which objects are known, and which wait for their base? | `resolve.rs` |

mod delta;
mod entry;
mod inflate;
mod resolve;
#[cfg(test)]
mod tests;

use sha1::{Digest as _, Sha1};

use crate::error::GitError;
use crate::limits::Limits;
use crate::object::Objects;

use entry::Entry;
use inflate::Inflate;
use resolve::Resolver;

/// `PACK`, version, count.
const HEADER_BYTES: usize = 12;
/// A SHA-1.
const CHECKSUM_BYTES: usize = 20;
/// The step of which [`GitError::CutShort`] speaks.
const STEP: &str = "fetch";

/// Reads a pack that comes in pieces.
#[derive(Debug)]
pub struct PackReader {
    limits: Limits,
    /// Of what came before the checksum.
    hash: Sha1,
    /// Bytes taken in.
    at: u64,
    /// Objects still to come.
    left: u32,
    /// Bytes of all objects so far.
    inflated: u64,
    state: State,
    /// A header or a checksum that has begun.
    begun: Vec<u8>,
    inflate: Inflate,
    resolver: Resolver,
}

#[derive(Debug)]
enum State {
    /// In the pack's header.
    Header,
    /// In what stands before an object, which begins here.
    Before(u64),
    /// In an object.
    Object(Entry),
    /// In the checksum.
    Checksum,
    /// After it.
    Over,
}

// === impl PackReader ===

impl PackReader {
    /// Ready for the first byte.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            hash: Sha1::new(),
            at: 0,
            left: 0,
            inflated: 0,
            state: State::Header,
            begun: vec![],
            inflate: Inflate::default(),
            resolver: Resolver::new(&limits),
            limits,
        }
    }

    /// Takes in the next bytes; objects that are complete go to the store.
    ///
    /// # Errors
    /// The pack is wrong or over a limit, or the store failed. Nothing more can be fed then.
    pub fn feed(&mut self, mut bytes: &[u8], objects: &mut dyn Objects) -> Result<(), GitError> {
        if self.at.saturating_add(bytes.len() as u64) > self.limits.pack_bytes {
            let limit = self.limits.pack_bytes;
            return Err(GitError::Limit(format!(
                "the pack has more than {limit} bytes, the limit: keep large files out of the \
                 repository, or give policy one of its own"
            )));
        }
        while !bytes.is_empty() {
            let taken = self.step(bytes, objects)?;
            let (_, rest) = bytes.split_at_checked(taken).unwrap_or_default();
            self.at += taken as u64;
            bytes = rest;
        }
        Ok(())
    }

    /// The pack is complete.
    ///
    /// # Errors
    /// It is not, or the base of an object never came.
    pub fn finish(&self) -> Result<(), GitError> {
        match self.state {
            State::Over => self.resolver.finish(),
            _ => Err(GitError::CutShort(STEP)),
        }
    }

    /// Takes some of the bytes, and says how many: at least one.
    fn step(&mut self, bytes: &[u8], objects: &mut dyn Objects) -> Result<usize, GitError> {
        match &self.state {
            State::Header => {
                let taken = self.begin(bytes, HEADER_BYTES);
                self.hash.update(bytes.get(..taken).unwrap_or_default());
                if self.begun.len() == HEADER_BYTES {
                    self.left = count(&self.begun, &self.limits)?;
                    self.begun.clear();
                    self.next_object(taken);
                }
                Ok(taken)
            }
            State::Before(start) => {
                let (start, taken) = (*start, self.begin(bytes, self.begun.len() + 1));
                self.hash.update(bytes.get(..taken).unwrap_or_default());
                if let Some(entry) = Entry::parse(start, &self.begun)? {
                    self.begun.clear();
                    self.check_size(&entry)?;
                    self.inflate.begin(entry.size);
                    self.state = State::Object(entry);
                }
                Ok(taken)
            }
            State::Object(entry) => {
                let (taken, is_over) =
                    self.inflate.feed(bytes).map_err(|reason| entry.wrong(reason))?;
                self.hash.update(bytes.get(..taken).unwrap_or_default());
                if is_over {
                    let entry = *entry;
                    let data = self.inflate.take();
                    self.inflated += self.resolver.add(entry, data, self.inflated, objects)?;
                    self.left = self.left.saturating_sub(1);
                    self.next_object(taken);
                }
                Ok(taken)
            }
            State::Checksum => {
                let taken = self.begin(bytes, CHECKSUM_BYTES);
                if self.begun.len() == CHECKSUM_BYTES {
                    let made: [u8; CHECKSUM_BYTES] = self.hash.clone().finalize().into();
                    if made.as_slice() != self.begun {
                        let reason = "does not have the checksum that it says: it was damaged on \
                                      its way; it will be fetched again";
                        return Err(GitError::Pack(reason.to_owned()));
                    }
                    self.state = State::Over;
                }
                Ok(taken)
            }
            State::Over => Err(GitError::Pack("goes on after its checksum".to_owned())),
        }
    }

    /// Adds bytes to what has begun, until that has `length`; says how many.
    fn begin(&mut self, bytes: &[u8], length: usize) -> usize {
        let taken = length.saturating_sub(self.begun.len()).min(bytes.len());
        self.begun.extend_from_slice(bytes.get(..taken).unwrap_or_default());
        taken
    }

    /// What begins after these bytes: an object, or the checksum.
    fn next_object(&mut self, taken: usize) {
        let start = self.at + taken as u64;
        self.state = if self.left == 0 { State::Checksum } else { State::Before(start) };
    }

    fn check_size(&mut self, entry: &Entry) -> Result<(), GitError> {
        let limit = self.limits.object_bytes;
        if entry.size > limit {
            return Err(entry.wrong(format!(
                "it says that it has {} bytes, the limit of one object is {limit}; keep large \
                 files out of the repository, or give policy one of its own",
                entry.size
            )));
        }
        self.inflated += entry.size as u64;
        let limit = self.limits.inflated_bytes;
        if self.inflated > limit {
            return Err(entry.wrong(format!("with it the pack inflates beyond the limit, {limit}")));
        }
        Ok(())
    }
}

/// The number of objects that a pack's header says.
fn count(header: &[u8], limits: &Limits) -> Result<u32, GitError> {
    let number = |at: usize| {
        let bytes = header.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or_default();
        u32::from_be_bytes(bytes)
    };
    if !header.starts_with(b"PACK") {
        return Err(GitError::Pack("does not begin as packs do".to_owned()));
    }
    let (version, objects) = (number(4), number(8));
    if !matches!(version, 2 | 3) {
        return Err(GitError::Pack(format!("is of version {version}, which is not known")));
    }
    if objects > limits.objects {
        let limit = limits.objects;
        return Err(GitError::Limit(format!(
            "the pack has {objects} objects, the limit is {limit}: give policy a repository of \
             its own"
        )));
    }
    Ok(objects)
}
