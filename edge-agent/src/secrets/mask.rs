//! Takes secrets out of messages.

use std::fmt::Write as _;

use base64ct::{Base64, Base64Unpadded, Base64Url, Base64UrlUnpadded, Encoding as _};
use protocol::credentials::{HIDDEN, percent_decoded};

/// Bytes of the shortest text that is taken out. A shorter one is in every second word, and
/// would be given away by what is missing.
const SHORTEST: usize = 4;
/// Bytes of a line of a secret of several, from which on it is taken out by itself.
const SHORTEST_LINE: usize = 16;

/// Stands where a message was cut. What is left of a secret there is looked for, too.
pub(crate) const CUT: &str = "…";

/// The first letters of a message, with [`CUT`] in the place of the others.
pub(crate) fn shortened(message: &str, letters: usize) -> String {
    match message.char_indices().nth(letters).and_then(|(end, _)| message.get(..end)) {
        Some(begin) => format!("{begin}{CUT}"),
        None => message.to_owned(),
    }
}

/// Texts that no message may hold.
#[derive(Default)]
pub(super) struct Mask {
    /// The longest first, so that no part of one is left standing.
    texts: Vec<String>,
}

impl Mask {
    /// Adds a secret in every form in which it is sent.
    pub(super) fn add(&mut self, secret: &str) {
        let decoded = percent_decoded(secret);
        for text in [secret, decoded.as_str(), secret.trim(), without_scheme(secret)] {
            self.add_forms(text);
        }
        if secret.contains('\n') {
            let lines = secret.lines().map(str::trim).filter(|line| line.len() >= SHORTEST_LINE);
            lines.for_each(|line| self.add_text(line.to_owned()));
        }
        self.texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
        self.texts.dedup();
    }

    /// Adds user and password of an address as they are sent in a header.
    pub(super) fn add_user(&mut self, url: &str) {
        let Ok(url) = url::Url::parse(url) else { return };
        let Some(password) = url.password() else { return };
        let (user, password) = (percent_decoded(url.username()), percent_decoded(password));
        self.add(&password);
        self.add_text(Base64::encode_string(format!("{user}:{password}").as_bytes()));
        self.texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
    }

    fn add_forms(&mut self, text: &str) {
        let bytes = text.as_bytes();
        let quoted = |text: String| {
            let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
            inner.map(str::to_owned)
        };
        let encoded = percent_encoded(text);
        let forms = [
            Some(text.to_owned()),
            Some(encoded.to_lowercase()).filter(|_| encoded != text),
            Some(encoded),
            Some(url::form_urlencoded::byte_serialize(bytes).collect()),
            Some(Base64::encode_string(bytes)),
            Some(Base64Unpadded::encode_string(bytes)),
            Some(Base64Url::encode_string(bytes)),
            Some(Base64UrlUnpadded::encode_string(bytes)),
            serde_json::to_string(text).ok().and_then(quoted),
            quoted(format!("{text:?}")),
        ];
        forms.into_iter().flatten().for_each(|form| self.add_text(form));
    }

    fn add_text(&mut self, text: String) {
        if text.len() >= SHORTEST && !self.texts.contains(&text) {
            self.texts.push(text);
        }
    }

    /// The message with [`HIDDEN`] in the place of every secret.
    pub(super) fn hide(&self, message: &str) -> String {
        let hide = |message: String, text: &String| {
            if message.contains(text.as_str()) {
                message.replace(text.as_str(), HIDDEN)
            } else {
                message
            }
        };
        let message = self.texts.iter().fold(message.to_owned(), hide);
        let mut pieces = message.split(CUT).peekable();
        let mut hidden = String::with_capacity(message.len());
        let mut is_first = true;
        while let Some(piece) = pieces.next() {
            let end = if pieces.peek().is_some() { self.begun_at_end(piece) } else { 0 };
            let start = if is_first { 0 } else { self.ended_at_start(piece) };
            let (start, end) =
                if start + end > piece.len() { (0, piece.len()) } else { (start, end) };
            hidden.push_str(if is_first { "" } else { CUT });
            hidden.push_str(if start > 0 { HIDDEN } else { "" });
            hidden.push_str(piece.get(start..piece.len() - end).unwrap_or_default());
            hidden.push_str(if end > 0 { HIDDEN } else { "" });
            is_first = false;
        }
        hidden
    }

    /// Bytes at the end of `text` with which a secret begins, that was cut there.
    fn begun_at_end(&self, text: &str) -> usize {
        let begun = |secret: &String| {
            let lengths = secret.char_indices().map(|(at, _)| at).rev();
            let mut lengths = lengths.take_while(|length| *length >= SHORTEST);
            lengths.find(|length| secret.get(..*length).is_some_and(|part| text.ends_with(part)))
        };
        self.texts.iter().filter_map(begun).max().unwrap_or(0)
    }

    /// Bytes at the start of `text` with which a secret ends, that was cut there.
    fn ended_at_start(&self, text: &str) -> usize {
        let ended = |secret: &String| {
            let mut parts = secret.char_indices().skip(1).filter_map(|(at, _)| secret.get(at..));
            parts.find(|part| part.len() >= SHORTEST && text.starts_with(part)).map(str::len)
        };
        self.texts.iter().filter_map(ended).max().unwrap_or(0)
    }
}

/// A header's `Bearer x` is a secret for its `x`.
fn without_scheme(text: &str) -> &str {
    let (scheme, rest) = text.trim().split_once(' ').unwrap_or(("", text));
    let known = ["bearer", "basic", "token"];
    if known.iter().any(|known| scheme.eq_ignore_ascii_case(known)) { rest.trim() } else { text }
}

/// A text in which nothing means anything in an address.
pub(super) fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_cut_left_of_a_secret_is_hidden() {
        let mut mask = Mask::default();
        mask.add("correct-horse-battery");
        for (message, hidden) in [
            ("failed: …horse-battery and more", "failed: …**** and more"),
            ("login with correct-horse…", "login with ****…"),
            ("…orse-battery… correct-hor…", "…****… ****…"),
            ("…tery", "…****"),
            ("…ery of this kind", "…ery of this kind"),
            ("no cut: correct-horse", "no cut: correct-horse"),
            ("battery correct-horse-battery…", "battery ****…"),
        ] {
            assert_eq!(mask.hide(message), hidden);
        }
    }

    #[test]
    fn a_secret_is_hidden_in_every_form_in_which_it_is_sent() {
        let mut mask = Mask::default();
        mask.add("p@ss \"wö/rd\"");
        for form in [
            "p@ss \"wö/rd\"",
            "p%40ss%20%22w%C3%B6%2Frd%22",
            "p%40ss%20%22w%c3%b6%2frd%22",
            "p%40ss+%22w%C3%B6%2Frd%22",
            "cEBzcyAid8O2L3JkIg==",
            "cEBzcyAid8O2L3JkIg",
            "p@ss \\\"wö/rd\\\"",
        ] {
            assert_eq!(mask.hide(&format!("login {form} refused")), "login **** refused", "{form}");
        }
    }

    #[test]
    fn of_two_secrets_the_longer_one_is_hidden_whole() {
        let mut mask = Mask::default();
        mask.add("pass");
        mask.add("password");
        assert_eq!(mask.hide("password pass"), "**** ****");
    }

    #[test]
    fn a_literal_credential_is_hidden_without_its_scheme_and_its_encoding() {
        let mut mask = Mask::default();
        mask.add("Bearer abcdef");
        mask.add("p%40ssw");
        assert_eq!(mask.hide("abcdef and p@ssw and p%40ssw"), "**** and **** and ****");
    }

    #[test]
    fn user_and_password_are_hidden_as_a_header_has_them() {
        let mut mask = Mask::default();
        mask.add_user("http://me:pw@h/");
        assert_eq!(mask.hide("sent Basic bWU6cHc="), "sent Basic ****");
    }

    #[test]
    fn lines_of_a_key_are_hidden_one_by_one_and_short_texts_not_at_all() {
        let mut mask = Mask::default();
        mask.add("-----BEGIN KEY-----\nMC4CAQAwBQYDK2VwBCIEIA\n-----END KEY-----\n");
        mask.add("abc");
        assert_eq!(mask.hide("near MC4CAQAwBQYDK2VwBCIEIA of abc"), "near **** of abc");
    }
}
