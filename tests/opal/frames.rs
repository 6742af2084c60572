//! The socket frame by frame (`spec/opal-protocol.md` §1.2, §1.3, §1.8): one table, tried at a real
//! opal-server, which shows that the table is right, and at the functions. Where the functions do
//! something else on purpose, the row says so and why.

use std::sync::Arc;

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};
use testbed::{Api, Functions, Heard, OpalPeer, Upgrade};
use tokio_tungstenite::tungstenite::Message;

use crate::behaviours::Behaviours;
use crate::support::{SOON, Stage};

/// How a row's socket is opened.
#[derive(Debug, Clone, Copy)]
enum Bearer {
    /// A client's token without limits.
    Client,
    /// A client's token with `permitted_topics: ["allowed"]`.
    Narrow,
    /// A datasource's token.
    Datasource,
    /// Not a token.
    Garbage,
    /// No `Authorization` at all.
    Nothing,
}

/// What a row sends.
#[derive(Debug, Clone, Copy)]
enum Sent {
    /// Nothing; the upgrade is what is looked at.
    Nothing,
    /// A text frame.
    Text(&'static str),
    /// A binary frame.
    Binary,
    /// A text frame of so many MiB.
    Mebibytes(usize),
}

/// What comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Back {
    /// A response with this result, in JSON, and the call id `"c"`.
    Result(&'static str),
    /// The same, without a call id.
    Anonymous(&'static str),
    /// A response with 32 hexadecimal digits.
    Hex,
    /// Nothing, and the next call is answered as ever.
    Ignored,
    /// The end, with this code.
    Closed(u16),
    /// No socket, but this HTTP status.
    Refused(u16),
}

struct Row {
    name: &'static str,
    bearer: Bearer,
    sent: Sent,
    /// At an opal-server, and at the functions if not said otherwise.
    back: Back,
    /// At the functions, where that differs, and why it does.
    ours: Option<(Back, &'static str)>,
}

const fn row(name: &'static str, bearer: Bearer, sent: Sent, back: Back) -> Row {
    Row { name, bearer, sent, back, ours: None }
}

impl Row {
    const fn but_ours(mut self, back: Back, reason: &'static str) -> Self {
        self.ours = Some((back, reason));
        self
    }
}

use Back::{Anonymous, Closed, Hex, Ignored, Refused, Result as Answer};
use Bearer::{Client, Datasource, Garbage, Narrow};
use Sent::{Binary, Mebibytes, Text};

const ROWS: &[Row] = &[
    // §1.2
    row(
        "_ping_",
        Client,
        Text(r#"{"request":{"method":"_ping_","arguments":{},"call_id":"c"},"response":null}"#),
        Answer(r#""pong""#),
    ),
    row(
        "a request without the response's key",
        Client,
        Text(r#"{"request":{"method":"_ping_","arguments":{},"call_id":"c"}}"#),
        Answer(r#""pong""#),
    ),
    row(
        "a request without arguments",
        Client,
        Text(r#"{"request":{"method":"ping","call_id":"c"}}"#),
        Answer(r#""pong""#),
    ),
    row(
        "a request with unknown keys",
        Client,
        Text(r#"{"request":{"method":"ping","arguments":{},"call_id":"c","x":1},"y":2}"#),
        Answer(r#""pong""#),
    ),
    row(
        "a request without a call id",
        Client,
        Text(r#"{"request":{"method":"ping","arguments":{}}}"#),
        Anonymous(r#""pong""#),
    ),
    row(
        "null as arguments",
        Client,
        Text(r#"{"request":{"method":"ping","arguments":null,"call_id":"c"}}"#),
        Closed(1000),
    ),
    row(
        "a response to no call",
        Client,
        Text(r#"{"response":{"result":1,"call_id":"nobody"}}"#),
        Ignored,
    ),
    row(
        "neither request nor response",
        Client,
        Text(r#"{"request":null,"response":null}"#),
        Ignored,
    ),
    // §1.3
    row(
        "_get_channel_id_",
        Client,
        Text(r#"{"request":{"method":"_get_channel_id_","arguments":{},"call_id":"c"}}"#),
        Hex,
    ),
    row(
        "ping",
        Client,
        Text(r#"{"request":{"method":"ping","arguments":{},"call_id":"c"}}"#),
        Answer(r#""pong""#),
    ),
    row(
        "subscribe",
        Client,
        Text(
            r#"{"request":{"method":"subscribe","arguments":{"topics":["a","b/c"]},"call_id":"c"}}"#,
        ),
        Answer("true"),
    ),
    row(
        "subscribe to nothing",
        Client,
        Text(r#"{"request":{"method":"subscribe","arguments":{"topics":[]},"call_id":"c"}}"#),
        Answer("true"),
    ),
    row(
        "unsubscribe",
        Client,
        Text(
            r#"{"request":{"method":"unsubscribe","arguments":{"topics":["never"]},"call_id":"c"}}"#,
        ),
        Answer("true"),
    ),
    row(
        "publish by a datasource",
        Datasource,
        Text(
            r#"{"request":{"method":"publish","arguments":{"topics":["a"],"data":{"id":null,"entries":[{"url":"","topics":["a"],"dst_path":"/a","data":{}}]},"sync":true,"notifier_id":null},"call_id":"c"}}"#,
        ),
        Answer("true"),
    ),
    // §1.8
    row(
        "an unknown method",
        Client,
        Text(r#"{"request":{"method":"nothing","arguments":{},"call_id":"c"}}"#),
        Closed(1000),
    ),
    row(
        "an argument of another name",
        Client,
        Text(r#"{"request":{"method":"subscribe","arguments":{"topic":["a"]},"call_id":"c"}}"#),
        Closed(1000),
    ),
    row(
        "an argument too many",
        Client,
        Text(r#"{"request":{"method":"ping","arguments":{"x":1},"call_id":"c"}}"#),
        Closed(1000),
    ),
    row(
        "an unknown method with an underscore",
        Client,
        Text(r#"{"request":{"method":"_nothing","arguments":{},"call_id":"c"}}"#),
        Ignored,
    ),
    row("a frame that is not JSON", Client, Text("{"), Closed(1000)),
    row("an empty frame", Client, Text(""), Closed(1000)),
    row("an object of another shape", Client, Text(r#"{"foo":1}"#), Ignored),
    row("a list", Client, Text("[]"), Ignored),
    row("a string", Client, Text(r#""x""#), Ignored),
    row("null", Client, Text("null"), Ignored),
    row(
        "a topic outside permitted_topics",
        Narrow,
        Text(
            r#"{"request":{"method":"subscribe","arguments":{"topics":["allowed","other"]},"call_id":"c"}}"#,
        ),
        Closed(1000),
    ),
    row(
        "a topic inside permitted_topics",
        Narrow,
        Text(
            r#"{"request":{"method":"subscribe","arguments":{"topics":["allowed"]},"call_id":"c"}}"#,
        ),
        Answer("true"),
    ),
    row(
        "publish outside permitted_topics",
        Narrow,
        Text(
            r#"{"request":{"method":"publish","arguments":{"topics":["other"],"data":{}},"call_id":"c"}}"#,
        ),
        Closed(1000),
    ),
    row(
        "the name of all topics",
        Client,
        Text(
            r#"{"request":{"method":"subscribe","arguments":{"topics":["__EventNotifier_ALL_TOPICS__"]},"call_id":"c"}}"#,
        ),
        Closed(1000),
    ),
    row("a binary frame", Client, Binary, Closed(1000)),
    row("a frame above 16 MiB", Client, Mebibytes(17), Closed(1009)),
    row("a garbled token", Garbage, Sent::Nothing, Refused(403))
        .but_ours(Closed(1008), "opal-client comes back at once after 403, without end"),
    row("no token", Bearer::Nothing, Sent::Nothing, Refused(403))
        .but_ours(Closed(1008), "opal-client comes back at once after 403, without end"),
];

/// The whole table at both.
pub(crate) async fn run(stage: Arc<Stage>, behaviours: Behaviours) -> Result<()> {
    let server = stage.server().await?.api();
    let functions = Functions::start().await?;
    for row in ROWS {
        behaviours.show(&format!("opal-server: {}", row.name), tried(row, server, row.back)).await;
        let (ours, why) = row.ours.unwrap_or((row.back, ""));
        let name = match why {
            "" => format!("functions: {}", row.name),
            why => format!("functions, otherwise: {} ({why})", row.name),
        };
        behaviours.show(&name, tried(row, functions.api(), ours)).await;
    }
    Ok(())
}

async fn tried(row: &Row, api: &Api, wanted: Back) -> Result<()> {
    let token = match row.bearer {
        Client => Some(api.mint("client", json!({})).await?),
        Narrow => {
            let claims = json!({"claims": {"permitted_topics": ["allowed"]}});
            Some(api.mint("client", claims).await?)
        }
        Datasource => Some(api.mint("datasource", json!({})).await?),
        Garbage => Some("garbage".to_owned()),
        Bearer::Nothing => None,
    };
    let mut peer = match OpalPeer::connect(&api.ws_url(), token.as_deref()).await? {
        Upgrade::Open(peer) => peer,
        Upgrade::Refused(status) => {
            ensure!(wanted == Refused(status), "refused with {status}, not {wanted:?}");
            return Ok(());
        }
    };
    match row.sent {
        Sent::Nothing => {}
        Text(text) => peer.send(Message::text(text)).await?,
        Binary => peer.send(Message::binary(vec![1, 2, 3])).await?,
        // The server may close before it has read all of it.
        Mebibytes(count) => drop(peer.send(Message::text("x".repeat(count << 20))).await),
    }
    if wanted == Ignored {
        ensure!(peer.call("ping", &json!({})).await? == "pong", "the next ping is not answered");
        return Ok(());
    }
    match (wanted, peer.hear(SOON).await?) {
        (Answer(result), Heard::Frame(frame)) => {
            expect_response(&frame, &result.parse()?, &json!("c"))
        }
        (Anonymous(result), Heard::Frame(frame)) => {
            expect_response(&frame, &result.parse()?, &Value::Null)
        }
        (Hex, Heard::Frame(frame)) => {
            let id = frame["response"]["result"].as_str().unwrap_or_default();
            let is_id = id.len() == 32 && id.bytes().all(|digit| digit.is_ascii_hexdigit());
            ensure!(is_id, "{frame} has no channel id");
            Ok(())
        }
        (Closed(wanted), Heard::Closed(code, reason)) => {
            ensure!(code == Some(wanted), "closed with {code:?} {reason:?}, not with {wanted}");
            Ok(())
        }
        (wanted, heard) => bail!("{heard:?}, not {wanted:?}"),
    }
}

fn expect_response(frame: &Value, result: &Value, call_id: &Value) -> Result<()> {
    let response = &frame["response"];
    ensure!(response["result"] == *result, "{frame} does not have the result {result}");
    ensure!(response["call_id"] == *call_id, "{frame} does not have the call id {call_id}");
    ensure!(frame.get("request").is_none_or(Value::is_null), "{frame} is a request too");
    Ok(())
}
