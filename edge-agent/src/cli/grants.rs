//! `grants test`: a file of cases, evaluated as functions and agents would.

use std::fs;
use std::path::PathBuf;

use grants::cases::{Case, File, Outcome};

use super::{Failure, say};

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    #[command(
        about = "Evaluates a file of cases, and fails unless all come out as they say",
        long_about = "Evaluates a file of cases: grants, raw rows and role links, a request, and whether it \
                      is to be allowed. Prints each, and ends with 1 unless all come out as they say. \
                      Nothing is connected to. The format is that of grants/tests/cases.json",
        after_help = super::examples(&["grants test policy/grant-cases.json"])
    )]
    Test(Test),
}

#[derive(clap::Args)]
struct Test {
    /// The cases, in JSON: {"format":1,"cases":[…]}
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.action {
            Action::Test(test) => test.run(),
        }
    }
}

impl Test {
    fn run(self) -> Result<(), Failure> {
        let name = self.file.display();
        let text = fs::read(&self.file)
            .map_err(|error| Failure::usage(format!("FILE: {name} cannot be read: {error}")))?;
        let file = File::read(&text).map_err(|why| Failure::usage(format!("{name}: {why}")))?;
        let outcomes: Vec<_> = file.cases.iter().map(Case::run).collect();
        for line in outcomes.iter().flat_map(lines) {
            say(&line);
        }
        let (all, wrong) =
            (outcomes.len(), outcomes.iter().filter(|outcome| !outcome.is_expected()).count());
        say(&format!("{all} cases, {} as expected, {wrong} not", all - wrong));
        if wrong > 0 {
            return Err(Failure::run(format!(
                "{wrong} of {all} cases did not come out as expected"
            )));
        }
        Ok(())
    }
}

/// What is printed of a case.
fn lines(outcome: &Outcome) -> Vec<String> {
    let Outcome { id, title, expected, got, broken } = outcome;
    let mark = if outcome.is_expected() { "ok  " } else { "FAIL" };
    let mut lines = vec![format!("{mark} {id} {title}: expected {expected}, got {got}")];
    let note = |why: &String| format!("     {id} has a pattern that is none, which denies: {why}");
    lines.extend(broken.iter().map(note));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const CASE: &str = r#"{"id":"1","title":"t reads","level":"http","grants":[{"name":"t",
        "domain":"a.example","allowed_http_methods":["GET"],"paths":["PATTERN"]}],"request":
        {"token":"t","domain":"a.example","method":"GET","path":"/x"},"expect":"allow"}"#;

    fn test(text: &str) -> Result<(), Failure> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cases.json");
        fs::write(&file, text).unwrap();
        Test { file }.run()
    }

    fn file_with(pattern: &str) -> String {
        format!(r#"{{"format":1,"cases":[{}]}}"#, CASE.replace("PATTERN", pattern))
    }

    #[test]
    fn cases_that_come_out_as_they_say_are_no_failure() {
        assert_eq!(test(&file_with("/x")), Ok(()));
    }

    #[test]
    fn a_case_that_comes_out_otherwise_ends_with_1() {
        let failure = test(&file_with("/y")).unwrap_err();
        assert_eq!(
            (failure.code, &*failure.message),
            (1, "1 of 1 cases did not come out as expected")
        );
    }

    #[test]
    fn a_file_that_cannot_be_used_ends_with_2_and_its_place() {
        for (text, words) in [
            ("", "not JSON"),
            ("{\"format\":1,\"cases\":[]}", "cases: there is none"),
            (&file_with("/x").replace("\"paths\"", "\"path\""), "cases[0].grants[0]"),
        ] {
            let failure = test(text).unwrap_err();
            assert_eq!(failure.code, 2);
            assert!(failure.message.contains(words), "{failure:?}");
        }
        let missing = Test { file: "/no/such/file".into() }.run().unwrap_err();
        assert_eq!(missing.code, 2);
        assert!(missing.message.contains("/no/such/file"), "{missing:?}");
    }

    #[test]
    fn a_line_says_what_was_expected_and_what_came() {
        let shown = |pattern: &str| {
            let file = File::read(file_with(pattern).as_bytes()).unwrap();
            lines(&file.cases[0].run())
        };
        assert_eq!(shown("/x"), ["ok   1 t reads: expected allow, got allow (200)"]);
        assert_eq!(shown("/y"), ["FAIL 1 t reads: expected allow, got deny (401)"]);
        let broken = shown("/(");
        assert!(broken[1].contains("`/(`: it is no regular expression"), "{broken:?}");
    }
}
