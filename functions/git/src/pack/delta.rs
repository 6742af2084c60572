//! Applies a change: pieces of the base, and new bytes (`gitformat-pack`, "Deltified
//! representation").

/// Bytes of a copied piece, where its size is written as 0.
const DEFAULT_COPY: usize = 0x1_0000;

/// A change, its sizes read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delta<'d> {
    base_size: usize,
    /// Bytes of the result.
    pub(super) size: usize,
    steps: &'d [u8],
}

// === impl Delta ===

impl<'d> Delta<'d> {
    pub(super) fn parse(bytes: &'d [u8]) -> Result<Self, &'static str> {
        let mut rest = bytes;
        let base_size = size(&mut rest).ok_or(BAD_SIZE)?;
        let size = size(&mut rest).ok_or(BAD_SIZE)?;
        Ok(Self { base_size, size, steps: rest })
    }

    /// The result. Its size was compared with the limits before.
    pub(super) fn apply(&self, base: &[u8]) -> Result<Vec<u8>, &'static str> {
        if base.len() != self.base_size {
            return Err("it is a change of an object of another size than its base has");
        }
        let mut out = Vec::with_capacity(self.size);
        let mut rest = self.steps;
        while let Some((step, after)) = rest.split_first() {
            rest = after;
            let piece = if step & 0x80 != 0 {
                let from = number(step & 0x0f, &mut rest).ok_or(CUT)?;
                let length = match number((step >> 4) & 0x07, &mut rest).ok_or(CUT)? {
                    0 => DEFAULT_COPY,
                    length => length,
                };
                let end = from.checked_add(length).ok_or(OUTSIDE)?;
                base.get(from..end).ok_or(OUTSIDE)?
            } else if *step == 0 {
                return Err("it has a step that git has not defined");
            } else {
                let (piece, after) = rest.split_at_checked(usize::from(*step)).ok_or(CUT)?;
                rest = after;
                piece
            };
            if out.len() + piece.len() > self.size {
                return Err("its change makes more bytes than it says");
            }
            out.extend_from_slice(piece);
        }
        if out.len() < self.size {
            return Err("its change makes fewer bytes than it says");
        }
        Ok(out)
    }
}

const BAD_SIZE: &str = "its change does not begin with two sizes";
const CUT: &str = "its change ends within a step";
const OUTSIDE: &str = "its change copies from outside of its base";

/// A size, seven bits a byte, the low ones first.
fn size(rest: &mut &[u8]) -> Option<usize> {
    let (mut size, mut shift) = (0_usize, 0_u32);
    loop {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        let digits = usize::from(byte & 0x7f);
        if shift >= usize::BITS || digits > usize::MAX >> shift {
            return None;
        }
        size |= digits << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return Some(size);
        }
    }
}

/// A number of which only the bytes are there whose bit is set, the low ones first.
fn number(mask: u8, rest: &mut &[u8]) -> Option<usize> {
    let mut number = 0;
    for index in (0..4).filter(|index| mask & (1 << index) != 0) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        number |= usize::from(*byte) << (8 * index);
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &[u8] = b"hello world";

    fn apply(bytes: &[u8]) -> Result<Vec<u8>, &'static str> {
        Delta::parse(bytes)?.apply(BASE)
    }

    #[test]
    fn copies_and_new_bytes_make_the_result() {
        assert_eq!(apply(&[11, 8, 0x90, 5, 3, b'!', b'!', b'!']).unwrap(), b"hello!!!");
        assert_eq!(apply(&[11, 5, 0x91, 6, 5]).unwrap(), b"world");
        assert_eq!(apply(&[11, 0]).unwrap(), b"");
    }

    #[test]
    fn a_change_that_is_wrong_is_refused() {
        for (bytes, why) in [
            (&[][..], BAD_SIZE),
            (&[11], BAD_SIZE),
            (&[0xff; 12], BAD_SIZE),
            (&[12, 0], "it is a change of an object of another size than its base has"),
            (&[11, 5, 0x91, 7, 5], OUTSIDE),
            (&[11, 5, 0x9f, 0xff, 0xff, 0xff, 0xff, 5], OUTSIDE),
            (&[11, 5, 0x80], OUTSIDE),
            (&[11, 5, 0x91], CUT),
            (&[11, 5, 5, b'a'], CUT),
            (&[11, 1, 0], "it has a step that git has not defined"),
            (&[11, 4, 0x90, 5], "its change makes more bytes than it says"),
            (&[11, 6, 0x90, 5], "its change makes fewer bytes than it says"),
        ] {
            assert_eq!(apply(bytes), Err(why), "{bytes:?}");
        }
    }
}
