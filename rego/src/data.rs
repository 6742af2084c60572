//! The `data.json` files of a set.

use protocol::opal::policy::{Files, folder_of};
use regorus::Value;

use crate::{Mistake, Policies};

/// The one name of a file that becomes data.
const DATA: &str = "data.json";

/// A file's data, and where it goes.
pub(crate) struct DataFile<'f> {
    file: &'f str,
    /// Segments below `data`.
    place: Vec<String>,
    value: Value,
}

/// Reads all data files.
///
/// # Errors
/// Those that are no JSON, or are no object, with the line.
pub(crate) fn read(files: &Files) -> Result<Vec<DataFile<'_>>, Vec<Mistake>> {
    let is_data = |path: &str| path.rsplit('/').next() == Some(DATA);
    let mut read = Vec::new();
    let mut mistakes = Vec::new();
    for (file, text) in files.iter().filter(|(path, _)| is_data(path)) {
        match parse(text) {
            Ok(value) => {
                let place = match folder_of(file) {
                    "." => Vec::new(),
                    folder => folder.split('/').map(str::to_owned).collect(),
                };
                read.push(DataFile { file, place, value });
            }
            Err((row, column, reason)) => {
                mistakes.push(Mistake { file: file.clone(), row, column, reason });
            }
        }
    }
    if mistakes.is_empty() { Ok(read) } else { Err(mistakes) }
}

/// The object that a text is; or row, column and reason.
fn parse(text: &str) -> Result<Value, (u32, u32, String)> {
    let number = |it: usize| u32::try_from(it).unwrap_or(u32::MAX);
    match serde_json::from_str(text) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => {
            let before = text.len() - text.trim_start().len();
            let lines = text.as_bytes().iter().take(before).filter(|it| **it == b'\n').count();
            Err((number(lines + 1), 0, "it is no JSON object".to_owned()))
        }
        Err(error) => {
            let reason = error.to_string();
            // It says the place again.
            let reason = reason.rsplit_once(" at line ").map_or(reason.as_str(), |(it, _)| it);
            let (row, column) = (number(error.line()), number(error.column()));
            Err((row, column, format!("it is not JSON: {reason}")))
        }
    }
}

/// The data that would hide a rule of `policies`.
pub(crate) fn hiding<'d>(
    data: &'d [DataFile<'_>],
    policies: &'d Policies,
) -> impl Iterator<Item = Mistake> + 'd {
    data.iter().filter_map(|file| {
        let rule = policies.hidden_by(&file.place, &file.value)?;
        Some(Mistake {
            file: file.file.to_owned(),
            row: 1,
            column: 0,
            reason: format!("{}, the rule of {}:{}", rule.hidden(), rule.file, rule.row),
        })
    })
}

/// All data as one document. The files of inner folders come last, as they are more exact.
pub(crate) fn document(mut data: Vec<DataFile<'_>>) -> Value {
    data.sort_by_key(|file| file.place.len());
    let mut root = Value::new_object();
    for DataFile { place, value, .. } in data {
        let at = place.iter().try_fold(&mut root, |at, segment| {
            if !matches!(at, Value::Object(_)) {
                *at = Value::new_object();
            }
            let object = at.as_object_mut().ok()?;
            Some(object.get_or_insert_with(Value::from(segment.as_str()), Value::new_object))
        });
        if let Some(at) = at {
            merge(at, value);
        }
    }
    root
}

/// Adds the members of `value` to those of `at`.
fn merge(at: &mut Value, value: Value) {
    match (at.as_object_mut(), &value) {
        (Ok(object), Value::Object(members)) => {
            for (name, member) in members.iter() {
                object.insert(name.clone(), member.clone());
            }
        }
        _ => *at = value,
    }
}
