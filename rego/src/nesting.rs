//! How deep a module goes, before anybody parses it.
//!
//! The parser and the interpreter call themselves for what is inside something else, and their
//! stack is small where the functions run: an overflow there takes down everybody who shares the
//! isolate. So what is too deep is refused by a scan that calls nobody.
//!
//! Two things make a tree deep: brackets in brackets, and one expression of many parts
//! (`a + b + c`, `a.b.c`), whose tree leans to the left. What counts is their sum along the way
//! to the innermost part.

use std::iter::Peekable;
use std::mem;
use std::str::CharIndices;

use crate::Mistake;

/// Levels of a module. The parser itself stops at 32 of some kinds.
pub(crate) const MAX_LEVELS: usize = 200;

/// Each makes one more part of an expression; of those with several characters, one a character.
const OPERATORS: &str = ".+-*/%&|<>=!:";

/// What is inside one pair of brackets, or outside of all.
#[derive(Default)]
struct Level {
    /// Parts of the current expression.
    parts: usize,
    /// Whether what was last read wants something behind it, so that a line end does not end
    /// the expression.
    open: bool,
    /// Whether a line has ended since. The expression goes on if an operator comes next.
    line_ended: bool,
}

/// Checks that a module is not too deep.
///
/// # Errors
/// Where it becomes too deep.
pub(crate) fn check(file: &str, text: &str) -> Result<(), Mistake> {
    let mut levels = vec![Level::default()];
    // The sum of all levels, kept as they change.
    let mut depth = 1_usize;
    let (mut row, mut line_start) = (1_u32, 0_usize);
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        let Some(level) = levels.last_mut() else { break };
        let is_operator = OPERATORS.contains(character) || keyword_in(text, at);
        if !character.is_whitespace()
            && character != '#'
            && mem::take(&mut level.line_ended)
            && (!is_operator || character == '.')
        {
            depth -= mem::take(&mut level.parts);
        }
        match character {
            '\n' => {
                row = row.saturating_add(1);
                line_start = at + 1;
                level.line_ended = !level.open;
            }
            '#' => while characters.next_if(|(_, it)| *it != '\n').is_some() {},
            '"' => {
                level.open = false;
                skip_string(&mut characters);
            }
            '`' => {
                level.open = false;
                for (at, it) in characters.by_ref() {
                    if it == '\n' {
                        row = row.saturating_add(1);
                        line_start = at + 1;
                    } else if it == '`' {
                        break;
                    }
                }
            }
            '(' | '[' | '{' => {
                // A part of what it is in, as an index is.
                level.parts += 1;
                levels.push(Level { open: true, ..Level::default() });
                depth += 2;
            }
            ')' | ']' | '}' => {
                if levels.len() > 1 {
                    depth -= 1 + levels.pop().map_or(0, |level| level.parts);
                }
                if let Some(level) = levels.last_mut() {
                    level.open = false;
                }
            }
            ',' | ';' => {
                level.open = true;
                depth -= mem::take(&mut level.parts);
            }
            _ if is_operator => {
                level.open = true;
                level.parts += 1;
                depth += 1;
            }
            it if it.is_whitespace() => {}
            _ => level.open = false,
        }
        if depth > MAX_LEVELS {
            let before = text.get(line_start..at).unwrap_or_default();
            let column = before.chars().count().saturating_add(1);
            return Err(Mistake {
                file: file.to_owned(),
                row,
                column: u32::try_from(column).unwrap_or(u32::MAX),
                reason: format!(
                    "the expression has more than {MAX_LEVELS} levels or parts; give parts of \
                     it to rules of their own"
                ),
            });
        }
    }
    Ok(())
}

/// Up to the quote that ends the string, or the line, which also ends it.
fn skip_string(characters: &mut Peekable<CharIndices<'_>>) {
    while let Some((_, it)) = characters.next_if(|(_, it)| *it != '\n') {
        match it {
            '"' => return,
            '\\' => {
                characters.next_if(|(_, it)| *it != '\n');
            }
            _ => {}
        }
    }
}

/// True if the word `in` stands here.
fn keyword_in(text: &str, at: usize) -> bool {
    let is_word = |it: char| it.is_alphanumeric() || it == '_';
    let (before, rest) = text.split_at_checked(at).unwrap_or_default();
    rest.strip_prefix("in").is_some_and(|rest| !rest.starts_with(is_word))
        && !before.ends_with(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_deep_is_refused_where_it_becomes_so() {
        let deep = MAX_LEVELS;
        for text in [
            format!("package a\nx := {}", "[".repeat(10_000)),
            format!("package a\nx := {}1{}", "(".repeat(deep), ")".repeat(deep)),
            format!("package a\nx := {}1", "f(".repeat(deep)),
            format!("package a\nx := {}1", "a[".repeat(deep)),
            format!("package a\nx := {}1", "-".repeat(deep)),
            format!("package a\nx := {}1", "1 +\n".repeat(deep)),
            format!("package a\nx := 1{}", "\n\n # why\n+ 1".repeat(deep)),
            format!("package a\nx := a{}", ".b".repeat(deep)),
            format!("package a\nx := a{}", "[0]".repeat(deep)),
            format!("package a\nx := 1{}", " in 1".repeat(deep)),
            format!("package a\nx := {{\n{}", "\"a\": {\n".repeat(deep)),
        ] {
            let mistake = check("a.rego", &text).unwrap_err();
            assert!(mistake.row >= 2 && mistake.reason.contains("200 levels"), "{mistake}");
        }
        let mistake = check("a.rego", &format!("package é\nxé := {}", "[".repeat(999)));
        assert_eq!(mistake.unwrap_err().to_string().split(": ").next(), Some("a.rego:2:104"));
    }

    #[test]
    fn what_is_long_and_not_deep_passes() {
        for text in [
            format!("package a\n{}", "x.y := input.a + 1\n".repeat(10_000)),
            format!("package a\nx := [{}]", "input.a[0].b, ".repeat(10_000)),
            format!("package a\nx := {{{}}}", "\"a\": {\"b\": [1 + 2]},\n".repeat(10_000)),
            format!("package a\nx := \"{}\"", "[".repeat(10_000)),
            format!("package a\nx := \"\\\"{}\"", "[".repeat(10_000)),
            format!("package a\nx := `\n{}`", "[".repeat(10_000)),
            format!("package a\n# {}\nx := 1", "[".repeat(10_000)),
            format!("package a\n{}", "allow if { input.x in [1]; input.y == 2 }\n\n".repeat(10_000)),
            format!("package a\n{}", "index := inner\n".repeat(10_000)),
        ] {
            assert_eq!(check("a.rego", &text), Ok(()), "{}", text.get(..60).unwrap());
        }
    }
}
