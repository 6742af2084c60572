//! What a server sends is looked at before the library reads it.
//!
//! Whoever publishes an update chooses the server, and the library believes what a server sends:
//! that a message ends, and that its parts are not nested without end. Here a message passes
//! only when it is whole, within what one fetch may bring, and of sane depth.

use std::sync::{Arc, OnceLock};

use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader, BufWriter,
};

use crate::fetch::metered::Allowance;

/// How deep a message is nested at most; an entry's values are at five.
const DEPTH: usize = 16;
/// Bytes that are on their way at once.
const BUFFER: usize = 16 << 10;
/// The tag of a message: a sequence.
const MESSAGE: u8 = 0x30;
/// Set in the tag of what has parts.
const HAS_PARTS: u8 = 0x20;

/// Why nothing passes any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// It is more than a fetch may bring.
    TooMuch,
    /// It is not LDAP.
    Strange,
}

/// Why a gate was closed, if it was.
pub(super) type Verdict = Arc<OnceLock<Closed>>;

/// Passes everything on to the server, and messages on from it, until one of the two ends.
pub(super) async fn guard<S, L>(server: S, library: L, allowance: Allowance, verdict: Verdict)
where
    S: AsyncRead + AsyncWrite,
    L: AsyncRead + AsyncWrite,
{
    let (from_server, mut to_server) = tokio::io::split(server);
    let (mut from_library, to_library) = tokio::io::split(library);
    // Entries are small and many.
    let mut from_server = BufReader::with_capacity(BUFFER, from_server);
    let mut to_library = BufWriter::with_capacity(BUFFER, to_library);
    let asking = async {
        let _ = tokio::io::copy(&mut from_library, &mut to_server).await;
    };
    let answering = async {
        loop {
            match message(&mut from_server, &allowance).await {
                Ok(Some(message)) => {
                    let mut written = to_library.write_all(&message).await;
                    if from_server.buffer().is_empty() {
                        written = written.and(to_library.flush().await);
                    }
                    if written.is_err() {
                        return;
                    }
                }
                Ok(None) => {
                    let _ = to_library.flush().await;
                    return;
                }
                Err(why) => {
                    let _ = verdict.set(why);
                    return;
                }
            }
        }
    };
    tokio::select! {
        () = asking => {}
        () = answering => {}
    }
}

/// The next message, whole; `None` where the connection ends.
pub(super) async fn message(
    from: &mut (impl AsyncRead + Unpin),
    allowance: &Allowance,
) -> Result<Option<Vec<u8>>, Closed> {
    let mut message = Vec::new();
    // A tag and a length, which says of itself how long it is.
    if !read(from, &mut message, 2).await {
        return Ok(None);
    }
    let [MESSAGE, length] = message.as_slice() else { return Err(Closed::Strange) };
    let more = match *length {
        short @ 0..=0x7f => usize::from(short),
        long @ 0x81..=0x84 => {
            let count = usize::from(long & 0x7f);
            if !read(from, &mut message, count).await {
                return Ok(None);
            }
            let digits = message.get(2..).unwrap_or_default();
            digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit))
        }
        _ => return Err(Closed::Strange),
    };
    let head = message.len();
    if !allowance.spend(head.saturating_add(more)) {
        return Err(Closed::TooMuch);
    }
    if !read(from, &mut message, more).await {
        return Ok(None);
    }
    let parts = message.get(head..).unwrap_or_default();
    if is_sane(parts, DEPTH) { Ok(Some(message)) } else { Err(Closed::Strange) }
}

/// Appends exactly so many bytes; room is made only for those that come.
async fn read(from: &mut (impl AsyncRead + Unpin), into: &mut Vec<u8>, count: usize) -> bool {
    let wanted = u64::try_from(count).unwrap_or(u64::MAX);
    matches!(from.take(wanted).read_to_end(into).await, Ok(read) if read == count)
}

/// Whether these are whole parts, nested no deeper than that.
fn is_sane(mut parts: &[u8], depth: usize) -> bool {
    while !parts.is_empty() {
        let Some((tag, content, rest)) = part(parts) else { return false };
        if tag & HAS_PARTS != 0 && (depth == 0 || !is_sane(content, depth - 1)) {
            return false;
        }
        parts = rest;
    }
    true
}

/// The first part: its tag, what it holds, and what follows it.
pub(super) fn part(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let [tag, length, rest @ ..] = bytes else { return None };
    // A tag of more than one byte is not used in LDAP.
    if tag & 0x1f == 0x1f {
        return None;
    }
    let (length, rest) = match *length {
        short @ 0..=0x7f => (usize::from(short), rest),
        long @ 0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
            (digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A part of at most 64 KiB.
    fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[tag, 0x82], &length[..], content].concat()
    }

    async fn passed(bytes: &[u8], limit: usize) -> Result<Option<Vec<u8>>, Closed> {
        message(&mut &bytes[..], &Allowance::new(limit)).await
    }

    #[tokio::test]
    async fn a_whole_message_passes_as_it_came() {
        let short = [0x30, 3, 2, 1, 1];
        assert_eq!(passed(&short, 100).await, Ok(Some(short.to_vec())));
        let long = tagged(MESSAGE, &tagged(4, &[b'x'; 300]));
        let both = [long.as_slice(), &short].concat();
        assert_eq!(passed(&both, 1000).await, Ok(Some(long)));
        assert_eq!(passed(&[], 100).await, Ok(None));
        assert_eq!(passed(&short[..4], 100).await, Ok(None));
    }

    #[tokio::test]
    async fn what_is_too_long_is_not_waited_for() {
        assert_eq!(passed(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], 1000).await, Err(Closed::TooMuch));
        assert_eq!(passed(&[0x30, 0x82, 1, 0], 200).await, Err(Closed::TooMuch));
    }

    #[tokio::test]
    async fn what_is_not_ldap_does_not_pass() {
        let mut deep = vec![];
        for _ in 0..DEPTH + 2 {
            deep = tagged(MESSAGE, &deep);
        }
        for strange in [
            b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
            vec![0x30, 0x80, 0, 0],
            vec![0x30, 0x88, 0, 0, 0, 0, 0, 0, 0, 0],
            vec![0x30, 3, 2, 9, 1],
            vec![0x30, 3, 0x1f, 1, 1],
            vec![0x30, 1, 2],
            deep,
        ] {
            assert_eq!(passed(&strange, 10_000).await, Err(Closed::Strange), "{strange:?}");
        }
    }
}
