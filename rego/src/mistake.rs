//! What is wrong with a set of files, in a form for people and for programs.

use std::fmt;

use protocol::Problem;

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

/// Why a set of files cannot be the policy: at least one mistake.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Refused {
    /// In the order of their files and lines.
    pub mistakes: Vec<Mistake>,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, mistake) in self.mistakes.iter().enumerate() {
            let separator = if place == 0 { "" } else { "; " };
            write!(f, "{separator}{mistake}")?;
        }
        Ok(())
    }
}

/// 422, with all mistakes.
impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        Self::invalid(refused.to_string())
    }
}
