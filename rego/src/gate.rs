//! The gate before a set of files becomes the policy.
//!
//! Whatever way a policy comes in by, it is compiled here first, and one that does not compile
//! never replaces one that does. What decides by it later may be the embedded engine or an OPA,
//! and neither is known here. So a function passes if either has it; an agent with the embedded
//! engine still refuses a policy that calls what only an OPA has.
//!
//! It has no I/O, and its cost is bounded: files by [`protocol::limits`], depth before anything
//! is parsed, evaluation by time or by steps (`clock.rs`).

use protocol::opal::policy::Files;

use crate::{Builtins, Policies, data, testing};
pub use crate::{Language, Mistake, Refused, is_test};

/// How strict the gate is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether every rule `test_*` of the `*_test.rego` files must be true.
    pub run_tests: bool,
    /// What modules are written in that do not say so.
    pub language: Language,
}

/// Checks that `files` can be the policy: the `.rego` files compile together, each `data.json`
/// is an object that hides no rule, and the tests pass if they are asked for. Tests that are not
/// asked for are not looked at.
///
/// # Errors
/// Every mistake that can be told apart from the others: those of all files that cannot be
/// read; if there are none, those of names and of data; if there are none, the tests that fail.
pub fn check(files: &Files, options: &Options) -> Result<(), Refused> {
    let (read, compiled) = (data::read(files), compile(files, *options, false));
    let (data, policies) = match (read, compiled) {
        (Ok(data), Ok(policies)) => (data, policies),
        (read, compiled) => {
            let mut mistakes = compiled.err().map(|it| it.mistakes).unwrap_or_default();
            mistakes.extend(read.err().into_iter().flatten());
            return Refused::if_any(mistakes);
        }
    };
    Refused::if_any(data::hiding(&data, &policies).collect())?;
    if options.run_tests && files.keys().any(|path| is_test(path)) {
        testing::run(&mut compile(files, *options, true)?, &data::document(data))?;
    }
    Ok(())
}

fn compile(files: &Files, options: Options, tests: bool) -> Result<Policies, Refused> {
    let counts = |path: &str| path.ends_with(".rego") && (tests || !is_test(path));
    let modules = files.iter().filter(|(path, _)| counts(path));
    let modules = modules.map(|(path, text)| (path.as_str(), text.as_str()));
    Policies::compile(modules, options.language, Builtins::Opa)
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
