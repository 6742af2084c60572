//! A git server: the real `git http-backend` behind a small HTTP server.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, header};
use tokio::io::AsyncWriteExt as _;

use super::Repository;
use crate::process::command;
use crate::server::Server;

/// Serves repositories over git's smart HTTP protocol on 127.0.0.1. Stopped when dropped.
#[derive(Debug)]
pub struct GitServer {
    shared: Arc<Mutex<Shared>>,
    server: Server,
}

#[derive(Debug, Default)]
struct Shared {
    folders: HashMap<String, PathBuf>,
    /// The values of the header `authorization` that are let in; everybody if there are none.
    allowed: Vec<String>,
    no_filter: bool,
    failure: Option<StatusCode>,
    requests: Vec<String>,
    bytes: u64,
}

// === impl GitServer ===

impl GitServer {
    /// A server without repositories, on a free port, that lets everybody in.
    ///
    /// # Errors
    /// No port or thread could be had.
    pub fn start() -> Result<Self> {
        let shared = Arc::<Mutex<Shared>>::default();
        let app = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        Ok(Self { shared, server: Server::start("git server", app)? })
    }

    /// Serves a repository as `/NAME`; gives its URL. The repository must outlive the requests.
    pub fn serve(&self, name: &str, repository: &Repository) -> String {
        self.shared().folders.insert(name.to_owned(), repository.folder().to_owned());
        self.url(name)
    }

    /// `http://127.0.0.1:PORT/NAME`.
    pub fn url(&self, name: &str) -> String {
        format!("http://{}/{name}", self.server.address())
    }

    /// From now on lets in only who sends `authorization` as the header of that name, such as
    /// `Bearer t`, or who was allowed before; the others get a 401.
    pub fn allow(&self, authorization: &str) {
        self.shared().allowed.push(authorization.to_owned());
    }

    /// From now on answers that it cannot leave out large files, or that it can, as the large
    /// hosts do and as it does at the beginning.
    pub fn set_filter(&self, can: bool) {
        self.shared().no_filter = !can;
    }

    /// From now on answers this status to everything; `None` ends that.
    ///
    /// # Errors
    /// It is no status.
    pub fn fail_with(&self, status: Option<u16>) -> Result<()> {
        self.shared().failure = status.map(StatusCode::from_u16).transpose()?;
        Ok(())
    }

    /// The requests so far, oldest first: `GET /name/info/refs?service=git-upload-pack`.
    pub fn requests(&self) -> Vec<String> {
        self.shared().requests.clone()
    }

    /// Bytes of the bodies of all answers so far.
    pub fn bytes_sent(&self) -> u64 {
        self.shared().bytes
    }

    /// Goes away: the port refuses connections, and open ones are cut.
    pub fn stop(&mut self) {
        self.server.stop();
    }

    /// Comes back on the same port with the same repositories.
    ///
    /// # Errors
    /// The port was taken by something else in the meantime.
    pub fn restart(&mut self) -> Result<()> {
        self.server.restart()
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        lock(&self.shared)
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn answer(
    State(shared): State<Arc<Mutex<Shared>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let path = uri.path().trim_start_matches('/');
    let (name, inner) = path.split_once('/').unwrap_or((path, ""));
    let (folder, no_filter) = {
        let mut shared = lock(&shared);
        let asked = uri.path_and_query().map_or("/", |path| path.as_str());
        shared.requests.push(format!("{method} {asked}"));
        if let Some(failure) = shared.failure {
            return plain(failure);
        }
        let allowed = &shared.allowed;
        if !allowed.is_empty() && !allowed.iter().any(|allowed| Some(allowed.as_str()) == given) {
            let mut answer = plain(StatusCode::UNAUTHORIZED);
            // Without it git does not send the user that a URL has.
            let basic = HeaderValue::from_static("Basic realm=\"git\"");
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, basic);
            return answer;
        }
        match shared.folders.get(name) {
            Some(folder) => (folder.clone(), shared.no_filter),
            None => return plain(StatusCode::NOT_FOUND),
        }
    };
    let mut backend = command("git");
    let value = |name: &str| headers.get(name).and_then(|it| it.to_str().ok()).unwrap_or("");
    backend
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", folder)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", format!("/.git/{inner}"))
        .env("QUERY_STRING", uri.query().unwrap_or(""))
        .env("REQUEST_METHOD", method.as_str())
        .env("CONTENT_TYPE", value("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", value("content-encoding"))
        .env("GIT_PROTOCOL", value("git-protocol"))
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "uploadpack.allowFilter")
        .env("GIT_CONFIG_VALUE_0", if no_filter { "false" } else { "true" });
    match run(backend, body).await {
        Ok((response, bytes)) => {
            lock(&shared).bytes += bytes;
            response
        }
        Err(error) => {
            eprintln!("git server: {error:#}");
            plain(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}

fn plain(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::from(status.to_string()));
    *response.status_mut() = status;
    response
}

/// Runs a CGI program; its answer, and how many bytes its body has.
async fn run(mut program: tokio::process::Command, body: Bytes) -> Result<(Response<Body>, u64)> {
    program.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = program.spawn().context("running git: install it")?;
    let mut stdin = child.stdin.take().context("no input")?;
    let write = async move {
        // A program that answers without reading everything is not wrong.
        let _ = stdin.write_all(&body).await;
    };
    let ((), output) = tokio::join!(write, child.wait_with_output());
    let output = output?.stdout;
    let end = output.windows(4).position(|four| four == b"\r\n\r\n").context("no head")?;
    let (head, rest) = output.split_at(end);
    let body = rest.get(4..).unwrap_or_default().to_vec();
    let mut response = Response::builder();
    for line in String::from_utf8_lossy(head).lines() {
        let (name, value) = line.split_once(": ").context("a bad line in the head")?;
        response = if name == "Status" {
            response.status(value.get(..3).unwrap_or(value).parse::<u16>()?)
        } else {
            response.header(name, value)
        };
    }
    let bytes = body.len() as u64;
    Ok((response.body(Body::from(body))?, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn list(url: &str) -> Result<String> {
        let mut git = command("git");
        git.args(["-c", "credential.helper=", "ls-remote", url]).env("GIT_TERMINAL_PROMPT", "0");
        let output = git.output().await?;
        anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    #[tokio::test]
    async fn git_itself_reads_what_is_served_until_the_server_is_away() {
        let repository = Repository::with(&[("a.rego", "package a")]).await.unwrap();
        let mut server = GitServer::start().unwrap();
        let url = server.serve("policy", &repository);
        let head = repository.head().await.unwrap();
        assert!(list(&url).await.unwrap().contains(&format!("{head}\trefs/heads/master")));
        assert!(server.bytes_sent() > 0);
        assert!(server.requests()[0].starts_with("GET /policy/info/refs"));
        assert!(list(&server.url("other")).await.is_err());
        server.stop();
        assert!(list(&url).await.is_err());
        server.restart().unwrap();
        assert!(list(&url).await.is_ok());
        server.fail_with(Some(503)).unwrap();
        assert!(list(&url).await.is_err());
        server.fail_with(None).unwrap();
        server.allow("Basic dTpw");
        assert!(list(&url).await.is_err());
        assert!(list(&url.replace("http://", "http://u:p@")).await.is_ok());
    }

    #[tokio::test]
    async fn a_branch_is_renamed_rewritten_emptied_and_deleted() {
        let files = [("a.rego", "package a"), ("b.rego", "package b")];
        let repository = Repository::with(&files).await.unwrap();
        let first = repository.head().await.unwrap();
        repository.rename("a.rego", "sub/c.rego").await.unwrap();
        let listed = repository.git(&["ls-tree", "-r", "--name-only", "HEAD"]).await.unwrap();
        assert_eq!(listed, "b.rego\nsub/c.rego");
        let renamed = repository.head().await.unwrap();
        let empty = repository.commit_nothing().await.unwrap();
        assert_ne!(empty, renamed);
        let rewritten = repository.rewrite(&[("d.rego", "package d")]).await.unwrap();
        let listed = repository.git(&["ls-tree", "-r", "--name-only", "HEAD"]).await.unwrap();
        assert_eq!(listed, "d.rego");
        assert_eq!(repository.git(&["rev-list", "--count", "HEAD"]).await.unwrap(), "1");
        repository.set_branch("other", &rewritten).await.unwrap();
        repository.set_branch("master", &first).await.unwrap();
        assert_eq!(repository.head().await.unwrap(), first);
        repository.delete_branch("master").await.unwrap();
        assert!(repository.git(&["rev-parse", "--verify", "master"]).await.is_err());
    }
}
