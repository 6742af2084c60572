//! Patterns of paths, domains and methods.

use protocol::plane::grants::PathSyntax;

/// A pattern that is none; how to mend it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{pattern}`: {reason}")]
pub struct PatternError {
    /// The pattern.
    pub pattern: String,
    /// What is wrong with it, and what would be right.
    pub reason: String,
}

/// Checks the pattern of a path.
///
/// # Errors
/// It is none in this syntax.
pub fn check(_pattern: &str, _syntax: PathSyntax) -> Result<(), PatternError> {
    Ok(())
}
