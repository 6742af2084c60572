//! A branch of a git repository somewhere: its newest commit, and the files of that.
//!
//! Only the newest commit is fetched, into a folder that goes with the process. A branch that was
//! rewritten is like any other: what counts is where it is now.

use std::error::Error;
use std::fs;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use gix::credentials::{helper, protocol::Outcome};
use gix::objs::tree::EntryKind;
use gix::progress::Discard;
use gix::remote::fetch::{Shallow, Tags};
use gix::remote::{Direction, ref_map};
use gix::sec::identity::Account;
use gix::{ObjectId, Url};
use protocol::limits::{MAX_POLICY_BYTES, MAX_POLICY_FILE_BYTES};
use protocol::opal::filter::Filter;
use protocol::opal::policy::Files;
use protocol::repository::TOKEN_USER;
use tempfile::TempDir;

use super::Failure;
use crate::http;
use crate::settings::Secret;

/// Where the newest commit is kept.
const HEAD: &str = "refs/girasol/head";
/// The folder of what was fetched.
const FETCHED: &str = "git";
/// Entries of all folders of a commit. One that claims more was made to keep its reader busy.
const MAX_ENTRIES: usize = 1_000_000;
/// Files of fetched packs after which everything is fetched again. A pack has two.
const MAX_PACK_FILES: usize = 200;

/// A branch, as far as it has been fetched.
pub(super) struct Repository {
    url: Url,
    branch: Option<String>,
    access: Option<Access>,
    folder: TempDir,
}

/// Who asks.
#[derive(Clone)]
struct Access {
    username: String,
    password: Secret,
}

impl Repository {
    /// The branch of the repository at an address, as git takes it; without a branch, the one
    /// that the repository names.
    ///
    /// # Errors
    /// The address or the branch is none, or there is no room for a temporary folder.
    pub(super) fn new(
        place: &str,
        branch: Option<&str>,
        username: Option<String>,
        token: Option<String>,
    ) -> Result<Self, Failure> {
        // A relative path would be relative to the temporary folder.
        let place = match Path::new(place).canonicalize() {
            Ok(path) if path.is_dir() => {
                if !["", ".git"].iter().any(|inner| path.join(inner).join("HEAD").exists())
                    && !path.join(".git").is_file()
                {
                    return Err(Failure::usage(format!(
                        "REPO: {place} is no git repository: there is no .git in it"
                    ))
                    .hint("give its top folder; a folder without git is for `policy push`"));
                }
                path.to_string_lossy().into_owned()
            }
            _ if !place.contains(':') => {
                return Err(Failure::usage(format!("REPO: there is no folder {place}")));
            }
            _ => place.to_owned(),
        };
        let mut url = gix::url::parse(place.as_str()).map_err(|_| {
            Failure::usage("REPO: give an address or a folder, as `git clone` takes it")
        })?;
        // From here on the address has no secret, so that nothing that names it tells one.
        let (user, password) = (url.user().map(str::to_owned), url.set_password(None));
        if url.scheme != gix::url::Scheme::Ssh {
            url.set_user(None);
        }
        // A user alone before the host is a token, to hosts that take one so.
        let alone = user.is_some() && url.user().is_none();
        let password = token.or(password).or_else(|| alone.then(String::new));
        let access = password.map(|password| Access {
            username: username.or(user).unwrap_or_else(|| TOKEN_USER.to_owned()),
            password: Secret::new(password),
        });
        if let Some(branch) = branch {
            gix::validate::reference::name(format!("refs/heads/{branch}").as_str().into())
                .map_err(|_| Failure::usage(format!("--branch: {branch} is no branch's name")))?;
        }
        // gix makes clients of its own, with what this sets up for the process.
        http::tls_config().map_err(|error| Failure::run(error.to_string()))?;
        let folder = tempfile::Builder::new().prefix("girasol-track-").tempdir();
        let folder = folder.map_err(|error| {
            Failure::run(format!("no temporary folder: {error}")).hint("name one in TMPDIR")
        })?;
        Ok(Self { url, branch: branch.map(str::to_owned), access, folder })
    }

    /// Its address, without secrets.
    pub(super) fn shown(&self) -> String {
        self.url.to_bstring().to_string()
    }

    /// The newest commit, fetched if it is not `known`.
    ///
    /// # Errors
    /// Why it cannot be had, in one line.
    pub(super) fn look(
        &self,
        known: Option<&str>,
        interrupt: &AtomicBool,
    ) -> Result<String, String> {
        let failed = |error: gix::Error| format!("{}: {}", self.shown(), self.explained(&error));
        self.tidy();
        let repository = self.open().map_err(failed)?;
        let from = self.branch.as_ref().map_or("HEAD".to_owned(), |it| format!("refs/heads/{it}"));
        let spec = format!("+{from}:{HEAD}");
        let remote = repository.remote_at(self.url.clone()).map_err(failed)?;
        let remote = remote
            .with_fetch_tags(Tags::None)
            .with_refspecs([spec.as_str()], Direction::Fetch)
            .map_err(failed)?;
        let mut connection = remote.connect(Direction::Fetch).map_err(failed)?;
        if let Some(access) = self.access.clone() {
            connection.set_credentials(move |action| Ok(answer(&access, action)));
        }
        let fetch =
            connection.prepare_fetch(Discard, ref_map::Options::default()).map_err(failed)?;
        let heads = &fetch.ref_map().mappings;
        let head = heads.first().and_then(|head| head.remote.as_id()).map(|id| id.to_string());
        let Some(head) = head else {
            let branch = self.branch.as_deref().unwrap_or("that it names");
            return Err(format!("{}: there is no branch {branch}", self.shown()));
        };
        if known != Some(head.as_str()) {
            let newest = Shallow::DepthAtRemote(NonZeroU32::MIN);
            fetch.with_shallow(newest).receive(Discard, interrupt).map_err(failed)?;
        }
        Ok(head)
    }

    /// What was fetched.
    fn open(&self) -> gix::Result<gix::Repository> {
        let folder = self.folder.path().join(FETCHED);
        if folder.is_dir() { gix::open(folder) } else { gix::init_bare(folder) }
    }

    /// Throws away what was fetched if that was often, since each commit leaves a pack of its own.
    fn tidy(&self) {
        let folder = self.folder.path().join(FETCHED);
        let files = fs::read_dir(folder.join("objects/pack")).map_or(0, Iterator::count);
        if files > MAX_PACK_FILES {
            // What cannot be deleted is still a repository.
            let _ = fs::remove_dir_all(&folder);
        }
    }

    /// The policy that a fetched commit is.
    ///
    /// # Errors
    /// The file that cannot be policy, and why. What is there besides stays unread.
    pub(super) fn files(&self, commit: &str, filter: &Filter) -> Result<Files, String> {
        let failed = |error: gix::Error| reason(&error);
        let repository = self.open().map_err(failed)?;
        let commit = ObjectId::from_hex(commit.as_bytes()).map_err(|error| error.to_string())?;
        let root = repository.find_commit(commit).and_then(|it| it.tree_id()).map_err(failed)?;
        let (mut files, mut bytes, mut entries) = (Files::new(), 0_usize, 0_usize);
        let mut folders = vec![(String::new(), root.detach())];
        while let Some((above, id)) = folders.pop() {
            let tree = repository.find_tree(id).map_err(failed)?;
            for entry in tree.iter() {
                let entry = entry.map_err(failed)?;
                entries = entries.saturating_add(1);
                if entries > MAX_ENTRIES {
                    return Err(format!(
                        "it has more than {MAX_ENTRIES} files and folders, the limit"
                    ));
                }
                let path = format!("{above}{}", entry.filename());
                let wrong = |reason: &str| format!("{path} {reason}");
                let is_wanted = filter.wants(&path);
                match entry.mode().kind() {
                    _ if filter.ignores(&path) => {}
                    EntryKind::Tree => folders.push((format!("{path}/"), entry.object_id())),
                    EntryKind::Link => return Err(wrong(SYMLINK)),
                    EntryKind::Commit => return Err(wrong(SUBMODULE)),
                    EntryKind::Blob | EntryKind::BlobExecutable if !is_wanted => {}
                    EntryKind::Blob | EntryKind::BlobExecutable => {
                        let text = text_of(&repository, entry.object_id(), &mut bytes);
                        let text = text.map_err(|reason| wrong(&reason))?;
                        files.insert(path, text);
                    }
                }
            }
        }
        Ok(filter.settle(files))
    }

    /// A reason, with what to do where that is known.
    fn explained(&self, error: &gix::Error) -> String {
        let reason = reason(error);
        let is_program = matches!(self.url.scheme, gix::url::Scheme::File | gix::url::Scheme::Ssh);
        if is_program && reason.contains("No such file") {
            let program = if self.url.scheme == gix::url::Scheme::Ssh { "ssh" } else { "git" };
            return format!("{reason}; is the program {program} installed?");
        }
        reason
    }
}

const SYMLINK: &str =
    "is a symlink, and those are not followed; put the file there, or --ignore it";
const SUBMODULE: &str =
    "is a submodule, and those are not followed; put the files there, or --ignore it";

/// The text of a file. `bytes` is how many there were before it, and then with it.
fn text_of(
    repository: &gix::Repository,
    id: ObjectId,
    bytes: &mut usize,
) -> Result<String, String> {
    let failed = |error: gix::Error| format!("cannot be read: {}", reason(&error));
    let size = repository.find_header(id).map_err(failed)?.size();
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    *bytes = bytes.saturating_add(size);
    for (bytes, limit) in [(size, MAX_POLICY_FILE_BYTES), (*bytes, MAX_POLICY_BYTES)] {
        if bytes > limit {
            return Err(format!(
                "makes it {bytes} bytes, the limit is {limit}; leave files out with --ignore"
            ));
        }
    }
    let text = String::from_utf8(repository.find_blob(id).map_err(failed)?.take_data());
    text.map_err(|_| "is not UTF-8 text; save it as that, or --ignore it".to_owned())
}

/// What is said to whoever asks for a name and a password. Nothing is stored.
fn answer(access: &Access, action: helper::Action) -> Option<Outcome> {
    let helper::Action::Get(context) = action else { return None };
    let identity = Account {
        username: access.username.clone(),
        password: access.password.expose().to_owned(),
        oauth_refresh_token: None,
    };
    Some(Outcome { identity, next: context.into() })
}

/// What was tried and its innermost cause, in one line.
fn reason(error: &gix::Error) -> String {
    let what = error.to_string();
    let mut innermost: &dyn Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let cause = innermost.to_string();
    let said = if cause == what { what } else { format!("{what}: {cause}") };
    let cut = |line: &str| line.split(" (os error").next().map(str::to_owned);
    let lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.filter_map(cut).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
pub(super) mod tests;
