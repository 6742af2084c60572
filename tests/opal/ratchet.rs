//! The list of behaviours that pass, which may only grow.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use testbed::checkout;

use crate::behaviours::Outcome;

const LIST: &str = "tests/opal/passing.txt";

/// The names in `passing.txt`, one a line.
#[derive(Debug)]
pub(crate) struct Ratchet {
    file: PathBuf,
    listed: BTreeSet<String>,
}

/// What a run means for the list.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    passed: usize,
    /// Listed, and failed.
    broken: Vec<String>,
    /// Listed, and not shown by a scenario that ran.
    vanished: Vec<String>,
    /// Passed, and not listed.
    unlisted: Vec<String>,
    /// Failed, and not listed.
    missing: Vec<String>,
}

// === impl Ratchet ===

impl Ratchet {
    pub(crate) fn read() -> Result<Self> {
        let file = checkout().join(LIST);
        let text = fs::read_to_string(&file)
            .with_context(|| format!("reading {}: restore it from git", file.display()))?;
        Ok(Self { listed: text.lines().map(str::to_owned).collect(), file })
    }

    /// Compares the list with what was shown; `ran` says whether a name's scenario was run at all.
    pub(crate) fn compare(&self, outcomes: &[Outcome], ran: impl Fn(&str) -> bool) -> Verdict {
        let mut verdict = Verdict::default();
        for Outcome { name, failed } in outcomes {
            let into = match (failed, self.listed.contains(name)) {
                (None, true) => {
                    verdict.passed += 1;
                    continue;
                }
                (None, false) => &mut verdict.unlisted,
                (Some(_), true) => &mut verdict.broken,
                (Some(_), false) => &mut verdict.missing,
            };
            into.push(name.clone());
        }
        let shown = |name: &String| outcomes.iter().any(|outcome| outcome.name == *name);
        let vanished = self.listed.iter().filter(|name| ran(name) && !shown(name));
        verdict.vanished = vanished.cloned().collect();
        verdict
    }

    /// Writes what passed into the list, too.
    pub(crate) fn add(&mut self, outcomes: &[Outcome]) -> Result<()> {
        let passed = outcomes.iter().filter(|outcome| outcome.failed.is_none());
        self.listed.extend(passed.map(|outcome| outcome.name.clone()));
        let text: String = self.listed.iter().flat_map(|name| [name, "\n"]).collect();
        fs::write(&self.file, text).with_context(|| format!("writing {}", self.file.display()))
    }
}

// === impl Verdict ===

impl Verdict {
    /// Whether the suite passes; what passes unlisted does no harm when it has just been listed.
    pub(crate) fn is_good(&self, blessed: bool) -> bool {
        let scenarios_ran = !self.missing.iter().any(|name| name.ends_with("/can be shown"));
        let listed = blessed || self.unlisted.is_empty();
        self.broken.is_empty() && self.vanished.is_empty() && listed && scenarios_ran
    }

    pub(crate) fn print(&self, blessed: bool) {
        let add = if blessed {
            "new in tests/opal/passing.txt"
        } else {
            "pass and are not in tests/opal/passing.txt: add them with \
             `cargo xtask test opal -- --bless`"
        };
        eprintln!("\n{} behaviours pass as listed", self.passed);
        for (names, what) in [
            (&self.missing, "do not pass and are not listed"),
            (&self.unlisted, add),
            (&self.vanished, "are listed and were not shown: they must not vanish"),
            (&self.broken, "are listed and do not pass any more"),
        ] {
            if !names.is_empty() {
                eprintln!("{} {what}:\n  {}", names.len(), names.join("\n  "));
            }
        }
    }
}
