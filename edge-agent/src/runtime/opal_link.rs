//! What is said to an opal-server, and what it is asked over HTTP: the shell of
//! [`opal::Machine`](crate::opal::Machine).

use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use protocol::Millis;
use protocol::socket::AgentFrame;
use serde_json::value::RawValue;
use tokio::sync::{Mutex, Notify, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_tungstenite::tungstenite::protocol::Message;
use url::Url;

use super::link::{PING_EVERY, Socket, why};
use crate::core::Input;
use crate::fetch::{Fetcher as _, HttpFetcher, Source};
use crate::opal::{self, Config, Effect, Machine};
use crate::settings::Secret;

/// The adapter to an opal-server, and what it asks with.
pub(super) struct OpalLink {
    /// Held by the connection that is open.
    machine: Mutex<Machine>,
    http: HttpFetcher,
    server: Url,
    /// Where the base sources are, if not at the server.
    sources: Option<Url>,
    token: RwLock<Secret>,
    started: Instant,
    triggers: Triggers,
}

/// What somebody wants to be loaded again.
#[derive(Default)]
pub(super) struct Triggers {
    pub(super) policies: Notify,
    pub(super) data: Notify,
}

impl OpalLink {
    pub(super) fn new(config: Config, sources: Option<Url>, http: HttpFetcher) -> Self {
        Self {
            server: config.server.clone(),
            machine: Mutex::new(Machine::new(config)),
            http,
            sources,
            token: RwLock::new(Secret::new(String::new())),
            started: Instant::now(),
            triggers: Triggers::default(),
        }
    }

    pub(super) fn set_token(&self, token: &Secret) {
        *self.token.write().unwrap_or_else(PoisonError::into_inner) = token.clone();
    }

    pub(super) fn triggers(&self) -> &Triggers {
        &self.triggers
    }

    /// Reads and writes until the connection ends; returns why it did.
    pub(super) async fn converse(
        self: std::sync::Arc<Self>,
        socket: Socket,
        mut to_send: mpsc::UnboundedReceiver<AgentFrame>,
        inputs: &mpsc::UnboundedSender<Input>,
    ) -> String {
        let mut machine = self.machine.lock().await;
        let (mut sink, mut stream) = socket.split();
        let (answers, mut answered) = mpsc::unbounded_channel();
        let mut ping = interval(PING_EVERY);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        let mut input = opal::Input::Connected(channel());
        let reason = 'connection: loop {
            for effect in machine.step(self.now(), input) {
                match effect {
                    Effect::Send(text) => {
                        if let Err(error) = sink.send(Message::text(text)).await {
                            break 'connection why(&error);
                        }
                    }
                    Effect::Close(reason) => {
                        let _ = sink.close().await;
                        break 'connection reason;
                    }
                    // The receiver lives as long as the process.
                    Effect::Hub(frame) => drop(inputs.send(Input::Frame(frame))),
                    Effect::Policy(news) => drop(inputs.send(Input::Policy(news))),
                    Effect::FetchSources(path) => {
                        let url = self.sources.clone().or_else(|| self.server_url(&path));
                        self.ask(url, answers.clone(), opal::Input::Sources);
                    }
                    Effect::FetchPolicies(number, path) => {
                        let answer = move |result| opal::Input::Policies(number, result);
                        self.ask(self.server_url(&path), answers.clone(), answer);
                    }
                    Effect::LeftOut(what) => tracing::error!(%what, "left out"),
                }
            }
            let tick = machine.next_tick().map(|at| self.started + Duration::from_millis(at.0));
            input = loop {
                tokio::select! {
                    message = stream.next() => {
                        heard = Instant::now();
                        match message {
                            Some(Ok(Message::Text(text))) => {
                                break opal::Input::Text(text.as_str().to_owned());
                            }
                            Some(Ok(Message::Close(frame))) => {
                                let code = frame.map_or(1005, |frame| u16::from(frame.code));
                                break 'connection closed(code);
                            }
                            Some(Ok(_)) => {}
                            Some(Err(error)) => break 'connection why(&error),
                            None => break 'connection "closed by the server".to_owned(),
                        }
                    }
                    frame = to_send.recv() => match frame {
                        Some(frame) => break opal::Input::Agent(frame),
                        None => {
                            // With a close frame: the server waits for one (§1.6).
                            let _ = sink.close().await;
                            break 'connection "closed by the agent".to_owned();
                        }
                    },
                    Some(answer) = answered.recv() => break answer,
                    () = self.triggers.policies.notified() => break opal::Input::PolicyTrigger,
                    () = self.triggers.data.notified() => break opal::Input::DataTrigger,
                    () = sleep_until(tick) => break opal::Input::Tick,
                    _ = ping.tick() => {
                        if heard.elapsed() > 2 * PING_EVERY {
                            break 'connection format!("nothing heard for {} s", heard.elapsed().as_secs());
                        }
                        if let Err(error) = sink.send(Message::Ping(Vec::new().into())).await {
                            break 'connection why(&error);
                        }
                    }
                }
            };
        };
        machine.step(self.now(), opal::Input::Closed);
        reason
    }

    /// `path` may have a query.
    fn server_url(&self, path: &str) -> Option<Url> {
        let mut base = self.server.clone();
        base.path_segments_mut().ok()?.pop_if_empty().push("");
        base.join(path).ok()
    }

    /// Asks beside the conversation: an answer to the server must not wait for it.
    fn ask(
        self: &std::sync::Arc<Self>,
        url: Option<Url>,
        answers: mpsc::UnboundedSender<opal::Input>,
        input: impl FnOnce(Result<Box<RawValue>, String>) -> opal::Input + Send + 'static,
    ) {
        let this = std::sync::Arc::clone(self);
        tokio::spawn(async move {
            let result = match url {
                Some(url) => this.get(url).await,
                None => Err("not an address".to_owned()),
            };
            // The connection may have ended.
            let _ = answers.send(input(result));
        });
    }

    async fn get(&self, url: Url) -> Result<Box<RawValue>, String> {
        let token = self.token.read().unwrap_or_else(PoisonError::into_inner).clone();
        let bearer = format!("Bearer {}", token.expose());
        let config = serde_json::json!({ "headers": { "authorization": bearer } });
        let config = serde_json::value::to_raw_value(&config).ok();
        let source = Source { url: url.to_string(), config };
        let data = self.http.fetch(&source).await.map_err(|error| error.to_string())?;
        RawValue::from_string(data.get().to_owned()).map_err(|error| error.to_string())
    }

    fn now(&self) -> Millis {
        Millis(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}

fn closed(code: u16) -> String {
    match code {
        1012 => "closed by the server with 1012: it restarts, or has us load everything again"
            .to_owned(),
        1009 => "closed by the server with 1009: a frame was too large".to_owned(),
        code => format!("closed by the server with {code}"),
    }
}

/// A name for a connection: 32 hexadecimal digits.
pub(super) fn channel() -> String {
    let mut bytes = [0; 16];
    // Without randomness, connections of one process have one name.
    let _ = getrandom::fill(&mut bytes);
    format!("{:032x}", u128::from_be_bytes(bytes))
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
