//! The OPAL dialect: what a client says, and what it is answered (`spec/opal-protocol.md` §1).
//!
//! A client has two connections, one for data and one for policies; to the hub they are two
//! sockets. It subscribes, and from then on is told of everything; it answers every `notify`,
//! which the hub takes as a sign of life and never waits for.

use protocol::opal::rpc::{
    self, ALL_TOPICS, CLOSE_BAD_FRAME, CLOSE_RESYNC, Message, NoArguments, Publish, Request,
    STATISTICS_ADD, STATISTICS_REMOVE, Statistics, Topics,
};
use protocol::opal::topics::internal;
use protocol::socket::close;
use protocol::topic::TopicSet;
use protocol::{Claims, Millis, PeerType, Problem, Update, limits};

use super::publishing::Batch;
use super::reading;
use super::{Effect, Machine, REFUSED_FOR, SocketId, attach};
use crate::log::Log;
use crate::refusal::Refusal;
use crate::sockets::Life;

/// Topics of which only servers speak with each other.
const RESERVED: [&str; 3] = [ALL_TOPICS, "__opal_", "__broadcast_session_keepalive__"];
/// The name of our one call besides `notify`.
const CHANNEL_CALL: &str = "channel";
/// Bytes of a name that a client gives itself.
const MAX_NAME_BYTES: usize = 256;

/// What a request leads to: an answer, nothing, or the end of the connection.
type Outcome = Result<Vec<Effect>, Refusal>;

impl Machine {
    /// A client connected: with statistics it is asked first who it is (§1.6).
    pub(super) fn opal_opened(&self, socket: SocketId) -> Option<Effect> {
        let peer = self.sockets.get(socket)?.session.opal.as_ref()?;
        let ask = || rpc::request("_get_channel_id_", &serde_json::Map::new(), CHANNEL_CALL);
        peer.statistics.then(|| Effect::Send(vec![socket], ask()))
    }

    /// A client said something.
    pub(super) fn opal_frame(
        &mut self,
        now: Millis,
        socket: SocketId,
        text: &str,
        log: &mut dyn Log,
    ) -> Vec<Effect> {
        let Some(attachment) = self.sockets.get(socket) else { return vec![] };
        if attachment.opal.refused.is_some() {
            return vec![];
        }
        if attachment.session.is_expired(now) {
            return self.refuse(socket, Refusal::expired());
        }
        if text.len() > limits::MAX_FRAME_BYTES {
            return self.refuse(socket, Refusal::too_large(text.len()));
        }
        let Ok(Message { request, response }) = Message::decode(text) else {
            return self.refuse(socket, Refusal::opal(CLOSE_BAD_FRAME, "a frame that is no JSON"));
        };
        let mut effects = match self.sockets.shows_life(socket) {
            Life::Live => vec![],
            Life::Back(attachment) => vec![Effect::Attach(socket, attachment)],
            Life::Missed => {
                let why = "what was missed while nothing was read is at GET /data/config";
                return self.refuse(socket, Refusal::opal(CLOSE_RESYNC, why));
            }
        };
        if let Some(id) = response.filter(|it| it.call_id.as_deref() == Some(CHANNEL_CALL)) {
            let id = id.result.and_then(|id| serde_json::from_str::<String>(id.get()).ok());
            let id = id.filter(|id| id.len() <= MAX_NAME_BYTES);
            let attachment = self.sockets.change(socket, |state| state.rpc_id = id);
            effects.extend(attachment.map(|it| attach(socket, it)));
        }
        if let Some(request) = request {
            let done = self.opal_request(now, socket, &request, log);
            effects.extend(done.unwrap_or_else(|refusal| match refusal.code {
                // A client that is not allowed something comes back and tries again.
                "forbidden" => self.refuse_later(now, socket, refusal),
                _ => self.refuse(socket, refusal),
            }));
        }
        effects
    }

    fn opal_request(
        &mut self,
        now: Millis,
        socket: SocketId,
        request: &Request,
        log: &mut dyn Log,
    ) -> Outcome {
        let call_id = request.call_id.as_deref();
        let wrong = || Refusal::opal(CLOSE_BAD_FRAME, "wrong arguments");
        let (result, result_type) = match request.method.as_str() {
            "_ping_" | "ping" => {
                request.read::<NoArguments>().ok_or_else(wrong)?;
                ("pong".to_owned(), "str")
            }
            "_get_channel_id_" => {
                request.read::<NoArguments>().ok_or_else(wrong)?;
                (format!("{:032x}", socket.0), "str")
            }
            "subscribe" => {
                let Topics { topics } = request.read().ok_or_else(wrong)?;
                let mut effects = self.opal_subscribe(socket, topics)?;
                effects.push(answer(socket, true, call_id));
                return Ok(effects);
            }
            "unsubscribe" => {
                let Topics { topics } = request.read().ok_or_else(wrong)?;
                let mut effects = self.opal_unsubscribe(socket, &topics)?;
                effects.push(answer(socket, true, call_id));
                return Ok(effects);
            }
            "publish" => {
                let publish = request.read().ok_or_else(wrong)?;
                return self.opal_publish(now, socket, publish, call_id, log);
            }
            // Not for peers, and no reason to close (§1.8).
            method if method.starts_with('_') => return Ok(vec![]),
            _ => return Err(Refusal::opal(CLOSE_BAD_FRAME, "no such method")),
        };
        Ok(vec![Effect::Send(vec![socket], rpc::response(&result, result_type, call_id))])
    }

    fn opal_subscribe(&mut self, socket: SocketId, topics: Vec<String>) -> Outcome {
        let Some(attachment) = self.sockets.get(socket) else { return Ok(vec![]) };
        require_topics(&attachment.session.claims, &self.scope, &topics)?;
        let before = attachment.subscription.iter().flat_map(|it| it.topics.iter());
        let topics = before.map(str::to_owned).chain(topics);
        let topics = TopicSet::of_any(topics).map_err(forbidden)?;
        let attachment = self.sockets.set_topics(socket, topics);
        Ok(attachment.map(|it| attach(socket, it)).into_iter().collect())
    }

    fn opal_unsubscribe(&mut self, socket: SocketId, topics: &[String]) -> Outcome {
        let subscription = self.sockets.get(socket).and_then(|it| it.subscription.as_ref());
        let Some(subscription) = subscription else { return Ok(vec![]) };
        let left = subscription.topics.iter().filter(|it| !topics.iter().any(|gone| gone == it));
        let left = TopicSet::of_any(left.map(str::to_owned)).map_err(forbidden)?;
        let attachment = self.sockets.set_topics(socket, left);
        Ok(attachment.map(|it| attach(socket, it)).into_iter().collect())
    }

    /// A client's word about itself; an update, which goes into the log like every other; or
    /// anything else, which is told to whoever is there now.
    fn opal_publish(
        &mut self,
        now: Millis,
        socket: SocketId,
        publish: Publish,
        call_id: Option<&str>,
        log: &mut dyn Log,
    ) -> Outcome {
        let Publish { topics, data, .. } = publish;
        let is_statistics = |topic: &String| topic == STATISTICS_ADD || topic == STATISTICS_REMOVE;
        if !topics.is_empty() && topics.iter().all(is_statistics) {
            let said = data.and_then(|data| serde_json::from_str::<Statistics>(data.get()).ok());
            let mut effects = self.opal_statistics(socket, said);
            effects.push(answer(socket, true, call_id));
            return Ok(effects);
        }
        let Some(attachment) = self.sockets.get(socket) else { return Ok(vec![]) };
        let claims = &attachment.session.claims;
        claims.require(PeerType::Datasource).map_err(forbidden)?;
        claims.require_change(&self.scope).map_err(forbidden)?;
        require_topics(claims, &self.scope, &topics)?;
        let Some(data) = data else { return Ok(vec![answer(socket, true, call_id)]) };
        if !is_update(data.get()) {
            let mut effects = self.tell(now, Some(socket), &topics, &*data);
            effects.push(answer(socket, true, call_id));
            return Ok(effects);
        }
        // Nobody publishes again what was said on a socket that is gone: any id of its own will do.
        let id = format!("opal-{:x}-{}", socket.0, log.head().next());
        let accepted = accept(claims, &self.scope, data.get(), id);
        let mut batch = Batch::of(socket);
        let stored = accepted.and_then(|update| batch.append(now, update, log));
        let mut effects = vec![answer(socket, stored.is_ok(), call_id)];
        effects.extend(self.finish(now, batch, log));
        Ok(effects)
    }

    /// Keeps what a client says of itself, if it was asked and says it of itself.
    fn opal_statistics(&mut self, socket: SocketId, said: Option<Statistics>) -> Vec<Effect> {
        let (Some(said), Some(attachment)) = (said, self.sockets.get(socket)) else {
            return vec![];
        };
        let is_asked = attachment.session.opal.as_ref().is_some_and(|peer| peer.statistics);
        let is_itself = attachment.opal.rpc_id.as_ref() == Some(&said.rpc_id);
        if !is_asked || !is_itself || said.client_id.len() > MAX_NAME_BYTES {
            return vec![];
        }
        // Its topics are known better than it says.
        let said = Statistics { topics: vec![], ..said };
        let attachment = self.sockets.change(socket, |state| state.statistics = Some(said));
        attachment.map(|it| attach(socket, it)).into_iter().collect()
    }

    /// Closes a client's socket a little later.
    pub(super) fn refuse_later(
        &mut self,
        now: Millis,
        socket: SocketId,
        refusal: Refusal,
    ) -> Vec<Effect> {
        let Refusal { close: code, message, .. } = refusal;
        let at = now.plus(REFUSED_FOR);
        let attachment = self.sockets.refuse(socket, at, code, close::reason(message));
        attachment.map(|it| attach(socket, it)).into_iter().collect()
    }
}

fn answer(socket: SocketId, result: bool, call_id: Option<&str>) -> Effect {
    Effect::Send(vec![socket], rpc::response(&result, "bool", call_id))
}

fn forbidden(problem: Problem) -> Refusal {
    Refusal { close: CLOSE_BAD_FRAME, ..Refusal::forbidden(problem) }
}

/// Topics that the bearer may use, as they are written or as the hub calls them.
fn require_topics(claims: &Claims, scope: &str, topics: &[String]) -> Result<(), Refusal> {
    let is_reserved = |topic: &&String| RESERVED.iter().any(|name| topic.starts_with(name));
    if let Some(topic) = topics.iter().find(is_reserved) {
        return Err(forbidden(Problem::unauthorized(format!(
            "topic `{topic}` is the server's own"
        ))));
    }
    topics.iter().try_for_each(|topic| {
        reading::require_topic(claims, topic, internal(scope, topic)).map_err(forbidden)
    })
}

fn is_update(text: &str) -> bool {
    #[derive(serde::Deserialize)]
    struct Shape {
        #[expect(dead_code, reason = "only its presence matters")]
        entries: serde::de::IgnoredAny,
    }
    text.starts_with('{') && serde_json::from_str::<Shape>(text).is_ok()
}

/// Checks an update as the publish function does.
fn accept(claims: &Claims, scope: &str, text: &str, id: String) -> Result<Update, Problem> {
    let mut update = Update::parse(text.as_bytes())?;
    for topic in update.entries.iter_mut().flat_map(|entry| &mut entry.topics) {
        reading::require_topic(claims, topic, internal(scope, topic))?;
        *topic = internal(scope, topic).to_owned();
    }
    update.check_published()?;
    update.id.get_or_insert(id);
    Ok(update)
}
