//! The OPAL dialect, as a client sees it.

use hub::machine::{Effect, Input, Settings, SocketId};
use protocol::internal::{HubAnswer, HubRequest, OpalPeer, SCOPE_DOCUMENT, Session};
use protocol::opal::policy::Files;
use protocol::{PeerType, Problem, Seq};
use serde_json::{Value, json};

use crate::rig::{Rig, append, is_closed, session};

/// How somebody came.
fn opal(peer_type: PeerType, permitted: Option<&[&str]>) -> Session {
    let mut session = session(permitted);
    session.claims.peer_type = Some(peer_type);
    session.opal =
        Some(OpalPeer { origin: "http://hub".to_owned(), statistics: true, ..OpalPeer::default() });
    session
}

fn call(method: &str, arguments: &Value) -> Value {
    json!({"request": {"method": method, "arguments": arguments, "call_id": "c"}})
}

/// Opens a socket that subscribes to these topics.
fn subscriber(rig: &mut Rig, socket: u64, topics: &[&str]) -> Vec<Effect> {
    rig.open(socket, opal(PeerType::Client, None));
    rig.say(socket, &call("subscribe", &json!({ "topics": topics })))
}

/// What one socket was sent, as JSON.
fn told(effects: &[Effect], socket: u64) -> Vec<Value> {
    let to_it = effects.iter().filter_map(|effect| match effect {
        Effect::Send(to, frame) if to.contains(&SocketId(socket)) => Some(frame),
        _ => None,
    });
    to_it.map(|frame| serde_json::from_str(frame).unwrap()).collect()
}

/// The arguments of the only `notify` to a socket.
fn notified(effects: &[Effect], socket: u64) -> Value {
    let mut told = told(effects, socket);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["request"]["method"], "notify", "{told:?}");
    told.remove(0)["request"]["arguments"].take()
}

fn result(effects: &[Effect], socket: u64) -> Value {
    let mut told = told(effects, socket);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["response"]["call_id"], "c", "{told:?}");
    told.remove(0)["response"]["result"].take()
}

fn ask(rig: &mut Rig, request: HubRequest) -> Result<HubAnswer, Problem> {
    match rig.ask(request).remove(0) {
        Effect::Answer(_, answer) => answer,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_builtin_calls_are_answered() {
    let mut rig = Rig::new();
    rig.open(1, opal(PeerType::Client, None));
    for (method, answer) in [
        ("_ping_", json!("pong")),
        ("ping", json!("pong")),
        ("_get_channel_id_", json!(format!("{:032x}", 1))),
    ] {
        assert_eq!(result(&rig.say(1, &call(method, &json!({}))), 1), answer, "{method}");
    }
    assert_eq!(result(&subscriber(&mut rig, 2, &["a"]), 2), true);
    assert_eq!(result(&rig.say(2, &call("unsubscribe", &json!({"topics": ["a", "b"]}))), 2), true);
    assert!(told(&rig.put("x", "a"), 2).is_empty());
}

#[test]
fn one_notify_though_several_topics_match_and_it_has_every_name() {
    let mut rig = Rig::new();
    subscriber(&mut rig, 1, &["m", "m/n", "other"]);
    let told = notified(&rig.put("x", "m/n/o"), 1);
    assert_eq!(told["subscription"]["topic"], "m");
    assert_eq!(told["data"]["id"], "x");
    let entry = &told["data"]["entries"][0];
    assert_eq!(entry["topics"], json!(["m", "m/n", "m/n/o"]));
    assert_eq!(entry["data"], json!({"id": "x"}));
    assert_eq!(told["data"]["callback"], json!({"callbacks": []}));
}

#[test]
fn only_the_entries_that_are_for_a_client_are_sent_to_it() {
    let mut rig = Rig::new();
    subscriber(&mut rig, 1, &["a"]);
    let body = json!({"id": "u", "entries": [
        {"topics": ["b"], "data": {"secret": 1}}, {"topics": ["a"], "url": "http://h/x"},
    ]});
    let told = notified(&rig.publish(&body).1, 1);
    assert_eq!(told["data"]["entries"].as_array().unwrap().len(), 1);
    assert!(told["data"]["entries"][0].get("data").is_none());
}

#[test]
fn what_cannot_be_a_request_closes_or_is_ignored() {
    for text in ["not json", "{"] {
        let mut rig = Rig::new();
        rig.open(1, opal(PeerType::Client, None));
        assert!(is_closed(&rig.step(Input::Text(SocketId(1), text)), 1, 1000), "{text}");
    }
    for frame in [
        call("unknown", &json!({})),
        call("subscribe", &json!({"topic": ["a"]})),
        call("subscribe", &json!({"topics": "abc"})),
        call("ping", &Value::Null),
        call("ping", &json!({"x": 1})),
    ] {
        let mut rig = Rig::new();
        rig.open(1, opal(PeerType::Client, None));
        let effects = rig.say(1, &frame);
        assert!(is_closed(&effects, 1, 1000) && told(&effects, 1).is_empty(), "{frame}");
    }
    let mut rig = Rig::new();
    rig.open(1, opal(PeerType::Client, None));
    for frame in
        [json!({"foo": 1}), json!([]), json!("x"), Value::Null, call("_secret_", &json!({}))]
    {
        assert!(rig.say(1, &frame).is_empty(), "{frame}");
    }
    assert!(is_closed(&rig.step(Input::Binary(SocketId(1))), 1, 1000));
}

#[test]
fn who_is_not_permitted_is_closed_a_little_later_and_told_nothing_until_then() {
    let mut rig = Rig::new();
    for (socket, topics) in [(1, json!(["a", "b"])), (2, json!(["__EventNotifier_ALL_TOPICS__"]))] {
        rig.open(socket, opal(PeerType::Client, Some(&["a"])));
        let effects = rig.say(socket, &call("subscribe", &json!({ "topics": topics })));
        assert!(told(&effects, socket).is_empty(), "{effects:?}");
        assert!(!effects.iter().any(|it| matches!(it, Effect::Close(..))));
        assert!(rig.say(socket, &call("_ping_", &json!({}))).is_empty());
    }
    assert!(told(&rig.put("x", "a"), 1).is_empty());
    let due = rig.machine.next_tick().unwrap();
    assert!(rig.step(Input::Tick).is_empty());
    rig.now = due;
    let effects = rig.step(Input::Tick);
    assert!(is_closed(&effects, 1, 1000) && is_closed(&effects, 2, 1000), "{effects:?}");
}

#[test]
fn a_clients_refusal_survives_the_hubs_sleep() {
    let mut rig = Rig::new();
    rig.open(1, opal(PeerType::Client, Some(&["a"])));
    let effects = rig.say(1, &call("subscribe", &json!({"topics": ["b"]})));
    rig.sleep(&effects);
    rig.now = rig.machine.next_tick().unwrap();
    assert!(is_closed(&rig.step(Input::Tick), 1, 1000));
}

#[test]
fn a_subscription_survives_the_hubs_sleep() {
    let mut rig = Rig::new();
    let effects = subscriber(&mut rig, 1, &["odd topic//", "a"]);
    rig.sleep(&effects);
    assert_eq!(notified(&rig.put("x", "a"), 1)["data"]["id"], "x");
}

#[test]
fn only_a_datasource_publishes_and_does_not_hear_itself() {
    let mut rig = Rig::new();
    subscriber(&mut rig, 1, &["a"]);
    let update = json!({"entries": [{"topics": ["a"], "data": {"k": 1}}]});
    let publish =
        |data: &Value| call("publish", &json!({"topics": ["a"], "data": data, "sync": true}));
    rig.open(2, opal(PeerType::Client, None));
    let effects = rig.say(2, &publish(&update));
    assert!(told(&effects, 1).is_empty() && told(&effects, 2).is_empty());
    rig.open(3, opal(PeerType::Datasource, None));
    rig.say(3, &call("subscribe", &json!({"topics": ["a"]})));
    let effects = rig.say(3, &publish(&update));
    assert_eq!(notified(&effects, 1)["data"]["entries"][0]["data"], json!({"k": 1}));
    assert_eq!(result(&effects, 3), true);
    assert_eq!(rig.log.records.len(), 1);
    // Something else is told to who is there, and in no log.
    let effects = rig.say(3, &publish(&json!({"hello": 1})));
    assert_eq!(notified(&effects, 1)["data"], json!({"hello": 1}));
    assert_eq!(rig.log.records.len(), 1);
    let bad = rig.say(3, &publish(&json!({"entries": []})));
    assert_eq!(result(&bad, 3), false);
}

#[test]
fn a_client_says_who_it_is_and_only_of_itself() {
    let mut rig = Rig::new();
    let opened = rig.step(Input::Opened(SocketId(1), Box::new(opal(PeerType::Client, None))));
    let asked = told(&opened, 1).remove(0);
    assert_eq!(asked["request"]["method"], "_get_channel_id_");
    let call_id = asked["request"]["call_id"].clone();
    rig.say(1, &json!({"response": {"result": "r1", "result_type": "str", "call_id": call_id}}));
    for rpc_id in ["r2", "r1"] {
        let data = json!({"client_id": "me", "rpc_id": rpc_id, "topics": ["x"]});
        let publish = call("publish", &json!({"topics": ["__opal_stats_add"], "data": data}));
        assert_eq!(result(&rig.say(1, &publish), 1), true);
        let answer = ask(&mut rig, HubRequest::Peers(session(None).claims));
        let Ok(HubAnswer::Peers(peers)) = answer else { panic!("{answer:?}") };
        let said = peers.peers[0].statistics.as_ref().map(|it| it.client_id.as_str());
        assert_eq!(said, (rpc_id == "r1").then_some("me"));
    }
}

#[test]
fn who_stops_reading_costs_a_window_and_fetches_again_what_it_missed() {
    let mut rig = Rig::new();
    rig.machine =
        hub::machine::Machine::new(Settings { push_window: 2_000, ..Settings::default() });
    subscriber(&mut rig, 1, &["a"]);
    subscriber(&mut rig, 2, &["a"]);
    let (mut sent, mut signs) = (0, 0);
    for number in 0..20 {
        let effects = rig.put(&format!("u{number}"), "a");
        // The other answers as soon as it is asked for a sign of life.
        let told_it = notified(&effects, 2);
        assert_eq!(told_it["data"]["id"], format!("u{number}"));
        if told(&effects, 2)[0]["request"]["call_id"] == "sign" {
            signs += 1;
            rig.say(2, &json!({"response": {"result": null, "call_id": "sign"}}));
        }
        sent += told(&effects, 1).len();
    }
    assert!(sent < 12 && signs > 1 && signs < 20, "{sent} {signs}");
    let effects = rig.say(1, &json!({"response": {"result": null, "call_id": "sign"}}));
    assert!(is_closed(&effects, 1, 1012), "{effects:?}");
}

#[test]
fn what_a_batch_has_for_a_client_whose_window_it_fills_counts_as_missed() {
    let mut rig = Rig::new();
    rig.machine = hub::machine::Machine::new(Settings { push_window: 100, ..Settings::default() });
    subscriber(&mut rig, 1, &["a"]);
    let update = |id: &str| append(&json!({"id": id, "entries": [{"topics": ["a"], "data": {}}]}));
    let effects = rig.ask_together(vec![update("u1"), update("u2")]);
    assert_eq!(notified(&effects, 1)["data"]["id"], "u1");
    let effects = rig.say(1, &json!({"response": {"result": null, "call_id": "sign"}}));
    assert!(is_closed(&effects, 1, 1012), "{effects:?}");
}

#[test]
fn a_client_that_the_platform_cannot_keep_is_closed_at_once() {
    let mut rig = Rig::new();
    rig.open(1, opal(PeerType::Client, Some(&["a"])));
    rig.say(1, &call("subscribe", &json!({"topics": ["b"]})));
    let effects = rig.step(Input::Unkept(SocketId(1)));
    assert!(is_closed(&effects, 1, 1009), "{effects:?}");
    assert_eq!(rig.machine.next_tick(), None);
}

#[test]
fn updates_without_a_call_id_are_each_one() {
    let mut rig = Rig::new();
    rig.open(1, opal(PeerType::Datasource, None));
    for n in [1, 2, 1] {
        let data = json!({"entries": [{"topics": ["a"], "dst_path": "/a", "data": {"n": n}}]});
        let publish = json!({"request": {"method": "publish",
            "arguments": {"topics": ["a"], "data": data}}});
        assert_eq!(told(&rig.say(1, &publish), 1)[0]["response"]["result"], true);
    }
    assert_eq!(rig.log.records.len(), 3);
}

#[test]
fn a_token_for_other_scopes_publishes_nothing_here() {
    let mut rig = Rig::new();
    let mut session = opal(PeerType::Datasource, None);
    session.claims.allowed_scopes = Some(vec!["s1".to_owned()]);
    rig.open(1, session);
    let update = json!({"entries": [{"topics": ["a"], "data": {}}]});
    let effects = rig.say(1, &call("publish", &json!({"topics": ["a"], "data": update})));
    assert!(told(&effects, 1).is_empty() && rig.log.records.is_empty(), "{effects:?}");
}

#[test]
fn who_stopped_reading_and_missed_nothing_goes_on() {
    let mut rig = Rig::new();
    rig.machine = hub::machine::Machine::new(Settings { push_window: 100, ..Settings::default() });
    subscriber(&mut rig, 1, &["a"]);
    notified(&rig.put("u1", "a"), 1);
    rig.put("other", "b");
    let effects = rig.say(1, &json!({"response": {"result": null, "call_id": "sign"}}));
    assert!(!effects.iter().any(|it| matches!(it, Effect::Close(..))), "{effects:?}");
    assert_eq!(notified(&rig.put("u2", "a"), 1)["data"]["id"], "u2");
}

#[test]
fn data_that_does_not_fit_into_a_frame_is_fetched_with_its_key() {
    let mut rig = Rig::new();
    subscriber(&mut rig, 1, &["a/b/c"]);
    // Each entry's topics become longer on the way.
    let topic = format!("a/b/c/{}", vec!["x".repeat(19); 12].join("/"));
    let entry = |n: usize, data: Value| json!({"topics": [topic], "dst_path": format!("/p{n}"), "data": data});
    let mut entries: Vec<Value> = (0..450).map(|n| entry(n, json!({"n": n}))).collect();
    entries.push(entry(999, json!({"large": "x".repeat(700_000)})));
    let (seq, effects) = rig.publish(&json!({"id": "u", "entries": entries}));
    assert_eq!(seq, Ok(Seq(1)));
    let Effect::Send(_, frame) = &effects[0] else { panic!() };
    assert!(frame.len() <= 1 << 20, "{}", frame.len());
    let told = notified(&effects, 1);
    let sent = told["data"]["entries"].as_array().unwrap();
    assert_eq!(sent[3]["data"], json!({"n": 3}));
    let large = &sent[450];
    assert_eq!(large.get("data"), None);
    assert_eq!(large["url"], "http://hub/data/updates/1/450");
    let key = large["config"]["headers"]["Authorization"].as_str().unwrap();
    let key = key.strip_prefix("Bearer ").unwrap().to_owned();
    let fetch = |place, key: &str| HubRequest::Fetch { seq: Seq(1), place, key: key.to_owned() };
    let Ok(HubAnswer::Data(data)) = ask(&mut rig, fetch(450, &key)) else { panic!() };
    assert!(data.get().len() > 700_000);
    assert_eq!(ask(&mut rig, fetch(449, &key)).unwrap_err().status, 401);
    assert_eq!(ask(&mut rig, fetch(450, "x")).unwrap_err().status, 401);
}

#[test]
fn a_snapshot_is_what_is_left_of_the_log_and_of_what_may_be_seen() {
    let mut rig = Rig::new();
    for (id, topic) in [("x", "a"), ("x", "a"), ("y", "b")] {
        let entry = json!({"topics": [topic], "dst_path": format!("/{id}"), "data": {"id": id}});
        rig.publish(&json!({"entries": [entry], "id": format!("{id}{}", rig.log.records.len())}))
            .0
            .unwrap();
    }
    let snapshot = |permitted: Option<&[&str]>, inline_bytes| HubRequest::Snapshot {
        claims: session(permitted).claims,
        topics: None,
        after: Seq::ZERO,
        inline_bytes,
        origin: "http://hub".to_owned(),
    };
    let entries = |rig: &mut Rig, asked| match ask(rig, asked) {
        Ok(HubAnswer::Snapshot(snapshot)) => {
            let entries = snapshot.entries.iter();
            entries.map(|it| serde_json::from_str::<Value>(it.get()).unwrap()).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    let all = entries(&mut rig, snapshot(None, 1_000));
    assert_eq!(all.iter().map(|it| &it["dst_path"]).collect::<Vec<_>>(), ["/x", "/y"]);
    let permitted = entries(&mut rig, snapshot(Some(&["b"]), 1_000));
    assert_eq!(permitted.len(), 1);
    let referred = entries(&mut rig, snapshot(None, 12));
    assert_eq!(referred[0]["data"], json!({"id": "x"}));
    assert_eq!(referred[1]["url"], "http://hub/data/updates/3/0");
}

#[test]
fn subscribers_of_a_folder_hear_of_its_policies_once() {
    let mut rig = Rig::new();
    subscriber(&mut rig, 1, &["policy:."]);
    subscriber(&mut rig, 2, &["policy:app", "policy:."]);
    subscriber(&mut rig, 3, &["policy:other"]);
    let push = |rig: &mut Rig, files: &[(&str, &str)]| {
        let files: Files =
            files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        let claims = Some(session(None).claims);
        rig.ask(HubRequest::SetPolicy { claims, revision: None, files, wait: None })
    };
    let effects = push(&mut rig, &[("app/a.rego", "package a"), ("b.rego", "package b")]);
    let told_it = notified(&effects, 2);
    assert_eq!(told_it["data"]["changed_directories"], json!([".", "app"]));
    assert_eq!(notified(&effects, 1)["subscription"]["topic"], "policy:.");
    assert!(told(&effects, 3).is_empty());
    let again = push(&mut rig, &[("app/a.rego", "package a"), ("b.rego", "package b")]);
    assert!(told(&again, 1).is_empty());
    let first = told_it["data"]["new_policy_hash"].as_str().unwrap().to_owned();
    push(&mut rig, &[("b.rego", "package b2")]);
    for (asked, known) in [
        (first.clone(), true),
        (first[..7].to_owned(), true),
        (first.to_uppercase(), true),
        (first[..3].to_owned(), false),
        (format!("{first}0"), false),
        ("HEAD~1".to_owned(), false),
    ] {
        let request = HubRequest::Policy { claims: session(None).claims, base: Some(asked) };
        let Ok(HubAnswer::Policy(Some(policy))) = ask(&mut rig, request) else { panic!() };
        assert_eq!(policy.files.len(), 1);
        assert_eq!(policy.base.map(|base| base.hash), known.then(|| first.clone()));
    }
}

#[test]
fn a_scope_is_there_from_when_it_is_made_until_it_is_cleared() {
    let mut rig = Rig::new();
    rig.machine.set_scope("s1");
    let claims = || session(None).claims;
    let update = || append(&json!({"id": "u", "entries": [{"topics": ["users"], "data": {}}]}));
    assert_eq!(ask(&mut rig, update()).unwrap_err().status, 404);
    let body = serde_json::value::to_raw_value(&json!({"scope_id": "s1"})).unwrap();
    let keep =
        HubRequest::Keep { claims: claims(), name: SCOPE_DOCUMENT.to_owned(), body: Some(body) };
    ask(&mut rig, keep).unwrap();
    let scoped = Session { scope: "s1".to_owned(), ..opal(PeerType::Client, None) };
    rig.open(1, scoped);
    rig.say(1, &call("subscribe", &json!({"topics": ["s1:data:users"]})));
    let told = notified(&rig.ask(update())[1..], 1);
    assert_eq!(told["subscription"]["topic"], "s1:data:users");
    assert_eq!(
        told["data"]["entries"][0]["topics"],
        json!(["data:users", "s1:data:users", "users"])
    );
    let effects = rig.ask(HubRequest::Clear(claims()));
    assert!(is_closed(&effects, 1, 1012), "{effects:?}");
    assert_eq!(ask(&mut rig, update()).unwrap_err().status, 404);
}

#[test]
fn so_many_clients_begin_at_a_time() {
    let mut rig = Rig::new();
    let admit = || HubRequest::Admit { most: 2, per_ms: 1_000 };
    let statuses: Vec<u16> = (0..3)
        .map(|_| ask(&mut rig, admit()).map_or_else(|problem| problem.status, |_| 200))
        .collect();
    assert_eq!(statuses, [200, 200, 429]);
    rig.now = rig.now.plus(1_000);
    assert!(ask(&mut rig, admit()).is_ok());
}
