//! The `config` of a MongoDB source, as the published provider has it, and the command that it
//! becomes.
//!
//! Queries are extended JSON: `{"_id": {"$oid": "…"}}` and `{"$date": "…"}` mean what they mean
//! in MongoDB's own tools.

use std::time::Duration;

use mongodb::bson::{Bson, Document, doc};
use serde::Deserialize;

use super::harmless;
use super::shape::Shape;
use crate::fetch::FetchError;

/// The settings as they are written.
#[derive(Default, Deserialize)]
pub(super) struct MongoConfig {
    #[serde(default)]
    database: Option<String>,
    #[serde(default)]
    collection: Option<String>,
    #[serde(default, rename = "findOne")]
    find_one: Option<Find>,
    #[serde(default)]
    find: Option<Find>,
    #[serde(default)]
    aggregate: Option<Aggregate>,
    #[serde(default)]
    transform: Option<Transform>,
}

#[derive(Default, Deserialize)]
struct Find {
    #[serde(default)]
    query: Option<Document>,
    #[serde(default)]
    projection: Option<Bson>,
    #[serde(default)]
    options: Option<Document>,
}

#[derive(Default, Deserialize)]
struct Aggregate {
    #[serde(default)]
    pipeline: Option<Vec<Document>>,
    #[serde(default)]
    options: Option<Document>,
}

/// This fetcher's own, or one for every fetcher, which is text and not looked at here.
#[derive(Deserialize)]
#[serde(untagged)]
enum Transform {
    Own(Own),
    #[expect(dead_code, reason = "what it says is read where every fetcher's is")]
    General(String),
}

#[derive(Default, Deserialize)]
struct Own {
    #[serde(default)]
    first: Option<bool>,
    #[serde(default, rename = "mapKey")]
    map_key: Option<String>,
    #[serde(default)]
    merge: Option<bool>,
}

/// What to ask, and what to make of the answer.
pub(super) struct Asked {
    /// None for the address's own.
    pub(super) database: Option<String>,
    pub(super) command: Document,
    pub(super) shape: Shape,
}

/// An option in Python's way, in the server's, and where it is in a command.
struct Known {
    python: &'static str,
    server: &'static str,
    of: Of,
}

/// Whose option it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Find,
    Both,
}

const OPTIONS: [Known; 13] = [
    Known { python: "sort", server: "sort", of: Of::Find },
    Known { python: "skip", server: "skip", of: Of::Find },
    Known { python: "limit", server: "limit", of: Of::Find },
    Known { python: "min", server: "min", of: Of::Find },
    Known { python: "max", server: "max", of: Of::Find },
    Known { python: "return_key", server: "returnKey", of: Of::Find },
    Known { python: "batch_size", server: "batchSize", of: Of::Both },
    Known { python: "max_time_ms", server: "maxTimeMS", of: Of::Both },
    Known { python: "allow_disk_use", server: "allowDiskUse", of: Of::Both },
    Known { python: "hint", server: "hint", of: Of::Both },
    Known { python: "collation", server: "collation", of: Of::Both },
    Known { python: "let", server: "let", of: Of::Both },
    Known { python: "comment", server: "comment", of: Of::Both },
];

/// Options that are lists of a name and a direction in Python, and documents at the server.
const ORDERS: [&str; 4] = ["sort", "hint", "min", "max"];

impl MongoConfig {
    /// Checks the settings; the server is given no more than `time`.
    ///
    /// # Errors
    /// Names what is missing, of the wrong kind, or refused.
    pub(super) fn ask(self, time: Duration) -> Result<Asked, FetchError> {
        let Some(collection) = self.collection.filter(|name| !name.is_empty()) else {
            return Err(FetchError::permanent("config.collection: give one"));
        };
        let mut shape = match self.transform {
            Some(Transform::Own(own)) if own.first == Some(true) => Shape::First,
            Some(Transform::Own(own)) if own.merge == Some(true) => Shape::Merged,
            Some(Transform::Own(Own { map_key: Some(key), .. })) => Shape::Keyed(key),
            _ => Shape::List,
        };
        let command = match (self.find_one, self.find, self.aggregate) {
            (Some(find), None, None) => {
                // What the published provider does with one document, too: nothing.
                shape = Shape::First;
                find.command("findOne", &collection, true, time)?
            }
            (None, Some(find), None) => {
                find.command("find", &collection, shape == Shape::First, time)?
            }
            (None, None, Some(aggregate)) => aggregate.command(&collection, time)?,
            _ => {
                return Err(FetchError::permanent(
                    "config: give exactly one of findOne, find and aggregate",
                ));
            }
        };
        Ok(Asked { database: self.database.filter(|name| !name.is_empty()), command, shape })
    }
}

impl Find {
    fn command(
        self,
        name: &str,
        collection: &str,
        one: bool,
        time: Duration,
    ) -> Result<Document, FetchError> {
        let query = self.query.unwrap_or_default();
        harmless::check(&format!("{name}.query"), &query)?;
        let mut command = doc! { "find": collection, "filter": query };
        if let Some(projection) = self.projection.filter(|it| *it != Bson::Null) {
            let at = format!("{name}.projection");
            harmless::check_value(&at, &projection)?;
            command.insert("projection", fields(&at, projection)?);
        }
        add_options(&mut command, name, self.options, Of::Find, time)?;
        if one {
            command.insert("limit", 1);
            command.insert("singleBatch", true);
            command.remove("batchSize");
        }
        Ok(command)
    }
}

impl Aggregate {
    fn command(self, collection: &str, time: Duration) -> Result<Document, FetchError> {
        let Some(pipeline) = self.pipeline else {
            return Err(FetchError::permanent("config.aggregate.pipeline: give a list of stages"));
        };
        for stage in &pipeline {
            harmless::check("aggregate.pipeline", stage)?;
        }
        let mut command = doc! { "aggregate": collection, "pipeline": pipeline };
        add_options(&mut command, "aggregate", self.options, Of::Both, time)?;
        let batch = command.remove("batchSize");
        command
            .insert("cursor", batch.map_or_else(Document::new, |size| doc! { "batchSize": size }));
        Ok(command)
    }
}

/// Names alone, as Python takes them, or a document.
fn fields(at: &str, projection: Bson) -> Result<Document, FetchError> {
    match projection {
        Bson::Document(document) => Some(document),
        Bson::Array(names) => names
            .into_iter()
            .map(|name| match name {
                Bson::String(name) => Some((name, Bson::Int32(1))),
                _ => None,
            })
            .collect(),
        _ => None,
    }
    .ok_or_else(|| FetchError::permanent(format!("config.{at}: give an object or a list of names")))
}

fn add_options(
    command: &mut Document,
    name: &str,
    options: Option<Document>,
    of: Of,
    time: Duration,
) -> Result<(), FetchError> {
    let most = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    command.insert("maxTimeMS", most);
    for (given, value) in options.unwrap_or_default() {
        let at = format!("{name}.options.{given}");
        let is_it = |known: &&Known| {
            (known.python == given || known.server == given)
                && (known.of == Of::Both || of == Of::Find)
        };
        let Some(known) = OPTIONS.iter().find(is_it) else {
            let all = OPTIONS.iter().filter(|known| known.of == Of::Both || of == Of::Find);
            let all: Vec<_> = all.map(|known| known.server).collect();
            let all = all.join(", ");
            return Err(FetchError::permanent(format!(
                "config.{at}: this option is not known; there are {all}"
            )));
        };
        harmless::check_value(&at, &value)?;
        let value = match (known.server, value) {
            (_, Bson::Null) => continue,
            ("maxTimeMS", value) => match value.as_i64().or(value.as_i32().map(i64::from)) {
                Some(wanted) if wanted > 0 => Bson::Int64(wanted.min(most)),
                _ => {
                    let advice = format!("config.{at}: give a number of milliseconds");
                    return Err(FetchError::permanent(advice));
                }
            },
            (order, Bson::Array(pairs)) if ORDERS.contains(&order) => {
                Bson::Document(pairs_of(&at, pairs)?)
            }
            (_, value) => value,
        };
        command.insert(known.server, value);
    }
    Ok(())
}

/// `[["a", 1], ["b", -1]]`, which is how Python says an order.
fn pairs_of(at: &str, pairs: Vec<Bson>) -> Result<Document, FetchError> {
    let pair = |pair: Bson| match pair {
        Bson::Array(pair) => match <[Bson; 2]>::try_from(pair) {
            Ok([Bson::String(name), value]) => Some((name, value)),
            _ => None,
        },
        _ => None,
    };
    pairs.into_iter().map(pair).collect::<Option<Document>>().ok_or_else(|| {
        FetchError::permanent(format!("config.{at}: give an object, or a list of [name, value]"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_secs(10);

    fn ask(config: &str) -> Result<Asked, FetchError> {
        serde_json::from_str::<MongoConfig>(config).unwrap().ask(TIME)
    }

    #[test]
    fn the_published_providers_settings_become_commands() {
        for (config, command, shape) in [
            (
                r#"{"database":"d","collection":"c","find":{}}"#,
                doc! { "find": "c", "filter": {}, "maxTimeMS": 10_000_i64 },
                Shape::List,
            ),
            (
                r#"{"collection":"c","find":{"query":{"b":1,"a":{"$gt":2.5}},"projection":["x"],
                   "options":{"sort":[["z",1],["a",-1]],"batch_size":7,"max_time_ms":5}},
                   "transform":{"mapKey":"x"}}"#,
                doc! {
                    "find": "c", "filter": { "b": 1_i64, "a": { "$gt": 2.5 } }, "projection": { "x": 1 },
                    "maxTimeMS": 5_i64, "sort": { "z": 1_i64, "a": -1_i64 }, "batchSize": 7_i64,
                },
                Shape::Keyed("x".to_owned()),
            ),
            (
                r#"{"collection":"c","findOne":{"projection":{"x":0},"options":{"skip":1,"limit":9}},
                   "transform":{"merge":true}}"#,
                doc! {
                    "find": "c", "filter": {}, "projection": { "x": 0_i64 }, "maxTimeMS": 10_000_i64,
                    "skip": 1_i64, "limit": 1, "singleBatch": true,
                },
                Shape::First,
            ),
            (
                r#"{"collection":"c","aggregate":{"pipeline":[{"$match":{}}],
                   "options":{"batchSize":3,"maxTimeMS":99999999}},"transform":{"merge":true}}"#,
                doc! {
                    "aggregate": "c", "pipeline": [{ "$match": {} }], "maxTimeMS": 10_000_i64,
                    "cursor": { "batchSize": 3_i64 },
                },
                Shape::Merged,
            ),
            (
                r#"{"collection":"c","find":{},"transform":{"first":true,"mapKey":"x"}}"#,
                doc! {
                    "find": "c", "filter": {}, "maxTimeMS": 10_000_i64, "limit": 1,
                    "singleBatch": true,
                },
                Shape::First,
            ),
            (
                r#"{"collection":"c","find":{},"transform":"/a"}"#,
                doc! { "find": "c", "filter": {}, "maxTimeMS": 10_000_i64 },
                Shape::List,
            ),
        ] {
            let asked = ask(config).unwrap();
            // Text, because which kind of whole number one is makes no difference to the server.
            assert_eq!(asked.command.to_string(), command.to_string(), "{config}");
            assert_eq!(asked.shape, shape, "{config}");
        }
    }

    #[test]
    fn queries_are_extended_json() {
        let config = r#"{"collection":"c","find":{"query":{"_id":{"$oid":"65a000000000000000000001"},
            "at":{"$lt":{"$date":"2024-01-01T00:00:00Z"}}}}}"#;
        let filter = ask(config).unwrap().command.get_document("filter").unwrap().clone();
        assert!(filter.get_object_id("_id").is_ok());
        assert!(filter.get_document("at").unwrap().get_datetime("$lt").is_ok());
    }

    #[test]
    fn bad_settings_are_named_with_their_remedy() {
        for (config, words) in [
            (r#"{"find":{}}"#, "config.collection: give one"),
            (r#"{"collection":"c"}"#, "exactly one of findOne, find and aggregate"),
            (r#"{"collection":"c","find":{},"findOne":{}}"#, "exactly one of"),
            (r#"{"collection":"c","aggregate":{}}"#, "config.aggregate.pipeline: give a list"),
            (
                r#"{"collection":"c","find":{"options":{"tailable":true}}}"#,
                "config.find.options.tailable: this option is not known; there are sort, skip",
            ),
            (
                r#"{"collection":"c","aggregate":{"pipeline":[],"options":{"sort":{"a":1}}}}"#,
                "config.aggregate.options.sort: this option is not known",
            ),
            (
                r#"{"collection":"c","find":{"options":{"sort":["a"]}}}"#,
                "config.find.options.sort: give an object, or a list of [name, value]",
            ),
            (
                r#"{"collection":"c","find":{"options":{"max_time_ms":0}}}"#,
                "config.find.options.max_time_ms: give a number",
            ),
            (
                r#"{"collection":"c","find":{"projection":"x"}}"#,
                "config.find.projection: give an object or a list of names",
            ),
            (
                r#"{"collection":"c","find":{"projection":{"x":{"$function":{}}}}}"#,
                "config.find.projection: `$function` runs code",
            ),
            (
                r#"{"collection":"c","aggregate":{"pipeline":[{"$match":{}},{"$out":"x"}]}}"#,
                "config.aggregate.pipeline: `$out` writes",
            ),
        ] {
            let error = ask(config).err().expect(config);
            assert!(error.is_permanent() && error.to_string().contains(words), "{config}: {error}");
        }
    }
}
