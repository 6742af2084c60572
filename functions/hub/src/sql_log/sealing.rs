//! Updates that carry facts, sealed where they are kept ([`vault::Keys`]).
//!
//! Only the text of the update is: its topics name the domain and the type, its footprints the
//! place, and its fingerprint is that of its id. What an update is sealed for is its id, so that
//! a text in another row opens nowhere.

use protocol::Update;
use serde::Deserialize;
use worker::{SqlStorageValue, console_error};

use super::{Row, SqlLog, integer};
use crate::log::{LogError, Resealed};

/// What the ids of facts are before, in order: `;` follows `:`.
pub(super) const AFTER_FACTS: &str = "fact;";

/// Rows that are in memory at one time.
const PAGE: usize = 100;

impl SqlLog {
    /// The text of an update as it is stored.
    pub(super) fn sealed(&self, id: &str, body: &str) -> Result<SqlStorageValue, LogError> {
        if !id.starts_with(Update::FACT_ID) {
            return Ok(body.into());
        }
        let keys = self.keys.as_ref().ok_or_else(no_keys)?;
        Ok(keys.seal(&context(id), body).into())
    }

    /// A row with the text of its update.
    pub(super) fn opened(&self, mut row: Row) -> Result<Row, LogError> {
        if row.id.starts_with(Update::FACT_ID) && !row.body.is_empty() {
            let keys = self.keys.as_ref().ok_or_else(no_keys)?;
            let opened = keys.open(&context(&row.id), &row.body);
            row.body = opened.map_err(|error| LogError(format!("update {}: {error}", row.seq)))?;
        }
        Ok(row)
    }

    /// Seals rows with the first key that are sealed with another one: at most so many.
    pub(super) fn seal_again(&self, most: usize) -> Result<Resealed, LogError> {
        #[derive(Deserialize)]
        struct Sealed {
            seq: u64,
            id: String,
            body: String,
        }
        let keys = self.keys.as_ref().ok_or_else(no_keys)?;
        let first = format!("{}.", keys.kid());
        let others = "FROM log WHERE id > ? AND id < ? AND bytes > 0
             AND substr(body, 1, length(?)) <> ?";
        let values = |after: &str| -> Vec<SqlStorageValue> {
            let first = first.as_str();
            vec![after.into(), AFTER_FACTS.into(), first.into(), first.into()]
        };
        let (mut done, mut unopened, mut after) = (0, 0_usize, Update::FACT_ID.to_owned());
        while done < most {
            let page = format!("SELECT seq, id, body {others} ORDER BY id LIMIT {PAGE}");
            let rows = self.rows::<Sealed>(&page, values(&after))?;
            let Some(last) = rows.last() else { break };
            after.clone_from(&last.id);
            for Sealed { seq, id, body } in rows {
                if done >= most {
                    break;
                }
                match keys.open(&context(&id), &body) {
                    Ok(opened) => {
                        let sealed = keys.seal(&context(&id), &opened);
                        self.run(
                            "UPDATE log SET body = ? WHERE seq = ?",
                            vec![sealed.into(), integer(seq)?],
                        )?;
                        done += 1;
                    }
                    // It is among those that are left, and keeps nothing behind it back.
                    Err(error) => {
                        if unopened == 0 {
                            console_error!("update {seq}: {error}");
                        }
                        unopened += 1;
                    }
                }
            }
        }
        if unopened > 1 {
            console_error!("so it is with {unopened} updates that carry facts");
        }
        let left =
            self.number(&format!("SELECT COUNT(*) AS value {others}"), values(Update::FACT_ID))?;
        Ok(Resealed { done, left: usize::try_from(left).unwrap_or(usize::MAX) })
    }
}

fn context(id: &str) -> String {
    format!("log/{id}")
}

fn no_keys() -> LogError {
    LogError("there are facts in the log, and GIRASOL_FACTS_KEYS is not set".to_owned())
}
