//! What a person sees: aligned, a little coloured on a terminal, plain in a pipe.

use std::env;
use std::fmt::Display;
use std::io::{IsTerminal as _, Write as _, stdout};
use std::time::Duration;

/// Columns that the labels of rows take.
const LABEL: usize = 17;

/// Prints to standard output.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ui {
    colour: bool,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Style {
    Bold,
    Dim,
    Green,
    Red,
    Cyan,
}

impl Ui {
    pub(crate) fn new() -> Self {
        let wanted = env::var_os("NO_COLOR").is_none_or(|no| no.is_empty());
        Self { colour: wanted && stdout().is_terminal() }
    }

    /// A heading with an empty line before it.
    pub(crate) fn heading(self, text: impl Display) {
        self.line("");
        self.line(self.paint(Style::Bold, text));
    }

    /// `label    text`, indented.
    pub(crate) fn row(self, label: &str, text: impl Display) {
        let label = self.paint(Style::Dim, format!("{label:LABEL$}"));
        self.line(format!("   {label} {text}"));
    }

    /// A command to copy.
    pub(crate) fn command(self, text: impl Display) {
        self.line(format!("   {}", self.paint(Style::Cyan, text)));
    }

    pub(crate) fn line(self, text: impl Display) {
        // Where nobody reads any more (`| head`) there is nothing to do about it.
        let _ = writeln!(stdout(), "{text}");
    }

    pub(crate) fn paint(self, style: Style, text: impl Display) -> String {
        if !self.colour {
            return text.to_string();
        }
        let code = match style {
            Style::Bold => 1,
            Style::Dim => 2,
            Style::Red => 31,
            Style::Green => 32,
            Style::Cyan => 36,
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// `12.3 ms`.
pub(crate) fn milliseconds(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1_000.0)
}
