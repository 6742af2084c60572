//! Calls with an output: `f(x, y)`, where `f` takes one argument, gives `y` what `f(x)` is. It is
//! how tokens are decoded in many policies: `io.jwt.decode(input.token, [_, payload, _])`.
//!
//! regorus takes that for its own functions and not for those that it is given. For these it is
//! written as `f(x) = y`, on the same line, so that whatever is said about a place in the file is
//! right but for a column or two.

use std::borrow::Cow;

use regorus::unstable::{Expr, Module};

use crate::functions;
use crate::walk::Written;

/// The text of a module with such calls written out; `parse` reads a module.
pub(crate) fn written_out<'t>(
    text: &'t str,
    mut parse: impl FnMut(&str) -> Option<Vec<Edit>>,
) -> Cow<'t, str> {
    if !functions::names().any(|name| text.contains(name)) {
        return Cow::Borrowed(text);
    }
    let Some(mut edits) = parse(text).filter(|edits| !edits.is_empty()) else {
        return Cow::Borrowed(text);
    };
    edits.sort_unstable_by_key(|edit| std::cmp::Reverse(edit.at));
    let mut written = text.to_owned();
    for Edit { at, replaced, by } in edits {
        let end = at + replaced.len();
        if written.get(at..end) != Some(replaced) {
            return Cow::Borrowed(text);
        }
        written.replace_range(at..end, by);
    }
    // What cannot be read any more is told as it was written.
    if parse(&written).is_some() { Cow::Owned(written) } else { Cow::Borrowed(text) }
}

/// One character that becomes others.
pub(crate) struct Edit {
    at: usize,
    replaced: &'static str,
    by: &'static str,
}

/// What is to be changed in a module that was read from `text`.
pub(crate) fn edits(text: &str, module: &Module) -> Vec<Edit> {
    let mut edits = vec![];
    for rule in &module.policy {
        for call in Written::of(rule).calls {
            let takes = functions::arguments(&call.function.join("."));
            let [.., last, output] = call.arguments else { continue };
            if takes.map(|count| count + 1) != Some(call.arguments.len()) {
                continue;
            }
            let comma = next(text, end(last), ',');
            let close = next(text, end(output), ')');
            if let (Some(comma), Some(close)) = (comma, close) {
                edits.push(Edit { at: comma, replaced: ",", by: ") =" });
                edits.push(Edit { at: close, replaced: ")", by: " " });
            }
        }
    }
    edits
}

fn end(expression: &Expr) -> usize {
    usize::try_from(expression.span().end).unwrap_or(usize::MAX)
}

/// Where a character is next, if nothing but space, brackets of the expression before it and
/// comments comes first.
fn next(text: &str, from: usize, wanted: char) -> Option<usize> {
    let mut rest = text.get(from..)?.char_indices();
    while let Some((at, character)) = rest.next() {
        match character {
            _ if character == wanted => return Some(from + at),
            '#' => {
                rest.find(|(_, it)| *it == '\n')?;
            }
            ')' if wanted == ',' => {}
            // The end of a text, which is no part of its span.
            '"' | '`' if at == 0 => {}
            ',' if wanted == ')' => return None,
            _ if character.is_whitespace() => {}
            _ => return None,
        }
    }
    None
}
