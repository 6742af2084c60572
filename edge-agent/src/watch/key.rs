//! How a row's key becomes the name of a member of the document.
//!
//! A key of one column is its text. The texts of several columns are joined by commas; a comma or
//! backslash in one of them gets a backslash before it, so that no two keys have the same name:
//! `eu,7`, and `a\,b,7` for the columns `a,b` and `7`.

use protocol::{DataPath, limits};

/// The name of the row with this key.
pub(crate) fn join<S: AsRef<str>>(values: &[S]) -> String {
    if let [only] = values {
        return only.as_ref().to_owned();
    }
    let escaped = values.iter().map(|it| it.as_ref().replace('\\', r"\\").replace(',', r"\,"));
    escaped.collect::<Vec<_>>().join(",")
}

/// The name as the one segment of a JSON Pointer (RFC 6901 §3).
pub(crate) fn pointer(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// The row's own place as a `dst_path`, if it has one: a name with a slash, or none, can only be
/// reached by a patch of what is above.
pub(crate) fn place(table: &str, name: &str) -> Option<String> {
    let text = format!("{table}/{name}");
    let is_one = !name.is_empty() && !name.contains('/');
    (is_one && DataPath::parse(&text).is_ok()).then_some(text)
}

/// True if an update can name the row at all.
pub(crate) fn is_nameable(name: &str) -> bool {
    pointer(name).len() <= limits::MAX_PATH_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_keys_have_different_names() {
        for (values, name) in [
            (&["7"][..], "7"),
            (&["a,b"], "a,b"),
            (&["eu", "7"], "eu,7"),
            (&["a,b", "7"], r"a\,b,7"),
            (&["a", "b,7"], r"a,b\,7"),
            (&["a\\", "7"], r"a\\,7"),
            (&["a", "\\,7"], r"a,\\\,7"),
            (&["", ""], ","),
        ] {
            assert_eq!(join(values), name, "{values:?}");
        }
    }

    #[test]
    fn a_name_that_no_path_can_hold_is_reached_by_a_patch() {
        assert_eq!(place("/users", "7"), Some("/users/7".to_owned()));
        for name in ["", ".", "..", "a/b", "/", "a\nb"] {
            assert_eq!(place("/users", name), None, "{name:?}");
        }
        assert_eq!(pointer("a/b~c"), "/a~1b~0c");
        assert!(is_nameable(&"x".repeat(1_023)) && !is_nameable(&"x".repeat(1_024)));
    }
}
