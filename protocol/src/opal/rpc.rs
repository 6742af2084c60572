//! The frames: requests and responses, in both directions (`spec/opal-protocol.md` §1.2).

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::error::Category;
use serde_json::value::RawValue;

/// The close code for a frame that cannot be answered, as OPAL's server has it (§1.8).
pub const CLOSE_BAD_FRAME: u16 = 1000;
/// The close code that has a client connect again at once and fetch everything (§1.8).
pub const CLOSE_RESYNC: u16 = 1012;

/// The topic of which nobody but the server may hear everything (§1.7).
pub const ALL_TOPICS: &str = "__EventNotifier_ALL_TOPICS__";
/// On this topic a client says who it is (§1.6).
pub const STATISTICS_ADD: &str = "__opal_stats_add";
/// On this topic servers tell each other that a client has gone.
pub const STATISTICS_REMOVE: &str = "__opal_stats_rm";

/// What one frame holds: usually one of the two. One that holds neither is ignored.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// The peer wants something done.
    pub request: Option<Request>,
    /// The peer has done something.
    pub response: Option<Response>,
}

/// Something to be done.
#[derive(Clone, Debug, Deserialize)]
pub struct Request {
    /// What.
    pub method: String,
    /// With these arguments, an object; `null` where the sender wrote it.
    #[serde(default = "no_arguments")]
    pub arguments: Box<RawValue>,
    /// Names the response.
    #[serde(default)]
    pub call_id: Option<String>,
}

/// What came of a request.
#[derive(Clone, Debug, Deserialize)]
pub struct Response {
    /// The method's result; `null` if there is none.
    #[serde(default)]
    pub result: Option<Box<RawValue>>,
    /// The request's name.
    #[serde(default)]
    pub call_id: Option<String>,
}

/// No arguments at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoArguments {}

/// Arguments of `subscribe` and `unsubscribe`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topics {
    /// Exact names, not patterns.
    pub topics: Vec<String>,
}

/// Arguments of `publish`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publish {
    /// Who hears of it.
    pub topics: Vec<String>,
    /// What they hear.
    #[serde(default)]
    pub data: Option<Box<RawValue>>,
    /// In OPAL: answer when everybody has. Here an answer never waits for a subscriber.
    #[serde(default)]
    #[expect(dead_code, reason = "read so that it is no unknown argument")]
    sync: Option<bool>,
    #[serde(default)]
    #[expect(dead_code, reason = "read so that it is no unknown argument")]
    notifier_id: Option<String>,
}

/// What a client says of itself on [`STATISTICS_ADD`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// The client's name; its connections share it.
    pub client_id: String,
    /// What it answered to `_get_channel_id_`.
    pub rpc_id: String,
    /// What it subscribed to.
    pub topics: Vec<String>,
}

fn no_arguments() -> Box<RawValue> {
    // An empty object is valid JSON.
    RawValue::from_string("{}".to_owned()).unwrap_or_default()
}

/// A frame is not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotJson;

impl Message {
    /// Reads a text frame. JSON of another shape is an empty message, as OPAL takes it (§1.8).
    ///
    /// # Errors
    /// The text is not JSON.
    pub fn decode(text: &str) -> Result<Self, NotJson> {
        #[derive(Deserialize)]
        struct Envelope {
            #[serde(default)]
            request: Option<Box<RawValue>>,
            #[serde(default)]
            response: Option<Box<RawValue>>,
        }
        fn part<T: DeserializeOwned>(text: Option<Box<RawValue>>) -> Option<T> {
            serde_json::from_str(text?.get()).ok()
        }
        // serde would fill a struct from an array as well, by position.
        let is_object = text.trim_start().starts_with('{');
        match serde_json::from_str::<Envelope>(text) {
            Ok(Envelope { request, response }) if is_object => {
                Ok(Self { request: part(request), response: part(response) })
            }
            Ok(_) => Ok(Self::default()),
            Err(error) if error.classify() == Category::Data => Ok(Self::default()),
            Err(_) => Err(NotJson),
        }
    }
}

impl Request {
    /// The arguments, if they are those of the method.
    #[must_use]
    pub fn read<'r, T: Deserialize<'r>>(&'r self) -> Option<T> {
        let text = self.arguments.get();
        if text.starts_with('{') { serde_json::from_str(text).ok() } else { None }
    }
}

/// A response as text; `result_type` is the name of the result's type, as OPAL sends it.
#[must_use]
pub fn response(result: &impl Serialize, result_type: &str, call_id: Option<&str>) -> String {
    #[derive(Serialize)]
    struct Frame<'f, T> {
        request: (),
        response: Body<'f, T>,
    }
    #[derive(Serialize)]
    struct Body<'f, T> {
        result: T,
        result_type: &'f str,
        call_id: Option<&'f str>,
    }
    encode(&Frame { request: (), response: Body { result, result_type, call_id } })
}

/// A request as text.
#[must_use]
pub fn request(method: &str, arguments: &impl Serialize, call_id: &str) -> String {
    #[derive(Serialize)]
    struct Frame<'f, A> {
        request: Body<'f, A>,
        response: (),
    }
    #[derive(Serialize)]
    struct Body<'f, A> {
        method: &'f str,
        arguments: A,
        call_id: &'f str,
    }
    encode(&Frame { request: Body { method, arguments, call_id }, response: () })
}

/// A `notify` to subscribers, but for the name of the call.
#[derive(Clone, Debug)]
pub struct Notify(String);

/// Tells a subscriber of something published to one of its topics, by which it dispatches. `name`
/// is the subscription's, and the same for everybody who is told.
#[must_use]
pub fn notify(topic: &str, data: &impl Serialize, name: &str) -> Notify {
    #[derive(Serialize)]
    struct Arguments<'a, T> {
        subscription: Subscription<'a>,
        data: T,
    }
    #[derive(Serialize)]
    struct Subscription<'a> {
        id: &'a str,
        subscriber_id: &'a str,
        topic: &'a str,
        notifier_id: (),
    }
    let subscription = Subscription { id: name, subscriber_id: name, topic, notifier_id: () };
    let mut text = request("notify", &Arguments { subscription, data }, "");
    text.truncate(text.len().saturating_sub(END.len()));
    Notify(text)
}

/// What follows the name of a call.
const END: &str = "\"},\"response\":null}";
/// The name of a `notify` whose answer nobody looks at.
pub const QUIET_CALL: &str = "notify";
/// The name of a `notify` whose answer is a sign of life.
pub const SIGN_CALL: &str = "sign";
/// What OPAL's client answers to a [`QUIET_CALL`], to the letter, and what others write who leave
/// out the spaces.
const QUIET_ANSWERS: [&str; 2] = [
    "{\"request\": null, \"response\": {\"result\": \"None\", \"result_type\": \"str\", \
     \"call_id\": \"notify\"}}",
    "{\"request\":null,\"response\":{\"result\":\"None\",\"result_type\":\"str\",\"call_id\":\"notify\"}}",
];

/// True for the answer to a [`QUIET_CALL`] as it is usually written. There is one for each push
/// to each client, so it is not even read; one that is written otherwise is, with no effect.
#[must_use]
pub fn is_quiet_answer(text: &str) -> bool {
    QUIET_ANSWERS.contains(&text)
}

impl Notify {
    /// Bytes of the frame, roughly.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.len() + END.len() + QUIET_CALL.len()
    }

    /// The frame. `call_id` is written as it is: it holds nothing that JSON would escape.
    #[must_use]
    pub fn named(&self, call_id: &str) -> String {
        format!("{}{call_id}{END}", self.0)
    }
}

fn encode(frame: &impl Serialize) -> String {
    // Strings and verbatim JSON: nothing in a frame can fail to encode.
    serde_json::to_string(frame).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_those_of_the_capture() {
        // `spec/opal-protocol.md` §1.5.
        assert_eq!(
            response(&true, "bool", Some("3dc9")),
            r#"{"request":null,"response":{"result":true,"result_type":"bool","call_id":"3dc9"}}"#
        );
        assert_eq!(
            notify("policy_data", &serde_json::json!({"id": "u"}), "n").named(QUIET_CALL),
            r#"{"request":{"method":"notify","arguments":{"subscription":{"id":"n","subscriber_id":"n","topic":"policy_data","notifier_id":null},"data":{"id":"u"}},"call_id":"notify"},"response":null}"#
        );
        for quiet in QUIET_ANSWERS {
            let answer = Message::decode(quiet).unwrap().response.unwrap();
            assert_eq!(answer.call_id.as_deref(), Some(QUIET_CALL));
        }
    }

    #[test]
    fn a_request_may_leave_out_what_opal_may_leave_out() {
        let text = r#"{"request":{"method":"subscribe","arguments":{"topics":["a"]}}}"#;
        let request = Message::decode(text).unwrap().request.unwrap();
        assert_eq!(request.call_id, None);
        assert_eq!(request.read(), Some(Topics { topics: vec!["a".to_owned()] }));
        let ping = Message::decode(r#"{"request":{"method":"_ping_"},"response":null,"x":1}"#);
        assert_eq!(ping.unwrap().request.unwrap().arguments.get(), "{}");
    }

    #[test]
    fn wrong_arguments_are_none() {
        for arguments in [
            "null",
            "[[\"a\"]]",
            r#"{"topics":"a"}"#,
            r#"{"topic":["a"]}"#,
            r#"{"topics":[],"x":1}"#,
        ] {
            let text = format!(r#"{{"request":{{"method":"m","arguments":{arguments}}}}}"#);
            let request = Message::decode(&text).unwrap().request.unwrap();
            assert_eq!(request.read::<Topics>(), None, "{arguments}");
        }
    }

    #[test]
    fn json_of_another_shape_is_an_empty_message_and_other_text_is_none() {
        for text in ["[]", "[null,null]", "\"x\"", "null", "{\"foo\":1}", "{\"request\":5}", "5"] {
            let message = Message::decode(text).unwrap();
            assert!(message.request.is_none() && message.response.is_none(), "{text}");
        }
        for text in ["", "{", "hello", "{} x"] {
            assert_eq!(Message::decode(text).unwrap_err(), NotJson, "{text}");
        }
    }
}
