//! Policies of the repository that are left out: OPAL's `POLICY_STORE_POLICY_PATHS_TO_IGNORE`
//! (`spec/opal-protocol.md` §5.5).

/// Patterns of paths. `dir/**` is everything below `dir`; any other pattern is compared with as
/// many of a path's last segments as it has itself, where `*` and `?` stand for any part of a
/// segment and any character. A pattern behind a `!` takes back what others leave out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ignored {
    out: Vec<String>,
    back: Vec<String>,
}

impl Ignored {
    /// The patterns as they are written.
    #[must_use]
    pub fn new(patterns: &[String]) -> Self {
        let (back, out): (Vec<&String>, Vec<&String>) =
            patterns.iter().partition(|pattern| pattern.starts_with('!'));
        let back = back.into_iter().map(|it| it.trim_start_matches('!').to_owned());
        Self { out: out.into_iter().cloned().collect(), back: back.collect() }
    }

    /// True if the policy at this path is to be left out.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        let any = |patterns: &[String]| patterns.iter().any(|pattern| fits(pattern, path));
        any(&self.out) && !any(&self.back)
    }
}

fn fits(pattern: &str, path: &str) -> bool {
    let pattern = pattern.trim_start_matches('/');
    if let Some(folder) = pattern.strip_suffix("**") {
        return path.starts_with(folder);
    }
    let mut segments = path.rsplit('/');
    pattern.rsplit('/').all(|pattern| {
        segments.next().is_some_and(|segment| {
            let (pattern, segment): (Vec<char>, Vec<char>) =
                (pattern.chars().collect(), segment.chars().collect());
            fits_segment(&pattern, &segment)
        })
    })
}

/// Looks at each place of both once: a pattern of many `*` costs no more than their product.
fn fits_segment(pattern: &[char], segment: &[char]) -> bool {
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
                '*' => so_far,
                '?' => came,
                wanted => came && character == Some(wanted),
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
        let ignored = |patterns: &[&str], path: &str| {
            Ignored::new(&patterns.iter().map(ToString::to_string).collect::<Vec<_>>()).has(path)
        };
        for (patterns, path, expected) in [
            (&[][..], "a.rego", false),
            (&["a.rego"], "a.rego", true),
            (&["a.rego"], "x/a.rego", true),
            (&["x/a.rego"], "a.rego", false),
            (&["x/*.rego"], "x/a.rego", true),
            (&["x/*.rego"], "x/y/a.rego", false),
            (&["x/**"], "x/y/a.rego", true),
            (&["x/**"], "xy/a.rego", false),
            (&["/x/**"], "x/a.rego", true),
            (&["x/**", "!x/keep/*"], "x/keep/a.rego", false),
            (&["x/**", "!x/keep/*"], "x/other/a.rego", true),
            (&["?.rego"], "a.rego", true),
            (&["?.rego"], "ab.rego", false),
            (&["a*b*.rego"], "axxbyy.rego", true),
            (&["a*b*.rego"], "axx.rego", false),
            (&["**"], "any/thing.rego", true),
        ] {
            assert_eq!(ignored(patterns, path), expected, "{patterns:?} {path}");
        }
        let (stars, long) = ("*a".repeat(200), "a".repeat(2_000) + "b");
        assert!(!ignored(&[&stars], &long));
    }
}
