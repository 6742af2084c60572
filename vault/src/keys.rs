//! The keys that facts are sealed with: AES-256-GCM-SIV (RFC 8452), each text under the first key
//! of the setting, as `KID.BASE64URL`.
//!
//! The nonce follows from the place that a text is sealed for. A place is used once, but for a
//! text that is sealed again in the same one; with SIV that tells no more than whether the two
//! are equal. So nobody here needs randomness, and a hub can be run twice with the same outcome.

use std::fmt;

use aes_gcm_siv::aead::{Aead as _, KeyInit as _, Payload};
use aes_gcm_siv::{Aes256GcmSiv, Nonce};
use base64ct::{Base64Unpadded, Base64Url, Base64UrlUnpadded, Encoding as _};
use hkdf::Hkdf;
use hmac::{Hmac, Mac as _};
use protocol::hex;
use sha2::{Digest as _, Sha256};

/// Bytes of a key.
const KEY_BYTES: usize = 32;
/// Bytes of a key's name.
const MAX_KID_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;

/// The keys of the setting, of which the first one seals and all of them open.
#[derive(Clone)]
pub struct Keys {
    first: Key,
    others: Vec<Key>,
}

/// One key, as far as it is used: what follows from it for each purpose.
#[derive(Clone)]
struct Key {
    kid: String,
    seal: [u8; KEY_BYTES],
    print: [u8; KEY_BYTES],
}

/// Why a sealed text cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Its key is not among those of the setting.
    #[error("the key `{0}` is not in GIRASOL_FACTS_KEYS; put it back, after the first one")]
    NoKey(String),
    /// It is not what was sealed, or not in this place.
    #[error("it was altered")]
    Altered,
}

impl Keys {
    /// Reads the setting: `KID:KEY`, separated by commas or spaces, each key 32 bytes in base64.
    ///
    /// # Errors
    /// What is wrong with it, without a key.
    pub fn parse(setting: &str) -> Result<Self, String> {
        let separated = setting.split(|it: char| it == ',' || it.is_whitespace());
        let mut keys: Vec<Key> = vec![];
        for (at, text) in separated.filter(|text| !text.is_empty()).enumerate() {
            let key = Key::parse(text).map_err(|reason| format!("key {}: {reason}", at + 1))?;
            if keys.iter().any(|known| known.kid == key.kid) {
                return Err(format!("two keys are called `{}`; give each a name", key.kid));
            }
            keys.push(key);
        }
        let mut keys = keys.into_iter();
        let first = keys.next().ok_or_else(|| {
            "it is empty; make a key with `edge-agent generate-secret --facts-key`".to_owned()
        })?;
        Ok(Self { first, others: keys.collect() })
    }

    fn all(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// Seals a text; `context` is where it is kept, and it opens nowhere else.
    #[must_use]
    pub fn seal(&self, context: &str, text: &str) -> String {
        let sealed = self.first.seal(context, text.as_bytes());
        format!("{}.{}", self.first.kid, Base64UrlUnpadded::encode_string(&sealed))
    }

    /// Opens what [`Self::seal`] sealed in this context.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(&self, context: &str, sealed: &str) -> Result<String, OpenError> {
        let (kid, sealed) = sealed.split_once('.').ok_or(OpenError::Altered)?;
        let key = self.all().find(|key| key.kid == kid);
        let key = key.ok_or_else(|| OpenError::NoKey(kid.chars().take(MAX_KID_BYTES).collect()))?;
        let sealed = Base64UrlUnpadded::decode_vec(sealed).map_err(|_| OpenError::Altered)?;
        let opened = key.open(context, &sealed).ok_or(OpenError::Altered)?;
        String::from_utf8(opened).map_err(|_| OpenError::Altered)
    }

    /// The first key's name, with which a text begins that is sealed with it: `KID.…`.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.first.kid
    }

    /// By what a text can be found again without being known: one for each key, that of the first
    /// key first. `context` is within what it is looked for.
    #[must_use]
    pub fn prints(&self, context: &str, text: &str) -> Vec<String> {
        self.all().filter_map(|key| key.print(context, text)).collect()
    }
}

impl fmt::Debug for Keys {
    /// Their names alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Keys").field(&self.all().map(|key| &key.kid).collect::<Vec<_>>()).finish()
    }
}

// === impl Key ===

impl Key {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let (kid, key) = text.split_once(':').ok_or("write it as KID:KEY")?;
        let is_name = |it: u8| it.is_ascii_alphanumeric() || it == b'_' || it == b'-';
        if kid.is_empty() || kid.len() > MAX_KID_BYTES || !kid.bytes().all(is_name) {
            return Err("a name has 1 to 32 letters, digits, `_` or `-`");
        }
        let plain = key.trim_end_matches('=');
        let decoded = Base64Unpadded::decode_vec(plain)
            .or_else(|_| Base64UrlUnpadded::decode_vec(plain))
            .or_else(|_| Base64Url::decode_vec(key));
        let key = decoded.ok().filter(|key| key.len() == KEY_BYTES);
        let key = key.ok_or("a key is 32 bytes in base64")?;
        let derived = Hkdf::<Sha256>::new(None, &key);
        let (mut seal, mut print) = ([0; KEY_BYTES], [0; KEY_BYTES]);
        let made = derived.expand(b"girasol facts: seal", &mut seal);
        made.and_then(|()| derived.expand(b"girasol facts: print", &mut print))
            .map_err(|_| "it cannot be used")?;
        Ok(Self { kid: kid.to_owned(), seal, print })
    }

    fn nonce(&self, context: &str) -> Nonce {
        let digest = Sha256::digest(format!("{}\n{context}", self.kid));
        let mut nonce = [0; NONCE_BYTES];
        nonce.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        nonce.into()
    }

    fn seal(&self, context: &str, text: &[u8]) -> Vec<u8> {
        let payload = Payload { msg: text, aad: context.as_bytes() };
        let cipher = Aes256GcmSiv::new(&self.seal.into());
        // It fails above 64 GiB alone; and then there is nothing that anybody could open.
        cipher.encrypt(&self.nonce(context), payload).unwrap_or_default()
    }

    fn open(&self, context: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let payload = Payload { msg: sealed, aad: context.as_bytes() };
        let cipher = Aes256GcmSiv::new(&self.seal.into());
        cipher.decrypt(&self.nonce(context), payload).ok()
    }

    fn print(&self, context: &str, text: &str) -> Option<String> {
        let mut print = <Hmac<Sha256> as hmac::Mac>::new_from_slice(&self.print).ok()?;
        // The length parts the two, whatever is in them.
        print.update(&u64::try_from(context.len()).ok()?.to_be_bytes());
        print.update(context.as_bytes());
        print.update(text.as_bytes());
        Some(hex(&print.finalize().into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "old:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    const NEW: &str = "new:ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA";

    fn keys(setting: &str) -> Keys {
        Keys::parse(setting).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_in_its_place_and_nowhere_else() {
        let keys = keys(OLD);
        let sealed = keys.seal("fact/a", "ada@example.com");
        assert!(sealed.starts_with("old.") && !sealed.contains("ada"), "{sealed}");
        assert_eq!(keys.open("fact/a", &sealed).unwrap(), "ada@example.com");
        assert_eq!(keys.open("fact/b", &sealed), Err(OpenError::Altered));
    }

    #[test]
    fn every_altered_byte_is_noticed() {
        let keys = keys(OLD);
        let sealed = keys.seal("fact/a", "ada@example.com");
        for at in 4..sealed.len() {
            let mut altered = sealed.clone().into_bytes();
            altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(altered).unwrap();
            if altered != sealed {
                assert_eq!(keys.open("fact/a", &altered), Err(OpenError::Altered), "{at}");
            }
        }
        for cut in ["", "old", "old.", "old.AAAA", "old.***"] {
            assert_eq!(keys.open("fact/a", cut), Err(OpenError::Altered), "{cut}");
        }
    }

    #[test]
    fn after_a_rotation_old_texts_open_and_new_ones_have_the_new_key() {
        let (before, both) = (keys(OLD), keys(&format!("{NEW}, {OLD}")));
        let sealed = before.seal("p", "x");
        assert_eq!(both.open("p", &sealed).unwrap(), "x");
        assert!(sealed.starts_with("old."));
        let again = both.seal("p", "x");
        assert!(again.starts_with("new."));
        assert_eq!(keys(NEW).open("p", &again).unwrap(), "x");
        assert_eq!(keys(NEW).open("p", &sealed), Err(OpenError::NoKey("old".to_owned())));
        // What was found by the old key is found still.
        assert!(both.prints("p", "x").contains(&before.prints("p", "x")[0]));
    }

    #[test]
    fn a_print_is_of_its_context_and_tells_nothing() {
        let keys = keys(OLD);
        assert_eq!(keys.prints("a", "x"), keys.prints("a", "x"));
        assert_ne!(keys.prints("a", "bx"), keys.prints("ab", "x"));
        assert_ne!(keys.prints("", "x"), vec![hex(&Sha256::digest("x"))]);
    }

    #[test]
    fn a_setting_that_is_none_says_why_and_shows_no_key() {
        let short = "MDEyMzQ1Njc4OWFiY2RlZg==";
        for (setting, reason) in [
            (String::new(), "generate-secret"),
            (short.to_owned(), "key 1: write it as KID:KEY"),
            (format!("k:{short}"), "key 1: a key is 32 bytes in base64"),
            (format!("{OLD},k.1:{short}"), "key 2: a name has"),
            (format!("{OLD} {OLD}"), "two keys are called `old`"),
        ] {
            let error = Keys::parse(&setting).unwrap_err();
            assert!(error.contains(reason), "{setting}: {error}");
            assert!(!error.contains("MDEy"), "{error}");
        }
        assert_eq!(format!("{:?}", keys(OLD)), r#"Keys(["old"])"#);
    }
}
