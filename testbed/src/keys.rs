//! Keys and secrets: fixed ones for tests, generated and kept ones for `dev` and the demo.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};

use crate::parts::Part;
use crate::process::command;

/// The functions' signing key, as PEM text.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    private: String,
}

// Everybody can read these: they must never sign anything outside a test.
const FOR_TESTS: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIOvnDajuJFHbY9/iniEcKW/oRMXGDj858vbu2eMtc33M
-----END PRIVATE KEY-----
";
const OTHER_FOR_TESTS: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIGPiUyL2mkGvDZB/yIsQbrJ5WKKnym7GDWicHFU2riN9
-----END PRIVATE KEY-----
";
const RSA_FOR_TESTS: &str = include_str!("../assets/rsa-for-tests.txt");
/// The other half of the pair that an opal-server wants, as PEM text.
pub(crate) const RSA_PUBLIC_FOR_TESTS: &str = include_str!("../assets/rsa-for-tests.pub.txt");

/// Reads the secret in `file`, or makes one of 32 random bytes, in hexadecimal, and keeps it there
/// with mode 0600.
///
/// # Errors
/// The file cannot be read or written.
pub fn load_or_create_secret(file: &Path) -> Result<String> {
    if file.exists() {
        let text = fs::read_to_string(file);
        let text = text.with_context(|| format!("reading {}", file.display()))?;
        return Ok(text.trim().to_owned());
    }
    let secret = random_secret()?;
    write_private(file, &format!("{secret}\n"))?;
    Ok(secret)
}

/// Writes a file that only its owner may read (mode 0600), also where it existed before.
///
/// # Errors
/// The file cannot be written.
pub fn write_private(file: &Path, text: &str) -> Result<()> {
    // A new file in the old one's place: the mode only counts for a file that is created.
    let part = file.with_extension("part");
    let _ = fs::remove_file(&part);
    let write = || {
        let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
        out.write_all(text.as_bytes())?;
        fs::rename(&part, file)
    };
    write().with_context(|| format!("writing {}: make its folder writable", file.display()))
}

pub(crate) fn random_secret() -> Result<String> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(|error| anyhow!("no random bytes: {error}"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

// === impl Keys ===

impl Keys {
    /// An Ed25519 key that is the same in every run.
    pub fn for_tests() -> Self {
        Self { private: FOR_TESTS.to_owned() }
    }

    /// Another one, for a token that was "signed by somebody else".
    pub fn other_for_tests() -> Self {
        Self { private: OTHER_FOR_TESTS.to_owned() }
    }

    /// An RSA key, as OPAL's servers have: the one of [`crate::OpalServerBuilder::secure`].
    pub fn rsa_for_tests() -> Self {
        Self { private: RSA_FOR_TESTS.to_owned() }
    }

    /// The key pair kept in `folder`; generated there by `edge-agent generate-keys` the first time.
    ///
    /// # Errors
    /// There is no agent to generate it, or the folder cannot be read or written.
    pub async fn load_or_generate(folder: &Path) -> Result<Self> {
        let private_file = folder.join("signing-key.pem");
        if !private_file.exists() {
            let public_file = folder.join("signing-key.pub.pem");
            let mut generate = command(Part::Agent.find()?);
            generate.arg("generate-keys");
            generate.arg("--private-key-file").arg(&private_file);
            generate.arg("--public-key-file").arg(&public_file);
            let output = generate.output().await.context("running `edge-agent generate-keys`")?;
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr);
                bail!("`edge-agent generate-keys` ended with {}: {}", output.status, said.trim());
            }
        }
        let private = fs::read_to_string(&private_file)
            .with_context(|| format!("reading {}", private_file.display()))?;
        // Also where the file came from elsewhere: a signing key is nobody else's business.
        write_private(&private_file, &private)?;
        Ok(Self { private })
    }

    /// The private key as PEM text, for `GIRASOL_AUTH_PRIVATE_KEY`.
    pub fn private_pem(&self) -> &str {
        &self.private
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Keys(private)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_secret_is_made_once_and_only_its_owner_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("master-token");
        let made = load_or_create_secret(&file).unwrap();
        assert_eq!(made.len(), 64);
        assert_eq!(load_or_create_secret(&file).unwrap(), made);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn writing_over_an_open_file_closes_it_to_others() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("env");
        fs::write(&file, "old").unwrap();
        write_private(&file, "new").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn keys_do_not_print() {
        assert!(!format!("{:?}", Keys::for_tests()).contains("BEGIN"));
    }
}
