//! What was asked, and how it was answered: the newest, each once.
//!
//! They are kept some to a row, so that a request costs one row, and two now and then.

use std::collections::VecDeque;

use protocol::limits;
use protocol::plane::audits::{Audit, AuditQuery};
use protocol::plane::{Question, Refusal};

use super::super::policy::{get, put};
use super::super::unanswered;
use super::{Done, Step};
use crate::log::{Log, LogError};

/// A row of them, by its number.
const ROW: &str = "plane/audits/";
/// So many are in a row.
const MAX_ROW: usize = 16;
/// Bytes of a path that are remembered.
const MAX_PATH_BYTES: usize = 512;
/// Bytes of a method that are remembered.
const MAX_METHOD_BYTES: usize = 16;

/// The row that is written to, once it has been looked up.
#[derive(Debug, Default)]
pub(super) struct Recent(Option<(u64, Vec<Audit>)>);

impl Recent {
    /// Remembers one. Should storage refuse, the request stands, and is not remembered unless the
    /// next one's row brings it along.
    pub(super) fn remember(&mut self, log: &mut dyn Log, mut audit: Audit) {
        cut(&mut audit.http_path, MAX_PATH_BYTES);
        cut(&mut audit.http_method, MAX_METHOD_BYTES);
        cut(&mut audit.domain, limits::MAX_DOMAIN_BYTES);
        let Some((number, row)) = self.row(log) else { return };
        if row.len() >= MAX_ROW {
            *number += 1;
            row.clear();
            let rows = (limits::MAX_AUDITS / MAX_ROW) as u64 + 1;
            if let Some(oldest) = number.checked_sub(rows) {
                // One that stays is left out of what is shown.
                let _ = log.keep(&name(oldest), None);
            }
        }
        row.push(audit);
        let _ = put(log, &name(*number), row);
    }

    fn row(&mut self, log: &dyn Log) -> Option<&mut (u64, Vec<Audit>)> {
        if self.0.is_none() {
            let last = log.names(ROW).ok()?.into_iter().max();
            self.0 = Some(match last {
                Some(name) => {
                    let number = name.strip_prefix(ROW)?.parse().ok()?;
                    (number, get(log, &name).ok()?.unwrap_or_default())
                }
                None => (0, vec![]),
            });
        }
        self.0.as_mut()
    }
}

impl Step<'_> {
    /// Shows those that may be seen: a grant's own domain's.
    pub(super) fn show_audits(
        &self,
        mut query: AuditQuery,
        question: Option<&Question>,
    ) -> Result<Done, Refusal> {
        if let Some(Question { domain, .. }) = question {
            if query.domain.as_ref().is_some_and(|asked| asked != domain) {
                return Done::shown(&[(); 0]);
            }
            query.domain = Some(domain.clone());
        }
        let mut all: VecDeque<Audit> = VecDeque::new();
        for row in rows(self.log).map_err(unanswered)? {
            // One that cannot be read hides no other.
            all.extend(serde_json::from_str::<Vec<Audit>>(&row).unwrap_or_default());
        }
        let older = all.len().saturating_sub(limits::MAX_AUDITS);
        let found = query.select(all.into_iter().skip(older));
        Done::shown(&found.iter().map(Audit::shown).collect::<Vec<_>>())
    }
}

/// All rows, the oldest first.
fn rows(log: &dyn Log) -> Result<impl Iterator<Item = String>, LogError> {
    Ok(log.documents(ROW)?.into_values())
}

/// Names are in the order of their numbers.
fn name(number: u64) -> String {
    format!("{ROW}{number:016}")
}

fn cut(text: &mut String, most: usize) {
    text.truncate(text.floor_char_boundary(most));
}
