//! Files that are left out: OPAL's `BUNDLE_IGNORE` and `POLICY_STORE_POLICY_PATHS_TO_IGNORE`
//! (`spec/opal-protocol.md` §2.1, §5.5).

/// Patterns of paths. `dir/**` is `dir` and everything below it; `/`, `/**` and `**` are
/// everything; any other pattern is compared with as many of a path's last segments as it has
/// itself, where `*` stands for any part of a segment, `?` for any character, and `[a-z]`, `[!a]`
/// for one that is among those, or not. A pattern behind a `!` takes back what others leave out.
///
/// OPAL's server knows no `!`, and a pattern of it that begins with a `/` fits no path; here the
/// `/` says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ignored {
    out: Vec<Pattern>,
    back: Vec<Pattern>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    Everything,
    /// A folder, and what is in it.
    Folder(String),
    /// The last segments of a path, the last one first.
    Segments(Vec<Vec<Token>>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// Any characters, or none.
    Any,
    One,
    Char(char),
    /// One that is in a range, or in none of them.
    Among {
        is_in: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Ignored {
    /// The patterns as they are written. Empty ones say nothing.
    #[must_use]
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Self {
        let mut ignored = Self::default();
        for pattern in patterns.iter().map(|pattern| pattern.as_ref().trim()) {
            match pattern.strip_prefix('!') {
                Some(pattern) => ignored.back.extend(Pattern::read(pattern)),
                None => ignored.out.extend(Pattern::read(pattern)),
            }
        }
        ignored
    }

    /// True if the file at this path is to be left out.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        let any = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.fits(path));
        any(&self.out) && !any(&self.back)
    }
}

// === impl Pattern ===

impl Pattern {
    fn read(text: &str) -> Option<Self> {
        if matches!(text, "/" | "/**" | "**") {
            return Some(Self::Everything);
        }
        let text = text.strip_prefix("./").unwrap_or(text).trim_start_matches('/');
        if let Some(folder) = text.strip_suffix("/**") {
            return Some(Self::Folder(folder.to_owned()));
        }
        let text = text.trim_end_matches('/');
        let segments = text.rsplit('/').map(tokens).collect();
        (!text.is_empty()).then_some(Self::Segments(segments))
    }

    fn fits(&self, path: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::Folder(folder) => {
                let rest = path.strip_prefix(folder.as_str());
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            Self::Segments(patterns) => {
                let mut segments = path.rsplit('/');
                patterns.iter().all(|pattern| {
                    segments.next().is_some_and(|segment| fits_segment(pattern, segment))
                })
            }
        }
    }
}

fn tokens(segment: &str) -> Vec<Token> {
    let mut tokens = vec![];
    let mut rest = segment;
    while let Some(first) = rest.chars().next() {
        rest = rest.get(first.len_utf8()..).unwrap_or_default();
        tokens.push(match first {
            '*' => Token::Any,
            '?' => Token::One,
            '[' => match among(rest) {
                Some((token, behind)) => {
                    rest = behind;
                    token
                }
                None => Token::Char('['),
            },
            other => Token::Char(other),
        });
    }
    tokens
}

/// What is behind a `[`, up to its `]`, and the rest. A `]` in first place is one of the
/// characters.
fn among(text: &str) -> Option<(Token, &str)> {
    let (is_in, text) = text.strip_prefix('!').map_or((true, text), |text| (false, text));
    let first = text.chars().next()?.len_utf8();
    let end = text.get(first..)?.find(']')?.checked_add(first)?;
    let mut ranges = vec![];
    let mut characters = text.get(..end)?.chars().peekable();
    while let Some(from) = characters.next() {
        let mut ahead = characters.clone();
        match (ahead.next(), ahead.next()) {
            (Some('-'), Some(to)) => {
                ranges.push((from, to));
                characters = ahead;
            }
            _ => ranges.push((from, from)),
        }
    }
    Some((Token::Among { is_in, ranges }, text.get(end.checked_add(1)?..)?))
}

/// Looks at each place of both once: a pattern of many `*` costs no more than their product.
fn fits_segment(pattern: &[Token], segment: &str) -> bool {
    let segment: Vec<char> = segment.chars().collect();
    let mut fits = vec![false; segment.len().saturating_add(1)];
    if let Some(first) = fits.first_mut() {
        *first = true;
    }
    for wanted in pattern {
        let before = fits.clone();
        let mut so_far = false;
        for (at, fit) in fits.iter_mut().enumerate() {
            let previous = at.checked_sub(1);
            let came = previous.and_then(|it| before.get(it)).copied().unwrap_or(false);
            let character = previous.and_then(|it| segment.get(it));
            so_far |= before.get(at).copied().unwrap_or(false);
            *fit = match wanted {
                Token::Any => so_far,
                Token::One => came,
                Token::Char(wanted) => came && character == Some(wanted),
                Token::Among { is_in, ranges } => {
                    let has = |it: &char| ranges.iter().any(|(a, b)| (a..=b).contains(&it));
                    came && character.is_some_and(has) == *is_in
                }
            };
        }
    }
    fits.last().copied().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_leave_out_and_take_back() {
        for (patterns, path, expected) in [
            (&[][..], "a.rego", false),
            (&[""], "a.rego", false),
            (&["a.rego"], "a.rego", true),
            (&["./a.rego"], "a.rego", true),
            (&["a.rego"], "x/a.rego", true),
            (&["x/a.rego"], "a.rego", false),
            (&["x/*.rego"], "x/a.rego", true),
            (&["x/*.rego"], "x/y/a.rego", false),
            (&["x/**/a.rego"], "x/y/a.rego", true),
            (&["x/**/a.rego"], "x/y/z/a.rego", false),
            (&["x/**"], "x/y/a.rego", true),
            (&["x/**"], "x", true),
            (&["x/**"], "xy/a.rego", false),
            (&["x/**"], "y/x/a.rego", false),
            (&["/x/**"], "x/a.rego", true),
            (&["x"], "x/a.rego", false),
            (&["x/"], "x/a.rego", false),
            (&["x/**", "!x/keep/*"], "x/keep/a.rego", false),
            (&["x/**", "!x/keep/*"], "x/other/a.rego", true),
            (&["?.rego"], "a.rego", true),
            (&["?.rego"], "ab.rego", false),
            (&["[ab].rego"], "b.rego", true),
            (&["[!ab].rego"], "b.rego", false),
            (&["[a-c]x.rego"], "bx.rego", true),
            (&["[a-c]x.rego"], "dx.rego", false),
            (&["[].rego"], "[].rego", true),
            (&["a*b*.rego"], "axxbyy.rego", true),
            (&["a*b*.rego"], "axx.rego", false),
            (&["**"], "any/thing.rego", true),
            (&["/**"], "any/thing.rego", true),
            (&["/"], "any/thing.rego", true),
        ] {
            assert_eq!(Ignored::new(patterns).has(path), expected, "{patterns:?} {path}");
        }
        let (stars, long) = ("*a".repeat(200), "a".repeat(2_000) + "b");
        assert!(!Ignored::new(&[stars]).has(&long));
    }
}
