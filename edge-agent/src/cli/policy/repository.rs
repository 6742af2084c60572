//! A branch of a git repository somewhere: its newest commit, and the files of that.
//!
//! Only the newest commit is fetched, into a folder that goes with the process. A branch that was
//! rewritten is like any other: what counts is where it is now.

use std::error::Error;
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
use tempfile::TempDir;

use super::Failure;
use crate::http;
use crate::settings::Secret;

/// Where the newest commit is kept.
const HEAD: &str = "refs/girasol/head";
/// The user's name that goes with a token, where none is given: hosts look at the token only.
const TOKEN_USER: &str = "x-access-token";
/// Entries of all folders of a commit. One that claims more was made to keep its reader busy.
const MAX_ENTRIES: usize = 1_000_000;

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
            Ok(path) if path.is_dir() => path.to_string_lossy().into_owned(),
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
        gix::init_bare(folder.path()).map_err(|error| Failure::run(reason(&error)))?;
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
        let repository = gix::open(self.folder.path()).map_err(failed)?;
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

    /// The policy that a fetched commit is.
    ///
    /// # Errors
    /// The file that cannot be policy, and why. What is there besides stays unread.
    pub(super) fn files(&self, commit: &str, filter: &Filter) -> Result<Files, String> {
        let failed = |error: gix::Error| reason(&error);
        let repository = gix::open(self.folder.path()).map_err(failed)?;
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
                let wrong = |reason: &str| Err(format!("{path} {reason}"));
                let is_wanted = filter.wants(&path);
                match entry.mode().kind() {
                    _ if filter.ignores(&path) => {}
                    EntryKind::Tree => folders.push((format!("{path}/"), entry.object_id())),
                    EntryKind::Link => return wrong(SYMLINK),
                    EntryKind::Commit => return wrong(SUBMODULE),
                    EntryKind::Blob | EntryKind::BlobExecutable if !is_wanted => {}
                    EntryKind::Blob | EntryKind::BlobExecutable => {
                        let size =
                            repository.find_header(entry.object_id()).map_err(failed)?.size();
                        let size = usize::try_from(size).unwrap_or(usize::MAX);
                        bytes = bytes.saturating_add(size);
                        for (bytes, limit) in
                            [(size, MAX_POLICY_FILE_BYTES), (bytes, MAX_POLICY_BYTES)]
                        {
                            if bytes > limit {
                                return wrong(&format!(
                                    "makes it {bytes} bytes, the limit is {limit}; leave files out with --ignore"
                                ));
                            }
                        }
                        let mut blob = repository.find_blob(entry.object_id()).map_err(failed)?;
                        let Ok(text) = String::from_utf8(blob.take_data()) else {
                            return wrong("is not UTF-8 text; save it as that, or --ignore it");
                        };
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
pub(super) mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;

    /// A repository on this machine, if there is a git to make it with.
    pub(in crate::cli::policy) struct Origin(TempDir);

    impl Origin {
        pub(in crate::cli::policy) fn new() -> Option<Self> {
            let origin = Self(tempfile::tempdir().unwrap());
            if Command::new("git").arg("--version").output().is_err() {
                eprintln!("skipped: no git: install it");
                return None;
            }
            origin.git(&["init", "--quiet", "--initial-branch", "main"]);
            Some(origin)
        }

        pub(in crate::cli::policy) fn git(&self, arguments: &[&str]) -> String {
            let mut git = Command::new("git");
            git.current_dir(self.0.path()).args(["-c", "user.name=t", "-c", "user.email=t@t"]);
            let output = git.args(arguments).output().unwrap();
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
            assert!(output.status.success(), "git {arguments:?}: {}", text(&output.stderr));
            text(&output.stdout)
        }

        pub(in crate::cli::policy) fn write(&self, path: &str, text: &[u8]) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        pub(in crate::cli::policy) fn commit(&self, how: &[&str]) -> String {
            self.git(&["add", "--all"]);
            self.git(&[&["commit", "--quiet", "--message", "change"], how].concat());
            self.git(&["rev-parse", "HEAD"])
        }

        pub(in crate::cli::policy) fn place(&self) -> String {
            self.0.path().to_str().unwrap().to_owned()
        }
    }

    fn follow(place: &str, branch: Option<&str>) -> Repository {
        Repository::new(place, branch, None, None).unwrap()
    }

    fn look(repository: &Repository, known: Option<&str>) -> Result<String, String> {
        repository.look(known, &AtomicBool::new(false))
    }

    fn paths(repository: &Repository, commit: &str) -> Vec<String> {
        repository.files(commit, &Filter::default()).unwrap().into_keys().collect()
    }

    #[test]
    fn a_branch_is_followed_over_commits_deletions_and_a_rewrite() {
        let Some(origin) = Origin::new() else { return };
        let repository = follow(&origin.place(), None);
        assert!(look(&repository, None).unwrap_err().contains("there is no branch"));

        origin.write("a.rego", b"package a");
        origin.write("b/.manifest", b"c.rego");
        origin.write("b/c.rego", b"package c");
        origin.write("README.md", b"no");
        let first = origin.commit(&[]);
        assert_eq!(look(&repository, None), Ok(first.clone()));
        assert_eq!(paths(&repository, &first), ["a.rego", "b/.manifest", "b/c.rego"]);
        assert_eq!(look(&repository, Some(&first)), Ok(first.clone()));

        origin.write("a.rego", b"package a2");
        let second = origin.commit(&[]);
        origin.git(&["rm", "--quiet", "-r", "b"]);
        // Two commits at once, and the second is replaced by one without its parent.
        let rewritten = origin.commit(&["--amend"]);
        assert_ne!(second, rewritten);
        assert_eq!(look(&repository, Some(&first)), Ok(rewritten.clone()));
        assert_eq!(paths(&repository, &rewritten), ["a.rego"]);
        assert_eq!(
            repository.files(&rewritten, &Filter::default()).unwrap()["a.rego"],
            "package a2"
        );

        // Back to where it was.
        origin.git(&["reset", "--quiet", "--hard", &first]);
        assert_eq!(look(&repository, Some(&rewritten)), Ok(first.clone()));
        assert_eq!(paths(&repository, &first).len(), 3);

        let other = follow(&origin.place(), Some("other"));
        assert!(look(&other, None).unwrap_err().contains("there is no branch other"));
        origin.git(&["branch", "other"]);
        assert_eq!(look(&other, None), Ok(first));
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_cannot_be_policy_is_named_unless_it_is_ignored() {
        use std::os::unix::fs::symlink;
        let Some(origin) = Origin::new() else { return };
        origin.write("ok.rego", b"package ok");
        origin.write("x/bad.rego", b"\xff\xfe");
        symlink("ok.rego", Path::new(&origin.place()).join("link")).unwrap();
        origin.write("y/large.json", &vec![b' '; MAX_POLICY_FILE_BYTES + 1]);
        let commit = origin.commit(&[]);
        let repository = follow(&origin.place(), Some("main"));
        look(&repository, None).unwrap();
        for (ignored, reason) in [
            (&["x/**", "y/**"][..], "link is a symlink"),
            (&["link", "y/**"], "x/bad.rego is not UTF-8 text"),
            (&["link", "x/**"], "y/large.json makes it 1500001 bytes, the limit is 1500000"),
        ] {
            let failed = repository.files(&commit, &Filter::default().ignore(ignored));
            assert!(failed.as_ref().unwrap_err().starts_with(reason), "{reason}: {failed:?}");
        }
        let filter = Filter::default().ignore(&["link", "x/**", "y/**"]);
        assert_eq!(repository.files(&commit, &filter).unwrap().len(), 1);
    }

    #[test]
    fn what_cannot_be_reached_is_named_without_secrets() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        for place in [
            format!("http://me:secret@{closed}/policy.git"),
            format!("http://secret@{closed}/policy.git"),
            format!("ssh://me:secret@{closed}/policy.git"),
            "/nowhere/secretless".to_owned(),
        ] {
            let reason = look(&follow(&place, None), None).unwrap_err();
            assert!(!reason.contains("secret@"), "{reason}");
            assert!(reason.lines().count() == 1, "{reason}");
        }
        let failure = Repository::new("https://h/x", Some("a..b"), None, None).err().unwrap();
        assert!(failure.code == 2 && failure.message.starts_with("--branch: "));
    }
}
