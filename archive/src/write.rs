//! Writes an archive.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use tar::{Builder, Header};

use crate::read::{ArchiveError, Fault};

/// An archive of these files, each a path and its bytes, in this order. No time and no name of
/// a machine is in it: the same files are the same bytes.
///
/// # Errors
/// [`Fault::Unwritten`] for a path that cannot be in an archive, such as one with `..`.
pub fn write<'f>(
    files: impl IntoIterator<Item = (&'f str, &'f [u8])>,
) -> Result<Vec<u8>, ArchiveError> {
    // Fast: it is made while somebody waits, and a Worker's time costs more than its bytes.
    let mut archive = Builder::new(GzEncoder::new(vec![], Compression::fast()));
    for (path, bytes) in files {
        append(&mut archive, path, bytes).map_err(unwritten)?;
    }
    archive.into_inner().and_then(GzEncoder::finish).map_err(unwritten)
}

fn append(archive: &mut Builder<impl Write>, path: &str, bytes: &[u8]) -> std::io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_size(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    header.set_mode(0o644);
    archive.append_data(&mut header, path, bytes)
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` calls")]
fn unwritten(error: std::io::Error) -> ArchiveError {
    ArchiveError::whole(Fault::Unwritten(error.to_string()))
}
