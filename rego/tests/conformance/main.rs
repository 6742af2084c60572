//! OPA's own test cases on the embedded engine.
//!
//! `cargo xtask test conformance [-- FILTER] [-- --bless]`
//!
//! `passing.txt` lists the cases of which the engine makes what OPA makes. One of them that fails
//! or is not there any more fails the suite, and so does one that passes and is not listed, until
//! `--bless` has added it. The list may only grow. A rule's program must never decide otherwise
//! than its interpretation, listed or not.
//!
//! | question | file |
//! |---|---|
//! | Where do the cases come from, what is in one? | `cases.rs` |
//! | What does the engine make of one? | `run.rs` |
//! | And on other data and input? | `variants.rs` |

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking"
)]

mod cases;
mod run;
mod variants;

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;

use crate::cases::Case;
use crate::run::Outcome;

const LIST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance/passing.txt");

#[derive(Debug, Parser)]
#[command(name = "conformance")]
struct Options {
    /// Add what passes to passing.txt
    #[arg(long)]
    bless: bool,
    /// Say why each case fails that does
    #[arg(long)]
    explain: bool,
    /// Run only the cases whose name has this in it
    filter: Option<String>,
    /// For `cargo test`, which gives it to every test program
    #[arg(long, hide = true)]
    nocapture: bool,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<bool> {
    let listed =
        fs::read_to_string(LIST).with_context(|| format!("reading {LIST}: restore it from git"))?;
    let mut listed: BTreeSet<String> = listed.lines().map(str::to_owned).collect();
    let cases = cases::read(&cases::folder()?)?;
    let all: BTreeSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    let vanished: Vec<&String> =
        listed.iter().filter(|name| !all.contains(name.as_str())).collect();
    let wanted = |case: &&Case| options.filter.as_ref().is_none_or(|it| case.name.contains(it));
    let (mut passed, mut failed, mut disagree, mut programs) = (vec![], vec![], vec![], 0);
    for case in cases.iter().filter(wanted) {
        let outcome = catch_unwind(AssertUnwindSafe(|| run::run(case)));
        let outcome = outcome.unwrap_or_else(|_| Outcome {
            failed: Some("it panicked".to_owned()),
            disagree: Some("a panic".to_owned()),
            by_program: false,
        });
        programs += usize::from(outcome.by_program);
        if let Some(how) = outcome.disagree {
            disagree.push(format!("{}: {how}", case.name));
        }
        match outcome.failed {
            None => passed.push(case.name.clone()),
            Some(why) => failed.push((case.name.clone(), why)),
        }
    }
    if options.explain {
        failed.iter().for_each(|(name, why)| println!("{name}: {why}"));
    }
    let broken: Vec<_> =
        failed.iter().map(|(name, _)| name).filter(|it| listed.contains(*it)).collect();
    let new: Vec<_> = passed.iter().filter(|it| !listed.contains(*it)).cloned().collect();
    println!(
        "{} of {} cases pass, {programs} decided by a program",
        passed.len(),
        passed.len() + failed.len()
    );
    tell("are listed and do not pass any more", &broken);
    tell("are listed and are no cases any more", &vanished);
    tell("are decided otherwise by a program than by interpretation", &disagree);
    let good = broken.is_empty() && vanished.is_empty() && disagree.is_empty();
    if options.bless {
        let count = new.len();
        listed.extend(new);
        let text: String = listed.iter().flat_map(|name| [name, "\n"]).collect();
        fs::write(Path::new(LIST), text).with_context(|| format!("writing {LIST}"))?;
        println!("{count} are new in passing.txt");
        return Ok(good);
    }
    tell("pass and are not listed: add them with `cargo xtask test conformance -- --bless`", &new);
    Ok(good && new.is_empty())
}

fn tell(what: &str, names: &[impl AsRef<str>]) {
    if !names.is_empty() {
        let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
        println!("{} {what}:\n  {}", names.len(), names.join("\n  "));
    }
}
