//! Broken promises.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;

/// Told on standard error; all of them are in the file.
const TOLD: usize = 20;

/// What a fault is, by what a user of the engine would suffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// An accepted update has no effect.
    Lost,
    /// An update took effect twice.
    Repeated,
    /// An update took effect before an earlier one, or an engine went back to an older state.
    Inverted,
    /// The embedded engine answered as if it had no data, although it had some before.
    Blank,
    /// The digests of hub and agent differ.
    Digest,
}

/// What was found so far.
#[derive(Clone)]
pub(crate) struct Findings(Arc<Mutex<Book>>);

struct Book {
    file: File,
    kinds: Vec<Kind>,
}

// === impl Findings ===

impl Findings {
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        let file = File::create(folder.join("findings.txt"))?;
        Ok(Self(Arc::new(Mutex::new(Book { file, kinds: vec![] }))))
    }

    /// Notes one; `place` is where it was seen.
    pub(crate) fn add(&self, kind: Kind, place: &str, told: impl AsRef<str>) {
        let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let line = format!("{kind:?} at {place}: {}", told.as_ref());
        if book.kinds.len() < TOLD {
            eprintln!("chaos: {line}");
        } else if book.kinds.len() == TOLD {
            eprintln!("chaos: … more in findings.txt");
        }
        let _ = writeln!(book.file, "{line}");
        book.kinds.push(kind);
    }

    pub(crate) fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).kinds.len()
    }

    pub(crate) fn count_of(&self, kind: Kind) -> usize {
        let book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        book.kinds.iter().filter(|it| **it == kind).count()
    }
}
