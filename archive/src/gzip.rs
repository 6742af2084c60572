//! One compressed text, such as the body of a request.

use std::io::Read as _;

use flate2::read::MultiGzDecoder;
use protocol::Problem;

/// What a gzip text says, of at most `limit` bytes.
///
/// # Errors
/// 400 for what is not gzip or is damaged; 413 above the limit, found out before more than the
/// limit is in memory.
pub fn inflate(bytes: &[u8], limit: usize) -> Result<Vec<u8>, Problem> {
    let mut inflated = vec![];
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let outcome = MultiGzDecoder::new(bytes).take(most).read_to_end(&mut inflated);
    if inflated.len() > limit {
        return Err(Problem::too_large(format!(
            "the body has more than {limit} bytes when it is inflated, which is the limit"
        )));
    }
    match outcome {
        Ok(_) => Ok(inflated),
        Err(error) => Err(Problem::new(
            400,
            format!("the body cannot be inflated: {error}; send gzip, or no Content-Encoding"),
        )),
    }
}

/// True if a text begins as gzip does.
#[must_use]
pub fn is_gzip(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1f, 0x8b])
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn deflated(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn what_was_compressed_comes_back_up_to_the_limit() {
        let text = vec![b'x'; 1_000_000];
        let small = deflated(&text);
        assert!(is_gzip(&small) && small.len() < 2_000);
        assert_eq!(inflate(&small, text.len()).unwrap(), text);
        assert_eq!(inflate(&small, text.len() - 1).unwrap_err().status, 413);
    }

    #[test]
    fn what_is_damaged_is_a_bad_request() {
        let whole = deflated(b"hello");
        for bytes in [&b"hello"[..], &whole[..whole.len() - 1], &[]] {
            assert_eq!(inflate(bytes, 100).unwrap_err().status, 400, "{bytes:?}");
        }
        let mut wrong = whole.clone();
        let at = wrong.len() - 8;
        wrong[at] ^= 1;
        assert_eq!(inflate(&wrong, 100).unwrap_err().status, 400);
    }
}
