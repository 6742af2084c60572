//! Types of facts, and which values they take.

/// A type that is always there.
#[derive(Clone, Copy, Debug)]
pub struct BuiltIn {
    /// Its name.
    pub slug: &'static str,
    /// What its values look like, for people.
    pub validation: &'static str,
}

/// All of them.
pub const BUILT_IN: &[BuiltIn] = &[];

/// Checks a value against a type that is built in; none if there is no such type.
///
/// # Errors
/// What the type's values look like.
#[must_use]
pub fn check_built_in(_slug: &str, _value: &str) -> Option<Result<(), String>> {
    None
}

/// Checks a value against somebody's own pattern, which the whole of it must match.
///
/// # Errors
/// What the type's values look like, or what is wrong with the pattern.
pub fn check_own(_pattern: &str, _value: &str) -> Result<(), String> {
    Ok(())
}
