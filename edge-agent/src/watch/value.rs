//! Values become JSON as those that are fetched do ([`types`](crate::fetch::postgres::types)).

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::WatchError;
use super::source::sql;
pub(super) use crate::fetch::postgres::types::Form;
use crate::fetch::rows::write_string;

/// The form of a type that every PostgreSQL has; none if this is not one.
pub(super) fn standard(kind: u32) -> Option<Form> {
    Type::from_oid(kind).map(|kind| Form::of(&kind))
}

/// The form of a type, which the database is asked for.
pub(super) async fn form(client: &Client, kind: u32) -> Result<Form, WatchError> {
    if let Some(form) = standard(kind) {
        return Ok(form);
    }
    let name = "SELECT format_type(oid, NULL) FROM pg_type WHERE oid = $1";
    let name = client.query_opt(name, &[&kind]).await.map_err(|error| sql(&error))?;
    // A type that is gone by now: whatever its values were, they are text.
    let Some(name) = name.map(|row| row.get::<_, String>(0)) else { return Ok(Form::Text) };
    let query = client.prepare(&format!("SELECT NULL::{name}")).await;
    let query = query.map_err(|error| sql(&error))?;
    Ok(query.columns().first().map_or(Form::Text, |column| Form::of(column.type_())))
}

/// Adds a member of a row to the text of an object.
pub(super) fn write_member(out: &mut String, name: &str, form: &Form, value: Option<&str>) {
    if !out.ends_with('{') {
        out.push(',');
    }
    write_string(out, name);
    out.push(':');
    let before = out.len();
    if form.write(out, value).is_err() {
        // Of a type that has changed since: the text is still true.
        out.truncate(before);
        write_string(out, value.unwrap_or_default());
    }
}

/// The same of a value that is JSON.
pub(super) fn write_member_text(out: &mut String, name: &str, json: &str) {
    if !out.ends_with('{') {
        out.push(',');
    }
    write_string(out, name);
    out.push(':');
    out.push_str(json);
}

/// The text that stands for a value in a key: that of its JSON, so that every way to learn of a
/// change gives a row the same name.
pub(super) fn key_text(form: &Form, value: &str) -> String {
    if matches!(form, Form::Number | Form::Text) {
        return value.to_owned();
    }
    let mut json = String::new();
    match form.write(&mut json, Some(value)) {
        Ok(()) => serde_json::from_str::<String>(&json).unwrap_or(json),
        Err(_) => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_text_of_its_json() {
        for (kind, value, text) in [
            (Type::INT4, "7", "7"),
            (Type::TEXT, "a\"b", "a\"b"),
            (Type::BOOL, "t", "true"),
            (Type::TIMESTAMPTZ, "2024-05-01 12:30:00+00", "2024-05-01T12:30:00+00:00"),
            (Type::INT4_ARRAY, "{1,2}", "[1,2]"),
        ] {
            assert_eq!(key_text(&standard(kind.oid()).unwrap(), value), text);
        }
    }

    #[test]
    fn a_value_that_is_not_of_its_type_is_text() {
        let mut out = "{".to_owned();
        let list = standard(Type::INT4_ARRAY.oid()).unwrap();
        write_member(&mut out, "a", &list, Some("{1,2}"));
        write_member(&mut out, "b\"", &list, Some("{1,"));
        write_member(&mut out, "c", &list, None);
        assert_eq!(out, r#"{"a":[1,2],"b\"":"{1,","c":null"#);
        assert_eq!(standard(999_999), None);
    }
}
