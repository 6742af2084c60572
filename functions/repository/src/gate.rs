//! When files may be the policy, whatever way they come in by.

use protocol::Problem;
use protocol::opal::policy::{self, Files};
use rego::gate::{Options, check, is_test};

/// The files that are published: those that pass the gate, if there is one, without tests.
///
/// # Errors
/// 422 with file, line and reason; 413 for a file that is too large.
pub fn pass(mut files: Files, options: Option<&Options>) -> Result<Files, Problem> {
    if files.keys().all(|path| is_test(path)) {
        return Err(Problem::invalid(
            "files: there is none that is no test; give at least one, or check the settings of \
             which files of a repository count",
        ));
    }
    policy::check_limits(&files)?;
    // Before what the log wants of a file, since this names line and column.
    options.map_or(Ok(()), |options| check(&files, options))?;
    files.retain(|path, _| !is_test(path));
    policy::check(&files)?;
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_not_published_and_nothing_is_no_policy() {
        let files = |paths: &[&str]| {
            let file = |path: &&str| ((*path).to_owned(), "package a\n\nx := 1\n".to_owned());
            paths.iter().map(file).collect::<Files>()
        };
        let options = Options::default();
        let passed = pass(files(&["a.rego", "a_test.rego"]), Some(&options)).unwrap();
        assert_eq!(passed, files(&["a.rego"]));
        assert_eq!(pass(files(&["a_test.rego"]), Some(&options)).unwrap_err().status, 422);
        assert_eq!(pass(Files::new(), Some(&options)).unwrap_err().status, 422);
    }

    #[test]
    fn without_a_gate_an_engine_may_say_what_compiles() {
        let files = |path: &str| [(path.to_owned(), "no rego".to_owned())].into_iter().collect();
        let refused = pass(files("a.rego"), Some(&Options::default())).unwrap_err();
        assert!(refused.detail.starts_with("a.rego:1:"), "{refused}");
        assert_eq!(pass(files("a.rego"), None), Ok(files("a.rego")));
        assert_eq!(pass(files("data.json"), None).unwrap_err().status, 422);
    }
}
