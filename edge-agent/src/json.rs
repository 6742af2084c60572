//! JSON text that is kept as it came.

use std::{fmt, sync::Arc};

use serde_json::value::RawValue;

/// One JSON value as text, so that a number keeps its digits. It was read as JSON when it
/// came in, and is not read once more only to be kept or handed on; clones share it.
#[derive(Clone, PartialEq, Eq)]
pub struct Json(Arc<Box<str>>);

impl Json {
    /// The text.
    #[must_use]
    pub fn get(&self) -> &str {
        &self.0
    }

    /// Text that is JSON because of how it was made, or because it was when it was kept. Whoever
    /// reads it finds out if that is wrong.
    pub(crate) fn known(text: String) -> Self {
        Self(Arc::new(text.into_boxed_str()))
    }

    /// True if both are the same memory.
    #[cfg(test)]
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl From<Box<RawValue>> for Json {
    fn from(value: Box<RawValue>) -> Self {
        Self(Arc::new(value.into()))
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.get())
    }
}
