//! Rows, roles, and the decision.

use protocol::Millis;
use protocol::plane::Question;
use protocol::plane::grants::{Grant, Subject};

use crate::pattern::PatternError;

/// The grants of a scope, or of a part of it.
#[derive(Debug, Default)]
pub struct Model {}

impl Model {
    /// Takes a grant, in place of the one of this id.
    ///
    /// # Errors
    /// A pattern is none: the grant is not taken, and the one before is gone.
    pub fn put(&mut self, _grant: &Grant) -> Result<(), PatternError> {
        Ok(())
    }

    /// Forgets the grant of this id, if it is there.
    pub fn remove(&mut self, _id: &str) {}

    /// True if some grant allows it at this moment and none denies it.
    #[must_use]
    pub fn allows(&self, _now: Millis, _question: &Question) -> bool {
        false
    }

    /// The roles that these subjects have in a domain, directly: who loads a part of the grants
    /// loads those of the roles next.
    #[must_use]
    pub fn roles_of(&self, _subject: &Subject, _domain: &str) -> Vec<String> {
        vec![]
    }
}
