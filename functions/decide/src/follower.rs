//! What policy and data of a scope's log come to: a state machine without I/O.
//!
//! It takes what an agent takes and refuses what an agent refuses: an entry that is refused has no
//! effect, and a commit of policy takes effect as a whole or not at all. Where it cannot know what
//! an agent has, it decides nothing.

use std::cell::RefCell;
use std::collections::BTreeMap;

use decision::{Decides, DecisionError, QueryError, Reply, Request};
use protocol::commit::{Part, RESERVED, is_part};
use protocol::{DataPath, Entry, SaveMethod, Seq};
use rego::document::{self, Patch};
use rego::{Builtins, Interpreter, Language, Policies};
use regorus::Value;
use serde_json::value::RawValue;

use crate::reading::{Read, Reading};

/// Policy and data as of one number of the log.
pub(crate) struct Follower {
    language: Language,
    max_bytes: usize,
    epoch: Option<String>,
    at: Seq,
    data: Value,
    /// Bytes of all documents that were put since they were last counted.
    bytes: usize,
    too_large: bool,
    /// Places whose data only an agent fetches.
    fetched: Vec<DataPath>,
    modules: BTreeMap<String, String>,
    /// The parts of a commit that is not complete yet, or that agents refuse, and what was written
    /// after them to the same places: in the log's order.
    waiting: Vec<Entry>,
    /// The revision of the last commit.
    revision: Option<String>,
    /// Those that an agent has.
    policies: Policies,
    /// Why nothing can be decided by the last commit.
    standstill: Option<String>,
    /// Why a part means nothing to this version.
    unreadable: Option<String>,
    /// One that has decided on what there is now.
    idle: RefCell<Option<Interpreter>>,
}

impl Follower {
    /// Nothing has been read yet.
    pub(crate) fn new(language: Language, max_bytes: usize) -> Self {
        Self {
            language,
            max_bytes,
            epoch: None,
            at: Seq::ZERO,
            data: empty(),
            bytes: 0,
            too_large: false,
            fetched: vec![],
            modules: BTreeMap::new(),
            waiting: vec![],
            revision: None,
            policies: Policies::none(),
            standstill: None,
            unreadable: None,
            idle: RefCell::default(),
        }
    }

    /// Everything up to here has taken effect.
    pub(crate) const fn at(&self) -> Seq {
        self.at
    }

    /// Begins to read on.
    pub(crate) fn reading(&self) -> Reading {
        Reading::new(self.epoch.clone(), self.at)
    }

    /// Takes what was read, up to the head of the log.
    pub(crate) fn take(&mut self, read: Read) {
        let Read { epoch, at, updates } = read;
        self.epoch = Some(epoch);
        for entry in updates.into_iter().flat_map(|update| update.entries) {
            self.idle.take();
            self.entry(entry);
        }
        self.at = self.at.max(at);
        if self.bytes > self.max_bytes {
            // What was replaced counts no more.
            self.bytes = self.data.to_json_str().map_or(usize::MAX, |text| text.len());
            self.too_large = self.bytes > self.max_bytes;
        }
    }

    fn entry(&mut self, entry: Entry) {
        let place = &entry.dst_path;
        if let Some(data) = entry.inline().filter(|_| is_part(&entry)) {
            match Part::read(place, data.get()) {
                Ok(Part::Module(..) | Part::Data) => self.waiting.push(entry),
                Ok(Part::Marker(marker)) => self.standstill = self.commit(marker.hash).err(),
                Err(reason) => self.unreadable = Some(reason),
            }
        } else if place.is_apart() {
            // No engine is given it.
        } else if self.waits(&entry) {
            self.waiting.push(entry);
        } else if let Ok(bytes) = write(&mut self.data, &entry, Some(&self.policies)) {
            if is_document(&entry) {
                self.waiting.retain(|before| !entry.dst_path.covers(&before.dst_path));
            }
            self.written(&entry, bytes);
        }
    }

    /// True if something that waits is to be written first; what a document takes the place of
    /// need not be.
    fn waits(&self, entry: &Entry) -> bool {
        let place = &entry.dst_path;
        let mut before = self.waiting.iter().map(|before| &before.dst_path);
        before.any(|it| it.overlaps(place) && !(is_document(entry) && place.covers(it)))
    }

    /// Notes what has become of a place.
    fn written(&mut self, entry: &Entry, bytes: usize) {
        self.bytes += bytes;
        if entry.inline().is_none() {
            self.fetched.push(entry.dst_path.clone());
        } else if is_document(entry) {
            self.fetched.retain(|fetched| !entry.dst_path.covers(fetched));
        }
    }

    /// A commit is complete. One that agents refuse waits for the next one, and they decide by the
    /// one before; who reads the log from its beginning no longer finds that one there.
    ///
    /// # Errors
    /// Why nothing can be decided by it.
    fn commit(&mut self, revision: String) -> Result<(), String> {
        let mut modules = self.modules.clone();
        for part in self.waiting.iter().filter(|entry| is_part(entry)) {
            let text = part.inline().map_or("", RawValue::get);
            match Part::read(&part.dst_path, text) {
                Ok(Part::Module(path, Some(rego))) => drop(modules.insert(path, rego)),
                Ok(Part::Module(path, None)) => drop(modules.remove(&path)),
                Ok(Part::Data | Part::Marker(_)) | Err(_) => {}
            }
        }
        let (policies, lacking) = self.compile(&modules)?;
        let mut data = self.data.clone();
        let mut written = vec![];
        for entry in self.waiting.iter().filter(|entry| !entry.dst_path.is_apart()) {
            match write(&mut data, entry, None) {
                Ok(bytes) => written.push((entry.clone(), bytes)),
                Err(reason) if is_part(entry) => return Err(reason),
                // What an engine refuses of others has no effect.
                Err(_) => {}
            }
        }
        // Of what hides a rule agents may have refused the data, or the commit: which came first
        // is no longer in the log.
        policies.check_data(&data)?;
        (self.modules, self.policies, self.data) = (modules, policies, data);
        self.revision = Some(revision);
        self.waiting.clear();
        written.iter().for_each(|(entry, bytes)| self.written(entry, *bytes));
        lacking.map_or(Ok(()), Err)
    }

    /// The policies of modules, and why they do not run here, if only an agent has all functions
    /// that they call.
    fn compile(
        &self,
        modules: &BTreeMap<String, String>,
    ) -> Result<(Policies, Option<String>), String> {
        let compiled = |builtins| {
            let is_policy = |path: &str| path.ends_with(".rego") && !rego::is_test(path);
            let modules = modules.iter().filter(|(path, _)| is_policy(path));
            let modules = modules.map(|(path, rego)| (path.as_str(), rego.as_str()));
            Policies::compile(modules, self.language, builtins)
        };
        let here = compiled(Builtins::Embedded).map(|policies| (policies, None));
        here.or_else(|refused| {
            let reason = refused.to_string();
            match compiled(Builtins::Opa) {
                Ok(policies) => Ok((policies, Some(reason))),
                Err(_) => Err(reason),
            }
        })
    }

    /// Answers a request for a decision.
    pub(crate) fn answer(&self, request: Request<'_>) -> Reply {
        match self.obstacle() {
            Some(reason) => Reply::refusal(501, "invalid_operation", &reason),
            None => decision::answer(request, self),
        }
    }

    /// Why no decision can be made that would surely be an agent's, too.
    fn obstacle(&self) -> Option<String> {
        if let Some(reason) = self.unreadable.as_ref().or(self.standstill.as_ref()) {
            return Some(format!("the policy does not run at the edge: {reason}"));
        }
        if let Some(place) = self.fetched.first() {
            return Some(format!(
                "what is at {place} is fetched by agents alone; publish it inline, or ask an agent"
            ));
        }
        self.too_large.then(|| {
            format!(
                "the data has more than {} bytes, which is too much for the edge; raise \
                 GIRASOL_DECIDE_MAX_BYTES, follow fewer topics, or ask an agent",
                self.max_bytes
            )
        })
    }
}

/// Nobody but the interpreter, whose steps are limited: no clock moves here that could end a
/// program.
impl Decides for Follower {
    fn decide(
        &self,
        path: &[String],
        input: Option<Value>,
    ) -> Result<Option<Value>, DecisionError> {
        let mut interpreter = match self.idle.take() {
            Some(interpreter) => interpreter,
            None => self.policies.interpreter(self.data.clone())?,
        };
        // After an error it is not used again.
        let decided = interpreter.decide(path, input.unwrap_or(Value::Undefined))?;
        self.idle.replace(Some(interpreter));
        Ok(decided)
    }

    fn query(&self, text: &str, input: Option<Value>) -> Result<Vec<Value>, QueryError> {
        self.policies.query(text, self.data.clone(), input)
    }

    fn has_rule(&self, path: &[String]) -> bool {
        self.policies.has_rule(path)
    }

    fn modules(&self) -> Vec<(String, String)> {
        self.modules.clone().into_iter().collect()
    }

    fn revision(&self) -> Option<String> {
        self.revision.clone()
    }

    fn nanoseconds(&self) -> u64 {
        0
    }
}

/// True if what was at its place does not matter once the entry is written.
fn is_document(entry: &Entry) -> bool {
    entry.inline().is_some() && entry.save_method == SaveMethod::Put
}

/// Does what an entry says, if it says it itself, and returns the bytes of its data. Where there
/// are `policies`, it may hide no rule of theirs.
///
/// # Errors
/// An engine would refuse it. The data is as it was.
fn write(data: &mut Value, entry: &Entry, policies: Option<&Policies>) -> Result<usize, String> {
    let place = entry.dst_path.segments();
    let Some(text) = entry.inline().map(RawValue::get) else { return Ok(0) };
    match entry.save_method {
        SaveMethod::Put => {
            let value = document::read_for(place, text)?;
            policies.map_or(Ok(()), |policies| policies.check_put(place, &value))?;
            document::put(data, place, value)?;
        }
        SaveMethod::Patch => {
            let patch = Patch::parse(text)?;
            let mut patched = data.clone();
            patch.apply(&mut patched, place)?;
            policies.map_or(Ok(()), |policies| policies.check_data(&patched))?;
            *data = patched;
        }
    }
    if place.is_empty() {
        set_lag(data);
    }
    Ok(text.len())
}

fn empty() -> Value {
    let mut data = Value::new_object();
    set_lag(&mut data);
    data
}

/// What is decided on is at most [`max_age_ms`](crate::settings::Settings::max_age_ms) old.
fn set_lag(data: &mut Value) {
    let place = DataPath::lag_seconds();
    if document::put(data, place.segments(), Value::from(0_u64)).is_err() {
        // Something else is in the reserved place: it is nobody's to be.
        document::remove(data, &[RESERVED.to_owned()]);
        let _ = document::put(data, place.segments(), Value::from(0_u64));
    }
}

#[cfg(test)]
#[path = "follower_tests.rs"]
mod tests;
