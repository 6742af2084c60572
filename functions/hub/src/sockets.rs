//! The open sockets: who is behind each, which of them are pushed to, and how much is on
//! the way to each.

use std::collections::{BTreeMap, BTreeSet};

use protocol::internal::{Revocation, Session};
use protocol::planted::{Bug, planted};
use protocol::{Millis, Seq, Update, limits, topic::TopicSet};
use serde::{Deserialize, Serialize};

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
}

/// What a socket subscribed to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Subscription {
    /// The agent's name.
    pub agent: String,
    /// What it wants.
    pub topics: TopicSet,
    /// True once it has caught up: updates are pushed to it.
    pub live: bool,
}

/// Live subscribers with the same topics.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) members: BTreeSet<SocketId>,
    /// The last update for these topics; looked up in the log when it is first needed.
    pub(crate) last: Option<Seq>,
}

#[derive(Debug)]
struct Socket {
    attachment: Attachment,
    /// Bytes pushed since it last showed a sign of life.
    pushed: usize,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    sockets: BTreeMap<SocketId, Socket>,
    /// When the token of each ends.
    expiries: BTreeSet<(Millis, SocketId)>,
    groups: BTreeMap<TopicSet, Group>,
    live: usize,
}

impl Sockets {
    /// A socket that was open before the hub slept. How much is on the way to it nobody
    /// knows: it has to show a sign of life after the next push.
    pub(crate) fn restore(&mut self, socket: SocketId, attachment: Attachment) {
        let topics =
            attachment.subscription.as_ref().filter(|it| it.live).map(|it| it.topics.clone());
        self.insert(socket, attachment, usize::MAX);
        if let Some(topics) = topics {
            self.join(socket, &topics);
        }
    }

    /// A new socket.
    pub(crate) fn open(&mut self, socket: SocketId, session: Session) -> Attachment {
        let attachment = Attachment { session, subscription: None };
        self.insert(socket, attachment.clone(), 0);
        attachment
    }

    fn insert(&mut self, socket: SocketId, attachment: Attachment, pushed: usize) {
        self.expiries.insert((attachment.session.expiry(), socket));
        self.sockets.insert(socket, Socket { attachment, pushed });
    }

    /// A socket is gone.
    pub(crate) fn close(&mut self, socket: SocketId) {
        self.leave(socket);
        if let Some(gone) = self.sockets.remove(&socket) {
            self.expiries.remove(&(gone.attachment.session.expiry(), socket));
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

    /// When the first token ends.
    pub(crate) fn next_expiry(&self) -> Option<Millis> {
        self.expiries.first().map(|(at, _)| *at)
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

    /// The subscribers of an update, live or not, with their agents' names.
    pub(crate) fn subscribers<'s>(
        &'s self,
        update: &'s Update,
    ) -> impl Iterator<Item = (SocketId, &'s str)> {
        self.sockets.iter().filter_map(|(id, socket)| {
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
        let topics = subscription.topics.clone();
        let attachment = found.attachment.clone();
        if live {
            self.join(socket, &topics);
        }
        Some(attachment)
    }

    /// The groups, to deliver to.
    pub(crate) fn groups(&mut self) -> impl Iterator<Item = (&TopicSet, &mut Group)> {
        self.groups.iter_mut()
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

    fn join(&mut self, socket: SocketId, topics: &TopicSet) {
        if self.groups.entry(topics.clone()).or_default().members.insert(socket) {
            self.live += 1;
        }
    }

    fn leave(&mut self, socket: SocketId) {
        let subscription =
            |it: &Socket| it.attachment.subscription.as_ref().map(|it| it.topics.clone());
        let Some(topics) = self.sockets.get(&socket).and_then(subscription) else { return };
        if let Some(group) = self.groups.get_mut(&topics) {
            if group.members.remove(&socket) {
                self.live = self.live.saturating_sub(1);
            }
            if group.members.is_empty() {
                self.groups.remove(&topics);
            }
        }
    }
}
