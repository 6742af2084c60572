//! What an object is packed in, as its key tells: `….json.gz`, `….ndjson.zst`. What a store sends
//! with a `Content-Encoding` was unpacked before.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;

/// The ends of keys, in the order in which they stand: the last first.
const PACKINGS: [(&str, Packing); 3] =
    [(".gz", Packing::Gzip), (".zst", Packing::Zstd), (".zstd", Packing::Zstd)];

/// Names of what is one document a line.
const LINES: [&str; 2] = [".ndjson", ".jsonl"];

/// The first bytes of what is packed so.
const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
const ZSTD_MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packing {
    Gzip,
    Zstd,
}

/// What a key tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packed {
    packing: Option<Packing>,
    lines: bool,
}

impl Packed {
    pub(super) fn of(key: &str) -> Self {
        let key = key.to_ascii_lowercase();
        let found =
            PACKINGS.iter().find_map(|(end, packing)| Some((key.strip_suffix(end)?, *packing)));
        let (name, packing) = found.map_or((key.as_str(), None), |(name, it)| (name, Some(it)));
        Self { packing, lines: LINES.iter().any(|end| name.ends_with(end)) }
    }

    /// The content type, if the key tells it better than the store.
    pub(super) fn content_type(self) -> Option<&'static str> {
        match self {
            Self { lines: true, .. } => Some("application/x-ndjson"),
            Self { packing: Some(_), .. } => Some("application/json"),
            _ => None,
        }
    }

    /// Unpacks at most `limit` bytes, away from where others would have to wait.
    ///
    /// # Errors
    /// It is not packed so, or is larger.
    pub(super) async fn unpack(self, body: Vec<u8>, limit: usize) -> Result<Vec<u8>, String> {
        let Some(packing) = self.packing else { return Ok(body) };
        let magic = match packing {
            Packing::Gzip => GZIP_MAGIC,
            Packing::Zstd => ZSTD_MAGIC,
        };
        if !body.starts_with(magic) {
            // Packed for the way as well, and unpacked there.
            return Ok(body);
        }
        let work = tokio::task::spawn_blocking(move || unpack(packing, &body, limit));
        match work.await {
            Ok(Ok(body)) => Ok(body),
            Ok(Err(error)) => Err(format!("sent an object that cannot be unpacked: {error}")),
            Err(_) => Err("sent an object that cannot be unpacked".to_owned()),
        }
    }
}

fn unpack(packing: Packing, body: &[u8], limit: usize) -> io::Result<Vec<u8>> {
    let most = (limit as u64).saturating_add(1);
    let mut unpacked = Vec::new();
    match packing {
        Packing::Gzip => MultiGzDecoder::new(body).take(most).read_to_end(&mut unpacked)?,
        Packing::Zstd => {
            zstd::stream::read::Decoder::new(body)?.take(most).read_to_end(&mut unpacked)?
        }
    };
    if unpacked.len() > limit {
        let message = format!("it has more than the limit of {limit} bytes (fetch_max_bytes)");
        return Err(io::Error::other(message));
    }
    Ok(unpacked)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn the_key_tells_what_an_object_is() {
        let gzip = Some(Packing::Gzip);
        for (key, packing, kind) in [
            ("a/users.json", None, None),
            ("a.ndjson/users", None, None),
            ("users.JSONL", None, Some("application/x-ndjson")),
            ("users.json.gz", gzip, Some("application/json")),
            ("users.ndjson.GZ", gzip, Some("application/x-ndjson")),
            ("users.zst", Some(Packing::Zstd), Some("application/json")),
        ] {
            let packed = Packed::of(key);
            assert_eq!((packed.packing, packed.content_type()), (packing, kind), "{key}");
        }
    }

    #[tokio::test]
    async fn an_object_is_unpacked_up_to_the_limit() {
        let data = b"{\"a\":1}".repeat(100);
        let zstd = zstd::bulk::compress(&data, 1).unwrap();
        // Two parts in one file are one, as every tool has it.
        let two = [gzip(&data[..300]), gzip(&data[300..])].concat();
        for (key, body) in
            [("a.gz", gzip(&data)), ("a.gz", two), ("a.zst", zstd), ("a.gz", data.clone())]
        {
            assert_eq!(Packed::of(key).unpack(body.clone(), data.len()).await, Ok(data.clone()));
            if body != data {
                let error = Packed::of(key).unpack(body, data.len() - 1).await.unwrap_err();
                assert!(error.contains("more than the limit of 699 bytes"), "{error}");
            }
        }
        let mut broken = gzip(&data);
        broken.truncate(30);
        let error = Packed::of("a.gz").unpack(broken, 1_000).await.unwrap_err();
        assert!(error.contains("cannot be unpacked"), "{error}");
    }
}
