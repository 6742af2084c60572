//! Patterns of paths, domains and methods.
//!
//! | question | file |
//! |---|---|
//! | What is a pattern, and what is none? | this one |
//! | How is it matched without expressions? | `pattern/parts.rs` |
//! | What of a pattern is an expression? | `pattern/expression.rs` |
//!
//! Both syntaxes know `/*` (any text, slashes too, up to a line end), `:name` (what is left of a
//! segment, not nothing) and a `*` that is all of the pattern (everything). They differ in what all
//! else means: itself, or a regular expression (`spec/opa-and-grants.md` §4.5). Most patterns need
//! no engine of expressions in either, and then take some dozen bytes.

mod expression;
mod parts;

use protocol::limits;
use protocol::plane::grants::PathSyntax;
use regex::Regex;

use parts::{Part, Parts};

/// What is everything.
const EVERYTHING: &str = "*";
/// What means something in an expression; `.` is among the parts.
const SPECIAL: [char; 13] = ['\\', '+', '*', '?', '(', ')', '[', ']', '{', '}', '|', '^', '$'];

/// A pattern that is none; how to mend it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{pattern}`: {reason}")]
pub struct PatternError {
    /// The pattern, or its beginning if it is very long.
    pub pattern: String,
    /// What is wrong with it, and what would be right.
    pub reason: String,
}

/// A pattern, ready for use. It matches the whole of a text or not at all.
#[derive(Debug)]
pub struct Pattern(Kind);

#[derive(Debug)]
enum Kind {
    Everything,
    Parts(Parts),
    /// What needs an engine.
    Expression(Box<Regex>),
}

/// Checks the pattern of a path.
///
/// # Errors
/// It is none in this syntax.
pub fn check(pattern: &str, syntax: PathSyntax) -> Result<(), PatternError> {
    Pattern::read(pattern, syntax).map(drop)
}

/// True for a pattern that needs an engine of expressions, which takes a thousand times the memory
/// of another one. Of those there may be few.
#[must_use]
pub fn needs_engine(pattern: &str, syntax: PathSyntax) -> bool {
    match syntax {
        PathSyntax::Safe => false,
        PathSyntax::Casbin => pattern != EVERYTHING && casbin_parts(pattern).is_none(),
    }
}

impl Pattern {
    /// Reads the pattern of a path; a domain's is read in casbin's syntax.
    ///
    /// # Errors
    /// It is none in this syntax, or needs more memory than a pattern may.
    pub fn read(pattern: &str, syntax: PathSyntax) -> Result<Self, PatternError> {
        let read = match pattern {
            _ if pattern.len() > limits::MAX_PATTERN_BYTES => {
                Err(format!("a pattern has at most {} bytes", limits::MAX_PATTERN_BYTES))
            }
            EVERYTHING => Ok(Kind::Everything),
            _ => match syntax {
                PathSyntax::Safe => safe(pattern).map(Kind::Parts),
                PathSyntax::Casbin => casbin(pattern),
            },
        };
        read.map(Self).map_err(|reason| PatternError::new(pattern, reason))
    }

    /// Reads the expression of a raw row's methods, such as `(GET)|(POST)`. It has to match all of
    /// the method: casbin searches, so `(GET)` there is also in `XGET`.
    ///
    /// # Errors
    /// It is no expression, or needs more memory than a pattern may.
    pub fn methods(expression: &str) -> Result<Self, PatternError> {
        if expression == ".*" {
            return Ok(Self(Kind::Everything));
        }
        let read = expression::compile(expression).map(Kind::Expression);
        read.map(Self).map_err(|reason| PatternError::new(expression, reason))
    }

    /// True if all of the text is what the pattern says.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        match &self.0 {
            Kind::Everything => true,
            Kind::Parts(parts) => parts.matches(text),
            Kind::Expression(regex) => regex.is_match(text),
        }
    }
}

impl PatternError {
    fn new(pattern: &str, reason: String) -> Self {
        const SHOWN: usize = 100;
        let mut pattern: String = pattern.to_owned();
        if let Some((at, _)) = pattern.char_indices().nth(SHOWN) {
            pattern.truncate(at);
            pattern.push('…');
        }
        Self { pattern, reason }
    }
}

/// Everything is itself, but what both syntaxes know. What no path that gets to the model can
/// match is refused ([`crate::front`]): whoever denies by it would believe that it is denied.
fn safe(pattern: &str) -> Result<Parts, String> {
    let path = pattern.strip_prefix('/').ok_or("begin it with `/`, or write `*` for every path")?;
    if pattern.chars().any(char::is_control) {
        return Err("it has a control character, which no path may have: leave it out".to_owned());
    }
    let segments: Vec<&str> = path.split('/').collect();
    if segments.iter().any(|segment| [".", ".."].contains(segment)) {
        return Err("a path has no segment `.` or `..`: write the path without".to_owned());
    }
    if let [_, .., last] = segments.as_slice()
        && let Some(at) = segments.iter().position(|segment| segment.is_empty())
    {
        return Err(if at + 1 == segments.len() && last.is_empty() {
            "the slash at the end of a path is taken off: leave it out".to_owned()
        } else {
            "a path has no two slashes in a row: write one".to_owned()
        });
    }
    let parts = parts::read(pattern, |character| match character {
        '*' => None,
        other => Some(Part::Text(other.to_string())),
    });
    let misplaced = "a `*` stands after a `/`, as in `/foo/*`, or alone; for the regular expression \
                     say \"path_syntax\":\"casbin\"";
    let parts = parts.ok_or(misplaced)?;
    for name in parts::names(pattern) {
        if !name.chars().all(|it| it.is_ascii_alphanumeric() || "_-".contains(it)) {
            return Err(format!(
                "`:{name}` is no name: it has letters, digits, `_` and `-`, and stands for the rest \
                 of its segment, as in `/foo/:id`; to have it all taken for a name say \
                 \"path_syntax\":\"casbin\""
            ));
        }
    }
    Ok(parts)
}

/// Casbin's `keyMatch2`; by parts where that comes to the same.
fn casbin(pattern: &str) -> Result<Kind, String> {
    match casbin_parts(pattern) {
        Some(parts) => Ok(Kind::Parts(parts)),
        None => expression::key_match_2(pattern).map(Kind::Expression),
    }
}

fn casbin_parts(pattern: &str) -> Option<Parts> {
    parts::read(pattern, |character| match character {
        '.' => Some(Part::Character),
        other if SPECIAL.contains(&other) => None,
        other => Some(Part::Text(other.to_string())),
    })
}

#[cfg(test)]
mod tests;
