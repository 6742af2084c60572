//! What the adapter makes of a server's words, and what it says to it.

use protocol::opal::ignore::Ignored;
use protocol::socket::{AgentFrame, Delivery, Hello, HubFrame};
use protocol::{Millis, Seq, topic::TopicSet};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{Config, Effect, Input, Machine, Subscription};
use crate::core::PolicyNews;

const CHANNEL: &str = "0123456789abcdef0123456789abcdef";

struct Rig {
    machine: Machine,
    now: Millis,
    effects: Vec<Effect>,
}

fn config() -> Config {
    Config {
        subscription: Subscription {
            scope: "default".to_owned(),
            topics: vec!["policy_data".to_owned(), "users".to_owned()],
            policy_dirs: vec![".".to_owned()],
        },
        ignored: Ignored::new(&["ours/**".to_owned()]),
        epoch: "e1".to_owned(),
        server: url::Url::parse("http://opal.example:7002").unwrap(),
        statistics: None,
        reports: false,
        keep_alive: None,
        seed: 7,
    }
}

fn raw(value: &Value) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).unwrap()
}

fn hello(cursor: u64, epoch: Option<&str>) -> Input {
    Input::Agent(AgentFrame::Hello(Hello {
        agent: "a".to_owned(),
        version: String::new(),
        topics: TopicSet::new(["users".to_owned()]).unwrap(),
        cursor: Seq(cursor),
        epoch: epoch.map(str::to_owned),
    }))
}

fn request(method: &str, arguments: &Value) -> Input {
    let request = json!({"method": method, "arguments": arguments, "call_id": "c1"});
    Input::Text(json!({"request": request, "response": null}).to_string())
}

fn notify(topic: &str, data: &Value) -> Input {
    request("notify", &json!({"subscription": {"topic": topic}, "data": data}))
}

fn update(id: &str) -> Value {
    json!({"id": id, "reason": "r", "callback": {"callbacks": []}, "entries": [{
        "url": "", "config": null, "topics": ["policy_data", "users"], "dst_path": "/users",
        "save_method": "PUT", "data": {"id": id},
    }]})
}

fn bundle(hash: &str, old: Option<&str>, modules: &Value, data: &Value, gone: &Value) -> Value {
    json!({"manifest": [], "hash": hash, "old_hash": old, "policy_modules": modules,
           "data_modules": data, "deleted_files": gone})
}

fn module(path: &str) -> Value {
    json!({"path": path, "package_name": "", "rego": format!("package {path}")})
}

impl Rig {
    fn new(config: Config) -> Self {
        Self { machine: Machine::new(config), now: Millis(0), effects: vec![] }
    }

    /// Subscribed, with these base sources and no policies yet.
    fn live(config: Config, sources: &Value) -> Self {
        let mut rig = Self::new(config);
        rig.connect(0, None);
        rig.step(Input::Sources(Ok(raw(sources))));
        rig
    }

    fn step(&mut self, input: Input) -> &mut Self {
        self.effects = self.machine.step(self.now, input);
        self
    }

    fn connect(&mut self, cursor: u64, epoch: Option<&str>) {
        self.step(Input::Connected(CHANNEL.to_owned())).step(hello(cursor, epoch));
        let id = self.sent().pop().unwrap()["request"]["call_id"].clone();
        let answer = json!({"response": {"result": true, "result_type": "bool", "call_id": id}});
        self.step(Input::Text(answer.to_string()));
    }

    fn sent(&self) -> Vec<Value> {
        let sent = self.effects.iter().filter_map(|effect| match effect {
            Effect::Send(text) => Some(serde_json::from_str(text).unwrap()),
            _ => None,
        });
        sent.collect()
    }

    fn frames(&self) -> Vec<&HubFrame> {
        let frames = self.effects.iter().filter_map(|effect| match effect {
            Effect::Hub(frame) => Some(frame),
            _ => None,
        });
        frames.collect()
    }

    fn deliveries(&self) -> Vec<&Delivery> {
        let updates = self.frames().into_iter().filter_map(|frame| match frame {
            HubFrame::Updates(updates) => Some(updates),
            _ => None,
        });
        updates.flatten().collect()
    }

    /// Each entry that was delivered: where, how, what.
    fn written(&self) -> Vec<String> {
        let entries = self.deliveries().into_iter().flat_map(|it| &it.entries);
        let shown = entries.map(|entry| {
            let data = entry.inline().map_or(entry.url.as_str(), |data| data.get());
            format!("{:?} {} {data}", entry.save_method, entry.dst_path)
        });
        shown.collect()
    }

    /// The path of the request for policies, with its number.
    fn policy_request(&self) -> Option<(u64, &str)> {
        self.effects.iter().find_map(|effect| match effect {
            Effect::FetchPolicies(number, path) => Some((*number, path.as_str())),
            _ => None,
        })
    }

    fn answer_policies(&mut self, bundle: &Value) {
        let (number, _) = self.policy_request().unwrap();
        self.step(Input::Policies(number, Ok(raw(bundle))));
    }

    fn loaded(&self) -> Vec<String> {
        let sets = self.effects.iter().filter_map(|effect| match effect {
            Effect::Policy(PolicyNews::Loaded(set)) => Some(set),
            _ => None,
        });
        sets.flat_map(|set| set.modules.iter().map(|module| module.id.clone())).collect()
    }

    fn closed(&self) -> Option<&str> {
        self.effects.iter().find_map(|effect| match effect {
            Effect::Close(reason) => Some(reason.as_str()),
            _ => None,
        })
    }
}

// === the socket: §1.3 to §1.8 ===

#[test]
fn what_the_server_asks_is_answered_at_once() {
    let mut rig = Rig::live(config(), &json!({"entries": []}));
    for (method, result) in [("_ping_", "pong"), ("_get_channel_id_", CHANNEL)] {
        rig.step(request(method, &json!({})));
        let expected = json!({"request": null, "response":
            {"result": result, "result_type": "str", "call_id": "c1"}});
        assert_eq!(rig.sent(), [expected], "{method}");
    }
    rig.step(notify("users", &update("u1")));
    assert!(matches!(&rig.effects[0], Effect::Send(text) if text.contains(r#""result":"None""#)));
    // A topic that is not ours is acknowledged, too, and nothing else.
    rig.step(notify("other", &update("u2")));
    assert_eq!((rig.sent().len(), rig.deliveries().len()), (1, 0));
}

#[test]
fn frames_of_any_shape_leave_the_connection_and_text_that_is_no_json_ends_it() {
    let mut rig = Rig::live(config(), &json!({"entries": []}));
    for text in [
        r#"{"foo":1}"#,
        "[]",
        "null",
        r#""x""#,
        r#"{"request":{"method":"notify","arguments":null,"call_id":"x"}}"#,
        r#"{"request":{"method":"unheard_of","arguments":{},"call_id":"x"}}"#,
        r#"{"response":{"result":true,"call_id":"nobody's"}}"#,
    ] {
        rig.step(Input::Text(text.to_owned()));
        assert_eq!((rig.closed(), rig.frames().len()), (None, 0), "{text}");
    }
    rig.step(Input::Text("{".to_owned()));
    assert!(rig.closed().is_some());
}

#[test]
fn a_refused_subscription_is_an_error_and_not_a_silence() {
    let mut rig = Rig::new(config());
    rig.step(Input::Connected(CHANNEL.to_owned())).step(hello(0, None));
    let subscribe = rig.sent().remove(0);
    let topics = json!(["policy:.", "policy_data", "users"]);
    assert_eq!(subscribe["request"]["arguments"], json!({ "topics": topics }));
    let id = &subscribe["request"]["call_id"];
    rig.step(Input::Text(json!({"response": {"result": false, "call_id": id}}).to_string()));
    assert!(rig.closed().unwrap().contains("refuses the subscription"));
}

#[test]
fn statistics_are_announced_with_the_channel_that_the_server_was_told() {
    let statistics = Some("me".to_owned());
    let rig = Rig::live(Config { statistics, ..config() }, &json!({"entries": []}));
    let publish = rig.sent().pop().unwrap();
    assert_eq!(publish["request"]["method"], "publish");
    assert_eq!(publish["request"]["arguments"]["topics"], json!(["__opal_stats_add"]));
    let expected = json!({"client_id": "me", "rpc_id": CHANNEL,
        "topics": ["policy:.", "policy_data", "users"]});
    assert_eq!(publish["request"]["arguments"]["data"], expected);
}

// === updates ===

#[test]
fn one_publish_on_two_topics_is_one_update_and_two_publishes_are_two() {
    let mut rig = Rig::live(config(), &json!({"entries": []}));
    let counts = ["users", "policy_data", "policy_data", "users", "users"].map(|topic| {
        rig.step(notify(topic, &update("same")));
        rig.deliveries().len()
    });
    assert_eq!(counts, [1, 0, 1, 0, 1]);
}

#[test]
fn updates_have_numbers_without_gaps() {
    let mut rig = Rig::live(config(), &json!({"entries": []}));
    for number in 1..=3 {
        rig.step(notify("users", &update(&format!("u{number}"))));
        let delivery = rig.deliveries()[0].clone();
        assert_eq!((delivery.seq, delivery.prev), (Seq(number), Seq(number - 1)));
    }
}

#[test]
fn what_comes_before_the_base_sources_takes_effect_after_them() {
    let mut rig = Rig::new(config());
    rig.connect(0, None);
    rig.step(notify("users", &update("early")));
    assert!(rig.frames().is_empty());
    let source = json!({"url": "http://h/users", "topics": ["users"], "dst_path": "/users"});
    rig.step(Input::Sources(Ok(raw(&json!({ "entries": [source] })))));
    assert!(matches!(rig.frames()[0], HubFrame::Welcome { head: Seq(0), .. }));
    assert_eq!(rig.written(), ["Put /users http://h/users", r#"Put /users {"id":"early"}"#]);
    assert!(matches!(rig.frames().last(), Some(HubFrame::CaughtUp { seq: Seq(2), .. })));
}

#[test]
fn an_entry_is_taken_by_its_topics_and_one_that_is_wrong_costs_only_itself() {
    let mut rig = Rig::live(config(), &json!({"entries": []}));
    let entries = json!([
        {"url": "http://h/1", "topics": ["other"]},
        {"url": "http://h/2", "topics": ["users/eu"], "dst_path": "/a"},
        {"url": "http://h/3", "topics": ["users"], "dst_path": "/a/../b"},
        {"url": "", "topics": ["users"]},
        {"url": "http://h/5", "topics": ["users"], "dst_path": "/e"},
    ]);
    rig.step(notify("users", &json!({"id": null, "entries": entries})));
    assert_eq!(rig.deliveries()[0].places, [1, 4]);
    let left_out = rig.effects.iter().filter(|it| matches!(it, Effect::LeftOut(_))).count();
    assert_eq!(left_out, 2);
}

#[test]
fn a_patch_is_without_the_nulls_that_the_server_fills_in() {
    let mut rig = Rig::live(config(), &json!({"entries": []}));
    let data = json!([{"op": "add", "path": "/c", "value": {"n": null}, "from": null},
                      {"op": "remove", "path": "/b", "value": null, "from": null}]);
    let entry = json!({"url": "", "topics": ["users"], "dst_path": "/u", "save_method": "PATCH",
                       "data": data});
    rig.step(notify("users", &json!({ "entries": [entry] })));
    let expected =
        r#"Patch /u [{"op":"add","path":"/c","value":{"n":null}},{"op":"remove","path":"/b"}]"#;
    assert_eq!(rig.written(), [expected]);
}

#[test]
fn a_scope_has_topics_of_its_own_and_an_entry_may_name_them_in_three_ways() {
    let mut scoped = config();
    scoped.subscription.scope = "s1".to_owned();
    let mut rig = Rig::new(scoped);
    rig.step(Input::Connected(CHANNEL.to_owned())).step(hello(0, None));
    let topics = json!(["s1:policy:.", "s1:data:policy_data", "s1:data:users"]);
    assert_eq!(rig.sent()[0]["request"]["arguments"]["topics"], topics);
    rig.connect(0, None);
    assert!(rig.policy_request().unwrap().1.starts_with("scopes/s1/policy?"));
    let asks = |it: &Effect| matches!(it, Effect::FetchSources(path) if path == "scopes/s1/data");
    assert!(rig.effects.iter().any(asks));
    rig.step(Input::Sources(Ok(raw(&json!({"entries": []})))));
    for (number, topic) in ["users", "data:users/eu", "s1:data:users"].into_iter().enumerate() {
        let entry = json!({"url": format!("http://h/{number}"), "topics": [topic]});
        rig.step(notify("s1:data:users", &json!({ "entries": [entry] })));
        assert_eq!(rig.deliveries().len(), 1, "{topic}");
    }
}

// === base sources ===

#[test]
fn the_placeholder_source_empties_nothing() {
    let source = |url: &str, path: &str| json!({"url": url, "topics": ["users"], "dst_path": path});
    let sources = json!({"entries": [
        source("http://localhost:7002/policy-data", ""),
        source("http://opal.example:7002/policy-data", "/"),
        source("http://opal.example:7002/policy-data", "/x"),
        source("http://other.example/policy-data", ""),
    ]});
    let rig = Rig::live(config(), &sources);
    let kept =
        ["Put /x http://opal.example:7002/policy-data", "Put / http://other.example/policy-data"];
    assert_eq!(rig.written(), kept);
}

#[test]
fn without_base_sources_the_connection_ends_with_the_reason() {
    for answer in [Err("http://s/data/config answered 401".to_owned()), Ok(raw(&json!([])))] {
        let mut rig = Rig::new(config());
        rig.connect(0, None);
        rig.step(Input::Sources(answer));
        assert!(rig.closed().unwrap().starts_with("the base sources: "));
    }
}

#[test]
fn a_periodic_source_is_fetched_again_and_again() {
    let source = json!({"url": "http://h/p", "topics": ["users"], "dst_path": "/p",
                        "periodic_update_interval": 2.5});
    let mut rig = Rig::live(config(), &json!({ "entries": [source] }));
    assert_eq!(rig.written(), ["Put /p http://h/p"]);
    let answer = bundle("r1", None, &json!([]), &json!([]), &Value::Null);
    rig.step(Input::Policies(1, Ok(raw(&answer))));
    for _ in 0..3 {
        let at = rig.machine.next_tick().unwrap();
        assert_eq!(at.0, rig.now.0 + 2_500);
        rig.now = at;
        rig.step(Input::Tick);
        assert_eq!(rig.written(), ["Put /p http://h/p"]);
    }
}

// === connections after the first ===

#[test]
fn a_reconnect_loads_everything_again_and_goes_on_with_the_numbers() {
    let source = json!({"entries": [{"url": "http://h/u", "topics": ["users"], "dst_path": "/u"}]});
    let mut rig = Rig::live(config(), &source);
    rig.step(Input::Closed);
    rig.connect(1, Some("e1"));
    rig.step(Input::Sources(Ok(raw(&source))));
    assert!(matches!(rig.frames()[0], HubFrame::Welcome { head: Seq(1), .. }));
    assert_eq!(rig.deliveries()[0].seq, Seq(2));
    assert!(!rig.frames().iter().any(|frame| matches!(frame, HubFrame::Reset { .. })));
}

#[test]
fn numbers_of_another_process_mean_nothing() {
    let mut rig = Rig::new(config());
    rig.connect(40, Some("e0"));
    rig.step(Input::Sources(Ok(raw(&json!({"entries": []})))));
    assert!(matches!(rig.frames()[1], HubFrame::Reset { .. }));
}

#[test]
fn a_core_that_had_no_room_gets_what_it_left() {
    let mut rig = Rig::live(config(), &json!({"entries": []}));
    for id in ["a", "b", "c"] {
        rig.step(notify("users", &update(id)));
    }
    rig.step(Input::Agent(AgentFrame::Resume { cursor: Seq(1) }));
    let ids: Vec<_> = rig.deliveries().iter().map(|it| it.id.clone()).collect();
    assert_eq!(ids, ["b", "c"]);
    assert!(matches!(rig.frames().last(), Some(HubFrame::CaughtUp { seq: Seq(3), .. })));
}

#[test]
fn a_core_that_missed_more_than_is_kept_begins_anew() {
    let source = json!({"entries": [{"url": "http://h/u", "topics": ["users"], "dst_path": "/u"}]});
    let mut rig = Rig::live(config(), &source);
    for number in 0..2_100 {
        rig.step(notify("users", &update(&format!("u{number}"))));
    }
    rig.step(Input::Agent(AgentFrame::Resume { cursor: Seq(2_000) }));
    assert_eq!((rig.deliveries().len(), rig.closed()), (101, None));
    rig.step(Input::Agent(AgentFrame::Resume { cursor: Seq(1) }));
    assert!(rig.closed().is_some());
    rig.step(Input::Closed);
    rig.connect(1, Some("e1"));
    rig.step(Input::Sources(Ok(raw(&source))));
    assert!(matches!(rig.frames()[1], HubFrame::Reset { .. }));
    let first = rig.deliveries()[0];
    assert_eq!((first.seq, first.prev), (Seq(2_102), Seq(0)));
    assert!(matches!(rig.frames().last(), Some(HubFrame::CaughtUp { seq: Seq(2_102), .. })));
}

// === policies ===

#[test]
fn a_full_bundle_then_a_change_then_a_complete_one_on_demand() {
    let mut rig = Rig::new(config());
    rig.connect(0, None);
    assert_eq!(rig.policy_request().unwrap().1, "policy?path=.");
    let modules = json!([module("a.rego"), module("b.rego"), module("ours/c.rego")]);
    rig.answer_policies(&bundle("r1", None, &modules, &json!([]), &Value::Null));
    assert_eq!(rig.loaded(), ["a.rego", "b.rego"]);
    rig.step(Input::Sources(Ok(raw(&json!({"entries": []})))));
    rig.step(notify("policy:.", &json!({"new_policy_hash": "r2"})));
    assert_eq!(rig.policy_request().unwrap().1, "policy?path=.&base_hash=r1");
    let gone = json!({"data_modules": [], "policy_modules": ["a.rego"]});
    rig.answer_policies(&bundle("r2", Some("r1"), &json!([module("c.rego")]), &json!([]), &gone));
    assert_eq!(rig.loaded(), ["b.rego", "c.rego"]);
    rig.step(Input::PolicyTrigger);
    assert_eq!(rig.policy_request().unwrap().1, "policy?path=.");
}

#[test]
fn a_change_of_another_revision_is_asked_for_as_a_whole() {
    let mut rig = Rig::new(config());
    rig.connect(0, None);
    let strange = bundle("r9", Some("r8"), &json!([module("x.rego")]), &json!([]), &Value::Null);
    rig.answer_policies(&strange);
    assert!(rig.loaded().is_empty());
    assert_eq!(rig.policy_request().unwrap().1, "policy?path=.");
}

#[test]
fn a_notice_while_policies_are_asked_for_is_one_more_request_after_the_answer() {
    let mut rig = Rig::new(config());
    rig.connect(0, None);
    let (number, _) = rig.policy_request().unwrap();
    for _ in 0..3 {
        rig.step(notify("policy:.", &json!({})));
        assert_eq!(rig.policy_request(), None);
    }
    let first = bundle("r1", None, &json!([]), &json!([]), &Value::Null);
    rig.step(Input::Policies(number, Ok(raw(&first))));
    assert_eq!(rig.policy_request().unwrap().1, "policy?path=.&base_hash=r1");
    rig.answer_policies(&bundle("r2", Some("r1"), &json!([]), &json!([]), &Value::Null));
    assert_eq!(rig.policy_request(), None);
}

#[test]
fn policies_that_cannot_be_had_are_said_to_be_so_and_asked_for_again() {
    let mut rig = Rig::new(config());
    rig.connect(0, None);
    let (number, _) = rig.policy_request().unwrap();
    rig.step(Input::Policies(number, Err("answered 503".to_owned())));
    let failed = PolicyNews::Failed("answered 503".to_owned());
    assert!(rig.effects.iter().any(|it| matches!(it, Effect::Policy(news) if *news == failed)));
    rig.now = rig.machine.next_tick().unwrap();
    rig.step(Input::Tick);
    assert!(rig.policy_request().is_some());
    // An answer to the first request, which is over, is nobody's.
    let late = bundle("r1", None, &json!([module("a.rego")]), &json!([]), &Value::Null);
    rig.step(Input::Policies(number, Ok(raw(&late))));
    assert!(rig.loaded().is_empty());
}

#[test]
fn data_of_the_repository_is_written_and_removed_without_touching_anything_else() {
    let data = |path: &str, text: &str| json!({"path": path, "data": text});
    let mut rig = Rig::live(config(), &json!({"entries": []}));
    let (all, none) = (Value::Null, json!([]));
    let files = json!([
        data("d/sub", "{\"y\":2}\n"),
        data(".", r#"{"s":{"a":1},"t":1}"#),
        data("d", r#"{"x":1}"#),
        data("list", "[1]")
    ]);
    rig.step(Input::Policies(1, Ok(raw(&bundle("r1", None, &none, &files, &all)))));
    // A document of the root would replace all data there is.
    let written = [r#"Put /s {"a":1}"#, "Put /t 1", r#"Put /d {"x":1}"#, r#"Put /d/sub {"y":2}"#];
    assert_eq!(rig.written(), written);
    rig.step(notify("policy:.", &json!({})));
    let files = json!([data(".", r#"{"s":{"a":1}}"#)]);
    let gone = json!({"data_modules": ["d"], "policy_modules": []});
    rig.answer_policies(&bundle("r2", Some("r1"), &none, &files, &gone));
    let written = [
        r#"Patch /t [{"op":"remove","path":""}]"#,
        r#"Patch /d [{"op":"remove","path":""}]"#,
        r#"Put /s {"a":1}"#,
        r#"Put /d/sub {"y":2}"#,
    ];
    assert_eq!(rig.written(), written);
}

#[test]
fn base_data_above_the_repositorys_does_not_hide_it() {
    let source = json!({"entries": [{"url": "http://h/all", "topics": ["users"], "dst_path": ""}]});
    let mut rig = Rig::live(config(), &source);
    let files = json!([{"path": "d", "data": "{}"}]);
    let answer = bundle("r1", None, &json!([]), &files, &Value::Null);
    rig.step(Input::Policies(1, Ok(raw(&answer))));
    rig.step(Input::DataTrigger);
    rig.step(Input::Sources(Ok(raw(&source))));
    assert_eq!(rig.written(), ["Put / http://h/all", "Put /d {}"]);
}
