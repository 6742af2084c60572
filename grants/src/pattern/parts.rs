//! Patterns of literal texts and wildcards, without an engine of expressions.
//!
//! A match goes through the parts once and keeps at which places of the text what it has gone
//! through may end, as spans. So nothing is tried twice, and the time is bounded by the length of
//! the text times the number of parts, whatever they are.

/// A piece of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// This text.
    Text(String),
    /// One character, but no line end: `.`.
    Character,
    /// Any text up to a line end: `.*`.
    Any,
    /// What is left of a segment, not nothing: `[^/]+`.
    Segment,
}

/// The pieces of a pattern, in order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parts(Box<[Part]>);

/// Places in a text, from the first to the last; both are between two characters.
#[derive(Clone, Copy)]
struct Span {
    first: usize,
    last: usize,
}

/// Places in a text, in order, no two spans of which overlap.
#[derive(Default)]
struct Places(Vec<Span>);

/// Reads `/*` and `:name`, and has the other characters read; none if one of them is `None`.
pub(super) fn read(pattern: &str, other: impl Fn(char) -> Option<Part>) -> Option<Parts> {
    let mut parts = Vec::new();
    let mut rest = pattern.chars();
    while let Some(character) = rest.next() {
        let after = rest.as_str();
        if character == '/' && after.starts_with('*') {
            push(&mut parts, Part::Text("/".to_owned()));
            parts.push(Part::Any);
            rest.next();
        } else if let Some(name) = name_at(character, after) {
            parts.push(Part::Segment);
            rest = after.get(name.len()..)?.chars();
        } else {
            push(&mut parts, other(character)?);
        }
    }
    Some(Parts(parts.into()))
}

/// The names of `:name` in a pattern.
pub(super) fn names(pattern: &str) -> impl Iterator<Item = &str> {
    let begins = pattern.split('/').filter_map(|segment| segment.split_once(':'));
    begins.map(|(_, name)| name).filter(|name| !name.is_empty())
}

/// A name goes to the end of its segment, and a colon without one is a colon.
fn name_at(character: char, after: &str) -> Option<&str> {
    let name = if character == ':' { after.split('/').next()? } else { "" };
    (!name.is_empty()).then_some(name)
}

/// Texts in a row are one.
fn push(parts: &mut Vec<Part>, part: Part) {
    match (parts.last_mut(), part) {
        (Some(Part::Text(text)), Part::Text(more)) => text.push_str(&more),
        (_, part) => parts.push(part),
    }
}

// === impl Parts ===

impl Parts {
    /// True if they are the whole text.
    pub(super) fn matches(&self, text: &str) -> bool {
        // Where no line ends, a text before `.*` need only be found once.
        let is_one_line = !text.contains('\n');
        let mut places = Places(vec![Span { first: 0, last: 0 }]);
        let mut parts = self.0.iter().peekable();
        while let Some(part) = parts.next() {
            let once = is_one_line && parts.peek() == Some(&&Part::Any);
            let mut next = Places::default();
            for span in places.0 {
                part.pass(text, span, once, &mut next);
            }
            if next.0.is_empty() {
                return false;
            }
            places = next;
        }
        places.0.last().is_some_and(|span| span.last == text.len())
    }
}

// === impl Part ===

impl Part {
    /// Where this part may end, if it begins in the span.
    fn pass(&self, text: &str, span: Span, once: bool, ends: &mut Places) {
        match self {
            Self::Text(wanted) => {
                for at in found(text, span, wanted) {
                    ends.push(at + wanted.len(), at + wanted.len());
                    if once {
                        return;
                    }
                }
            }
            Self::Character => {
                for (at, character) in characters(text, span) {
                    if character != '\n' {
                        ends.push(at + character.len_utf8(), at + character.len_utf8());
                    }
                }
            }
            // The places of the span count too, also those behind a line end in it.
            Self::Any => ends.push(span.first, until('\n', text, span.last)),
            Self::Segment => segments(text, span, ends),
        }
    }
}

/// Where in the span the wanted text, which is not empty, begins.
fn found<'a>(text: &'a str, span: Span, wanted: &'a str) -> impl Iterator<Item = usize> + 'a {
    let mut end = (span.last + wanted.len()).min(text.len());
    while !text.is_char_boundary(end) {
        end += 1;
    }
    let mut from = Some(span.first);
    std::iter::from_fn(move || {
        let within = text.get(from?..end)?;
        let at = from? + within.find(wanted)?;
        let step = wanted.chars().next()?.len_utf8();
        from = Some(at + step).filter(|next| *next <= span.last);
        (at <= span.last).then_some(at)
    })
}

/// The characters that begin in the span, and where.
fn characters(text: &str, span: Span) -> impl Iterator<Item = (usize, char)> + '_ {
    let rest = text.get(span.first..).unwrap_or_default().char_indices();
    rest.map(move |(at, it)| (span.first + at, it)).take_while(move |(at, _)| *at <= span.last)
}

/// The place of this character from there on, or the end.
fn until(character: char, text: &str, from: usize) -> usize {
    let rest = text.get(from..).unwrap_or_default();
    rest.find(character).map_or(text.len(), |at| from + at)
}

/// For each segment that begins in the span, or in which it begins: where a piece of it ends.
fn segments(text: &str, span: Span, ends: &mut Places) {
    let mut from = span.first;
    while from <= span.last && from < text.len() {
        let end = until('/', text, from);
        let first = text.get(from..end).and_then(|segment| segment.chars().next());
        if let Some(first) = first {
            ends.push(from + first.len_utf8(), end);
        }
        from = end + 1;
    }
}

// === impl Places ===

impl Places {
    /// In the order of the first.
    fn push(&mut self, first: usize, last: usize) {
        match self.0.last_mut() {
            // What is next to it is taken in too: there is no place between.
            Some(before) if first <= before.last + 1 => before.last = before.last.max(last),
            _ => self.0.push(Span { first, last }),
        }
    }
}
