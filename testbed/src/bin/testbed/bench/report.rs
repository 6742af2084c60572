//! What a benchmark prints: a table for people on standard error, JSON lines on standard output.

use std::io::{IsTerminal as _, Write as _, stderr, stdout};
use std::time::Duration;

use serde::Serialize;

/// The figures of one benchmark.
#[derive(Debug)]
pub(crate) struct Report {
    bench: &'static str,
    figures: Vec<Figure>,
}

/// One figure, as it is in a JSON line.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figure {
    metric: String,
    value: f64,
    unit: &'static str,
    /// At most this, by the project's own aim.
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<f64>,
    /// At least this, by the project's own aim.
    #[serde(skip_serializing_if = "Option::is_none")]
    at_least: Option<f64>,
    /// What it is compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    beside: Option<String>,
    /// `value` over the figure that it is compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Line<'a> {
    bench: &'static str,
    #[serde(flatten)]
    figure: &'a Figure,
}

/// Durations, from the shortest.
#[derive(Debug)]
pub(crate) struct Times(Vec<Duration>);

// === impl Report ===

impl Report {
    pub(crate) fn new(bench: &'static str) -> Self {
        Self { bench, figures: Vec::new() }
    }

    pub(crate) fn add(&mut self, figure: Figure) {
        self.figures.push(figure);
    }

    /// Says how far it is, on a terminal only.
    pub(crate) fn progress(&self, done: u64, of: u64, what: &str) {
        let mut err = stderr();
        if err.is_terminal() {
            let _ = write!(err, "\r\x1b[K{}: {what} {done}/{of}", self.bench);
            if done == of {
                let _ = write!(err, "\r\x1b[K");
            }
        }
    }

    pub(crate) fn print(&self) {
        let (mut err, mut out) = (stderr().lock(), stdout().lock());
        let mut rows = vec![["metric", "value", "target", "", "compared with"].map(str::to_owned)];
        rows.extend(self.figures.iter().map(Figure::row));
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let (a, b, c, d) = (width(0), width(1), width(2), width(3));
        // Nobody reading is no reason to fail.
        let _ = writeln!(err, "\n{}", self.bench);
        for [metric, value, target, met, beside] in &rows {
            let row = format!("  {metric:a$}  {value:>b$}  {target:>c$}  {met:d$}  {beside}");
            let _ = writeln!(err, "{}", row.trim_end());
        }
        for figure in &self.figures {
            if let Ok(line) = serde_json::to_string(&Line { bench: self.bench, figure }) {
                let _ = writeln!(out, "{line}");
            }
        }
    }
}

// === impl Figure ===

impl Figure {
    pub(crate) fn new(metric: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self {
            metric: metric.into(),
            value: rounded(value),
            unit,
            target: None,
            at_least: None,
            beside: None,
            ratio: None,
        }
    }

    pub(crate) fn milliseconds(metric: impl Into<String>, time: Duration) -> Self {
        Self::new(metric, time.as_secs_f64() * 1_000.0, "ms")
    }

    pub(crate) fn target(mut self, at_most: f64) -> Self {
        self.target = Some(rounded(at_most));
        self
    }

    pub(crate) fn at_least(mut self, floor: f64) -> Self {
        self.at_least = Some(rounded(floor));
        self
    }

    /// Compares it with another figure of this run.
    pub(crate) fn beside(mut self, other: &Self) -> Self {
        if other.value > 0.0 {
            self.beside = Some(other.metric.clone());
            self.ratio = Some((self.value / other.value * 100.0).round() / 100.0);
        }
        self
    }

    /// How often the other figure is in this one, if it was compared.
    pub(crate) fn ratio(&self) -> Option<f64> {
        self.ratio
    }

    fn row(&self) -> [String; 5] {
        let digits = if self.value >= 1_000.0 { 0 } else { 2 };
        let aim = self.target.map(|target| (self.value <= target, "≤", target));
        let aim = aim.or(self.at_least.map(|floor| (self.value >= floor, "≥", floor)));
        let met = match aim {
            Some((true, ..)) => "met",
            Some((false, ..)) => "missed",
            None => "",
        };
        let beside = match (&self.beside, self.ratio) {
            (Some(beside), Some(ratio)) => format!("{ratio:.2} × {beside}"),
            _ => String::new(),
        };
        [
            self.metric.clone(),
            format!("{:.digits$} {}", self.value, self.unit),
            aim.map(|(_, sign, aim)| format!("{sign} {aim} {}", self.unit)).unwrap_or_default(),
            met.to_owned(),
            beside,
        ]
    }
}

/// A figure's digits should not claim more than was measured.
fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

// === impl Times ===

impl Times {
    pub(crate) fn new(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    /// The time that `percent` of all do not exceed (nearest rank).
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0.get(rank - 1).or(self.0.last()).copied().unwrap_or_default()
    }

    pub(crate) fn median(&self) -> Duration {
        self.percentile(50)
    }

    pub(crate) fn max(&self) -> Duration {
        self.0.last().copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let times = Times::new((1..=200).rev().map(Duration::from_millis).collect());
        assert_eq!(times.percentile(50), Duration::from_millis(100));
        assert_eq!(times.percentile(99), Duration::from_millis(198));
        assert_eq!(times.max(), Duration::from_millis(200));
        assert_eq!(Times::new(vec![]).median(), Duration::ZERO);
    }

    #[test]
    fn a_json_line_has_only_what_is_known() {
        let floor = Figure::new("floor", 2.0, "ms");
        let figure = Figure::new("p50", 3.0, "ms").target(15.0).beside(&floor);
        let json = serde_json::to_value(&figure).unwrap();
        assert_eq!(json["ratio"], 1.5);
        assert_eq!(json["target"], 15.0);
        assert!(serde_json::to_value(&floor).unwrap().get("target").is_none());
    }
}
