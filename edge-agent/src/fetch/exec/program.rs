//! Which programs there are: the setting `exec_fetchers`.

use std::time::Duration;

use serde_json::{Map, Value};

/// Data that a program may have, unless its registration says otherwise.
const MEMORY_MIB: u64 = 256;

/// What may be said of a program.
const KEYS: [&str; 4] = ["command", "timeout_seconds", "max_memory_mib", "env"];

/// A program that may be run to fetch data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// What comes after `exec:`.
    pub name: String,
    /// The program and its arguments; no shell reads them.
    pub command: Vec<String>,
    /// The time it may take, if not that of every fetch.
    pub timeout: Option<Duration>,
    /// Data it may have, in MiB; none for no limit.
    pub max_memory_mib: Option<u64>,
    /// Names of the agent's variables that it gets; it gets `PATH` in any case, and no other.
    pub env: Vec<String>,
}

/// Reads the setting: an object with a member for each program. The programs are in the order
/// of their names.
///
/// # Errors
/// What is wrong with which program, and what it should be; values are not repeated.
pub fn programs(text: &str) -> Result<Vec<Program>, String> {
    let example = r#"give {"NAME": {"command": ["/path/of/program"]}} as JSON"#;
    let Ok(Value::Object(all)) = serde_json::from_str(text) else {
        return Err(example.to_owned());
    };
    all.into_iter()
        .map(|(name, settings)| {
            let plain = |it: char| it.is_ascii_alphanumeric() || matches!(it, '-' | '_' | '.');
            if name.is_empty() || !name.chars().all(plain) {
                return Err(format!("{name:?} is no name; give letters, digits, `-`, `_` and `.`"));
            }
            let Value::Object(settings) = settings else {
                return Err(format!("{name}: {example}"));
            };
            program(&name, &settings).map_err(|reason| format!("{name}.{reason}"))
        })
        .collect()
}

fn program(name: &str, settings: &Map<String, Value>) -> Result<Program, String> {
    if let Some(unknown) = settings.keys().find(|key| !KEYS.contains(&key.as_str())) {
        let likeness = |key: &&&str| strsim::jaro_winkler(key, unknown);
        let nearest = KEYS.iter().max_by(|one, two| likeness(one).total_cmp(&likeness(two)));
        return Err(format!(
            "{unknown}: there is no such key; did you mean `{}`?",
            nearest.unwrap_or(&"command")
        ));
    }
    let number = |key: &str, least: u64| match settings.get(key) {
        None => Ok(None),
        Some(value) => match value.as_u64() {
            Some(number) if number >= least => Ok(Some(number)),
            _ => Err(format!("{key}: give a whole number, at least {least}")),
        },
    };
    let command = list(settings.get("command"))
        .filter(|words| words.first().is_some_and(|program| !program.is_empty()))
        .ok_or("command: give a list of strings: the program and its arguments")?;
    let timeout = number("timeout_seconds", 1)?.map(Duration::from_secs);
    let max_memory_mib = number("max_memory_mib", 0)?.unwrap_or(MEMORY_MIB);
    let env = match settings.get("env") {
        None => vec![],
        names => list(names)
            .filter(|names| names.iter().all(|name| !name.is_empty() && !name.contains('=')))
            .ok_or("env: give a list of names of variables, such as [\"HOME\"]")?,
    };
    Ok(Program {
        name: name.to_owned(),
        command,
        timeout,
        max_memory_mib: Some(max_memory_mib).filter(|mib| *mib > 0),
        env,
    })
}

fn list(value: Option<&Value>) -> Option<Vec<String>> {
    value?.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_registered_with_its_command_and_sober_limits() {
        let all = programs(
            r#"{"b":{"command":["/bin/b","-x"],"timeout_seconds":30,"max_memory_mib":0,"env":["HOME"]},
                "a.1":{"command":["a"]}}"#,
        );
        let of = |name: &str, command: &[&str]| Program {
            name: name.to_owned(),
            command: command.iter().map(ToString::to_string).collect(),
            timeout: None,
            max_memory_mib: Some(256),
            env: vec![],
        };
        let b = Program {
            timeout: Some(Duration::from_secs(30)),
            max_memory_mib: None,
            env: vec!["HOME".to_owned()],
            ..of("b", &["/bin/b", "-x"])
        };
        assert_eq!(all, Ok(vec![of("a.1", &["a"]), b]));
        assert_eq!(programs("{}"), Ok(vec![]));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_remedy_and_without_its_value() {
        for (text, words) in [
            ("", "as JSON"),
            ("[]", "as JSON"),
            (r#"{"a":["s3cret"]}"#, "a: give {"),
            (r#"{"a b":{"command":["x"]}}"#, "\"a b\" is no name"),
            (r#"{"a":{}}"#, "a.command: give a list of strings"),
            (r#"{"a":{"command":[]}}"#, "a.command: give a list of strings"),
            (r#"{"a":{"command":"s3cret"}}"#, "a.command: give a list of strings"),
            (r#"{"a":{"command":["x",7]}}"#, "a.command: give a list of strings"),
            (
                r#"{"a":{"comand":["x"]}}"#,
                "a.comand: there is no such key; did you mean `command`?",
            ),
            (
                r#"{"a":{"command":["x"],"timeout":1}}"#,
                "a.timeout: there is no such key; did you mean `timeout_seconds`?",
            ),
            (
                r#"{"a":{"command":["x"],"memory":1}}"#,
                "a.memory: there is no such key; did you mean `max_memory_mib`?",
            ),
            (
                r#"{"a":{"command":["x"],"timeout_seconds":0}}"#,
                "a.timeout_seconds: give a whole number, at least 1",
            ),
            (
                r#"{"a":{"command":["x"],"max_memory_mib":"s3cret"}}"#,
                "a.max_memory_mib: give a whole number",
            ),
            (r#"{"a":{"command":["x"],"env":["A=s3cret"]}}"#, "a.env: give a list of names"),
        ] {
            let reason = programs(text).expect_err(text);
            assert!(reason.contains(words), "{text}: {reason}");
            assert!(!reason.contains("s3cret"), "{reason}");
        }
    }
}
