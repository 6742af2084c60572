//! The methods of a grant.

use std::borrow::Cow;

use crate::pattern::Pattern;

/// What a grant names so.
const ALL: &str = "*";
/// Those that a grant may name take no memory of their own.
const KNOWN: [&str; 4] = ["GET", "POST", "PUT", "DELETE"];

/// Which methods a row is about.
#[derive(Debug)]
pub(super) enum Methods {
    /// All, also those that no grant can name.
    All,
    /// These, as they are written.
    Named(Box<[Cow<'static, str>]>),
    /// Those that the expression of a raw row matches.
    Expression(Pattern),
}

impl Methods {
    /// Those of a grant: a star anywhere among them is all.
    pub(super) fn named(names: &[String]) -> Self {
        if names.iter().any(|name| name == ALL) {
            return Self::All;
        }
        let name = |name: &String| match KNOWN.iter().find(|known| **known == name.as_str()) {
            Some(known) => Cow::Borrowed(*known),
            None => Cow::Owned(name.clone()),
        };
        Self::Named(names.iter().map(name).collect())
    }

    /// True if this method is one of them.
    pub(super) fn have(&self, method: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.iter().any(|name| name == method),
            Self::Expression(pattern) => pattern.matches(method),
        }
    }
}
