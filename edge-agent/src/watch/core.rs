//! Messages of a replication stream in, updates out: what is published, under which id, and when
//! PostgreSQL may forget a transaction. No sockets, no clock.
//!
//! Each transaction is one update, or several if it is too large for one. They are cut while they
//! arrive, so that the largest transaction costs no more memory than one update. The ids are made
//! of the database's own numbers and of the content: a transaction that is read again, after
//! whatever crash, is published under the ids that it had, and has no second effect.
//!
//! PostgreSQL is told that a transaction may be forgotten once the hub has accepted all of it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::chunk::{Chunk, Target, Update};
use super::pgoutput::{Cell, Lsn, Message, Old, Relation, Tuple};
use super::value::{self, Form};
use super::{WatchError, key};

/// A table that is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) schema: String,
    pub(crate) name: String,
    /// The columns that name a row, in order.
    pub(crate) key: Vec<String>,
    /// The columns that are published; all, if none.
    pub(crate) columns: Option<Vec<String>>,
    pub(crate) target: Target,
}

/// The state between two messages.
#[derive(Debug)]
pub(crate) struct Core {
    tables: Vec<Table>,
    targets: Vec<Target>,
    /// What ids begin with.
    prefix: String,
    relations: HashMap<u32, Option<Arc<Known>>>,
    /// Types of this database, on top of those that every one has.
    forms: HashMap<u32, Form>,
    open: Option<Open>,
    chunk: Chunk,
    ready: VecDeque<Update>,
    settled: Settled,
}

/// The transaction that is being read.
#[derive(Debug)]
struct Open {
    commit: Lsn,
    /// Updates that it was cut into so far.
    parts: usize,
}

/// A watched table as the stream has described it.
#[derive(Debug)]
struct Known {
    table: usize,
    /// Each column with the form of its values, and whether it is published.
    columns: Vec<(String, Form, bool)>,
    /// Where the key's columns are.
    key: Vec<usize>,
}

/// A row that has to be read from the table: one of its large values did not change, so it was
/// not sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) table: usize,
    /// The values of its key, as the database writes them.
    pub(crate) key: Vec<String>,
    name: String,
}

/// Which updates were accepted, and what that settles.
#[derive(Debug, Default)]
struct Settled {
    /// Updates so far, and how many of them were accepted.
    updates: u64,
    accepted: u64,
    /// Up to where the stream is settled once so many updates are accepted.
    waiting: VecDeque<(u64, Lsn)>,
    flushed: Lsn,
}

impl Core {
    /// Nothing read yet. `prefix` names the database and the slot.
    pub(crate) fn new(tables: Vec<Table>, prefix: String) -> Self {
        let targets = tables.iter().map(|table| table.target.clone()).collect();
        Self {
            tables,
            targets,
            prefix,
            relations: HashMap::new(),
            forms: HashMap::new(),
            open: None,
            chunk: Chunk::default(),
            ready: VecDeque::new(),
            settled: Settled::default(),
        }
    }

    /// The types of a table's columns that have to be looked up before its rows are read.
    pub(crate) fn unknown_types(&self, relation: &Relation) -> Vec<u32> {
        let kinds = relation.columns.iter().map(|column| column.kind);
        kinds
            .filter(|kind| value::standard(*kind).is_none() && !self.forms.contains_key(kind))
            .collect()
    }

    /// What a type of this database looks like.
    pub(crate) fn learn(&mut self, kind: u32, form: Form) {
        self.forms.insert(kind, form);
    }

    /// Reads one message. If a row is wanted, nothing else may be read before
    /// [`Self::reread`] has been told.
    pub(crate) fn message(&mut self, message: Message) -> Result<Option<Wanted>, WatchError> {
        match message {
            Message::Begin { commit } => self.open = Some(Open { commit, parts: 0 }),
            Message::Commit { end } => {
                self.cut();
                self.open = None;
                self.settled.settle(end);
            }
            Message::Relation(relation) => {
                let known = self.describe(&relation)?;
                self.relations.insert(relation.id, known);
            }
            Message::Insert { relation, new } => {
                return self.known(relation)?.map_or(Ok(None), |it| self.put(&it, None, new));
            }
            Message::Update { relation, old, new } => {
                return self.known(relation)?.map_or(Ok(None), |it| self.put(&it, old, new));
            }
            Message::Delete { relation, old } => {
                if let Some(known) = self.known(relation)? {
                    let key = self.key(&known, &old.tuple)?;
                    self.note(known.table, &known.name(&key), None)?;
                }
            }
            Message::Truncate { relations } => {
                for relation in relations {
                    if let Some(known) = self.known(relation)? {
                        self.chunk.clear(known.table);
                    }
                }
            }
            Message::Other => {}
        }
        Ok(None)
    }

    /// The wanted row as JSON, as it is now. If it is gone by now, that it went is still to come.
    pub(crate) fn reread(
        &mut self,
        wanted: &Wanted,
        row: Option<String>,
    ) -> Result<(), WatchError> {
        match row {
            Some(row) => self.note(wanted.table, &wanted.name, Some(row)),
            None => Ok(()),
        }
    }

    /// The next update to publish.
    pub(crate) fn next(&mut self) -> Option<Update> {
        self.ready.pop_front()
    }

    /// The hub has accepted the oldest update that it had not.
    pub(crate) fn accepted(&mut self) {
        self.settled.accepted += 1;
        self.settled.advance();
    }

    /// There is nothing more in the log up to here.
    pub(crate) fn alive(&mut self, end: Lsn) {
        if self.open.is_none() {
            self.settled.settle(end);
        }
    }

    /// Up to where PostgreSQL may forget.
    pub(crate) fn flushed(&self) -> Lsn {
        self.settled.flushed
    }

    fn known(&self, relation: u32) -> Result<Option<Arc<Known>>, WatchError> {
        let known = self.relations.get(&relation);
        known
            .cloned()
            .ok_or_else(|| WatchError::retry("the stream names a table that it has not described"))
    }

    /// What of a description has to be known; nothing, if the table is not watched.
    fn describe(&self, relation: &Relation) -> Result<Option<Arc<Known>>, WatchError> {
        let is_it = |it: &Table| it.schema == relation.schema && it.name == relation.name;
        let Some((table, of)) = self.tables.iter().enumerate().find(|(_, it)| is_it(it)) else {
            return Ok(None);
        };
        let is_wanted = |name: &String| of.columns.as_ref().is_none_or(|it| it.contains(name));
        let form = |kind| value::standard(kind).or_else(|| self.forms.get(&kind).cloned());
        let columns = relation.columns.iter().map(|column| {
            let form = form(column.kind).unwrap_or(Form::Text);
            (column.name.clone(), form, is_wanted(&column.name))
        });
        let columns: Vec<_> = columns.collect();
        let place = |name: &String| {
            columns.iter().position(|(column, ..)| column == name).ok_or_else(|| {
                WatchError::stop(format!("{} has no column {name} any more", of.target.table))
                    .hint("name the columns of its key with --key")
            })
        };
        let key = of.key.iter().map(place).collect::<Result<_, _>>()?;
        Ok(Some(Arc::new(Known { table, columns, key })))
    }

    fn put(
        &mut self,
        known: &Known,
        old: Option<Old>,
        mut new: Tuple,
    ) -> Result<Option<Wanted>, WatchError> {
        if let Some(old) = old {
            let before = self.key(known, &old.tuple)?;
            let fill = |(cell, old): (&mut Cell, &Cell)| {
                if *cell == Cell::Unchanged {
                    *cell = old.clone();
                }
            };
            if old.is_full {
                new.iter_mut().zip(&old.tuple).for_each(fill);
            }
            if self.key(known, &new)? != before {
                self.note(known.table, &known.name(&before), None)?;
            }
        }
        let key = self.key(known, &new)?;
        let Some(row) = self.row(known, &new) else {
            let name = known.name(&key);
            return Ok(Some(Wanted { table: known.table, key, name }));
        };
        self.note(known.table, &known.name(&key), Some(row))?;
        Ok(None)
    }

    /// The values of a row's key.
    fn key(&self, known: &Known, tuple: &Tuple) -> Result<Vec<String>, WatchError> {
        let value = |at: &usize| match tuple.get(*at) {
            Some(Cell::Text(text)) => Ok(text.clone()),
            _ => {
                let table = self.targets.get(known.table).map_or("", |target| &target.table);
                Err(WatchError::stop(format!("a change of {table} came without the row's key"))
                    .hint("run once with --install, which has PostgreSQL send it"))
            }
        };
        known.key.iter().map(value).collect()
    }

    /// A row as JSON, unless a value of it is not there.
    fn row(&self, known: &Known, tuple: &Tuple) -> Option<String> {
        let mut out = "{".to_owned();
        for ((name, form, is_wanted), cell) in known.columns.iter().zip(tuple) {
            if !is_wanted {
                continue;
            }
            let text = match cell {
                Cell::Null => None,
                Cell::Unchanged => return None,
                Cell::Text(text) => Some(text.as_str()),
            };
            value::write_member(&mut out, name, form, text);
        }
        out.push('}');
        Some(out)
    }

    fn note(&mut self, table: usize, name: &str, row: Option<String>) -> Result<(), WatchError> {
        if let Some(row) = self.chunk.note(&self.targets, (table, name), row)? {
            self.cut();
            self.chunk.note(&self.targets, (table, name), row)?;
        }
        Ok(())
    }

    /// What has been read becomes an update.
    fn cut(&mut self) {
        let Some(open) = &mut self.open else { return };
        let id = format!("{}/{}/{}", self.prefix, open.commit, open.parts);
        let what = format!("in the transaction at {}", open.commit);
        if let Some(update) = self.chunk.take(&self.targets, &id, &what) {
            open.parts += 1;
            self.settled.updates += 1;
            self.ready.push_back(update);
        }
    }
}

impl Known {
    /// The name of the row whose key has these values.
    fn name(&self, key: &[String]) -> String {
        let columns = self.key.iter().filter_map(|at| self.columns.get(*at));
        let texts = columns.zip(key).map(|((_, form, _), value)| value::key_text(form, value));
        key::join(&texts.collect::<Vec<_>>())
    }
}

impl Settled {
    fn settle(&mut self, end: Lsn) {
        match self.waiting.back_mut() {
            Some((updates, last)) if *updates == self.updates => *last = end.max(*last),
            _ => self.waiting.push_back((self.updates, end)),
        }
        self.advance();
    }

    fn advance(&mut self) {
        while let Some((updates, end)) = self.waiting.front()
            && *updates <= self.accepted
        {
            self.flushed = self.flushed.max(*end);
            self.waiting.pop_front();
        }
    }
}

#[cfg(test)]
mod tests;
