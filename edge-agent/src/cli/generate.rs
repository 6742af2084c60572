//! `generate-secret` and `generate-keys`.

use std::{
    fs::OpenOptions,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use ed25519_compact::{KeyPair, Seed};

use super::{Failure, say};

#[derive(clap::Args)]
pub(super) struct SecretArguments {
    /// Bytes of randomness
    #[arg(long, value_name = "BYTES", default_value = "32", value_parser = clap::value_parser!(u16).range(1..=4096))]
    size: u16,
    /// How to print them
    #[arg(long, value_name = "FORMAT", default_value = "urlsafe", value_parser = ["hex", "bytes", "urlsafe"])]
    format: String,
    /// Makes a key that facts are sealed with, for GIRASOL_FACTS_KEYS, as KID:KEY
    #[arg(long, conflicts_with_all = ["size", "format"])]
    facts_key: bool,
}

/// Bytes of a key's name, of randomness: enough that no two keys of one setting are called the same.
const KID_BYTES: usize = 4;
/// Bytes of a key that facts are sealed with.
const FACTS_KEY_BYTES: usize = 32;

#[derive(clap::Args)]
pub(super) struct KeyArguments {
    /// Where to write the private key, readable by you only
    #[arg(long, value_name = "FILE", requires = "public_key_file")]
    private_key_file: Option<PathBuf>,
    /// Where to write the public key
    #[arg(long, value_name = "FILE", requires = "private_key_file")]
    public_key_file: Option<PathBuf>,
    /// Replaces files that are there
    #[arg(long)]
    force: bool,
}

impl SecretArguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        if self.facts_key {
            let (kid, key) = (random(KID_BYTES)?, random(FACTS_KEY_BYTES)?);
            say(&format!("{}:{}", protocol::hex(&kid), base64url(&key)));
            return Ok(());
        }
        let secret = random(usize::from(self.size))?;
        match self.format.as_str() {
            "hex" => say(&protocol::hex(&secret)),
            "urlsafe" => say(&base64url(&secret)),
            // Exactly these bytes, no line end.
            _ => {
                let written = io::stdout().write_all(&secret);
                written.map_err(|error| Failure::run(format!("standard output: {error}")))?;
            }
        }
        Ok(())
    }
}

impl KeyArguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        let seed = random(Seed::BYTES)?;
        let seed = Seed::from_slice(&seed)
            .map_err(|error| Failure::run(format!("no key could be made: {error}")))?;
        let pair = KeyPair::from_seed(seed);
        let (private, public) = (pair.sk.to_pem(), pair.pk.to_pem());
        if let (Some(private_file), Some(public_file)) =
            (&self.private_key_file, &self.public_key_file)
        {
            if private_file == public_file {
                return Err(Failure::usage("the two keys need two files"));
            }
            // The pair is only of use whole: look at both before writing one.
            for file in [private_file, public_file] {
                if !self.force && file.exists() {
                    return Err(exists(file));
                }
                if !folder(file).is_dir() {
                    return Err(no_folder(file));
                }
            }
            write(private_file, &private, 0o600, self.force)?;
            write(public_file, &public, 0o644, self.force)?;
            say(&format!("private key: {}", private_file.display()));
            say(&format!("public key:  {}", public_file.display()));
        } else {
            say(&line("GIRASOL_AUTH_PRIVATE_KEY", &private));
            say(&line("GIRASOL_AUTH_PUBLIC_KEY", &public));
        }
        Ok(())
    }
}

fn random(size: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = vec![0; size];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::run(format!("no random numbers: {error}")))?;
    Ok(bytes)
}

/// A variable whose value is a PEM on one line, as shells and `.dev.vars` take it.
fn line(name: &str, pem: &str) -> String {
    format!("{name}=\"{}\"", pem.trim_end().replace('\n', "\\n"))
}

fn exists(file: &Path) -> Failure {
    Failure::run(format!("{} exists", file.display())).hint("give --force to replace it")
}

/// Where a file is to be: the working directory if its path names no folder.
fn folder(file: &Path) -> &Path {
    let named = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    named.unwrap_or_else(|| Path::new("."))
}

fn no_folder(file: &Path) -> Failure {
    let (file, folder) = (file.display(), folder(file).display());
    Failure::run(format!(
        "cannot write {file}: there is no folder {folder}; create it, or choose another path"
    ))
}

/// Writes a file that nobody else may read in between.
fn write(file: &Path, text: &str, mode: u32, force: bool) -> Result<(), Failure> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => exists(file),
        io::ErrorKind::NotFound => no_folder(file),
        _ => Failure::run(format!("cannot write {}: {error}", file.display())),
    };
    if force {
        // Not truncated but made anew, so that its rights are the ones given here.
        match std::fs::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    let mut opened = options.open(file).map_err(failed)?;
    opened.write_all(text.as_bytes()).map_err(failed)
}

/// Base64 with `-` and `_`, without padding (RFC 4648 §5).
fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..=chunk.len() {
            let index = (bits >> (18 - 6 * digit)) & 0x3f;
            text.extend(DIGITS.get(index as usize).copied().map(char::from));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64url_is_rfc_4648s() {
        for (bytes, text) in [
            (&b""[..], ""),
            (b"f", "Zg"),
            (b"fo", "Zm8"),
            (b"foo", "Zm9v"),
            (b"foobar", "Zm9vYmFy"),
            (b"\xfb\xff\xfe", "-__-"),
        ] {
            assert_eq!(base64url(bytes), text);
        }
    }

    #[test]
    fn a_pair_of_files_is_private_whole_and_not_replaced_unasked() {
        let dir = tempfile::tempdir().unwrap();
        let (private, public) = (dir.path().join("k.pem"), dir.path().join("k.pub.pem"));
        let make = |force| {
            KeyArguments {
                private_key_file: Some(private.clone()),
                public_key_file: Some(public.clone()),
                force,
            }
            .run()
        };
        make(false).unwrap();
        let read = |file: &Path| std::fs::read_to_string(file).unwrap();
        let first = read(&private);
        let pair =
            KeyPair::from_slice(ed25519_compact::SecretKey::from_pem(&first).unwrap().as_slice());
        assert_eq!(pair.unwrap().pk, ed25519_compact::PublicKey::from_pem(&read(&public)).unwrap());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(&private).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        std::fs::remove_file(&private).unwrap();
        let failure = make(false).unwrap_err();
        assert!(failure.message.ends_with("k.pub.pem exists"), "{}", failure.message);
        assert!(!private.exists(), "half a pair");
        make(true).unwrap();
        assert_ne!(read(&private), first);
    }

    #[test]
    fn a_folder_that_is_not_there_is_named_with_the_fix_before_anything_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let private = dir.path().join("k.pem");
        let arguments = KeyArguments {
            private_key_file: Some(private.clone()),
            public_key_file: Some(dir.path().join("nowhere").join("k.pub.pem")),
            force: true,
        };
        let failure = arguments.run().unwrap_err();
        let words = "nowhere; create it, or choose another path";
        assert!(failure.message.ends_with(words), "{}", failure.message);
        assert!(!private.exists(), "half a pair");
        assert_eq!(folder(Path::new("k.pem")), Path::new("."));
    }

    #[test]
    fn a_printed_key_is_one_line_in_quotes() {
        let printed = line("K", "-----BEGIN X-----\nabc\n-----END X-----\n");
        assert_eq!(printed, "K=\"-----BEGIN X-----\\nabc\\n-----END X-----\"");
    }
}
