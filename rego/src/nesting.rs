//! How deep a module goes, and how long reading it would take, before anybody parses it.
//!
//! The parser and the interpreter call themselves for what is inside something else, and their
//! stack is small where the functions run: an overflow there takes down everybody who shares the
//! isolate. And the parser reads what stands first in brackets twice, since it might be a
//! comprehension, so thirty `[` are read a thousand million times. So what is too deep or
//! repeats too much is refused by a scan that calls nobody and reads once.
//!
//! Two things make a tree deep: brackets in brackets, and one expression of many parts
//! (`a + b + c`, `a.b.c`), whose tree leans to the left. What counts is their sum along the way
//! to the innermost part.

use std::iter::Peekable;
use std::mem;
use std::str::CharIndices;

use crate::Mistake;

/// Levels of a module; brackets count twice. The parser itself stops at 32 of some kinds.
pub(crate) const MAX_LEVELS: usize = 100;
/// How often the parser may read one part: 16 brackets, each the first thing in the one before.
const MAX_READINGS: u32 = 1 << 16;
/// Brackets that the parser may read in a module, each as often as it does.
const MAX_ALL_READINGS: u32 = 2_000_000;

/// Each makes one more part of an expression; of those with several characters, one a character.
const OPERATORS: &str = "+-*/%&|<>=!:";

/// What is inside one pair of brackets, or outside of all.
struct Level {
    /// Operands of the current expression but one.
    parts: usize,
    /// Parts of the current operand: `a.b[0](1)` has three more than one.
    steps: usize,
    /// How often the parser reads what is in here.
    readings: u32,
    /// How often it reads what comes next: what stands first maybe more often.
    next: u32,
    /// Whether what was last read wants something behind it, so that a line end does not end
    /// the expression.
    open: bool,
    /// Whether a line has ended since. The expression goes on if an operator comes next.
    line_ended: bool,
}

/// Where the scan is.
struct Scan {
    levels: Vec<Level>,
    /// The sum over all levels.
    depth: usize,
    readings: u32,
}

/// Checks that a module is not too deep, and can be read in time.
///
/// # Errors
/// Where it becomes too much.
pub(crate) fn check(file: &str, text: &str) -> Result<(), Mistake> {
    let mut scan = Scan { levels: vec![Level::new(1, 1)], depth: 1, readings: 0 };
    let (mut row, mut line_start) = (1_u32, 0_usize);
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        match character {
            '\n' => {
                row = row.saturating_add(1);
                line_start = at + 1;
                scan.line_end();
            }
            '#' => while characters.next_if(|(_, it)| *it != '\n').is_some() {},
            '"' => {
                scan.operand();
                skip_string(&mut characters);
            }
            '`' => {
                scan.operand();
                for (at, it) in characters.by_ref() {
                    if it == '\n' {
                        row = row.saturating_add(1);
                        line_start = at + 1;
                    } else if it == '`' {
                        break;
                    }
                }
            }
            // An argument or an index, which can be nothing else.
            '(' => scan.open(true),
            '[' => scan.open(text.get(..at).is_some_and(|it| it.ends_with(ends_operand))),
            '{' => scan.open(false),
            ')' | ']' | '}' => scan.close(),
            ',' | ';' => scan.separator(),
            '.' => scan.step(),
            it if OPERATORS.contains(it) || keyword_in(text, at) => scan.operator(),
            it if it.is_whitespace() => {}
            _ => scan.operand(),
        }
        if let Some(reason) = scan.too_much() {
            let before = text.get(line_start..at).unwrap_or_default();
            let column = before.chars().count().saturating_add(1);
            let column = u32::try_from(column).unwrap_or(u32::MAX);
            return Err(Mistake { file: file.to_owned(), row, column, reason });
        }
    }
    Ok(())
}

impl Level {
    /// A level that is read so often, and what stands first in it.
    fn new(readings: u32, next: u32) -> Self {
        Self { parts: 0, steps: 0, readings, next, open: true, line_ended: false }
    }

    /// Ends the expression; how many levels it had.
    fn end(&mut self) -> usize {
        mem::take(&mut self.parts) + mem::take(&mut self.steps)
    }
}

impl Scan {
    /// The innermost level, in which something else than an operator comes next.
    fn level(&mut self) -> Option<&mut Level> {
        let level = self.levels.last_mut()?;
        if mem::take(&mut level.line_ended) {
            self.depth -= level.end();
        }
        Some(level)
    }

    fn line_end(&mut self) {
        if let Some(level) = self.levels.last_mut() {
            level.line_ended |= !level.open;
        }
    }

    fn operand(&mut self) {
        if let Some(level) = self.level() {
            level.open = false;
        }
    }

    fn operator(&mut self) {
        let Some(level) = self.levels.last_mut() else { return };
        level.line_ended = false;
        level.open = true;
        level.parts += 1;
        self.depth += 1;
        self.depth -= mem::take(&mut level.steps);
    }

    fn step(&mut self) {
        let Some(level) = self.level() else { return };
        level.open = true;
        level.steps += 1;
        self.depth += 1;
    }

    fn separator(&mut self) {
        let Some(level) = self.level() else { return };
        level.open = true;
        level.next = level.readings;
        self.depth -= level.end();
    }

    fn open(&mut self, is_read_once: bool) {
        let Some(level) = self.level() else { return };
        level.steps += 1;
        let readings = level.next;
        let next = if is_read_once { readings } else { readings.saturating_mul(2) };
        self.levels.push(Level::new(readings, next));
        self.depth += 2;
        self.readings = self.readings.saturating_add(next);
    }

    fn close(&mut self) {
        if self.levels.len() > 1 {
            self.depth -= 1 + self.levels.pop().map_or(0, |mut level| level.end());
        }
        if let Some(level) = self.levels.last_mut() {
            level.open = false;
        }
    }

    fn too_much(&self) -> Option<String> {
        let brackets = self.levels.last().is_some_and(|level| level.next > MAX_READINGS);
        if self.depth > MAX_LEVELS {
            return Some(format!(
                "the expression has more than {MAX_LEVELS} levels or parts; give parts of it to \
                 rules of their own"
            ));
        }
        (brackets || self.readings > MAX_ALL_READINGS).then(|| {
            "there are too many brackets in brackets to read; give what is inside to rules of \
             its own, or to a data.json"
                .to_owned()
        })
    }
}

/// True for what may end an operand, so that a `[` behind it is an index.
fn ends_operand(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | ']' | ')' | '}' | '"' | '`')
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
            format!("package a\nx := {}", "[1, ".repeat(10_000)),
            format!("package a\nx := {}1{}", "(".repeat(deep), ")".repeat(deep)),
            format!("package a\nx := {}1", "f(".repeat(deep)),
            format!("package a\nx := {}1", "a[".repeat(deep)),
            format!("package a\nx := {}1", "-".repeat(deep)),
            format!("package a\nx := {}1", "1 +\n".repeat(deep)),
            format!("package a\nx := 1{}", "\n\n # why\n+ 1".repeat(deep)),
            format!("package a\nx := a{}", ".b".repeat(deep)),
            format!("package a\nx := a{}", "[0]".repeat(deep)),
            format!("package a\nx := 1{}", " in 1".repeat(deep)),
            format!("package a\nx := {{\n{}", "\"b\": 1, \"a\": {\n".repeat(deep)),
        ] {
            let mistake = check("a.rego", &text).unwrap_err();
            assert!(mistake.row >= 2 && mistake.reason.contains("100 levels"), "{mistake}");
        }
        let mistake = check("a.rego", &format!("package é\nxé := {}", "[0,".repeat(999)));
        assert_eq!(mistake.unwrap_err().to_string().split(": ").next(), Some("a.rego:2:151"));
    }

    #[test]
    fn what_the_parser_would_read_too_often_is_refused() {
        let nested = |count: usize| format!("x := {}1{}\n", "[".repeat(count), "]".repeat(count));
        for text in [nested(30), nested(14).repeat(200), "x := {\"a\": ".repeat(20)] {
            let mistake = check("a.rego", &format!("package a\n{text}")).unwrap_err();
            assert!(mistake.reason.contains("brackets in brackets"), "{mistake}");
        }
        let flat = format!("x := [{}]\n", "[1, 2], ".repeat(10_000));
        for text in [nested(15), nested(8).repeat(1_000), flat] {
            assert_eq!(check("a.rego", &format!("package a\n{text}")), Ok(()));
        }
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
            format!(
                "package a\n{}",
                "allow if { input.x in [1]; input.y == 2 }\n\n".repeat(10_000)
            ),
            format!("package a\n{}", "index := inner\n".repeat(10_000)),
        ] {
            assert_eq!(check("a.rego", &text), Ok(()), "{}", text.get(..60).unwrap());
        }
    }
}
