//! What drives the machine in these tests, and what reads its effects.

use hub::machine::{Effect, Input, Machine, RequestId, SocketId};
use hub::memory_log::MemoryLog;
use protocol::internal::{HubAnswer, HubRequest, Session};
use protocol::socket::HubFrame;
use protocol::{Claims, DEFAULT_SCOPE, Millis, Problem, Seq, Update};
use serde_json::{Value, json};

/// A hub, its log, and what each socket was told.
#[derive(Default)]
pub(crate) struct Rig {
    pub(crate) machine: Machine,
    pub(crate) log: MemoryLog,
    pub(crate) now: Millis,
    requests: u64,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self { log: MemoryLog::new("e1"), ..Self::default() }
    }

    pub(crate) fn step(&mut self, input: Input<'_>) -> Vec<Effect> {
        self.machine.step(self.now, input, &mut self.log)
    }

    pub(crate) fn ask(&mut self, asked: HubRequest) -> Vec<Effect> {
        self.ask_together(vec![asked])
    }

    pub(crate) fn ask_together(&mut self, asked: Vec<HubRequest>) -> Vec<Effect> {
        let first = self.requests + 1;
        self.requests += asked.len() as u64;
        self.step(Input::Requests((first..).map(RequestId).zip(asked).collect()))
    }

    pub(crate) fn publish(&mut self, body: &Value) -> (Result<Seq, Problem>, Vec<Effect>) {
        let mut effects = self.ask(append(body));
        let Effect::Answer(_, answer) = effects.remove(0) else { panic!("the answer comes first") };
        (answer.map(|answer| appended(&answer)), effects)
    }

    /// Publishes an inline document to a topic; the effects besides the answer.
    pub(crate) fn put(&mut self, id: &str, topic: &str) -> Vec<Effect> {
        let entry = json!({"topics": [topic], "dst_path": format!("/{id}"), "data": {"id": id}});
        let (seq, effects) = self.publish(&json!({"id": id, "entries": [entry]}));
        seq.unwrap();
        effects
    }

    pub(crate) fn open(&mut self, socket: u64, session: Session) {
        self.step(Input::Opened(SocketId(socket), Box::new(session)));
    }

    pub(crate) fn say(&mut self, socket: u64, frame: &Value) -> Vec<Effect> {
        self.step(Input::Text(SocketId(socket), &frame.to_string()))
    }

    pub(crate) fn hello(&mut self, socket: u64, topics: &[&str], cursor: u64) -> Vec<Effect> {
        self.open(socket, session(None));
        self.say(socket, &json!({"hello": {"agent": "a", "topics": topics, "cursor": cursor}}))
    }

    /// Everything forgotten that hibernation forgets.
    pub(crate) fn sleep(&mut self, attachments: &[Effect]) {
        self.machine = Machine::default();
        for effect in attachments {
            if let Effect::Attach(socket, attachment) = effect {
                self.machine.restore(*socket, (**attachment).clone());
            }
        }
    }
}

/// A request to append an update, of somebody who does not wait.
pub(crate) fn append(body: &Value) -> HubRequest {
    let update = Update::parse(body.to_string().as_bytes()).unwrap();
    HubRequest::Append { update, claims: session(None).claims, wait: None }
}

pub(crate) fn appended(answer: &HubAnswer) -> Seq {
    let HubAnswer::Appended { seq, .. } = answer else { panic!("{answer:?}") };
    *seq
}

pub(crate) fn session(permitted: Option<&[&str]>) -> Session {
    Session {
        scope: DEFAULT_SCOPE.to_owned(),
        claims: Claims {
            sub: "s".to_owned(),
            jti: None,
            exp: 1_000,
            iat: None,
            peer_type: None,
            permitted_topics: permitted
                .map(|topics| topics.iter().map(ToString::to_string).collect()),
            allowed_scopes: None,
        },
        opal: None,
    }
}

/// What one socket was sent, in order.
pub(crate) fn frames(effects: &[Effect], socket: u64) -> Vec<HubFrame> {
    let to_it = effects.iter().filter_map(|effect| match effect {
        Effect::Send(to, frame) if to.contains(&SocketId(socket)) => Some(frame),
        _ => None,
    });
    to_it.map(|frame| HubFrame::decode(frame).unwrap().unwrap()).collect()
}

/// `seq<prev` of every delivery, and the last word of the batch.
pub(crate) fn outline(effects: &[Effect], socket: u64) -> Vec<String> {
    let mut lines = vec![];
    for frame in frames(effects, socket) {
        match frame {
            HubFrame::Updates(updates) => {
                lines.extend(updates.iter().map(|it| format!("{}<{}", it.prev, it.seq)));
            }
            HubFrame::Welcome { head, epoch, .. } => lines.push(format!("welcome {epoch}/{head}")),
            HubFrame::Bookmark { seq } => lines.push(format!("bookmark {seq}")),
            HubFrame::CaughtUp { seq, .. } => lines.push(format!("caught up {seq}")),
            HubFrame::Pause { seq } => lines.push(format!("pause {seq}")),
            HubFrame::Confirm { seq } => lines.push(format!("confirm {seq}")),
            HubFrame::Reset { .. } => lines.push("reset".to_owned()),
            HubFrame::Error(error) => lines.push(format!("error {}", error.code)),
        }
    }
    lines
}

pub(crate) fn is_closed(effects: &[Effect], socket: u64, code: u16) -> bool {
    effects
        .iter()
        .any(|it| matches!(it, Effect::Close(it, with, _) if it.0 == socket && *with == code))
}
