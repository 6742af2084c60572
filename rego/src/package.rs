//! Which package a module is in, as far as that can be said of a text that nobody has parsed: one
//! that only an OPA reads, for example.

/// The first name of a module's package: `app` for `package app.users`. None if no package stands
/// where it has to.
#[must_use]
pub fn package_root(module: &str) -> Option<&str> {
    let after = after_space(module).strip_prefix("package")?;
    let name = after_space(after);
    if name.len() == after.len() {
        return None;
    }
    let end = name.find(|it: char| !it.is_alphanumeric() && it != '_').unwrap_or(name.len());
    name.get(..end).filter(|name| !name.is_empty())
}

/// What follows blanks and comments.
fn after_space(text: &str) -> &str {
    let mut rest = text.trim_start();
    while rest.starts_with('#') {
        rest = rest.split_once('\n').map_or("", |(_, rest)| rest.trim_start());
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_known_by_its_first_name() {
        for (module, root) in [
            ("package permit", Some("permit")),
            ("package permit.root\n\nallow := true", Some("permit")),
            ("# package other\n\n# METADATA\n package\tpermit[\"root\"]", Some("permit")),
            ("package # why not\n permit", Some("permit")),
            ("package permitted", Some("permitted")),
            ("packagepermit", None),
            ("package", None),
            ("# package permit", None),
            ("import package permit", None),
            ("", None),
        ] {
            assert_eq!(package_root(module), root, "{module:?}");
        }
    }
}
