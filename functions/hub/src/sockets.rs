//! The open sockets: who is behind each, which of them are pushed to, and how much is on
//! the way to each.

mod audience;

use std::collections::{BTreeMap, BTreeSet};

pub(crate) use audience::{Audience, OpalAudience};
use protocol::internal::{PeerInfo, Revocation, Session};
use protocol::opal::rpc::Statistics;
use protocol::planted::{Bug, planted};
use protocol::{Millis, Seq, Update, limits, topic::TopicSet};
use serde::{Deserialize, Deserializer, Serialize};

/// The shell's name of an open socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SocketId(pub u64);

/// What the hub must know of a socket after it slept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attachment {
    /// Who opened it.
    pub session: Session,
    /// What it said in its hello; `None` before that.
    pub subscription: Option<Subscription>,
    /// What it has said of itself in the OPAL dialect.
    #[serde(default, skip_serializing_if = "OpalState::is_empty")]
    pub opal: OpalState,
}

/// What a socket subscribed to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Subscription {
    /// The agent's name; empty in the OPAL dialect, where none is given.
    pub agent: String,
    /// What it wants, as it wrote it.
    #[serde(deserialize_with = "any_topics")]
    pub topics: TopicSet,
    /// True once it has caught up: updates are pushed to it.
    pub live: bool,
}

/// What a socket has said and been told in the OPAL dialect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OpalState {
    /// Its answer to `_get_channel_id_`.
    pub rpc_id: Option<String>,
    /// What it published of itself.
    pub statistics: Option<Statistics>,
    /// It is to be closed at this moment, with this code and reason, and not heard until then.
    pub refused: Option<(Millis, u16, String)>,
}

impl OpalState {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Topics were checked when they were taken: those of OPAL's clients are of any form.
fn any_topics<'de, D: Deserializer<'de>>(from: D) -> Result<TopicSet, D::Error> {
    let topics = Vec::<String>::deserialize(from)?;
    TopicSet::of_any(topics).map_err(|problem| serde::de::Error::custom(problem.detail))
}

/// Live subscribers with the same topics; and clients of the OPAL dialect that lag, until they have
/// missed something.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) members: BTreeSet<SocketId>,
    /// Their topics as the log names them.
    pub(crate) topics: TopicSet,
    /// The last update for these topics; looked up in the log when it is first needed.
    pub(crate) last: Option<Seq>,
}

#[derive(Debug)]
struct Socket {
    attachment: Attachment,
    /// Bytes pushed since it last showed a sign of life.
    pushed: usize,
    /// In the OPAL dialect: something was not pushed to it.
    missed: bool,
}

/// What a sign of life of a socket in the OPAL dialect means.
#[derive(Debug)]
pub(crate) enum Life {
    /// It is pushed to, as before.
    Live,
    /// It had stopped reading, has missed nothing, and is pushed to again.
    Back(Box<Attachment>),
    /// It had stopped reading and has missed something: it must fetch everything again.
    Missed,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    sockets: BTreeMap<SocketId, Socket>,
    /// When the token of each ends.
    expiries: BTreeSet<(Millis, SocketId)>,
    groups: BTreeMap<Audience, Group>,
    /// How many are pushed to.
    live: usize,
    /// How many do not speak the OPAL dialect.
    agents: usize,
    /// When those are closed that were refused.
    refused: BTreeSet<(Millis, SocketId)>,
}

impl Sockets {
    /// A socket that was open before the hub slept. How much is on the way to it nobody
    /// knows: an agent has to show a sign of life after the next push. A client of the OPAL
    /// dialect answers every push anyway, and to make it wait could cost it an update.
    pub(crate) fn restore(&mut self, socket: SocketId, attachment: Attachment) {
        let pushed = if attachment.session.opal.is_some() { 0 } else { usize::MAX };
        let live = attachment.subscription.as_ref().is_some_and(|it| it.live);
        self.insert(socket, attachment, pushed);
        if live {
            self.join(socket);
        }
    }

    /// A new socket.
    pub(crate) fn open(&mut self, socket: SocketId, session: Session) -> Attachment {
        let attachment = Attachment { session, subscription: None, opal: OpalState::default() };
        self.insert(socket, attachment.clone(), 0);
        attachment
    }

    fn insert(&mut self, socket: SocketId, attachment: Attachment, pushed: usize) {
        self.expiries.insert((attachment.session.expiry(), socket));
        if let Some((at, ..)) = attachment.opal.refused {
            self.refused.insert((at, socket));
        }
        // What a client that lags was not pushed before the hub slept nobody knows.
        let missed = attachment.session.opal.is_some()
            && attachment.subscription.as_ref().is_some_and(|it| !it.live);
        self.agents += usize::from(attachment.session.opal.is_none());
        self.sockets.insert(socket, Socket { attachment, pushed, missed });
    }

    /// A socket is gone.
    pub(crate) fn close(&mut self, socket: SocketId) {
        self.leave(socket);
        if let Some(gone) = self.sockets.remove(&socket) {
            self.agents -= usize::from(gone.attachment.session.opal.is_none());
            self.expiries.remove(&(gone.attachment.session.expiry(), socket));
            if let Some((at, ..)) = gone.attachment.opal.refused {
                self.refused.remove(&(at, socket));
            }
        }
    }

    pub(crate) fn get(&self, socket: SocketId) -> Option<&Attachment> {
        self.sockets.get(&socket).map(|it| &it.attachment)
    }

    /// True if it is pushed to.
    pub(crate) fn is_live(&self, socket: SocketId) -> bool {
        let subscription = self.get(socket).and_then(|it| it.subscription.as_ref());
        subscription.is_some_and(|it| it.live)
    }

    /// True if somebody is there who follows the log.
    pub(crate) fn has_agents(&self) -> bool {
        self.agents > 0
    }

    /// When the first token ends, or the first refused socket is to be closed.
    pub(crate) fn next_end(&self) -> Option<Millis> {
        let first = [self.expiries.first(), self.refused.first()];
        first.into_iter().flatten().map(|(at, _)| *at).min()
    }

    /// All of them, for people.
    pub(crate) fn peers(&self) -> Vec<PeerInfo> {
        let info = |(id, socket): (&SocketId, &Socket)| {
            let Attachment { session, subscription, opal } = &socket.attachment;
            let subscription = subscription.as_ref();
            PeerInfo {
                socket: id.0,
                agent: subscription.map(|it| it.agent.clone()).filter(|it| !it.is_empty()),
                opal: session.opal.clone(),
                topics: subscription.map_or_else(Vec::new, |subscription| {
                    subscription.topics.iter().map(str::to_owned).collect()
                }),
                statistics: opal.statistics.clone(),
            }
        };
        self.sockets.iter().map(info).collect()
    }

    /// Every socket.
    pub(crate) fn all(&self) -> Vec<SocketId> {
        self.sockets.keys().copied().collect()
    }

    /// The sockets whose tokens have ended.
    pub(crate) fn expired(&self, now: Millis) -> Vec<SocketId> {
        let has_ended = |at: Millis| at <= now && !planted(Bug::ExpiryForgotten);
        let ended = self.expiries.iter().take_while(|(at, _)| has_ended(*at));
        ended.map(|(_, socket)| *socket).collect()
    }

    /// The sockets of revoked tokens.
    pub(crate) fn revoked(&self, revocation: &Revocation) -> Vec<SocketId> {
        let is_revoked = |socket: &Socket| {
            let claims = &socket.attachment.session.claims;
            match revocation {
                Revocation::Jti(jti) => claims.jti.as_ref() == Some(jti),
                // Whatever is open was issued before now.
                Revocation::Sub(sub) => claims.sub == *sub,
            }
        };
        let revoked = self.sockets.iter().filter(|(_, socket)| is_revoked(socket));
        revoked.map(|(id, _)| *id).collect()
    }

    /// The agents that subscribed to an update, live or not, with their names. Clients of the
    /// OPAL dialect are not among them: they can give no receipts.
    pub(crate) fn subscribers<'s>(
        &'s self,
        update: &'s Update,
    ) -> impl Iterator<Item = (SocketId, &'s str)> {
        let agents =
            self.sockets.iter().filter(|(_, socket)| socket.attachment.session.opal.is_none());
        agents.filter_map(|(id, socket)| {
            let subscription = socket.attachment.subscription.as_ref()?;
            let mut entries = update.entries.iter();
            let is_for_it = entries.any(|entry| subscription.topics.matches(&entry.topics));
            is_for_it.then_some((*id, subscription.agent.as_str()))
        })
    }

    /// Sets what a socket wants. It is pushed nothing until it has caught up.
    pub(crate) fn subscribe(&mut self, socket: SocketId, agent: String, topics: TopicSet) {
        self.leave(socket);
        if let Some(socket) = self.sockets.get_mut(&socket) {
            socket.attachment.subscription = Some(Subscription { agent, topics, live: false });
        }
    }

    /// A socket showed a sign of life, and is pushed to from now on, or not.
    pub(crate) fn set_live(&mut self, socket: SocketId, live: bool) -> Option<Attachment> {
        self.leave(socket);
        let found = self.sockets.get_mut(&socket)?;
        found.pushed = 0;
        let subscription = found.attachment.subscription.as_mut()?;
        subscription.live = live;
        let attachment = found.attachment.clone();
        if live {
            self.join(socket);
        }
        Some(attachment)
    }

    /// The groups, to deliver to.
    pub(crate) fn groups(&mut self) -> impl Iterator<Item = (&Audience, &mut Group)> {
        self.groups.iter_mut()
    }

    // === the OPAL dialect ===

    /// Sets what a client wants from now on. There is nothing to catch up with.
    pub(crate) fn set_topics(&mut self, socket: SocketId, topics: TopicSet) -> Option<Attachment> {
        self.leave(socket);
        let attachment = &mut self.sockets.get_mut(&socket)?.attachment;
        let live = attachment.subscription.as_ref().is_none_or(|it| it.live);
        attachment.subscription = Some(Subscription { agent: String::new(), topics, live });
        let attachment = attachment.clone();
        self.join(socket);
        Some(attachment)
    }

    /// Changes what is known of a client.
    pub(crate) fn change(
        &mut self,
        socket: SocketId,
        change: impl FnOnce(&mut OpalState),
    ) -> Option<Attachment> {
        let attachment = &mut self.sockets.get_mut(&socket)?.attachment;
        change(&mut attachment.opal);
        Some(attachment.clone())
    }

    /// A client showed a sign of life.
    pub(crate) fn shows_life(&mut self, socket: SocketId) -> Life {
        let Some(found) = self.sockets.get_mut(&socket) else { return Life::Live };
        found.pushed = 0;
        match found.attachment.subscription.as_mut().filter(|it| !it.live) {
            None => Life::Live,
            Some(_) if found.missed => Life::Missed,
            Some(subscription) => {
                subscription.live = true;
                self.live += 1;
                Life::Back(Box::new(found.attachment.clone()))
            }
        }
    }

    /// True if, with so many bytes more, half of what may be on the way to a client is.
    pub(crate) fn is_half_full(&self, socket: SocketId, bytes: usize, most: usize) -> bool {
        let pushed = self.sockets.get(&socket).map_or(0, |it| it.pushed);
        pushed.saturating_add(bytes) > self.window(most) / 2
    }

    /// A client's window is full: it is pushed nothing until it shows a sign of life.
    pub(crate) fn lags(&mut self, socket: SocketId) -> Option<Attachment> {
        let attachment = &mut self.sockets.get_mut(&socket)?.attachment;
        let subscription = attachment.subscription.as_mut()?;
        if std::mem::replace(&mut subscription.live, false) {
            self.live = self.live.saturating_sub(1);
        }
        Some(attachment.clone())
    }

    /// A client that lags was not pushed something that was for it. It has to fetch everything,
    /// so nothing more is worked out for it.
    pub(crate) fn misses(&mut self, socket: SocketId) {
        self.leave(socket);
        if let Some(found) = self.sockets.get_mut(&socket) {
            found.missed = true;
        }
    }

    /// A client is to be closed at this moment, and neither heard nor told anything until then.
    pub(crate) fn refuse(
        &mut self,
        socket: SocketId,
        at: Millis,
        close: u16,
        reason: String,
    ) -> Option<Attachment> {
        self.leave(socket);
        let attachment = &mut self.sockets.get_mut(&socket)?.attachment;
        attachment.subscription = None;
        if let Some((before, ..)) = attachment.opal.refused.replace((at, close, reason)) {
            self.refused.remove(&(before, socket));
        }
        self.refused.insert((at, socket));
        Some(attachment.clone())
    }

    /// Those that were refused and are to be closed by now, with the code and the reason.
    pub(crate) fn refused(&self, now: Millis) -> Vec<(SocketId, u16, String)> {
        let due = self.refused.iter().take_while(|(at, _)| *at <= now);
        due.filter_map(|(_, socket)| {
            let (_, close, reason) = self.get(*socket)?.opal.refused.clone()?;
            Some((*socket, close, reason))
        })
        .collect()
    }

    /// Bytes that may be on the way to one socket: `most`, or less if there are very many.
    pub(crate) fn window(&self, most: usize) -> usize {
        let fair = limits::PUSH_BUDGET_BYTES / self.live.max(1);
        most.min(fair.max(limits::MIN_PUSH_WINDOW_BYTES))
    }

    /// So many bytes were pushed to these. Returns those that are sent nothing more until
    /// they show a sign of life: their [window](Self::window) is full.
    pub(crate) fn pushed(&mut self, to: &[SocketId], bytes: usize, most: usize) -> Vec<SocketId> {
        let window = self.window(most);
        let mut over = vec![];
        for id in to {
            if let Some(socket) = self.sockets.get_mut(id) {
                socket.pushed = socket.pushed.saturating_add(bytes);
                if socket.pushed >= window && !planted(Bug::NeverPauses) {
                    over.push(*id);
                }
            }
        }
        over
    }

    fn audience(&self, socket: SocketId) -> Option<Audience> {
        let Attachment { session, subscription, .. } = self.get(socket)?;
        Some(Audience::new(session, subscription.as_ref()?.topics.clone()))
    }

    /// Adds a socket to those with the same topics, unless it has missed something.
    fn join(&mut self, socket: SocketId) {
        let Some(audience) = self.audience(socket) else { return };
        if self.sockets.get(&socket).is_some_and(|it| it.missed) {
            return;
        }
        let is_live = self.is_live(socket);
        let topics = audience.log_topics();
        let group = self.groups.entry(audience);
        let group = group.or_insert_with(|| Group { topics, ..Group::default() });
        if group.members.insert(socket) && is_live {
            self.live += 1;
        }
    }

    fn leave(&mut self, socket: SocketId) {
        let Some(audience) = self.audience(socket) else { return };
        let is_live = self.is_live(socket);
        if let Some(group) = self.groups.get_mut(&audience) {
            if group.members.remove(&socket) && is_live {
                self.live = self.live.saturating_sub(1);
            }
            if group.members.is_empty() {
                self.groups.remove(&audience);
            }
        }
    }
}
