//! Certificates for servers on loopback, signed by an authority that nobody else knows.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use crate::keys::write_private;
use crate::process::own_folder;

/// A private certificate authority. Its files are gone when it is dropped.
#[derive(Debug)]
pub struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

// === impl Authority ===

impl Authority {
    /// A new one.
    ///
    /// # Errors
    /// No key could be made, or no file be written.
    pub fn new() -> Result<Self> {
        let key = KeyPair::generate().context("making a key")?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "an authority for tests");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).context("signing the authority")?.pem();
        let folder = own_folder("authority")?;
        std::fs::write(folder.path().join("ca.pem"), &certificate)?;
        Ok(Self { folder, issuer: Issuer::new(params, key), certificate })
    }

    /// The authority's certificate, PEM.
    pub fn pem(&self) -> &str {
        &self.certificate
    }

    /// A file that holds [`Authority::pem`].
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Writes a certificate for `names` (names or addresses) and its key into `folder`, as
    /// `NAME.pem` and `NAME.key`; answers with the two files.
    ///
    /// # Errors
    /// A name is none, or a file could not be written.
    pub fn issue(&self, folder: &Path, name: &str, names: &[&str]) -> Result<(PathBuf, PathBuf)> {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let key = KeyPair::generate().context("making a key")?;
        let mut params = CertificateParams::new(names).context("naming a certificate")?;
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.issuer).context("signing")?;
        let files = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
        std::fs::write(&files.0, certificate.pem())?;
        write_private(&files.1, &key.serialize_pem())?;
        Ok(files)
    }
}
