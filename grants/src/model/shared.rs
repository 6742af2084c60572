//! Patterns that are compiled once, however many grants have them.

use std::collections::HashMap;
use std::sync::Arc;

use protocol::plane::grants::PathSyntax;

use crate::pattern::{Pattern, PatternError};

/// Compiled patterns by their text.
#[derive(Debug, Default)]
pub(super) struct Shared {
    safe: HashMap<Box<str>, Arc<Pattern>>,
    casbin: HashMap<Box<str>, Arc<Pattern>>,
    /// How many there were when nobody's were last dropped.
    kept: usize,
    /// Grants that went since then.
    gone: usize,
}

impl Shared {
    /// The pattern with this text.
    pub(super) fn get(
        &mut self,
        text: &str,
        syntax: PathSyntax,
    ) -> Result<Arc<Pattern>, PatternError> {
        let known = match syntax {
            PathSyntax::Safe => &mut self.safe,
            PathSyntax::Casbin => &mut self.casbin,
        };
        if let Some(pattern) = known.get(text) {
            return Ok(pattern.clone());
        }
        let pattern = Arc::new(Pattern::read(text, syntax)?);
        known.insert(text.into(), pattern.clone());
        Ok(pattern)
    }

    /// A grant went. Each time that as many went as there were patterns, those that nobody has any
    /// more are dropped: so a grant's going costs the same on average, however many there are.
    pub(super) fn one_went(&mut self) {
        self.gone += 1;
        if self.gone > self.kept {
            for known in [&mut self.safe, &mut self.casbin] {
                known.retain(|_, pattern| Arc::strong_count(pattern) > 1);
                known.shrink_to_fit();
            }
            (self.kept, self.gone) = (self.len(), 0);
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.safe.len() + self.casbin.len()
    }
}
