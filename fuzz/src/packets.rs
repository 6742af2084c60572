//! Are lines the same however the bytes are cut?

use git::GitError;
use git::packet::{Packet, Packets};

/// The bytes as lines: as a whole, byte by byte, and cut where the first byte says.
pub fn packet_lines(data: &[u8]) {
    let Some((cut, bytes)) = data.split_first() else { return };
    let whole = lines([bytes].into_iter());
    let cut = usize::from(*cut) + 1;
    assert_eq!(whole, lines(bytes.chunks(cut)), "pieces of {cut}");
    assert_eq!(whole, lines(bytes.chunks(1)), "single bytes");
}

/// What was read before the end or the first error, and how it ended.
fn lines<'d>(pieces: impl Iterator<Item = &'d [u8]>) -> (u64, usize, Result<bool, GitError>) {
    let (mut packets, mut sum, mut count) = (Packets::default(), 0_u64, 0);
    for piece in pieces {
        let fed = packets.feed(piece, &mut |packet| {
            count += 1;
            let (mark, data) = match packet {
                Packet::Data(data) => (1, data),
                Packet::Flush => (2, &[][..]),
                Packet::Delimiter => (3, &[][..]),
                Packet::ResponseEnd => (4, &[][..]),
            };
            for byte in [mark, data.len() as u8].iter().chain(data) {
                sum = sum.wrapping_mul(31).wrapping_add(u64::from(*byte));
            }
            Ok(())
        });
        if let Err(error) = fed {
            return (sum, count, Err(error));
        }
    }
    (sum, count, Ok(packets.is_between()))
}
