//! What goes wrong, one after the other.

use hub::machine::SocketId;
use hub::memory_log::Call;
use serde_json::json;

use crate::hub_node::Happening;
use crate::profile::Fault;
use crate::world::{Event, FAULTS_UNTIL, World};

impl World {
    /// One of the profile's faults happens now.
    pub(crate) fn fault(&mut self) {
        if self.schedule.now() >= FAULTS_UNTIL {
            return;
        }
        let fault = self.profile.faults[self.rng.usize(..self.profile.faults.len())];
        self.note(|_| format!("fault: {fault:?}"));
        let now = self.schedule.now();
        let at = self.rng.usize(..self.agents.len());
        match fault {
            Fault::CutSocket => self.with_a_socket(|world, socket| {
                world.break_connection(socket, true, 200);
            }),
            Fault::HalfOpen => self.with_a_socket(|world, socket| {
                world.break_connection(socket, true, 40_000);
            }),
            Fault::LosePush => self.with_a_socket(|world, socket| {
                if let Some(connection) = world.connections.get_mut(&socket) {
                    connection.loses_a_push = true;
                }
            }),
            Fault::KillHub => self.kill_hub(),
            Fault::Hibernate => self.hibernate(),
            Fault::HubStorage => {
                let one = Call::ALL.chunks(1).nth(self.rng.usize(..Call::ALL.len()));
                self.hub.log.refuses = one.filter(|_| self.rng.bool()).unwrap_or(Call::ALL);
                let delay = self.some(2_000);
                self.schedule.after(delay, Event::Hub(Happening::StorageWorks));
            }
            Fault::HubStorageFull => {
                self.hub.log.takes = Some(self.rng.usize(..12));
                let delay = self.some(2_000);
                self.schedule.after(delay, Event::Hub(Happening::StorageWorks));
            }
            Fault::ClockJump => {
                let jump = self.rng.u64(..600_000);
                let clock = self.hub.clock;
                self.hub.clock =
                    if self.rng.bool() { clock + jump } else { clock.saturating_sub(jump) };
                self.set_alarm();
            }
            Fault::KillAgent => self.kill_agent(at),
            Fault::Freeze => {
                let until = now + self.some(10_000);
                self.agents[at].frozen_until = self.agents[at].frozen_until.max(until);
            }
            Fault::AgentStorage => self.agents[at].store.fails_until = now + self.some(3_000),
            Fault::RestartEngine if self.agents[at].beside => {
                let down = self.rng.u64(..2_000);
                self.agents[at].engine.empty();
                self.agents[at].engine.down_until = now + down;
            }
            Fault::AlterEngine if self.agents[at].engine.run.is_some() => {
                if self.agents[at].beside {
                    self.agents[at].engine.altered = true;
                    self.agents[at].engine.doc["a"] = json!({"somebody": "else"});
                }
            }
            Fault::SlowEngine => self.agents[at].engine.slow_until = now + self.some(5_000),
            Fault::Sources => self.sources.fail_until = now + self.some(5_000),
            Fault::Revoke => self.revoke(),
            Fault::RestartEngine | Fault::AlterEngine => {}
        }
        let every = 2 * self.profile.fault_every;
        let delay = self.some(every);
        self.schedule.after(delay, Event::Fault);
    }

    fn with_a_socket(&mut self, fault: impl FnOnce(&mut Self, SocketId)) {
        let sockets: Vec<SocketId> = self.connections.keys().copied().collect();
        if let Some(socket) = self.rng.choice(sockets) {
            fault(self, socket);
        }
    }
}
