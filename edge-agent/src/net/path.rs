//! Paths of rules. Servers differ in what they make of `%2e%2e%2f`, `//` and `\`, so that a rule
//! is asked about every reading.

/// A path, or how it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Path {
    Is(String),
    Begins(String),
}

impl Path {
    /// `text` is without its first slash; nothing is every path.
    pub(super) fn of(text: &str) -> Result<Option<Self>, String> {
        let (path, begins) =
            text.strip_suffix('*').map_or((text, false), |beginning| (beginning, true));
        if path.contains('*') {
            return Err("give a path with a * at its end only".to_owned());
        }
        let path = format!("/{path}");
        Ok(match (path.as_str(), begins) {
            ("/", _) => None,
            (_, true) => Some(Self::Begins(path)),
            (_, false) => Some(Self::Is(path)),
        })
    }

    /// Servers differ in what they make of `%2e%2e%2f`: it is let in only if it may be in
    /// every reading.
    pub(super) fn admits(&self, path: &str) -> bool {
        let one = |path: &str| match self {
            Self::Is(own) => own == path,
            Self::Begins(own) => path.starts_with(own.as_str()),
        };
        one(path) && plain(path).is_some_and(|path| one(&path))
    }

    /// It is kept out if it must be in any reading, and in any case: there are servers that
    /// take `/Admin` and `/admin/` for `/admin`.
    pub(super) fn catches(&self, path: &str) -> bool {
        let one = |path: &str| {
            let path = path.to_lowercase();
            match self {
                Self::Is(own) => {
                    own.to_lowercase().trim_end_matches('/') == path.trim_end_matches('/')
                }
                Self::Begins(own) => path.starts_with(&own.to_lowercase()),
            }
        };
        one(path) || plain(path).is_none_or(|path| one(&path))
    }
}

/// A path without percent signs, dot segments, doubled and reversed slashes; none if it hides
/// them too deep.
fn plain(path: &str) -> Option<String> {
    let mut path = path.to_owned();
    for _ in 0..4 {
        let decoded = percent_decoded(&path)?;
        if decoded == path {
            let mut parts = vec![];
            for part in path.replace('\\', "/").split('/') {
                match part {
                    "" | "." => {}
                    ".." => drop(parts.pop()),
                    part => parts.push(part.to_owned()),
                }
            }
            let end = if path.ends_with('/') && !parts.is_empty() { "/" } else { "" };
            return Some(format!("/{}{end}", parts.join("/")));
        }
        path = decoded;
    }
    None
}

/// Nothing if it is no text any more.
fn percent_decoded(text: &str) -> Option<String> {
    let hex = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        let mut ahead = bytes.clone();
        let value = (byte == b'%')
            .then(|| Some((hex(ahead.next()?)? << 4) | hex(ahead.next()?)?))
            .flatten();
        match value {
            Some(value) => {
                decoded.push(value);
                bytes = ahead;
            }
            None => decoded.push(byte),
        }
    }
    String::from_utf8(decoded).ok()
}
