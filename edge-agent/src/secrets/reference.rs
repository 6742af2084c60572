//! `${secret:NAME}` in a text; `$${secret:` is the text `${secret:` itself.

/// How a reference begins.
const BEGIN: &str = "${secret:";

/// What to do about a malformed one.
pub(super) const ADVICE: &str = "a secret is named as ${secret:NAME}, with a name of letters, \
                                 digits, `_`, `-` and `.` that begins with a letter or `_`; for \
                                 the text itself write $${secret:";

/// A part of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'t> {
    /// As it stands.
    Text(&'t str),
    /// A secret's name.
    Secret(&'t str),
}

/// A reference without an end, or with a name that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// The parts of a text.
pub(super) fn pieces(text: &str) -> Result<Vec<Piece<'_>>, Malformed> {
    let mut pieces = vec![];
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(BEGIN) {
        if let Some(before) = before.strip_suffix('$') {
            pieces.extend([Piece::Text(before), Piece::Text(BEGIN)]);
            rest = after;
            continue;
        }
        let (name, after) = after.split_once('}').ok_or(Malformed)?;
        if !is_name(name) {
            return Err(Malformed);
        }
        pieces.extend([Piece::Text(before), Piece::Secret(name)]);
        rest = after;
    }
    pieces.push(Piece::Text(rest));
    Ok(pieces)
}

/// True if the text is the same when it is filled in, whatever the secrets are.
pub(super) fn is_plain(text: &str) -> bool {
    !text.contains(BEGIN)
}

/// True for what can be the name of a secret. No name leads out of a folder.
pub(super) fn is_name(name: &str) -> bool {
    let mut characters = name.chars();
    characters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && characters.all(|it| it.is_ascii_alphanumeric() || matches!(it, '_' | '-' | '.'))
        && name.len() <= MAX_NAME
}

/// Bytes of a name: a file's may not have more.
const MAX_NAME: usize = 200;

#[cfg(test)]
mod tests {
    use super::Piece::{Secret, Text};
    use super::*;

    #[test]
    fn a_text_is_split_into_what_stands_and_what_is_named() {
        for (text, expected) in [
            ("plain", vec![Text("plain")]),
            ("${secret:A}", vec![Text(""), Secret("A"), Text("")]),
            ("Bearer ${secret:a.b-c_1}!", vec![Text("Bearer "), Secret("a.b-c_1"), Text("!")]),
            (
                "${secret:A}:${secret:B}",
                vec![Text(""), Secret("A"), Text(":"), Secret("B"), Text("")],
            ),
            ("$${secret:A}", vec![Text(""), Text("${secret:"), Text("A}")]),
            ("${other:A} $secret {A}", vec![Text("${other:A} $secret {A}")]),
        ] {
            assert_eq!(pieces(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_has_no_end_or_no_name_is_malformed() {
        for text in [
            "${secret:",
            "${secret:A",
            "${secret:}",
            "${secret:1}",
            "${secret:-a}",
            "${secret:.a}",
            "${secret:../a}",
            "${secret:a/b}",
            "${secret:a b}",
            "${secret:${secret:A}}",
            "${secret:A} ${secret:",
        ] {
            assert_eq!(pieces(text), Err(Malformed), "{text}");
        }
        assert!(!is_name(&"a".repeat(201)));
    }
}
