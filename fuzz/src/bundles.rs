//! Does any archive break its reader, or get a path past it that leads elsewhere?

use std::io::Write as _;

use archive::Limits;
use flate2::Compression;
use flate2::write::GzEncoder;

const LIMITS: Limits = Limits {
    inflated_bytes: 64 << 10,
    text_bytes: 8 << 10,
    file_bytes: 4 << 10,
    files: 20,
    path_bytes: 64,
};

/// The bytes as a compressed archive.
pub fn bundle(data: &[u8]) {
    let Ok(files) = archive::read(data, &LIMITS) else { return };
    assert!(files.len() <= LIMITS.files, "{} files", files.len());
    let bytes: usize = files.values().map(String::len).sum();
    assert!(bytes <= LIMITS.text_bytes, "{bytes} bytes");
    for path in files.keys() {
        assert!(path.len() <= LIMITS.path_bytes, "{path:?}");
        let leads_elsewhere = |segment: &str| matches!(segment, "" | "." | "..");
        assert!(!path.split('/').any(leads_elsewhere), "{path:?}");
        assert!(!path.contains('\0'), "{path:?}");
    }
}

/// The bytes as an archive, which is compressed first, so that its checksum is good.
pub fn made_bundle(data: &[u8]) {
    let mut encoder = GzEncoder::new(vec![], Compression::none());
    encoder.write_all(data).expect("memory takes everything");
    bundle(&encoder.finish().expect("memory takes everything"));
}
