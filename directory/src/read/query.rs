//! What may stand behind the `?`.

use std::collections::BTreeMap;

use protocol::directory::{List, Listed, Refusal};
use protocol::limits;

/// Things in a part of a list, if nobody says.
const DEFAULT_PER_PAGE: usize = 30;

/// What a list can be limited to.
fn filters(of: Listed) -> &'static [&'static str] {
    match of {
        Listed::Users | Listed::Tenants => &["search"],
        Listed::Assignments => &["user", "role", "tenant", "resource", "resource_instance"],
        Listed::Instances => &["tenant", "resource"],
        Listed::Tuples => &["subject", "relation", "object", "tenant"],
    }
}

/// Which part of which list is asked for. Parameters of other names are ignored.
pub(super) fn list(query: &str, of: Listed) -> Result<List, Refusal> {
    let mut filter = BTreeMap::new();
    for name in filters(of) {
        if let Some(value) = parameter(query, name)? {
            filter.insert((*name).to_owned(), value);
        }
    }
    let most = limits::MAX_PER_PAGE;
    Ok(List {
        of,
        page: number(query, "page", 1, usize::MAX)?,
        per_page: number(query, "per_page", DEFAULT_PER_PAGE, most)?,
        // Lists of users always are.
        is_counted: of == Listed::Users || is_true(query, "include_total_count")?,
        filter,
    })
}

/// True if a parameter says so.
pub(super) fn is_true(query: &str, name: &str) -> Result<bool, Refusal> {
    match parameter(query, name)?.as_deref().map(str::to_ascii_lowercase).as_deref() {
        None | Some("false" | "0") => Ok(false),
        Some("true" | "1") => Ok(true),
        Some(_) => Err(Refusal::of_query(name, "give true or false")),
    }
}

fn number(query: &str, name: &str, default: usize, most: usize) -> Result<usize, Refusal> {
    let Some(text) = parameter(query, name)? else { return Ok(default) };
    text.parse().ok().filter(|number| (1..=most).contains(number)).ok_or_else(|| {
        let most = if most == usize::MAX { String::new() } else { format!(" to {most}") };
        Refusal::of_query(name, format!("give a number from 1{most}"))
    })
}

/// A parameter's value; none if it is empty. Given twice it could mean both, or the last.
fn parameter(query: &str, name: &str) -> Result<Option<String>, Refusal> {
    let mut values = form_urlencoded::parse(query.as_bytes()).filter(|(it, _)| it == name);
    let value = values.next().map(|(_, value)| value.into_owned());
    if values.next().is_some() {
        return Err(Refusal::of_query(name, "give it once"));
    }
    Ok(value.filter(|value| !value.is_empty()))
}
