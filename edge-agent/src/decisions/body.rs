//! Bodies of requests, within limits.

use std::io::Read as _;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use decision::{MAX_BODY_BYTES, Reply};
use flate2::read::MultiGzDecoder;

/// A body as it came.
pub(super) enum Read {
    Plain(Bytes),
    Gzip(Bytes),
}

/// Reads a body.
///
/// # Errors
/// 400: it is too large, or of an encoding that nobody reads.
pub(super) async fn read(headers: &HeaderMap, body: Body) -> Result<Read, Reply> {
    let encoding = headers.get(header::CONTENT_ENCODING).map(|it| it.to_str().unwrap_or("?"));
    let body = axum::body::to_bytes(body, MAX_BODY_BYTES).await.map_err(|_| too_large())?;
    match encoding {
        None | Some("" | "identity") => Ok(Read::Plain(body)),
        Some(encoding) if encoding.contains("gzip") => Ok(Read::Gzip(body)),
        Some(_) => Err(Reply::invalid_parameter("Content-Encoding: send gzip, or nothing at all")),
    }
}

/// A body of no more bytes is read in no time.
const SMALL_BYTES: usize = 16 << 10;

impl Read {
    /// True if it is read in no time.
    pub(super) fn is_small(&self) -> bool {
        matches!(self, Self::Plain(body) if body.len() <= SMALL_BYTES)
    }

    /// The body itself, which may take a while.
    ///
    /// # Errors
    /// 400: it is too large, or no gzip.
    pub(super) fn decoded(&self) -> Result<Bytes, Reply> {
        let packed = match self {
            Self::Plain(body) => return Ok(body.clone()),
            Self::Gzip(body) => body,
        };
        let most = u64::try_from(MAX_BODY_BYTES).unwrap_or(u64::MAX);
        let mut body = Vec::new();
        // One more, to see that it is too many.
        let mut unpacked = MultiGzDecoder::new(&**packed).take(most.saturating_add(1));
        unpacked.read_to_end(&mut body).map_err(|error| {
            Reply::invalid_parameter(&format!("could not decompress the body: {error}"))
        })?;
        if body.len() > MAX_BODY_BYTES { Err(too_large()) } else { Ok(body.into()) }
    }
}

fn too_large() -> Reply {
    Reply::invalid_parameter("request body too large")
}
