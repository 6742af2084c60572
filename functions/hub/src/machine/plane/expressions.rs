//! Expressions of grants: paths that need an engine, of which there may be few, so that the memory of
//! hub and agents is bounded.

use protocol::plane::Refusal;
use protocol::plane::grants::Grant;
use protocol::{Problem, limits};

use super::Step;
use super::grants::find;
use super::totals::{Thing, Total};
use crate::log::Log;

impl Step<'_> {
    /// Counts the expressions of a grant that is about to be made, or refuses it for them.
    pub(super) fn make_expressions(&mut self, grant: &Grant) -> Result<(), Refusal> {
        let (count, most) = (expressions(grant), limits::MAX_GRANT_EXPRESSIONS as u64);
        if count == 0 {
            return Ok(());
        }
        let instead = "say \"path_syntax\":\"safe\", or use no more than `.`, `/*` and `:name`";
        if count > most {
            return Err(Refusal::validation(format!(
                "paths: {count} of them need an engine of regular expressions, and at most {most} \
                 of a grant may; {instead}"
            )));
        }
        let limits = self.settings.plane;
        let own = (format!("those of {}", grant.domain), limits.domain_expressions);
        let all = ("those of all domains".to_owned(), limits.expressions);
        let totals = totals(self.log, &grant.domain)?;
        for ((_, total), (whose, most)) in totals.iter().zip([own, all]) {
            if total.size.saturating_add(count) > most {
                return Err(Refusal::new(
                    409,
                    "too many expressions",
                    format!(
                        "paths: {count} of them need an engine of regular expressions, and at most \
                         {most} of {whose} may; {instead}, or delete grants that have some"
                    ),
                ));
            }
        }
        for (name, total) in totals {
            total.making(self.log, &name, Thing { id: grant.id.clone(), size: count })?;
        }
        Ok(())
    }

    /// Counts the expressions of grants that are there and are about to go.
    /// All of them are of one domain.
    pub(super) fn take_expressions<'g>(
        &mut self,
        going: impl Iterator<Item = &'g Grant>,
    ) -> Result<(), Refusal> {
        let (mut domain, mut things) = (None, vec![]);
        for grant in going {
            let size = expressions(grant);
            if size > 0 {
                domain = Some(&grant.domain);
                things.push(Thing { id: grant.id.clone(), size });
            }
        }
        for (name, total) in domain.map_or(Ok(vec![]), |domain| totals(self.log, domain))? {
            total.taking(self.log, &name, things.clone())?;
        }
        Ok(())
    }
}

/// Paths of a grant that need an engine of expressions.
fn expressions(grant: &Grant) -> u64 {
    let needs_engine = |path: &&String| ::grants::pattern::needs_engine(path, grant.path_syntax);
    grant.paths.iter().filter(needs_engine).count() as u64
}

/// The expressions of grants, of a domain and of all.
fn totals(log: &dyn Log, domain: &str) -> Result<Vec<(String, Total)>, Problem> {
    let names = [format!("expressions/of/{domain}"), "expressions".to_owned()];
    let read = |name: String| {
        let total = Total::read(log, &name, |log, id| Ok(find(log, id)?.is_some()))?;
        Ok((name, total))
    };
    names.into_iter().map(read).collect()
}
