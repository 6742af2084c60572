//! What was asked, and how it was answered: the newest, each once.
//!
//! They are kept some to a row, so that a request costs one row, and two now and then. Anybody can
//! make up tokens: what comes with those is kept by itself, so that it pushes out nothing else.

use protocol::limits;
use protocol::plane::audits::{Audit, AuditQuery};
use protocol::plane::{Question, Refusal};

use super::super::policy::{get, put};
use super::super::unanswered;
use super::{Done, Step};
use crate::log::{Log, LogError};

/// Where those are kept whose tokens are known, and how many.
const KNOWN: Ring = Ring { rows: "plane/audits/", most: limits::MAX_AUDITS };
/// The same of all others.
const STRANGE: Ring = Ring { rows: "plane/strange-audits/", most: limits::MAX_STRANGE_AUDITS };
/// So many are in a row.
const MAX_ROW: usize = 16;
/// Bytes of a path that are remembered.
const MAX_PATH_BYTES: usize = 512;
/// Bytes of a method that are remembered.
const MAX_METHOD_BYTES: usize = 16;

/// What is kept in rows, the oldest of which go.
struct Ring {
    /// How the names of its rows begin.
    rows: &'static str,
    /// Audits of it.
    most: usize,
}

/// The rows that are written to.
#[derive(Debug, Default)]
pub(super) struct Recent {
    known: Last,
    strange: Last,
}

/// A row, once it has been looked up: its number, and what is in it.
#[derive(Debug, Default)]
struct Last(Option<(u64, Vec<Audit>)>);

impl Recent {
    /// Remembers one. Should storage refuse, the request stands, and is not remembered unless the
    /// next one's row brings it along.
    pub(super) fn remember(&mut self, log: &mut dyn Log, mut audit: Audit, is_strange: bool) {
        cut(&mut audit.http_path, MAX_PATH_BYTES);
        cut(&mut audit.http_method, MAX_METHOD_BYTES);
        cut(&mut audit.domain, limits::MAX_DOMAIN_BYTES);
        let (ring, last) =
            if is_strange { (STRANGE, &mut self.strange) } else { (KNOWN, &mut self.known) };
        let Some((number, row)) = last.row(log, &ring) else { return };
        if row.len() >= MAX_ROW {
            *number += 1;
            row.clear();
            let rows = ring.most.div_ceil(MAX_ROW) as u64 + 1;
            if let Some(oldest) = number.checked_sub(rows) {
                // One that stays is left out of what is shown.
                let _ = log.keep(&ring.name(oldest), None);
            }
        }
        row.push(audit);
        let _ = put(log, &ring.name(*number), row);
    }
}

impl Last {
    fn row(&mut self, log: &dyn Log, ring: &Ring) -> Option<&mut (u64, Vec<Audit>)> {
        if self.0.is_none() {
            let last = log.names(ring.rows).ok()?.into_iter().max();
            self.0 = Some(match last {
                Some(name) => {
                    let number = name.strip_prefix(ring.rows)?.parse().ok()?;
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
        let mut all = KNOWN.all(self.log).map_err(unanswered)?;
        all.extend(STRANGE.all(self.log).map_err(unanswered)?);
        all.sort_by_key(|audit| audit.created_at);
        let found = query.select(all.into_iter());
        Done::shown(&found.iter().map(Audit::shown).collect::<Vec<_>>())
    }
}

impl Ring {
    /// What is in it, the oldest first.
    fn all(&self, log: &dyn Log) -> Result<Vec<Audit>, LogError> {
        let mut all: Vec<Audit> = vec![];
        for row in log.documents(self.rows)?.into_values() {
            // One that cannot be read hides no other.
            all.extend(serde_json::from_str::<Vec<Audit>>(&row).unwrap_or_default());
        }
        all.drain(..all.len().saturating_sub(self.most));
        Ok(all)
    }

    /// Names are in the order of their numbers.
    fn name(&self, number: u64) -> String {
        format!("{}{number:016}", self.rows)
    }
}

fn cut(text: &mut String, most: usize) {
    text.truncate(text.floor_char_boundary(most));
}
