//! Connections between agents and the hub: each side's frames arrive in order, after a
//! while, or not at all.

use hub::machine::SocketId;

use crate::agent;
use crate::world::{Event, World};

/// From an agent to the hub.
#[derive(Debug)]
pub(crate) enum Up {
    Open,
    Text(String),
    Closed,
}

/// From the hub to an agent.
#[derive(Debug)]
pub(crate) struct Down {
    pub(crate) agent: usize,
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    Open,
    /// A frame, and whether the hub pushed it by itself.
    Text(String, bool),
    Closed,
}

/// One connection. It is forgotten when neither side has it any more.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) agent: usize,
    pub(crate) life: u64,
    /// The name of the token that it was opened with.
    pub(crate) jti: String,
    pub(crate) hub_has_it: bool,
    pub(crate) agent_has_it: bool,
    /// Nothing comes through any more.
    pub(crate) is_dead: bool,
    /// The next push does not arrive.
    pub(crate) loses_a_push: bool,
    /// When the last frame arrives, each way.
    up_at: u64,
    down_at: u64,
    /// Bytes that were pushed and have not been read.
    pub(crate) unread: usize,
    /// Bytes of the largest push.
    pub(crate) largest: usize,
    /// How often the hub has forgotten how much is on the way.
    pub(crate) forgotten: usize,
}

impl World {
    /// An agent opens a connection.
    pub(crate) fn connect(&mut self, agent: usize, life: u64) -> SocketId {
        let socket = SocketId(self.fresh());
        let connection = Connection {
            agent,
            life,
            jti: format!("agent-{agent}-{}", socket.0),
            hub_has_it: false,
            agent_has_it: true,
            is_dead: false,
            loses_a_push: false,
            up_at: 0,
            down_at: 0,
            unread: 0,
            largest: 0,
            forgotten: 0,
        };
        self.connections.insert(socket, connection);
        self.send_up(socket, Up::Open);
        socket
    }

    pub(crate) fn send_up(&mut self, socket: SocketId, up: Up) {
        let arrival = self.schedule.now() + self.some(self.profile.latency);
        let Some(connection) = self.connections.get_mut(&socket) else { return };
        connection.up_at = connection.up_at.max(arrival);
        let at = connection.up_at;
        self.schedule.at(at, Event::Up(socket, up));
    }

    pub(crate) fn send_down(&mut self, socket: SocketId, what: What) {
        let arrival = self.schedule.now() + self.some(self.profile.latency);
        let Some(connection) = self.connections.get_mut(&socket) else { return };
        if let What::Text(text, true) = &what {
            connection.unread += text.len();
            connection.largest = connection.largest.max(text.len());
        }
        connection.down_at = connection.down_at.max(arrival);
        let (at, agent) = (connection.down_at, connection.agent);
        self.schedule.at(at, Event::Down(socket, Down { agent, what }));
    }

    /// The connection breaks: each side notices, sooner or later, unless it was killed.
    pub(crate) fn break_connection(&mut self, socket: SocketId, hub_lives: bool, most: u64) {
        let Some(connection) = self.connections.get_mut(&socket) else { return };
        connection.is_dead = true;
        if !hub_lives {
            connection.hub_has_it = false;
        }
        let agent = connection.agent;
        let (up, down) = (self.some(most), self.some(most));
        self.schedule.after(up, Event::Up(socket, Up::Closed));
        self.schedule.after(down, Event::Down(socket, Down { agent, what: What::Closed }));
    }

    pub(crate) fn agent_hears(&mut self, socket: SocketId, Down { agent, what }: Down) {
        let Some(connection) = self.connections.get_mut(&socket) else { return };
        let is_closed = matches!(what, What::Closed);
        if connection.is_dead && !is_closed {
            return;
        }
        if let What::Text(text, true) = &what {
            connection.unread -= text.len();
            if std::mem::take(&mut connection.loses_a_push) {
                return;
            }
        }
        let has_it = connection.agent_has_it;
        if is_closed {
            connection.agent_has_it = false;
        }
        let is_over = !connection.agent_has_it && !connection.hub_has_it;
        if is_over && is_closed {
            self.connections.remove(&socket);
        }
        if has_it && self.agents[agent].connection == Some(socket) {
            self.agent_link(agent, what);
        }
    }

    /// An agent ends a connection from its side.
    pub(crate) fn disconnect(&mut self, socket: SocketId) {
        if let Some(connection) = self.connections.get_mut(&socket) {
            connection.agent_has_it = false;
            let (agent, life) = (connection.agent, connection.life);
            self.send_up(socket, Up::Closed);
            let closed = agent::Happening::Disconnected(socket);
            self.schedule.after(1, Event::Agent(agent, life, closed));
        }
    }

    /// No more is on the way to anybody than the hub may have there.
    pub(crate) fn check_sockets(&mut self) {
        let window = self.profile.settings.push_window;
        // Two signs of life may be on their way from an agent that has stopped reading.
        let most = |it: &Connection| 3 * (window + it.largest) * (it.forgotten + 1);
        let over = self.connections.iter().find(|(_, it)| it.unread > most(it));
        if let Some((socket, it)) = over {
            let what = format!("{} bytes are on the way to socket {}", it.unread, socket.0);
            self.violated(what);
        }
    }
}
