//! `policy track`: a branch's commits become the server's policy, one after the other.
//!
//! A commit that is refused, here or by the server, is not tried again: only the next one can be
//! other. What cannot be reached is tried again and again, later each time.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use protocol::opal::filter::{self, Filter};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use super::repository::Repository;
use super::upload::{self, Upload};
use super::{Failure, Selection, Target, call, say};
use crate::cli::variable;
use crate::core::backoff::Backoff;
use crate::runtime::seed;

/// A fetch that takes longer will not end.
const LOOK_WITHIN: Duration = Duration::from_secs(600);
/// For a fetch to notice that it is over.
const END_WITHIN: Duration = Duration::from_secs(2);

#[derive(clap::Args)]
pub(super) struct Track {
    /// The repository: an address or a folder, as `git clone` takes it
    #[arg(value_name = "REPO")]
    repository: String,
    /// The branch to follow [default: the one that the repository names]
    #[arg(long, value_name = "NAME")]
    branch: Option<String>,
    /// How often to look: 10s, 5m, 1h
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = interval)]
    interval: Duration,
    /// Looks once, and ends
    #[arg(long, conflicts_with = "interval")]
    once: bool,
    /// A token or password for the repository; without one, git's own settings are asked
    /// [env: GIRASOL_POLICY_REPO_TOKEN]
    #[arg(long, value_name = "TOKEN")]
    repo_token: Option<String>,
    /// The user's name that goes with it [env: GIRASOL_POLICY_REPO_USERNAME]
    #[arg(long, value_name = "NAME")]
    repo_username: Option<String>,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    selection: Selection,
}

/// What is followed, and where it goes.
struct Follower {
    repository: Arc<Repository>,
    filter: Arc<Filter>,
    upload: Upload,
    /// The newest commit that has been dealt with.
    known: Option<String>,
    interrupt: Arc<AtomicBool>,
}

/// Why a commit is not the policy.
enum Trouble {
    /// It may be soon.
    Later(Failure),
    /// It never will be.
    Refused(String, Failure),
    /// No commit will be.
    Never(Failure),
}

impl Track {
    pub(super) fn run(self) -> Result<(), Failure> {
        let token = self.repo_token.or_else(|| variable(&["GIRASOL_POLICY_REPO_TOKEN"]));
        let username = self.repo_username.or_else(|| variable(&["GIRASOL_POLICY_REPO_USERNAME"]));
        let upload = Upload::new(self.target)?;
        let branch = self.branch.as_deref();
        let repository = Repository::new(&self.repository, branch, username, token)?;
        let interrupt = Arc::new(AtomicBool::new(false));
        let mut follower = Follower {
            repository: Arc::new(repository),
            filter: Arc::new(self.selection.filter()),
            upload,
            known: None,
            interrupt: Arc::clone(&interrupt),
        };
        let runtime = call::runtime()?;
        let done = runtime.block_on(async {
            tokio::select! {
                done = async {
                    if self.once { follower.once().await } else { follower.follow(self.interval).await }
                } => done,
                done = call::stopped() => done,
            }
        });
        interrupt.store(true, Ordering::Relaxed);
        runtime.shutdown_timeout(END_WITHIN);
        done
    }
}

impl Follower {
    async fn once(&mut self) -> Result<(), Failure> {
        match self.round().await {
            Ok(()) => Ok(()),
            Err(Trouble::Later(failure) | Trouble::Never(failure)) => Err(failure),
            Err(Trouble::Refused(commit, failure)) => Err(refused(&commit, failure)),
        }
    }

    async fn follow(&mut self, interval: Duration) -> Result<(), Failure> {
        say(&format!("following {}, looking every {interval:?}", self.repository.shown()));
        let mut backoff = Backoff::new(seed());
        loop {
            let wait = match self.round().await {
                Ok(()) => None,
                Err(Trouble::Refused(commit, failure)) => {
                    warn(&refused(&commit, failure).message);
                    None
                }
                Err(Trouble::Later(failure)) => {
                    let wait = Duration::from_millis(backoff.next_delay());
                    warn(&format!("{}; again in {:.1} s", failure.message, wait.as_secs_f64()));
                    Some(wait)
                }
                Err(Trouble::Never(failure)) => return Err(failure),
            };
            if wait.is_none() {
                backoff.reset();
            }
            sleep(wait.unwrap_or(interval)).await;
        }
    }

    /// Looks once, and makes the newest commit the policy unless that has been dealt with.
    async fn round(&mut self) -> Result<(), Trouble> {
        let commit = self.look().await.map_err(|why| Trouble::Later(Failure::run(why)))?;
        if self.known.as_ref() == Some(&commit) {
            return Ok(());
        }
        let is_first = self.known.is_none();
        if is_first && self.upload.has(&commit).await.map_err(Trouble::Later)? {
            say(&format!("{commit} is the policy already"));
            self.known = Some(commit);
            return Ok(());
        }
        let done = self.push(&commit).await;
        if matches!(done, Ok(()) | Err(Trouble::Refused(..))) {
            self.known = Some(commit);
        }
        done
    }

    async fn look(&self) -> Result<String, String> {
        let (repository, known) = (Arc::clone(&self.repository), self.known.clone());
        let interrupt = Arc::clone(&self.interrupt);
        let looking = spawn_blocking(move || repository.look(known.as_deref(), &interrupt));
        match timeout(LOOK_WITHIN, looking).await {
            Ok(Ok(looked)) => looked,
            Ok(Err(_)) => Err("reading the repository failed".to_owned()),
            Err(_) => Err(format!("{}: no answer in {LOOK_WITHIN:?}", self.repository.shown())),
        }
    }

    async fn push(&self, commit: &str) -> Result<(), Trouble> {
        let refused = |failure| Trouble::Refused(commit.to_owned(), failure);
        let (repository, filter) = (Arc::clone(&self.repository), Arc::clone(&self.filter));
        let of = commit.to_owned();
        let files = spawn_blocking(move || repository.files(&of, &filter)).await;
        let files = files.unwrap_or_else(|_| Err("its files cannot be read".to_owned()));
        let files = files.map_err(|why| refused(Failure::run(why)))?;
        let policies = files.keys().filter(|path| !filter::is_manifest(path)).count();
        if policies == 0 {
            return Err(refused(Failure::run("it has no policy file")));
        }
        let body = upload::body(&files, Some(commit)).map_err(refused)?;
        let answer = self.upload.put(body).await.map_err(Trouble::Later)?;
        let status = answer.status;
        self.upload.accepted(answer).map_err(|failure| match status {
            401 | 403 => {
                Trouble::Never(failure.hint("is the token of type datasource, and for this scope?"))
            }
            // A scope that is not there yet, or somebody who is busy.
            404 | 408 | 429 | 500.. => Trouble::Later(failure),
            _ => refused(failure),
        })?;
        say(&format!("{commit} is the policy, {policies} files"));
        Ok(())
    }
}

fn refused(commit: &str, failure: Failure) -> Failure {
    let message = format!("{commit} is refused, the policy stays: {}", failure.message);
    Failure { message, ..failure }
}

fn warn(line: &str) {
    // Nobody is left to tell if this fails.
    let _ = writeln!(io::stderr(), "warning: {line}");
}

/// A time with its unit; seconds without.
fn interval(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
    let text = text.trim();
    let number = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let unit = text.strip_prefix(number).filter(|unit| !unit.is_empty()).unwrap_or("s");
    let unit = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, unit)| unit);
    let time =
        number.parse::<u64>().ok().zip(unit).and_then(|(many, unit)| many.checked_mul(*unit));
    let time = time.filter(|time| *time > 0).map(Duration::from_millis);
    time.ok_or_else(|| "give a time such as 10s, 5m or 1h".to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use axum::{Router, extract::State, http::StatusCode, routing::get};

    use super::super::repository::tests::Origin;
    use super::*;

    /// What a server is asked to be: its answer to `PUT`, the hash that it has, the bodies it got.
    #[derive(Clone, Default)]
    struct Server(Arc<Mutex<(u16, String, Vec<String>)>>);

    impl Server {
        async fn start(&self) -> String {
            let held = async |State(Server(server)): State<Server>| {
                format!(r#"{{"hash":"{}"}}"#, server.lock().unwrap().1)
            };
            let take = async |State(Server(server)): State<Server>, body: String| {
                let mut server = server.lock().unwrap();
                server.2.push(body);
                let status = StatusCode::from_u16(server.0).unwrap();
                (status, r#"{"detail":"a.rego:1:1: why","hash":"h","changed":true}"#)
            };
            let router = Router::new().route("/policy", get(held).put(take));
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = format!("http://{}", listener.local_addr().unwrap());
            let server = axum::serve(listener, router.with_state(self.clone()));
            tokio::spawn(server.into_future());
            address
        }

        fn becomes(&self, status: u16, hash: &str) {
            *self.0.lock().unwrap() = (status, hash.to_owned(), vec![]);
        }

        fn got(&self) -> Vec<String> {
            self.0.lock().unwrap().2.clone()
        }
    }

    fn follower(origin: &Origin, server: &str) -> Follower {
        let target = Target {
            token: Some("t".to_owned()),
            server_url: Some(server.to_owned()),
            scope: None,
        };
        Follower {
            repository: Arc::new(Repository::new(&origin.place(), None, None, None).unwrap()),
            filter: Arc::default(),
            upload: Upload::new(target).unwrap(),
            known: None,
            interrupt: Arc::default(),
        }
    }

    #[tokio::test]
    async fn a_commit_is_sent_once_and_again_only_if_the_server_could_not_take_it() {
        let Some(origin) = Origin::new() else { return };
        let server = Server::default();
        let mut follower = follower(&origin, &server.start().await);
        assert!(matches!(follower.round().await, Err(Trouble::Later(_))));

        origin.write("a.rego", b"package a");
        let first = origin.commit(&[]);
        server.becomes(503, "");
        assert!(matches!(follower.round().await, Err(Trouble::Later(_))));
        server.becomes(200, "");
        assert!(follower.round().await.is_ok() && follower.round().await.is_ok());
        let sent = format!(r#"{{"files":{{"a.rego":"package a"}},"revision":"{first}"}}"#);
        assert_eq!(server.got(), [sent]);

        origin.write("a.rego", b"package");
        origin.commit(&[]);
        server.becomes(422, "");
        let Err(Trouble::Refused(_, failure)) = follower.round().await else { panic!() };
        assert!(failure.message.ends_with("answered 422: a.rego:1:1: why"), "{}", failure.message);
        assert!(follower.round().await.is_ok(), "it is tried again");
        assert_eq!(server.got().len(), 1);

        origin.write("a.rego", b"package a2");
        origin.commit(&[]);
        server.becomes(401, "");
        assert!(matches!(follower.round().await, Err(Trouble::Never(_))));
    }

    #[tokio::test]
    async fn what_the_server_has_is_not_sent_and_what_cannot_be_policy_neither() {
        let Some(origin) = Origin::new() else { return };
        let server = Server::default();
        let mut follower = follower(&origin, &server.start().await);
        origin.write("a.rego", b"package a");
        let first = origin.commit(&[]);
        server.becomes(200, &first);
        assert!(follower.round().await.is_ok());
        origin.git(&["mv", "a.rego", "a.txt"]);
        origin.commit(&[]);
        let Err(Trouble::Refused(_, failure)) = follower.round().await else { panic!() };
        assert_eq!(failure.message, "it has no policy file");
        assert!(server.got().is_empty());
    }

    #[test]
    fn a_time_has_a_unit_or_is_seconds() {
        for (text, time) in [
            ("60s", Some(60_000)),
            ("5", Some(5_000)),
            ("250ms", Some(250)),
            ("2m", Some(120_000)),
            ("1h", Some(3_600_000)),
            ("0s", None),
            ("s", None),
            ("-1s", None),
            ("1 day", None),
            ("99999999999999999999s", None),
        ] {
            assert_eq!(interval(text).ok(), time.map(Duration::from_millis), "{text}");
        }
    }
}
