//! Where values come from.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use super::{
    ConfigError,
    kind::Value,
    table::{SETTINGS, Setting},
};

/// The places that settings are looked up in.
pub struct Sources<'s> {
    /// The value of a flag, by the setting's name.
    pub flag: &'s dyn Fn(&str) -> Option<String>,
    /// The value of a variable.
    pub variable: &'s dyn Fn(&str) -> Option<String>,
    /// `--config`; else `GIRASOL_CONFIG` names the file.
    pub file: Option<PathBuf>,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Unset,
    Default,
    File(PathBuf),
    Variable(String),
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unset => f.write_str("not set"),
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(name) => write!(f, "--{name}"),
        }
    }
}

/// Every setting's value and where it came from.
pub struct Resolved {
    pub(super) entries: Vec<Entry>,
}

pub(super) struct Entry {
    pub(super) setting: &'static Setting,
    pub(super) value: Option<Value>,
    pub(super) origin: Origin,
}

impl Resolved {
    /// Looks every setting up.
    ///
    /// # Errors
    /// Names the value that cannot be read and where it was set.
    pub fn new(sources: &Sources<'_>) -> Result<Self, ConfigError> {
        let variable = |name: &str| (sources.variable)(name).filter(|text| !text.trim().is_empty());
        let file = sources.file.clone().or_else(|| variable("GIRASOL_CONFIG").map(PathBuf::from));
        let table = match &file {
            Some(path) => read_file(path)?,
            None => toml::Table::new(),
        };
        let file = file.unwrap_or_default();
        let entries = SETTINGS
            .iter()
            .map(|setting| {
                let (read, origin) = lookup(setting, sources.flag, &variable, &table, &file);
                match read.transpose() {
                    Ok(value) => Ok(Entry { setting, value, origin }),
                    Err(reason) => Err(wrong(setting, &origin, &reason)),
                }
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { entries })
    }

    /// Says that a value cannot be used, and where it was set.
    pub(super) fn refuse(&self, name: &str, reason: &str) -> ConfigError {
        let entry = self.entries.iter().find(|entry| entry.setting.name == name);
        entry.map_or_else(
            || ConfigError::new(format!("{name}: {reason}")),
            |entry| wrong(entry.setting, &entry.origin, reason),
        )
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.entries.iter().find(|entry| entry.setting.name == name)?.value.as_ref()
    }
}

type Read = Option<Result<Value, String>>;

/// The strongest source that has a value.
fn lookup(
    setting: &Setting,
    flag: &dyn Fn(&str) -> Option<String>,
    variable: &dyn Fn(&str) -> Option<String>,
    table: &toml::Table,
    file: &Path,
) -> (Read, Origin) {
    let read = |text: &str| Some(setting.kind.read(text));
    if let Some(text) = flag(setting.name) {
        return (read(&text), Origin::Flag(setting.flag()));
    }
    for name in setting.variables() {
        if let Some(text) = variable(&name) {
            return (read(&text), Origin::Variable(name));
        }
    }
    if let Some(value) = table.get(setting.name) {
        return (Some(setting.kind.read_toml(value)), Origin::File(file.to_owned()));
    }
    match setting.default {
        Some(text) => (read(text), Origin::Default),
        None => (None, Origin::Unset),
    }
}

fn wrong(setting: &Setting, origin: &Origin, reason: &str) -> ConfigError {
    ConfigError::new(match origin {
        Origin::File(_) => format!("{origin}: {}: {reason}", setting.name),
        _ => format!("{origin}: {reason}"),
    })
}

fn read_file(path: &Path) -> Result<toml::Table, ConfigError> {
    let shown = path.display();
    let text = fs::read_to_string(path).map_err(|error| ConfigError {
        message: format!("cannot read the configuration file {shown}: {error}"),
        hint: Some("--config and GIRASOL_CONFIG name a TOML file".to_owned()),
    })?;
    // The parser's own text quotes the line, which may be the one with the token.
    let table: toml::Table = toml::from_str(&text).map_err(|error| {
        let line = error.span().and_then(|span| text.get(..span.start));
        let line = line.map_or(1, |before| before.matches('\n').count() + 1);
        ConfigError::new(format!("{shown}:{line}: {}", error.message().replace('\n', " ")))
    })?;
    if let Some(unknown) = table.keys().find(|key| !is_known(key)) {
        return Err(ConfigError {
            message: format!("{shown}: there is no setting `{unknown}`"),
            hint: nearest(unknown).map(|name| format!("did you mean `{name}`?")),
        });
    }
    Ok(table)
}

fn is_known(key: &str) -> bool {
    SETTINGS.iter().any(|setting| setting.name == key)
}

fn nearest(unknown: &str) -> Option<&'static str> {
    let unknown = unknown.replace('-', "_");
    let likeness = |name: &str| strsim::jaro_winkler(name, &unknown);
    SETTINGS
        .iter()
        .map(|setting| setting.name)
        .max_by(|left, right| likeness(left).total_cmp(&likeness(right)))
}
