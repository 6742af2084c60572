//! The settings of fetches, and of the secrets that they use.

use std::path::PathBuf;

use crate::secrets::Rules;

use super::{ConfigError, Resolved, Secret, kind::Value, missing};

/// Where sources may be, and how they are connected to.
#[derive(Clone, Debug)]
pub struct FetchSettings {
    /// Rules, of which one must match if there are any.
    pub allow: Vec<String>,
    /// Rules, of which none may match.
    pub deny: Vec<String>,
    /// Bytes of JSON that one fetch may bring.
    pub max_bytes: usize,
    /// Certificates to trust besides the platform's; of the server, too.
    pub ca_file: Option<PathBuf>,
    /// The certificate to show.
    pub cert_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
    /// An HTTP proxy, whose address may have a password.
    pub proxy: Option<Secret>,
}

impl FetchSettings {
    pub(super) fn new(resolved: &Resolved) -> Result<Self, ConfigError> {
        let Some(Value::Bytes(max_bytes)) = resolved.get("fetch_max_bytes") else {
            return Err(missing("fetch_max_bytes"));
        };
        let (cert_file, key_file) =
            (resolved.path("fetch_cert_file"), resolved.path("fetch_key_file"));
        for (given, other, name) in
            [(&cert_file, &key_file, "fetch_cert_file"), (&key_file, &cert_file, "fetch_key_file")]
        {
            if given.is_some() && other.is_none() {
                let reason = "fetch_cert_file and fetch_key_file belong together: give both";
                return Err(resolved.refuse(name, reason));
            }
        }
        Ok(Self {
            allow: resolved.list("fetch_allow").unwrap_or_default(),
            deny: resolved.list("fetch_deny").unwrap_or_default(),
            max_bytes: *max_bytes,
            ca_file: resolved.path("fetch_ca_file"),
            cert_file,
            key_file,
            proxy: resolved.secret("fetch_proxy"),
        })
    }
}

/// Where the secrets come from that updates name, besides the environment.
#[derive(Clone, Debug)]
pub struct SecretSettings {
    /// A folder with a file each.
    pub dir: Option<PathBuf>,
    /// A program with its first arguments; empty for none.
    pub command: Vec<String>,
    /// Which hosts they may go to.
    pub rules: Rules,
}

impl SecretSettings {
    pub(super) fn new(resolved: &Resolved) -> Result<Self, ConfigError> {
        let rules = resolved.text("secrets").ok().map(|text| Rules::read(&text)).transpose();
        Ok(Self {
            dir: resolved.path("secrets_dir"),
            command: resolved.list("secrets_command").unwrap_or_default(),
            rules: rules.map_err(|reason| resolved.refuse("secrets", &reason))?.unwrap_or_default(),
        })
    }
}
