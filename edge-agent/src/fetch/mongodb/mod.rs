//! `MongoDBFetchProvider`: one query that reads, whose documents are the data.
//!
//! The settings are those of the published provider. What runs code at the server or writes is
//! refused before it is sent.
//!
//! | question | file |
//! |---|---|
//! | What can the settings say, what is asked? | `config` |
//! | What is never asked? | `harmless` |
//! | What JSON is a document? | `json` |
//! | What do documents become? | `shape` |
//! | Which clients are kept? | `clients` |
//! | How does the driver connect where it may, and with which TLS? | `relay` |

use futures::future::BoxFuture;
use mongodb::error::{Error, ErrorKind};

use super::{FetchError, Fetcher, Means, Source, settings_of};
use crate::json::Json;
use clients::{Client, Clients};
use config::MongoConfig;

mod clients;
mod config;
mod harmless;
mod json;
mod relay;
mod shape;

/// What a server says of a query that it will never answer: `BadValue`, `FailedToParse`,
/// `TypeMismatch`, `InvalidLength`, `IllegalOperation`, `CommandNotFound`, `InvalidNamespace`,
/// `InvalidPipelineOperator`, `NotImplemented`.
const BAD_QUERY: [i32; 9] = [2, 9, 14, 16, 20, 59, 73, 168, 238];

/// From here on, codes are numbers of places in the server that check stages and expressions.
const PLACES: i32 = 15_000;

/// Letters of a server's message that an error has.
const SHOWN: usize = 300;

/// The published `MongoDBFetchProvider`.
pub struct MongoFetcher {
    means: Means,
    clients: Clients,
}

impl MongoFetcher {
    /// Connects with `means`.
    #[must_use]
    pub fn new(means: Means) -> Self {
        Self { clients: Clients::new(means.clone()), means }
    }

    async fn fetch(&self, source: &Source) -> Result<Json, FetchError> {
        let config: MongoConfig = settings_of(source)?;
        let asked = config.ask(self.means.timeout)?;
        let client = self.clients.get(&source.url).await?;
        let database = asked.database.as_deref().or(client.database.as_deref());
        let database = database.ok_or_else(|| {
            FetchError::permanent("config.database: give one, there or in the url's path")
        })?;
        let failed = |error: &Error| failure(&client, error);
        let mut command = asked.command;
        if let Some(level) = &client.read_concern {
            command.insert("readConcern", level.clone());
        }
        let database = client.mongo.database(database);
        let mut asking = database.run_cursor_command(command);
        if let Some(criteria) = &client.criteria {
            asking = asking.selection_criteria(criteria.clone());
        }
        let mut cursor = asking.await.map_err(|error| failed(&error))?;
        let named = |error: FetchError| client.named(&error);
        let mut shaped = asked.shape.begin(self.means.max_bytes);
        while shaped.wants_more() && cursor.advance().await.map_err(|error| failed(&error))? {
            shaped.push(cursor.current()).map_err(named)?;
        }
        Ok(shaped.end())
    }
}

impl Fetcher for MongoFetcher {
    fn name(&self) -> &str {
        "MongoDBFetchProvider"
    }

    fn fetch<'a>(&'a self, source: &'a Source) -> BoxFuture<'a, Result<Json, FetchError>> {
        Box::pin(self.fetch(source))
    }
}

/// The driver's error, in words that hold no password.
fn failure(client: &Client, error: &Error) -> FetchError {
    let permanent = |message: &str| client.named(&FetchError::permanent(message));
    let other = |message: &str| client.named(&FetchError::new(message));
    match &*error.kind {
        ErrorKind::Command(said) => {
            let message = format!("{} (code {})", short(&said.message), said.code);
            if said.code >= PLACES || BAD_QUERY.contains(&said.code) {
                permanent(&message)
            } else {
                other(&message)
            }
        }
        ErrorKind::Authentication { message, .. } => {
            other(&format!("the login was refused: {}", short(message)))
        }
        // The driver waits and tries for as long as it may; the relay knows why it could not.
        ErrorKind::ServerSelection { .. } | ErrorKind::ProxyConnect { .. } | ErrorKind::Io(_) => {
            match client.trouble() {
                Some(trouble) => client.named(&trouble),
                None => other("no server that may be asked has answered in time"),
            }
        }
        ErrorKind::InvalidArgument { message, .. } => permanent(&short(message)),
        kind => other(&short(&kind.to_string())),
    }
}

fn short(message: &str) -> String {
    let line: String = message.chars().map(|it| if it.is_control() { ' ' } else { it }).collect();
    crate::secrets::shortened(&line, SHOWN)
}
