//! OPA's own test cases, as its sources have them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context as _, Result, anyhow, bail};
use rego::Language;
use regorus::Value;

/// The version of OPA whose cases these are, as `cargo xtask` installs it.
const MANIFEST: &str = include_str!("../../../Cargo.toml");

/// One case.
pub(crate) struct Case {
    /// `v1/` or `v0/`, OPA's own name of it, and a number where OPA has given a name twice.
    pub(crate) name: String,
    pub(crate) language: Language,
    pub(crate) modules: Vec<String>,
    pub(crate) data: Value,
    pub(crate) input: Value,
    /// Input as a term of Rego.
    pub(crate) input_term: Option<String>,
    pub(crate) query: String,
    pub(crate) expected: Expected,
    /// Order does not matter in what is bound.
    pub(crate) unordered: bool,
}

/// What OPA makes of a case.
pub(crate) enum Expected {
    /// The bindings of all results.
    Results(Vec<Value>),
    /// Some result, or none.
    Defined(bool),
    Error,
    /// An error where builtins' errors are errors; else nothing is decided. OPA's server is the
    /// latter unless it is asked.
    StrictError,
}

/// The folder of the cases.
///
/// # Errors
/// It is not there; says what to do.
pub(crate) fn folder() -> Result<PathBuf> {
    if let Some(folder) = env::var_os("OPA_CASES") {
        return Ok(folder.into());
    }
    let version = MANIFEST
        .lines()
        .find_map(|line| line.strip_prefix("opa = \"")?.strip_suffix('"'))
        .context("Cargo.toml names no version of OPA")?;
    let modules = env::var_os("GOMODCACHE").map(PathBuf::from).or_else(|| {
        let go = env::var_os("GOPATH").map(PathBuf::from);
        let go = go.or_else(|| Some(env::home_dir()?.join("go")));
        Some(go?.join("pkg/mod"))
    });
    let folder = modules
        .context("there is no home folder")?
        .join(format!("github.com/open-policy-agent/opa@{version}/v1/test/cases/testdata"));
    if folder.is_dir() {
        return Ok(folder);
    }
    Err(anyhow!(
        "OPA's test cases are not in {}: get its sources with `go mod download \
         github.com/open-policy-agent/opa@{version}`, or set OPA_CASES to the folder \
         v1/test/cases/testdata of OPA's repository at {version}",
        folder.display()
    ))
}

/// Reads all cases below `folder`, in the order of their names.
pub(crate) fn read(folder: &Path) -> Result<Vec<Case>> {
    let mut files = Vec::new();
    find(folder, &mut files)?;
    files.sort();
    let (mut cases, mut seen) = (Vec::new(), BTreeMap::<String, usize>::new());
    for file in files {
        let place = || file.display().to_string();
        let text = fs::read_to_string(&file).with_context(place)?;
        let content = Value::from_yaml_str(&text).with_context(place)?;
        let generation = file.strip_prefix(folder)?.iter().next().and_then(|it| it.to_str());
        let generation = generation.context("no version").with_context(place)?;
        let listed = content.as_object()?.get(&"cases".into()).with_context(place)?;
        for case in listed.as_array()?.iter() {
            let mut case = Case::read(generation, case).with_context(place)?;
            let count = seen.entry(case.name.clone()).or_default();
            *count += 1;
            if *count > 1 {
                case.name = format!("{} #{count}", case.name);
            }
            cases.push(case);
        }
    }
    if cases.is_empty() {
        bail!("there are no cases in {}", folder.display());
    }
    cases.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(cases)
}

fn find(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            find(&path, files)?;
        } else if path.extension().is_some_and(|it| it == "yaml") {
            files.push(path);
        }
    }
    Ok(())
}

impl Case {
    fn read(generation: &str, case: &Value) -> Result<Self> {
        let case = case.as_object()?;
        let get = |name: &str| case.get(&name.into()).cloned();
        let text = |name: &str| -> Result<Option<String>> {
            get(name).map(|it| Ok(it.as_string()?.to_string())).transpose()
        };
        let name = text("note")?.context("a case without a note")?;
        let flag = |name: &str| matches!(get(name), Some(Value::Bool(true)));
        let expected = if flag("strict_error") {
            Expected::StrictError
        } else if get("want_error").is_some() || get("want_error_code").is_some() {
            Expected::Error
        } else if let Some(results) = get("want_result") {
            match results {
                Value::Array(results) => Expected::Results(results.iter().cloned().collect()),
                _ => Expected::Results(Vec::new()),
            }
        } else {
            Expected::Defined(flag("want_defined"))
        };
        let modules = match get("modules") {
            Some(Value::Array(modules)) => modules
                .iter()
                .map(|module| Ok(module.as_string()?.to_string()))
                .collect::<Result<_>>()?,
            _ => Vec::new(),
        };
        let data = get("data").filter(|data| *data != Value::Null);
        Ok(Self {
            name: format!("{generation}/{}", name.replace('\n', " ")),
            language: if generation == "v0" { Language::V0 } else { Language::V1 },
            modules,
            data: data.unwrap_or_else(Value::new_object),
            input: get("input").unwrap_or(Value::Undefined),
            input_term: text("input_term")?,
            query: text("query")?.context("a case without a query")?,
            expected,
            unordered: flag("sort_bindings"),
        })
    }
}
