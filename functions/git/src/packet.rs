//! How lines are framed on the wire: four hexadecimal digits of length, then that many bytes less
//! four (`gitprotocol-common`). Three short lengths are marks.

use crate::error::{GitError, printable};

/// Bytes of a line with its length, at most.
pub const MAX_PACKET_BYTES: usize = 65_520;
/// The digits of the length.
const LENGTH_BYTES: usize = 4;
/// The end of a message, as it is sent.
pub const FLUSH: &[u8] = b"0000";
/// The end of a part of a message, as it is sent.
pub const DELIMITER: &[u8] = b"0001";

/// A line, or a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'p> {
    /// Bytes.
    Data(&'p [u8]),
    /// `0000`: a message ends.
    Flush,
    /// `0001`: a part of a message ends.
    Delimiter,
    /// `0002`: an answer ends.
    ResponseEnd,
}

/// Finds the lines in bytes that come in pieces of any size. Holds at most one line.
#[derive(Clone, Debug, Default)]
pub struct Packets {
    /// The beginning of a line whose end has not come yet.
    begun: Vec<u8>,
}

// === impl Packets ===

impl Packets {
    /// Whether no line has begun.
    #[must_use]
    pub fn is_between(&self) -> bool {
        self.begun.is_empty()
    }

    /// Hands each line that is complete to `each`, in order.
    ///
    /// # Errors
    /// [`GitError::Protocol`] for a length that is none, or what `each` says. What is left of the
    /// bytes is dropped then.
    pub fn feed(
        &mut self,
        mut bytes: &[u8],
        each: &mut dyn FnMut(Packet<'_>) -> Result<(), GitError>,
    ) -> Result<(), GitError> {
        while !bytes.is_empty() {
            // A line that is here as a whole is not copied.
            if self.begun.is_empty()
                && let Some(length) = length_of(bytes)?
                && let Some((packet, rest)) = bytes.split_at_checked(length)
            {
                bytes = rest;
                each(meaning(packet))?;
                continue;
            }
            let wanted = length_of(&self.begun)?.unwrap_or(LENGTH_BYTES);
            let lacking = wanted.saturating_sub(self.begun.len());
            let (piece, rest) = bytes.split_at_checked(lacking).unwrap_or((bytes, &[]));
            self.begun.extend_from_slice(piece);
            bytes = rest;
            if length_of(&self.begun)? == Some(self.begun.len()) {
                let packet = std::mem::take(&mut self.begun);
                each(meaning(&packet))?;
            }
        }
        Ok(())
    }
}

/// Adds a line of text to a message. Its length must fit; ours are short.
pub fn push_line(message: &mut Vec<u8>, text: &str) {
    let length = text.len() + LENGTH_BYTES + 1;
    message.extend_from_slice(format!("{length:04x}{text}\n").as_bytes());
}

/// A line of text without its line end.
#[must_use]
pub fn text(data: &[u8]) -> &[u8] {
    data.strip_suffix(b"\n").unwrap_or(data)
}

/// Bytes of the packet that these bytes begin, its length included; none if that has not come.
fn length_of(bytes: &[u8]) -> Result<Option<usize>, GitError> {
    let Some(digits) = bytes.get(..LENGTH_BYTES) else {
        return Ok(None);
    };
    let length = digits.iter().try_fold(0_usize, |sum, digit| {
        let value = char::from(*digit).to_digit(16)?;
        Some((sum << 4) | value as usize)
    });
    match length {
        Some(0..=2) => Ok(Some(LENGTH_BYTES)),
        Some(length @ LENGTH_BYTES..=MAX_PACKET_BYTES) => Ok(Some(length)),
        _ => Err(GitError::Protocol(format!("`{}` is no length of a line", printable(digits)))),
    }
}

/// What a whole packet is.
fn meaning(packet: &[u8]) -> Packet<'_> {
    match packet {
        b"0000" => Packet::Flush,
        b"0001" => Packet::Delimiter,
        b"0002" => Packet::ResponseEnd,
        other => Packet::Data(other.get(LENGTH_BYTES..).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pieces: &[&[u8]]) -> Result<(Vec<String>, bool), GitError> {
        let (mut packets, mut seen) = (Packets::default(), vec![]);
        for piece in pieces {
            packets.feed(piece, &mut |packet| {
                seen.push(match packet {
                    Packet::Data(data) => String::from_utf8_lossy(data).into_owned(),
                    mark => format!("{mark:?}"),
                });
                Ok(())
            })?;
        }
        Ok((seen, packets.is_between()))
    }

    #[test]
    fn lines_are_the_same_however_the_bytes_are_cut() {
        let bytes = b"0007abc000000010002000400061\n";
        let whole = read(&[bytes]).unwrap();
        assert_eq!(whole.0, ["abc", "Flush", "Delimiter", "ResponseEnd", "", "1\n"]);
        assert!(whole.1);
        for size in 1..bytes.len() {
            let pieces: Vec<&[u8]> = bytes.chunks(size).collect();
            assert_eq!(read(&pieces).unwrap(), whole, "pieces of {size}");
        }
        assert_eq!(read(&[b"0007ab"]).unwrap(), (vec![], false));
    }

    #[test]
    fn lengths_that_are_none_are_refused() {
        for bytes in [&b"0003"[..], b"fff1", b"ffff", b"+001", b"<!DO", b"zzzz"] {
            let error = read(&[bytes]).unwrap_err().to_string();
            assert!(error.contains("is no length"), "{error}");
            let (first, second) = bytes.split_at(2);
            assert!(read(&[first, second]).is_err());
        }
        assert!(read(&[b"fff0"]).is_ok());
    }

    #[test]
    fn a_line_is_written_with_its_length() {
        let mut message = vec![];
        push_line(&mut message, "want x");
        assert_eq!(message, b"000bwant x\n");
        assert_eq!(text(b"want x\n"), b"want x");
    }
}
