//! The `config` of a Redis source.

use serde::Deserialize;

use super::words;
use crate::fetch::FetchError;
use crate::fetch::endpoint::ConnectionParams;

/// The settings as they are written.
#[derive(Default, Deserialize)]
pub(super) struct RedisConfig {
    #[serde(default)]
    command: Option<Command>,
    #[serde(default)]
    pub(super) connection_params: Option<ConnectionParams>,
    /// Strings inside the reply that are JSON become that JSON.
    #[serde(default)]
    pub(super) json_values: Option<bool>,
}

/// One line, or word by word.
#[derive(Deserialize)]
#[serde(untagged)]
enum Command {
    Line(String),
    Words(Vec<Word>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Word {
    Text(String),
    Number(serde_json::Number),
}

impl RedisConfig {
    /// The command's words; there is at least one.
    ///
    /// # Errors
    /// There is no command, or a quote in it is not closed.
    pub(super) fn words(&self) -> Result<Vec<Vec<u8>>, FetchError> {
        let words = match &self.command {
            None => Vec::new(),
            Some(Command::Line(line)) => words::split(line).ok_or_else(|| {
                FetchError::permanent(
                    "config.command: a quote in it is not closed, or no space follows it",
                )
            })?,
            Some(Command::Words(words)) => words
                .iter()
                .map(|word| match word {
                    Word::Text(text) => text.clone().into_bytes(),
                    Word::Number(number) => number.to_string().into_bytes(),
                })
                .collect(),
        };
        if words.is_empty() {
            let message = "config.command: give a command that reads, such as `HGETALL roles`";
            return Err(FetchError::permanent(message));
        }
        Ok(words)
    }
}
