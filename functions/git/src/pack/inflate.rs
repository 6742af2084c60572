//! Inflates one object after the other, none further than it says.

use flate2::{Decompress, FlushDecompress, Status};

/// Bytes of memory that are taken before any have come, at most: a size is only a claim.
const FIRST_BYTES: usize = 16 << 10;

/// Inflates one object after the other.
#[derive(Debug)]
pub(super) struct Inflate {
    zlib: Decompress,
    /// What came out so far. Has room for one byte more than was declared, to see if it comes.
    out: Vec<u8>,
    size: usize,
}

impl Default for Inflate {
    fn default() -> Self {
        Self { zlib: Decompress::new(true), out: vec![], size: 0 }
    }
}

impl Inflate {
    /// An object begins that says it has this size.
    pub(super) fn begin(&mut self, size: usize) {
        self.zlib.reset(true);
        self.out = vec![];
        self.size = size;
    }

    /// Takes some of the bytes: how many, and whether the object is complete.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<(usize, bool), &'static str> {
        let mut taken = 0;
        loop {
            if self.out.len() == self.out.capacity() {
                let lacking = self.size.saturating_add(1).saturating_sub(self.out.len());
                self.out.reserve_exact(lacking.min(self.out.len().max(FIRST_BYTES)));
            }
            let (before_in, before_out) = (self.zlib.total_in(), self.out.len());
            let input = bytes.get(taken..).unwrap_or_default();
            let status = self
                .zlib
                .decompress_vec(input, &mut self.out, FlushDecompress::None)
                .map_err(|_| "its compressed bytes are damaged")?;
            let used = self.zlib.total_in().saturating_sub(before_in);
            taken += usize::try_from(used).unwrap_or(usize::MAX);
            if self.out.len() > self.size {
                return Err("it inflates to more bytes than it says");
            }
            match status {
                Status::StreamEnd if self.out.len() < self.size => {
                    return Err("it inflates to fewer bytes than it says");
                }
                Status::StreamEnd => return Ok((taken, true)),
                _ if self.out.len() == self.out.capacity() => {}
                _ if taken >= bytes.len() => return Ok((taken, false)),
                _ if used == 0 && self.out.len() == before_out => {
                    return Err("its compressed bytes are damaged");
                }
                _ => {}
            }
        }
    }

    /// The object.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }
}
