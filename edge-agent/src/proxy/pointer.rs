//! Places in a JSON document: JSON Pointers (RFC 6901) in which a segment `*` is every element of a
//! list, or every member of an object.

use serde_json::Value;

/// Segments of a pointer.
const MAX_SEGMENTS: usize = 32;

/// A place, or several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pointer {
    text: String,
    segments: Vec<String>,
}

impl Pointer {
    /// Reads a pointer.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let Some(inner) = text.strip_prefix('/') else {
            return Err(
                "give a JSON Pointer, which begins with `/`, such as /user/email".to_owned()
            );
        };
        let segments: Vec<&str> = inner.split('/').collect();
        if segments.len() > MAX_SEGMENTS {
            return Err(format!("at most {MAX_SEGMENTS} segments"));
        }
        let mut read = vec![];
        for segment in segments {
            let plain = segment.replace("~1", "").replace("~0", "");
            if plain.contains('~') {
                return Err("a `~` is written `~0`, and a `/` in a name `~1`".to_owned());
            }
            read.push(segment.replace("~1", "/").replace("~0", "~"));
        }
        Ok(Self { text: text.to_owned(), segments: read })
    }

    /// As it was written.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The values that are there.
    pub(super) fn find<'v>(&self, document: &'v mut Value) -> Vec<&'v mut Value> {
        let mut found = vec![document];
        for segment in &self.segments {
            found = found.into_iter().flat_map(|value| below(value, segment)).collect();
        }
        found
    }

    /// The value that is there, if it is one.
    pub(super) fn get<'v>(&self, document: &'v Value) -> Option<&'v Value> {
        self.segments.iter().try_fold(document, |at, segment| match at {
            Value::Object(members) => members.get(segment),
            Value::Array(elements) => elements.get(segment.parse::<usize>().ok()?),
            _ => None,
        })
    }
}

fn below<'v>(value: &'v mut Value, segment: &str) -> Vec<&'v mut Value> {
    match (value, segment) {
        (Value::Object(members), "*") => members.values_mut().collect(),
        (Value::Array(elements), "*") => elements.iter_mut().collect(),
        (Value::Object(members), name) => members.get_mut(name).into_iter().collect(),
        (Value::Array(elements), at) => {
            let at = at.parse::<usize>().ok();
            at.and_then(|at| elements.get_mut(at)).into_iter().collect()
        }
        _ => vec![],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(pointer: &str) -> Vec<Value> {
        let mut document = json!({
            "email": "a",
            "users": [{"email": "b", "x": 1}, {"email": ["c", "d"]}, 7],
            "by": {"one": {"m/n": "e"}, "two": {"m/n": "f"}},
            "*": "g",
        });
        let pointer = Pointer::read(pointer).unwrap();
        pointer.find(&mut document).into_iter().map(|it| it.clone()).collect()
    }

    #[test]
    fn a_pointer_finds_its_places_and_no_others() {
        assert_eq!(found("/email"), [json!("a")]);
        assert_eq!(found("/users/*/email"), [json!("b"), json!(["c", "d"])]);
        assert_eq!(found("/users/1/email/*"), [json!("c"), json!("d")]);
        assert_eq!(found("/users/0/x"), [json!(1)]);
        assert_eq!(found("/by/*/m~1n"), [json!("e"), json!("f")]);
        for nothing in ["/nope", "/email/x", "/users/9/email", "/users/-/email", "/"] {
            assert!(found(nothing).is_empty(), "{nothing}");
        }
    }

    #[test]
    fn what_is_no_pointer_is_refused() {
        for bad in ["", "email", "/a~2b", "/a~", &"/x".repeat(40)] {
            assert!(Pointer::read(bad).is_err(), "{bad}");
        }
    }
}
