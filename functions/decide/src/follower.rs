//! What policy and data of a scope's log come to: a state machine without I/O.

use std::cell::RefCell;
use std::collections::BTreeMap;

use decision::{Decides, DecisionError, QueryError, Reply, Request};
use protocol::commit::{Part, is_part};
use protocol::internal::LogPage;
use protocol::{DataPath, Entry, SaveMethod, Seq};
use rego::document::{self, Patch};
use rego::{Builtins, Interpreter, Language, Policies};
use regorus::Value;

/// Policy and data as of one number of the log.
pub(crate) struct Follower {
    language: Language,
    max_bytes: usize,
    epoch: Option<String>,
    at: Seq,
    data: Value,
    /// Bytes of all documents that were put since they were last counted.
    bytes: usize,
    /// What makes a decision impossible, if it is not that of the policies.
    too_large: bool,
    /// Places whose data only an agent fetches.
    fetched: Vec<DataPath>,
    modules: BTreeMap<String, String>,
    /// Changes of modules whose commit is not complete yet.
    pending: Vec<(String, Option<String>)>,
    /// The revision of the last commit.
    revision: Option<String>,
    policies: Result<Policies, String>,
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
            pending: vec![],
            revision: None,
            policies: Ok(Policies::none()),
            idle: RefCell::default(),
        }
    }

    /// Everything up to here has taken effect.
    pub(crate) const fn at(&self) -> Seq {
        self.at
    }

    /// True if this page does not go on where the last one ended: the log began anew, or gave up
    /// what was not read yet. Then everything is to be read again, from 0.
    pub(crate) fn is_cut_off_by(&self, page: &LogPage) -> bool {
        let other = self.epoch.as_ref().is_some_and(|epoch| *epoch != page.epoch);
        other || (self.at > Seq::ZERO && page.floor > self.at)
    }

    /// Takes pages that were read one after the other, up to the head of the log.
    pub(crate) fn take(&mut self, pages: Vec<LogPage>) {
        for page in pages {
            self.epoch = Some(page.epoch);
            let reached = page.next.unwrap_or(page.head);
            for delivery in page.updates {
                self.idle.take();
                delivery.entries.into_iter().for_each(|entry| self.entry(entry));
            }
            self.at = self.at.max(reached);
        }
        if self.bytes > self.max_bytes {
            // What was replaced counts no more.
            self.bytes = self.data.to_json_str().map_or(usize::MAX, |text| text.len());
            self.too_large = self.bytes > self.max_bytes;
        }
    }

    /// Takes one entry; what an engine would refuse has no effect, as at an agent.
    fn entry(&mut self, entry: Entry) {
        let place = &entry.dst_path;
        let Some(text) = entry.inline().map(|data| data.get().to_owned()) else {
            self.fetched.push(entry.dst_path);
            return;
        };
        if is_part(&entry) {
            match Part::read(place, &text) {
                Ok(Part::Module(path, rego)) => return self.pending.push((path, rego)),
                Ok(Part::Marker(marker)) => return self.commit(marker.hash),
                Ok(Part::Data) => {}
                Err(reason) => return self.policies = Err(reason),
            }
        } else if place.is_apart() {
            return;
        }
        let written = match entry.save_method {
            SaveMethod::Put => self.put(place, &text),
            SaveMethod::Patch => self.patch(place, &text),
        };
        if written.is_ok() && entry.save_method == SaveMethod::Put {
            self.fetched.retain(|fetched| !entry.dst_path.covers(fetched));
        }
    }

    fn put(&mut self, place: &DataPath, text: &str) -> Result<(), String> {
        let value = document::read_for(place.segments(), text)?;
        if let Ok(policies) = &self.policies {
            policies.check_put(place.segments(), &value)?;
        }
        document::put(&mut self.data, place.segments(), value)?;
        if place.is_root() {
            set_lag(&mut self.data);
        }
        self.bytes += text.len();
        Ok(())
    }

    fn patch(&mut self, place: &DataPath, text: &str) -> Result<(), String> {
        let patch = Patch::parse(text)?;
        let mut data = self.data.clone();
        patch.apply(&mut data, place.segments())?;
        if let Ok(policies) = &self.policies {
            policies.check_data(&data)?;
        }
        self.data = data;
        self.bytes += text.len();
        Ok(())
    }

    /// A commit is complete.
    fn commit(&mut self, revision: String) {
        self.revision = Some(revision);
        for (path, rego) in self.pending.drain(..) {
            match rego {
                Some(rego) => drop(self.modules.insert(path, rego)),
                None => drop(self.modules.remove(&path)),
            }
        }
        let is_policy = |path: &str| path.ends_with(".rego") && !rego::is_test(path);
        let modules = self.modules.iter().filter(|(path, _)| is_policy(path));
        let modules = modules.map(|(path, rego)| (path.as_str(), rego.as_str()));
        let compiled = Policies::compile(modules, self.language, Builtins::Embedded);
        self.policies = compiled.map_err(|refused| refused.to_string()).and_then(|policies| {
            policies.check_data(&self.data)?;
            Ok(policies)
        });
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
        if let Err(reason) = &self.policies {
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

    /// The policies, where [`Self::obstacle`] has found none.
    fn policies(&self) -> Result<&Policies, DecisionError> {
        self.policies
            .as_ref()
            .map_err(|reason| DecisionError::Evaluation { message: reason.clone(), location: None })
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
            None => self.policies()?.interpreter(self.data.clone())?,
        };
        // After an error it is not used again.
        let decided = interpreter.decide(path, input.unwrap_or(Value::Undefined))?;
        self.idle.replace(Some(interpreter));
        Ok(decided)
    }

    fn query(&self, text: &str, input: Option<Value>) -> Result<Vec<Value>, QueryError> {
        let policies = self.policies().map_err(QueryError::Evaluation)?;
        policies.query(text, self.data.clone(), input)
    }

    fn has_rule(&self, path: &[String]) -> bool {
        self.policies.as_ref().is_ok_and(|policies| policies.has_rule(path))
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

fn empty() -> Value {
    let mut data = Value::new_object();
    set_lag(&mut data);
    data
}

/// What is decided on is at most [`max_age_ms`](crate::settings::Settings::max_age_ms) old.
fn set_lag(data: &mut Value) {
    // Fails only where something stands in the way, which a policy will find out.
    let _ = document::put(data, DataPath::lag_seconds().segments(), Value::from(0_u64));
}

#[cfg(test)]
mod tests {
    use protocol::Millis;
    use protocol::commit::{self, Marker};
    use protocol::socket::Delivery;
    use serde_json::{Value as Json, json};

    use super::*;

    fn entry(value: Json) -> Entry {
        serde_json::from_value(value).unwrap()
    }

    fn page(seq: u64, entries: Vec<Entry>) -> LogPage {
        let places = (0..).take(entries.len()).collect();
        let delivery = Delivery {
            seq: Seq(seq),
            prev: Seq(seq - 1),
            id: seq.to_string(),
            at: Millis(0),
            reason: None,
            entries,
            places,
            callback: None,
        };
        LogPage {
            epoch: "e".into(),
            head: Seq(seq),
            floor: Seq(0),
            updates: vec![delivery],
            next: None,
            digests: Default::default(),
        }
    }

    fn policy(text: &str) -> Vec<Entry> {
        let marker = commit::marker(&Marker { hash: "h".into(), old_hash: None }).unwrap();
        vec![commit::module("app.rego", Some(text)).unwrap(), marker]
    }

    fn follower(pages: Vec<LogPage>) -> Follower {
        let mut follower = Follower::new(Language::V1, 1_000);
        follower.take(pages);
        follower
    }

    fn ask(follower: &Follower, path: &str, body: &str) -> (u16, String) {
        let body = body.as_bytes();
        let request = Request {
            method: "POST",
            path,
            query: "",
            content_type: None,
            if_none_match: None,
            body,
        };
        let reply = follower.answer(request);
        (reply.status, reply.body)
    }

    const RULE: &str = "package app\nallow if data.users[input.user].admin";

    #[test]
    fn policy_and_data_of_the_log_decide() {
        let user =
            json!({"topics": ["policy_data"], "dst_path": "/users/ada", "data": {"admin": true}});
        let mut follower = follower(vec![page(1, policy(RULE)), page(2, vec![entry(user)])]);
        assert_eq!(follower.at(), Seq(2));
        let ask = |follower: &Follower, user: &str| {
            let body = json!({"input": {"user": user}}).to_string();
            ask(follower, "/v1/data/app/allow", &body)
        };
        assert_eq!(ask(&follower, "ada"), (200, "{\"result\":true}\n".into()));
        assert_eq!(ask(&follower, "eve"), (200, "{}\n".into()));
        let gone = json!({"topics": ["policy_data"], "dst_path": "/users", "save_method": "PATCH",
            "data": [{"op": "remove", "path": "/ada"}]});
        follower.take(vec![page(3, vec![entry(gone)])]);
        assert_eq!(ask(&follower, "ada"), (200, "{}\n".into()));
    }

    #[test]
    fn modules_count_when_their_commit_is_complete() {
        let mut parts = policy(RULE);
        let marker = parts.pop().unwrap();
        let mut follower = follower(vec![page(1, parts)]);
        assert_eq!(ask(&follower, "/v1/data/app", "{\"input\":1}").1, "{}\n");
        follower.take(vec![page(2, vec![marker])]);
        assert_eq!(ask(&follower, "/v1/data/app", "{\"input\":1}").1, "{\"result\":{}}\n");
    }

    #[test]
    fn what_the_edge_cannot_do_is_told_and_decides_nothing() {
        let fetched = json!({"topics": ["policy_data"], "dst_path": "/users", "url": "http://x/"});
        let large =
            json!({"topics": ["policy_data"], "dst_path": "/large", "data": "x".repeat(2_000)});
        let unknown = "package app\nallow if rego.parse_module(\"a\", \"package a\")";
        for (entries, reason) in [
            (vec![entry(fetched.clone())], "what is at /users is fetched by agents alone"),
            (vec![entry(large.clone())], "the data has more than 1000 bytes"),
            (policy(unknown), "the policy does not run at the edge"),
            (policy("package app\nallow if"), "the policy does not run at the edge"),
        ] {
            let follower = follower(vec![page(1, policy(RULE)), page(2, entries)]);
            let (status, body) = ask(&follower, "/v1/data/app/allow", "{}");
            assert_eq!(status, 501, "{reason}: {body}");
            assert!(body.contains(reason), "{reason}: {body}");
        }
        // What takes its place mends it.
        let inline = json!({"topics": ["policy_data"], "dst_path": "/", "data": {}});
        for before in [fetched, large] {
            let pages = vec![page(1, vec![entry(before)]), page(2, vec![entry(inline.clone())])];
            assert_eq!(ask(&follower(pages), "/v1/data/app", "{}").0, 200);
        }
    }

    #[test]
    fn a_log_that_began_anew_or_gave_up_what_was_not_read_cuts_off() {
        let follower = follower(vec![page(5, vec![])]);
        assert!(!follower.is_cut_off_by(&page(6, vec![])));
        assert!(follower.is_cut_off_by(&LogPage { epoch: "other".into(), ..page(6, vec![]) }));
        assert!(follower.is_cut_off_by(&LogPage { floor: Seq(6), ..page(7, vec![]) }));
        assert!(!follower.is_cut_off_by(&LogPage { floor: Seq(5), ..page(7, vec![]) }));
    }

    #[test]
    fn a_policy_reads_how_old_its_data_is() {
        let rule = "package app\nallow if data.girasol.lag_seconds < 5";
        let root = json!({"topics": ["policy_data"], "dst_path": "/", "data": {"a": 1}});
        let follower = follower(vec![page(1, policy(rule)), page(2, vec![entry(root)])]);
        assert_eq!(ask(&follower, "/v1/data/app/allow", "{}").0, 200);
        assert!(ask(&follower, "/v1/data/app/allow", "{}").1.contains("\"result\":true"));
    }
}
