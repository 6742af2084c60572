//! A snapshot: every file of the bundle, and a signature over all of them.

use protocol::opal::policy::PolicyModule;
use protocol::{Problem, hex};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::document::Document;
use super::{Sign, canonical};

/// The archive.
pub(super) fn write(
    manifest: &Value,
    modules: &[PolicyModule],
    data: &Document,
    sign: Option<Sign<'_>>,
) -> Result<Vec<u8>, Problem> {
    let manifest = manifest_text(manifest);
    let mut document = String::new();
    canonical::write(data.root(), &mut document);
    let mut files = vec![(".manifest", manifest.as_str()), ("data.json", document.as_str())];
    files.extend(modules.iter().map(|module| (module.path.as_str(), module.rego.as_str())));
    let signatures = match sign {
        // Each text is hashed as it is: those that OPA hashes in another form are in that form.
        Some(sign) => Some(json!({ "signatures": [sign(listed(&files))?] }).to_string()),
        None => None,
    };
    files.extend(signatures.as_deref().map(|text| (".signatures.json", text)));
    Ok(archive::write(files.iter().map(|(path, text)| (*path, text.as_bytes())))?)
}

/// A manifest in the form over which hashes are computed.
pub(super) fn manifest_text(manifest: &Value) -> String {
    let mut text = String::new();
    match serde_json::value::to_raw_value(manifest) {
        Ok(manifest) => canonical::write(&super::Node::Text(manifest), &mut text),
        // A value of ours cannot fail to be written.
        Err(_) => text.push_str("{}"),
    }
    text
}

/// The list of files that is signed.
fn listed(files: &[(&str, &str)]) -> Value {
    let listed = files.iter().map(|(name, text)| {
        json!({ "name": name, "hash": hex(&Sha256::digest(text)), "algorithm": "SHA-256" })
    });
    json!({ "files": listed.collect::<Vec<_>>() })
}
