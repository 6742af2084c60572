//! The keys that facts are sealed with: AES-256-GCM-SIV (RFC 8452), under sub-keys of the keys of
//! the setting (HKDF-SHA256, RFC 5869).
//!
//! There is no randomness here, so a nonce is derived from the place where a text is kept. With
//! this cipher the same text in the same place twice is sealed the same, and that is all that
//! anybody can tell of it.

use std::fmt;
use std::sync::Arc;

use aes_gcm_siv::aead::{Aead as _, KeyInit as _, Payload};
use aes_gcm_siv::{Aes256GcmSiv, Key as CipherKey, Nonce};
use base64ct::{Base64Unpadded, Base64UrlUnpadded, Encoding as _};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// Bytes of a key, and of its sub-keys.
const KEY_BYTES: usize = 32;
/// Bytes of a key's name.
const MAX_KID_BYTES: usize = 32;
/// What the sub-keys are for.
const SEALING: &[u8] = b"girasol facts: sealing";
const NONCES: &[u8] = b"girasol facts: nonces";
const PRINTS: &[u8] = b"girasol facts: prints";

/// The keys of the setting, of which the first one seals and all of them open. There is one at
/// least.
#[derive(Clone)]
pub struct Keys {
    first: Arc<Key>,
    others: Arc<[Key]>,
}

struct Key {
    kid: String,
    cipher: Aes256GcmSiv,
    nonces: Hmac<Sha256>,
    prints: Hmac<Sha256>,
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
        let parts = setting.split(|it: char| it == ',' || it.is_whitespace());
        let parts = parts.filter(|part| !part.is_empty());
        let mut keys: Vec<Key> = vec![];
        for (part, number) in parts.zip(1_usize..) {
            let key = Key::parse(part).map_err(|why| format!("key {number}: {why}"))?;
            if let Some(same) = keys.iter().position(|other| other.kid == key.kid) {
                return Err(format!(
                    "the keys {} and {number} have the same name; give each its own",
                    same + 1
                ));
            }
            keys.push(key);
        }
        let mut keys = keys.into_iter();
        let first = keys.next().ok_or_else(|| format!("there is no key; {MAKE_ONE}"))?;
        Ok(Self { first: Arc::new(first), others: keys.collect() })
    }

    /// The name of the key that seals.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.first.kid
    }

    /// Seals a text: `KID.` and base64url. `context` is where it is kept, and it opens nowhere else.
    #[must_use]
    pub fn seal(&self, context: &str, text: &str) -> String {
        let Key { kid, cipher, .. } = &*self.first;
        let payload = Payload { msg: text.as_bytes(), aad: context.as_bytes() };
        // It refuses 64 GiB and more, which nobody has in memory.
        let sealed = cipher.encrypt(&self.first.nonce(context), payload).unwrap_or_default();
        format!("{kid}.{}", Base64UrlUnpadded::encode_string(&sealed))
    }

    /// Opens what [`Self::seal`] sealed in this context.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(&self, context: &str, sealed: &str) -> Result<String, OpenError> {
        let (kid, sealed) = sealed.split_once('.').ok_or(OpenError::Altered)?;
        check_kid(kid).map_err(|_| OpenError::Altered)?;
        let key = self.all().find(|key| key.kid == kid);
        let key = key.ok_or_else(|| OpenError::NoKey(kid.to_owned()))?;
        let sealed = Base64UrlUnpadded::decode_vec(sealed).map_err(|_| OpenError::Altered)?;
        let payload = Payload { msg: &sealed, aad: context.as_bytes() };
        let text = key.cipher.decrypt(&key.nonce(context), payload);
        String::from_utf8(text.map_err(|_| OpenError::Altered)?).map_err(|_| OpenError::Altered)
    }

    /// True if a text is sealed with the first key.
    #[must_use]
    pub fn is_current(&self, sealed: &str) -> bool {
        sealed.split_once('.').is_some_and(|(kid, _)| kid == self.first.kid)
    }

    /// By what a text can be found again without being known: one for each key, that of the first
    /// key first.
    #[must_use]
    pub fn prints(&self, context: &str, text: &str) -> Vec<String> {
        self.all().map(|key| key.print(context, text)).collect()
    }

    fn all(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&*self.first).chain(self.others.iter())
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(…)")
    }
}

// === impl Key ===

/// How somebody comes to a key.
const MAKE_ONE: &str = "make one with `edge-agent generate-secret --facts-key`";

impl Key {
    /// Nothing of the text is in an error: who mixes up name and key has the key in front.
    fn parse(text: &str) -> Result<Self, String> {
        let (kid, key) = text.split_once(':').ok_or_else(|| {
            format!("write it as KID:KEY, with a name before the key; {MAKE_ONE}")
        })?;
        check_kid(kid)?;
        let plain = key.trim_end_matches('=').replace('-', "+").replace('_', "/");
        let bytes = Base64Unpadded::decode_vec(&plain)
            .map_err(|_| format!("what follows its name is not base64; {MAKE_ONE}"))?;
        if bytes.len() != KEY_BYTES {
            return Err(format!(
                "it has {} bytes, and a key has {KEY_BYTES}; {MAKE_ONE}",
                bytes.len()
            ));
        }
        let secret = Hkdf::<Sha256>::new(None, &bytes);
        let mac = |purpose| {
            let key = sub_key(&secret, purpose)?;
            <Hmac<Sha256> as Mac>::new_from_slice(&key).map_err(|error| error.to_string())
        };
        let sealing: CipherKey<Aes256GcmSiv> = sub_key(&secret, SEALING)?.into();
        Ok(Self {
            kid: kid.to_owned(),
            cipher: Aes256GcmSiv::new(&sealing),
            nonces: mac(NONCES)?,
            prints: mac(PRINTS)?,
        })
    }

    fn nonce(&self, context: &str) -> Nonce {
        let derived = self.nonces.clone().chain_update(context).finalize().into_bytes();
        // It is the beginning of that.
        let mut nonce = Nonce::default();
        nonce.iter_mut().zip(derived).for_each(|(byte, from)| *byte = from);
        nonce
    }

    fn print(&self, context: &str, text: &str) -> String {
        // The length tells where the one ends and the other begins.
        let length = (context.len() as u64).to_be_bytes();
        let print = self.prints.clone().chain_update(length).chain_update(context);
        Base64UrlUnpadded::encode_string(&print.chain_update(text).finalize().into_bytes())
    }
}

fn sub_key(secret: &Hkdf<Sha256>, purpose: &[u8]) -> Result<[u8; KEY_BYTES], String> {
    let mut key = [0; KEY_BYTES];
    secret.expand(purpose, &mut key).map_err(|error| error.to_string())?;
    Ok(key)
}

fn check_kid(kid: &str) -> Result<(), String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if (1..=MAX_KID_BYTES).contains(&kid.len()) && kid.bytes().all(is_plain) {
        return Ok(());
    }
    Err(format!(
        "its name, before the colon, is to be 1 to {MAX_KID_BYTES} letters, digits, `_` or `-`"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key of this name and byte, as the setting has it.
    fn key(kid: &str, byte: u8) -> String {
        format!("{kid}:{}", Base64Unpadded::encode_string(&[byte; KEY_BYTES]))
    }

    fn keys(all: &[(&str, u8)]) -> Keys {
        let all: Vec<String> = all.iter().map(|(kid, byte)| key(kid, *byte)).collect();
        Keys::parse(&all.join(",")).unwrap()
    }

    #[test]
    fn what_was_sealed_opens_in_its_place() {
        let keys = keys(&[("k1", 1)]);
        for text in ["", "ada@example.com", "\0é世", &"x".repeat(100_000)] {
            let sealed = keys.seal("fact/a.example/f", text);
            assert!(sealed.starts_with("k1."), "{sealed}");
            assert!(text.is_empty() || !sealed.contains(text));
            assert_eq!(keys.open("fact/a.example/f", &sealed).as_deref(), Ok(text));
        }
        assert_eq!(keys.kid(), "k1");
        assert_ne!(keys.seal("a", "x"), keys.seal("b", "x"), "equal texts do not look so");
    }

    #[test]
    fn what_was_altered_cut_or_moved_does_not_open() {
        let keys = keys(&[("k1", 1), ("k2", 2)]);
        let sealed = keys.seal("place", "ada@example.com");
        for at in "k1.".len()..sealed.len() {
            let mut other = sealed.clone().into_bytes();
            other[at] = if other[at] == b'A' { b'B' } else { b'A' };
            let other = String::from_utf8(other).unwrap();
            assert_eq!(keys.open("place", &other), Err(OpenError::Altered), "{at}");
        }
        for (at, _) in sealed.char_indices() {
            assert_eq!(
                keys.open("place", sealed.get(..at).unwrap()),
                Err(OpenError::Altered),
                "{at}"
            );
        }
        assert_eq!(keys.open("place", &(sealed.clone() + "AAAA")), Err(OpenError::Altered));
        assert_eq!(keys.open("other place", &sealed), Err(OpenError::Altered));
        assert_eq!(keys.open("place", &sealed.replace("k1.", "k2.")), Err(OpenError::Altered));
        assert_eq!(keys.open("place", "ada@example.com"), Err(OpenError::Altered));
        assert_eq!(keys.open("place", "é.AAAA"), Err(OpenError::Altered));
    }

    #[test]
    fn a_key_that_went_too_early_is_named_and_nothing_is_lost_once_it_is_back() {
        let sealed = keys(&[("old", 1)]).seal("place", "text");
        let missing = keys(&[("new", 2)]).open("place", &sealed).unwrap_err();
        assert_eq!(missing, OpenError::NoKey("old".to_owned()));
        assert!(missing.to_string().contains("`old` is not in GIRASOL_FACTS_KEYS; put it back"));
        assert_eq!(keys(&[("new", 2), ("old", 1)]).open("place", &sealed).as_deref(), Ok("text"));
        let renamed = keys(&[("old", 2)]).open("place", &sealed);
        assert_eq!(renamed, Err(OpenError::Altered), "another key under its name");
    }

    #[test]
    fn the_first_key_seals_and_all_of_them_open_and_find() {
        let (before, both) = (keys(&[("old", 1)]), keys(&[("new", 2), ("old", 1)]));
        let (old, new) = (before.seal("place", "text"), both.seal("place", "text"));
        assert!(new.starts_with("new.") && both.is_current(&new) && !both.is_current(&old));
        assert_eq!(both.open("place", &old), both.open("place", &new));
        let prints = both.prints("place", "text");
        assert_eq!(prints.len(), 2);
        assert_eq!(prints[1..], before.prints("place", "text"));
        assert_eq!(
            prints[..1],
            keys(&[("other name", 2)].map(|(_, it)| ("n", it))).prints("place", "text")
        );
    }

    #[test]
    fn a_print_tells_texts_and_contexts_apart() {
        let keys = keys(&[("k1", 1)]);
        let print = |context, text| keys.prints(context, text).remove(0);
        assert_eq!(print("a", "bc"), print("a", "bc"));
        assert_ne!(print("a", "bc"), print("ab", "c"));
        assert_ne!(print("a", "b"), print("a", "c"));
    }

    #[test]
    fn a_setting_is_read_with_either_alphabet_and_any_separators() {
        let url = Base64UrlUnpadded::encode_string(&[0xfb; KEY_BYTES]);
        let standard = base64ct::Base64::encode_string(&[0xfb; KEY_BYTES]);
        assert!(url.contains('-') && standard.contains('+') && standard.ends_with('='));
        let keys = Keys::parse(&format!("\n a:{url} ,, b_1-C:{standard}\n")).unwrap();
        assert_eq!(keys.kid(), "a");
        let prints = keys.prints("place", "text");
        assert_eq!(prints[0], prints[1]);
    }

    #[test]
    fn a_bad_setting_is_refused_without_a_word_of_the_key() {
        let good = Base64Unpadded::encode_string(&[7; KEY_BYTES]);
        let one = format!("k:{good}");
        for (setting, words) in [
            (String::new(), "there is no key; make one with"),
            (" , \n".to_owned(), "there is no key"),
            (good.clone(), "key 1: write it as KID:KEY"),
            (format!("{good}:k"), "key 1: its name, before the colon, is to be 1 to 32"),
            (format!(":{good}"), "key 1: its name"),
            (format!("k.1:{good}"), "key 1: its name"),
            (format!("{one},k2:{}", good.get(1..).unwrap()), "key 2: "),
            (format!("{one} k2:"), "key 2: it has 0 bytes, and a key has 32"),
            (format!("k:{good}{good}"), "key 1: "),
            ("k:!!!".to_owned(), "key 1: what follows its name is not base64"),
            (format!("{one},k2:{good},{one}"), "the keys 1 and 3 have the same name"),
        ] {
            let refused = Keys::parse(&setting).unwrap_err();
            assert!(refused.starts_with(words), "{setting}: {refused}");
            assert!(!refused.contains(good.get(..8).unwrap()), "{refused}");
        }
        assert_eq!(format!("{:?}", Keys::parse(&one).unwrap()), "Keys(…)");
    }
}
