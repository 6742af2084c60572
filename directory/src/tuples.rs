//! Relationship tuples: which instance is what to which other one.

use protocol::directory::{NewTuple, Refusal};
use protocol::{Problem, limits};

use crate::documents::{Document, Of};
use crate::draft::Draft;
use crate::rows::{self, INSTANCES, Index, Instance, RELATIONS, Relation};

impl Draft<'_> {
    /// Relates two instances; none if they are.
    pub(crate) fn relate(&mut self, new: NewTuple) -> Result<Option<Relation>, Refusal> {
        let NewTuple { subject, relation, object, tenant } = new;
        let mut tenant = tenant;
        // One that is not there comes to be beside the one that is.
        for name in [&subject, &object] {
            if tenant.is_none() {
                tenant = self.get::<Instance>(&rows::name(INSTANCES, name))?.map(|it| it.tenant);
            }
        }
        let of_subject = self.require_instance(&subject, tenant.as_deref())?;
        let tenant = self.require_instance(&object, tenant.as_deref())?;
        if of_subject != tenant {
            return Err(Refusal::of_body(
                &["object"],
                "subject and object are in different tenants; relate instances of one tenant",
            ));
        }
        let row = rows::name(RELATIONS, &object);
        let mut relations: Vec<Relation> = self.get(&row)?.unwrap_or_default();
        if relations.iter().any(|it| it.is(&subject, &relation)) {
            return Ok(None);
        }
        let limit = limits::MAX_DIRECTORY_LINKS;
        if relations.len() >= limit {
            return Err(Refusal::Other(Problem::conflict(format!(
                "`{object}` is the object of {limit} relationships, which is the limit; delete some"
            ))));
        }
        self.note(Index::ObjectsOfInstance(&subject), &object)?;
        let made = Relation { subject, relation, tenant, created_at: self.now };
        relations.push(made.clone());
        self.put(row, &relations)?;
        self.touched.insert(Document::new(Of::Relations, &object));
        Ok(Some(made))
    }

    /// Ends a relationship; true if there was one.
    pub(crate) fn unrelate(&mut self, old: &NewTuple) -> Result<bool, Refusal> {
        self.unrelate_all(&old.object, |it| it.is(&old.subject, &old.relation))
    }

    /// Ends those relationships to an instance; true if there were any.
    pub(crate) fn unrelate_all(
        &mut self,
        object: &str,
        is_over: impl Fn(&Relation) -> bool,
    ) -> Result<bool, Refusal> {
        let row = rows::name(RELATIONS, object);
        let relations: Vec<Relation> = self.get(&row)?.unwrap_or_default();
        let (gone, left): (Vec<_>, Vec<_>) = relations.into_iter().partition(is_over);
        for it in &gone {
            if !left.iter().any(|other| other.subject == it.subject) {
                self.unnote(Index::ObjectsOfInstance(&it.subject), object);
            }
        }
        if gone.is_empty() {
            return Ok(false);
        }
        if left.is_empty() {
            self.remove(row);
        } else {
            self.put(row, &left)?;
        }
        self.touched.insert(Document::new(Of::Relations, object));
        Ok(true)
    }
}

impl Relation {
    fn is(&self, subject: &str, relation: &str) -> bool {
        self.subject == subject && self.relation == relation
    }
}
