//! Finds a secret in a text, in whichever form somebody may have written it there.

/// The secrets that were planted, each with its place.
#[derive(Debug, Default)]
pub(super) struct Planted(Vec<(String, String)>);

impl Planted {
    /// A new secret for a place. It is of letters and digits alone, so that no encoding of an
    /// address, of JSON or of a form changes it.
    pub(super) fn new_at(&mut self, place: &str) -> String {
        let number = self.0.len();
        let secret = format!("cnry{number:03}x{:x}", (number * 7_919 + 0xbeef) % 0xffff);
        self.0.push((place.to_owned(), secret.clone()));
        secret
    }

    /// A secret that somebody else made.
    pub(super) fn add(&mut self, place: &str, secret: &str) {
        self.0.push((place.to_owned(), secret.to_owned()));
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// The places whose secrets are in the text.
    pub(super) fn found_in(&self, text: &str) -> Vec<&str> {
        let lower = text.to_lowercase();
        let found = self.0.iter().filter(|(_, secret)| {
            lower.contains(&secret.to_lowercase())
                || lower.contains(&hex(secret))
                || (0..3).any(|offset| text.contains(&inside_base64(secret, offset)))
        });
        found.map(|(place, _)| place.as_str()).collect()
    }
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// What of a secret's base64 does not depend on what is before and behind it, if so many bytes
/// (modulo 3) are before it.
fn inside_base64(secret: &str, offset: usize) -> String {
    let text = format!("{}{secret}", "?".repeat(offset));
    let whole = text.len() / 3 * 3;
    let encoded = base64(&text.as_bytes()[..whole]);
    // The first group has a stranger's bits.
    encoded[offset.div_ceil(3) * 4..].to_owned()
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks_exact(3) {
        let bits = u32::from(group[0]) << 16 | u32::from(group[1]) << 8 | u32::from(group[2]);
        for at in [18, 12, 6, 0] {
            text.push(char::from(LETTERS[(bits >> at & 63) as usize]));
        }
    }
    text
}

#[test]
fn a_secret_is_found_in_every_form() {
    let mut planted = Planted::default();
    planted.add("it", "cnry000xtest");
    for text in [
        "x cnry000xtest y",
        "host CNRY000XTEST.example",
        "636e72793030307874657374",
        // Behind nothing, `a:` and `me:pw-`.
        "Y25yeTAwMHh0ZXN0",
        "YTpjbnJ5MDAweHRlc3Q=",
        "bWU6cHctY25yeTAwMHh0ZXN0",
        "eDpjbnJ5MDAweHRlc3Rz",
        "eGNucnkwMDB4dGVzdHo=",
    ] {
        assert_eq!(planted.found_in(text), ["it"], "{text}");
    }
    assert!(planted.found_in("cnry000xtes t, Y25yeTAwMHh").is_empty());
}
