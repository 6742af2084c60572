//! What is wrong with a set of files, in a form for people and for programs.

use std::fmt;

use protocol::Problem;
use regorus::unstable::Span;

/// One mistake in one file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// The file's path; empty if it is not known.
    pub file: String,
    /// Its line, from 1; 0 if it is not known.
    pub row: u32,
    /// The character in the line, from 1; 0 if it is not known.
    pub column: u32,
    /// What is wrong, in one line.
    pub reason: String,
}

/// Why a set of files cannot be the policy: at least one mistake.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Refused {
    /// In the order of their files and lines.
    pub mistakes: Vec<Mistake>,
}

/// So many mistakes are written out; of the others, how many there are.
const SHOWN: usize = 20;

impl Mistake {
    /// What is wrong at a place that the parser knows.
    pub(crate) fn at(span: &Span, reason: String) -> Self {
        Self { file: span.source.get_path().clone(), row: span.line, column: span.col, reason }
    }

    /// Reads regorus's drawing of a mistake.
    pub(crate) fn read(drawn: &str) -> Self {
        let line = one_line(drawn);
        located(&line).unwrap_or(Self { file: String::new(), row: 0, column: 0, reason: line })
    }
}

/// `file:row:column: reason` in its parts. A file's name may hold a colon, a reason often does.
fn located(line: &str) -> Option<Mistake> {
    line.match_indices(": ").find_map(|(at, separator)| {
        let (place, rest) = line.split_at_checked(at)?;
        let mut parts = place.rsplitn(3, ':');
        let (column, row) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let (file, reason) = (parts.next()?.to_owned(), rest.strip_prefix(separator)?.to_owned());
        Some(Mistake { file, row, column, reason })
    })
}

/// `file:row:col: reason` from regorus's drawing of it.
#[must_use]
pub fn one_line(error: &str) -> String {
    let lines = || error.lines().map(str::trim);
    let place = lines().find_map(|line| line.strip_prefix("--> "));
    let reason = lines().find_map(|line| line.strip_prefix("error: "));
    match (place, reason) {
        (Some(place), Some(reason)) => {
            // The rest of such a line is the interpreter's own state.
            let reason = reason.split_once(" (path [").map_or(reason, |(words, _)| words);
            format!("{place}: {reason}")
        }
        _ => lines().filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" "),
    }
}

impl Refused {
    /// Refuses if there is a mistake.
    pub(crate) fn if_any(mut mistakes: Vec<Mistake>) -> Result<(), Self> {
        if mistakes.is_empty() {
            return Ok(());
        }
        mistakes.sort();
        mistakes.dedup();
        Err(Self { mistakes })
    }
}

impl From<Mistake> for Refused {
    fn from(mistake: Mistake) -> Self {
        Self { mistakes: vec![mistake] }
    }
}

/// `file:row:column: reason`, as far as each is known.
impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, row, column, reason } = self;
        match (file.as_str(), row, column) {
            ("", _, _) => write!(f, "{reason}"),
            (_, 0, _) => write!(f, "{file}: {reason}"),
            (_, _, 0) => write!(f, "{file}:{row}: {reason}"),
            _ => write!(f, "{file}:{row}:{column}: {reason}"),
        }
    }
}

/// The first mistakes, with `; ` between them.
impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, mistake) in self.mistakes.iter().take(SHOWN).enumerate() {
            let separator = if place == 0 { "" } else { "; " };
            write!(f, "{separator}{mistake}")?;
        }
        match self.mistakes.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

/// 422, with the mistakes.
impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        Self::invalid(refused.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistake(file: &str, row: u32, column: u32) -> Mistake {
        Mistake { file: file.to_owned(), row, column, reason: "why: so".to_owned() }
    }

    #[test]
    fn a_place_is_written_as_far_as_it_is_known_and_read_again() {
        for (mistake, text) in [
            (mistake("a/b.rego", 3, 7), "a/b.rego:3:7: why: so"),
            (mistake("a: b:1.rego", 3, 7), "a: b:1.rego:3:7: why: so"),
        ] {
            assert_eq!(mistake.to_string(), text);
            assert_eq!(located(text), Some(mistake));
        }
        assert_eq!(mistake("a.rego", 3, 0).to_string(), "a.rego:3: why: so");
        assert_eq!(mistake("a.rego", 0, 0).to_string(), "a.rego: why: so");
        assert_eq!(Mistake::read("why: so"), mistake("", 0, 0));
    }

    #[test]
    fn of_many_mistakes_the_first_are_written_out() {
        let mistakes = (1..=25).map(|row| mistake("a.rego", row, 1)).rev().collect();
        let refused = Refused::if_any(mistakes).unwrap_err();
        let problem = Problem::from(refused);
        assert_eq!(problem.status, 422);
        assert!(problem.detail.starts_with("a.rego:1:1: why: so; a.rego:2:1: "));
        assert!(problem.detail.ends_with("a.rego:20:1: why: so; and 5 more"), "{problem}");
    }
}
