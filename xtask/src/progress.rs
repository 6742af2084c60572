//! Telling what goes on: one line for a step, a header and a summary for a list of them.

use std::fmt::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Says what is being done, and, where that was long, how long it took.
pub(crate) fn step<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    eprintln!("xtask: {what} …");
    let start = Instant::now();
    let value = work().with_context(|| format!("{what} failed"))?;
    if start.elapsed() >= Duration::from_secs(1) {
        eprintln!("xtask: … done in {:.1} s", start.elapsed().as_secs_f64());
    }
    Ok(value)
}

/// One of several things that are all tried, however the others ended.
pub(crate) struct Job<'a> {
    /// One word, as it is shown in the summary.
    pub(crate) name: &'static str,
    /// What it looks at, as it is shown in the header.
    pub(crate) about: &'static str,
    /// The work itself.
    pub(crate) work: Box<dyn FnOnce() -> Result<()> + 'a>,
}

/// Does every job under a header line, then shows how each ended and the seconds it took.
/// Fails if any failed.
pub(crate) fn run_all(jobs: Vec<Job<'_>>) -> Result<()> {
    let mut summary = String::new();
    let mut failed = Vec::new();
    for Job { name, about, work } in jobs {
        eprintln!("\n=== {name}: {about}");
        let start = Instant::now();
        let result = work();
        let word = if result.is_ok() { "ok" } else { "FAILED" };
        let seconds = start.elapsed().as_secs_f64();
        writeln!(summary, "{name:>12}  {word:<6} {seconds:>7.1} s")?;
        if let Err(error) = result {
            eprintln!("error: {error:#}");
            failed.push(name);
        }
    }
    eprint!("\n=== summary\n{summary}");
    if !failed.is_empty() {
        bail!("{} failed; the reason is under its `===` line above", failed.join(", "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn all_jobs_are_done_and_the_error_names_those_that_failed() {
        let done = RefCell::new(Vec::new());
        let job = |name: &'static str, fails: bool| {
            let done = &done;
            let work = move || {
                done.borrow_mut().push(name);
                if fails { bail!("no") } else { Ok(()) }
            };
            Job { name, about: "a test", work: Box::new(work) }
        };
        let error = run_all(vec![job("a", true), job("b", false), job("c", true)]).unwrap_err();
        assert_eq!(*done.borrow(), ["a", "b", "c"]);
        assert!(error.to_string().starts_with("a, c failed"), "{error}");
    }
}
