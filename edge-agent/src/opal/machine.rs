//! What is said to an opal-server, and what the core hears of it.

use protocol::opal::ignore::Ignored;
use protocol::opal::rpc::{self, Message};
use protocol::socket::{AgentFrame, Delivery, HubFrame};
use protocol::{Entry, Millis, Seq, digest::TopicDigests};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Subscription;
use super::policy::Requests;
use super::recent::Recent;
use super::repository::Repository;
use super::updates::{Seen, Update};
use crate::core::PolicyNews;

mod loading;

use loading::base_update;

/// What does not change while the agent runs.
#[derive(Clone, Debug)]
pub struct Config {
    /// What is wanted.
    pub subscription: Subscription,
    /// Policies to leave out.
    pub ignored: Ignored,
    /// Names this process's numbers: those of another one mean nothing here.
    pub epoch: String,
    /// The server's address, by which its placeholder source is known.
    pub server: url::Url,
    /// The name to show in the server's statistics; none to stay out of them.
    pub statistics: Option<String>,
    /// True if registered callbacks hear of every update.
    pub reports: bool,
    /// Milliseconds between two `_ping_`; none for the socket's own pings alone.
    pub keep_alive: Option<u64>,
    /// Where the jitter of retries begins.
    pub seed: u64,
}

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// The socket is open; the name of this connection, 32 hexadecimal digits.
    Connected(String),
    /// The socket is closed.
    Closed,
    /// The server said something.
    Text(String),
    /// The core said something.
    Agent(AgentFrame),
    /// The base sources, or why there are none.
    Sources(Result<Box<RawValue>, String>),
    /// The answer to this request for policies.
    Policies(u64, Result<Box<RawValue>, String>),
    /// Somebody wants all policies again.
    PolicyTrigger,
    /// Somebody wants the base sources again.
    DataTrigger,
    /// Time has passed.
    Tick,
}

/// What the shell has to do.
#[derive(Debug)]
pub enum Effect {
    /// Send text on the socket.
    Send(String),
    /// Tell the core.
    Hub(HubFrame),
    /// Tell the core of policies.
    Policy(PolicyNews),
    /// Ask the server at this path; [`Input::Sources`] follows.
    FetchSources(String),
    /// Ask the server at this path and query; [`Input::Policies`] follows.
    FetchPolicies(u64, String),
    /// Close the socket: this is why.
    Close(String),
    /// Tell the operator of something that is left out.
    LeftOut(String),
}

/// Where the connection stands.
#[derive(Debug)]
enum Link {
    Closed,
    /// The core has not said where it is yet.
    Open,
    /// The server has not answered `subscribe`.
    Subscribing,
    /// The base sources are being asked for; what came meanwhile follows them.
    Loading(Vec<Update>),
    Live,
}

/// A source that is fetched again and again.
#[derive(Debug)]
struct Poll {
    entry: Entry,
    every: u64,
    at: Millis,
}

/// The adapter: see [the module](super).
#[derive(Debug)]
pub struct Machine {
    config: Config,
    link: Link,
    channel: String,
    calls: u64,
    subscribe_call: String,
    /// Where the core said it is.
    cursor: Seq,
    /// Why it cannot go on from there.
    reset: Option<&'static str>,
    /// The next update is the first one after a reset.
    begins: bool,
    recent: Recent,
    seen: Seen,
    polls: Vec<Poll>,
    requests: Requests,
    repository: Repository,
    ping_at: Option<Millis>,
    /// The base sources were asked for on behalf of somebody, while live.
    reloading: bool,
}

#[derive(Deserialize)]
struct Notify {
    subscription: Channel,
    #[serde(default)]
    data: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Channel {
    topic: String,
}

impl Machine {
    /// An adapter that has not connected yet.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            link: Link::Closed,
            channel: String::new(),
            calls: 0,
            subscribe_call: String::new(),
            cursor: Seq::ZERO,
            reset: None,
            begins: false,
            recent: Recent::default(),
            seen: Seen::default(),
            polls: vec![],
            requests: Requests::new(config.seed),
            repository: Repository::new(config.ignored.clone()),
            ping_at: None,
            reloading: false,
            config,
        }
    }

    /// When the machine wants an [`Input::Tick`] if nothing happens before.
    #[must_use]
    pub fn next_tick(&self) -> Option<Millis> {
        let polls = self.polls.iter().map(|poll| poll.at).min();
        let live = matches!(self.link, Link::Live).then_some(polls).flatten();
        [live, self.requests.next_tick(), self.ping_at].into_iter().flatten().min()
    }

    /// One step: everything that follows from one input.
    pub fn step(&mut self, now: Millis, input: Input) -> Vec<Effect> {
        let mut effects = vec![];
        match input {
            Input::Connected(channel) => {
                self.channel = channel;
                self.link = Link::Open;
                self.seen.forget();
            }
            Input::Closed => {
                self.link = Link::Closed;
                self.requests.stop();
                self.ping_at = None;
                self.reloading = false;
            }
            Input::Text(text) => self.text(&text, &mut effects, now),
            Input::Agent(frame) => self.agent(frame, &mut effects),
            Input::Sources(result) => self.sources(now, result, &mut effects),
            Input::Policies(number, result) => self.policies(now, number, result, &mut effects),
            Input::PolicyTrigger if self.is_subscribed() => self.want_policies(now, true),
            Input::DataTrigger if matches!(self.link, Link::Live) => {
                self.reloading = true;
                effects.push(Effect::FetchSources(self.config.subscription.config_request()));
            }
            // The next connection asks for everything.
            Input::PolicyTrigger | Input::DataTrigger | Input::Tick => {}
        }
        self.due(now, &mut effects);
        effects
    }

    fn due(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        if let Some(request) = self.requests.due(now) {
            let base = self.repository.hash().filter(|_| !request.complete);
            let path = self.config.subscription.policy_request(base);
            effects.push(Effect::FetchPolicies(request.number, path));
        }
        if self.ping_at.is_some_and(|at| at <= now) {
            self.ping_at = self.config.keep_alive.map(|every| now.plus(every));
            let (text, _) = self.call("_ping_", &Empty {});
            effects.push(Effect::Send(text));
        }
        if matches!(self.link, Link::Live) {
            let due = self.polls.iter_mut().filter(|poll| poll.at <= now);
            let entries: Vec<Entry> = due
                .map(|poll| {
                    poll.at = now.plus(poll.every);
                    poll.entry.clone()
                })
                .collect();
            if !entries.is_empty() {
                self.deliver(now, base_update("Periodic update", entries), effects);
            }
        }
    }

    fn is_subscribed(&self) -> bool {
        matches!(self.link, Link::Loading(_) | Link::Live)
    }

    fn call(&mut self, method: &str, arguments: &impl serde::Serialize) -> (String, String) {
        self.calls = self.calls.saturating_add(1);
        let id = format!("{:032x}", self.calls);
        (rpc::request(method, arguments, &id), id)
    }

    // === what the server says ===

    fn text(&mut self, text: &str, effects: &mut Vec<Effect>, now: Millis) {
        let Ok(message) = Message::decode(text) else {
            effects.push(Effect::Close("the server sent a frame that is not JSON".to_owned()));
            return;
        };
        if let Some(response) = message.response
            && matches!(self.link, Link::Subscribing)
            && response.call_id.as_deref() == Some(&self.subscribe_call)
        {
            self.subscribed(now, response.result.as_deref(), effects);
        }
        let Some(request) = message.request else { return };
        let call_id = request.call_id.as_deref();
        let answer = |result: &str| Effect::Send(rpc::response(&result, "str", call_id));
        match request.method.as_str() {
            "_ping_" | "ping" => effects.push(answer("pong")),
            "_get_channel_id_" => effects.push(answer(&self.channel)),
            "notify" => {
                // At once: until it has our answer, the server tells nobody else (§1.7).
                effects.push(answer("None"));
                if let Some(notify) = request.read::<Notify>() {
                    self.notified(now, notify, effects);
                }
            }
            other => effects.push(Effect::LeftOut(format!("the server called `{other}`"))),
        }
    }

    fn subscribed(&mut self, now: Millis, result: Option<&RawValue>, effects: &mut Vec<Effect>) {
        if result.is_none_or(|result| result.get() != "true") {
            let why = "the server refuses the subscription; has the token the topics?";
            effects.push(Effect::Close(why.to_owned()));
            return;
        }
        self.link = Link::Loading(vec![]);
        self.ping_at = self.config.keep_alive.map(|every| now.plus(every));
        if !self.config.subscription.policy_dirs.is_empty() {
            effects.push(Effect::Policy(PolicyNews::Expected));
            self.want_policies(now, false);
        }
        if self.config.subscription.topics.is_empty() {
            self.sources(now, Ok(RawValue::NULL.to_owned()), effects);
        } else {
            effects.push(Effect::FetchSources(self.config.subscription.config_request()));
        }
    }

    fn notified(&mut self, now: Millis, notify: Notify, effects: &mut Vec<Effect>) {
        let Notify { subscription: Channel { topic }, data } = notify;
        if self.config.subscription.is_policy(&topic) {
            self.want_policies(now, false);
            return;
        }
        let Some(data) = data.filter(|_| self.config.subscription.is_data(&topic)) else { return };
        if !self.seen.is_first(&topic, data.get()) {
            return;
        }
        let update = match Update::read(data.get(), &self.config.subscription) {
            Ok(update) => update,
            Err(error) => {
                effects.push(Effect::LeftOut(format!("on topic `{topic}`: {error}")));
                return;
            }
        };
        match &mut self.link {
            Link::Loading(waiting) => waiting.push(update),
            _ => self.deliver(now, update, effects),
        }
    }

    // === what the core says ===

    fn agent(&mut self, frame: AgentFrame, effects: &mut Vec<Effect>) {
        match frame {
            AgentFrame::Hello(hello) => {
                let ours = hello.epoch.as_deref() == Some(self.config.epoch.as_str());
                self.cursor = if ours { hello.cursor } else { Seq::ZERO };
                self.reset = match hello.epoch {
                    Some(_) if !ours => Some("an opal-server keeps no log"),
                    _ if self.recent.after(self.cursor).is_none() => {
                        Some("more was missed than is kept")
                    }
                    _ => None,
                };
                let topics = self.config.subscription.channels();
                let (text, id) = self.call("subscribe", &rpc_topics(&topics));
                self.subscribe_call = id;
                self.link = Link::Subscribing;
                effects.push(Effect::Send(text));
            }
            AgentFrame::Resume { cursor } if matches!(self.link, Link::Live) => {
                self.resume(cursor, effects);
            }
            _ => {}
        }
    }

    /// The core goes on from `cursor`.
    fn resume(&mut self, cursor: Seq, effects: &mut Vec<Effect>) {
        let Some(missed) = self.recent.after(cursor) else {
            // The next connection loads everything.
            effects.push(Effect::Close("more was missed than is kept".to_owned()));
            return;
        };
        if !missed.is_empty() {
            effects.push(Effect::Hub(HubFrame::Updates(missed)));
        }
        self.caught_up(effects);
    }

    // === what the core hears ===

    fn welcome(&mut self, effects: &mut Vec<Effect>) {
        effects.push(Effect::Hub(HubFrame::Welcome {
            scope: self.config.subscription.scope.clone(),
            head: self.recent.head(),
            epoch: self.config.epoch.clone(),
        }));
        if let Some(why) = self.reset.take() {
            self.begins = true;
            let reason = format!("{why}: everything is loaded again");
            effects.push(Effect::Hub(HubFrame::Reset { reason }));
            return;
        }
        let missed = self.recent.after(self.cursor).unwrap_or_default();
        if !missed.is_empty() {
            effects.push(Effect::Hub(HubFrame::Updates(missed)));
        }
    }

    fn deliver(&mut self, now: Millis, update: Update, effects: &mut Vec<Effect>) {
        let Update { id, reason, entries, callback, refused } = update;
        effects.extend(refused.into_iter().map(Effect::LeftOut));
        if entries.is_empty() {
            return;
        }
        let (seq, before) = self.recent.next();
        let prev = if std::mem::take(&mut self.begins) { Seq::ZERO } else { before };
        let (places, entries) = entries.into_iter().unzip();
        // One that is empty: it is for those who are told of every update.
        let nobody = || RawValue::from_string(r#"{"callbacks":[]}"#.to_owned()).ok();
        let callback = callback.or_else(|| self.config.reports.then(nobody).flatten());
        let id = id.unwrap_or_else(|| format!("{}-{seq}", self.config.epoch));
        let delivery = Delivery { seq, prev, id, at: now, reason, entries, places, callback };
        self.recent.push(delivery.clone());
        effects.push(Effect::Hub(HubFrame::Updates(vec![delivery])));
    }

    fn caught_up(&mut self, effects: &mut Vec<Effect>) {
        self.begins = false;
        let (seq, digests) = (self.recent.head(), TopicDigests::new());
        effects.push(Effect::Hub(HubFrame::CaughtUp { seq, digests }));
    }

    /// Has the server show us in its statistics (§1.6).
    fn announce(&mut self, effects: &mut Vec<Effect>) {
        let Some(client_id) = self.config.statistics.clone() else { return };
        let topics = self.config.subscription.channels();
        let data = rpc::Statistics { client_id, rpc_id: self.channel.clone(), topics };
        let arguments = serde_json::json!({
            "topics": [rpc::STATISTICS_ADD], "data": data, "sync": true, "notifier_id": null,
        });
        let (text, _) = self.call("publish", &arguments);
        effects.push(Effect::Send(text));
    }
}

#[derive(serde::Serialize)]
struct Empty {}

fn rpc_topics(topics: &[String]) -> serde_json::Value {
    serde_json::json!({ "topics": topics })
}
