//! The files of a folder, as `PUT /policy` takes them: text by path.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use protocol::limits::{MAX_POLICY_BYTES, MAX_POLICY_FILE_BYTES};
use protocol::opal::filter::{self, Filter};
use protocol::opal::policy::Files;
use serde::de::IgnoredAny;

use super::{Failure, upload::too_large};

/// A policy's static data, the only JSON that engines load.
const DATA: &str = "data.json";

/// A folder, and which of its files count.
pub(super) struct Folder<'a> {
    dir: &'a Path,
    filter: &'a Filter,
    files: Files,
    bytes: usize,
}

impl<'a> Folder<'a> {
    pub(super) fn new(dir: &'a Path, filter: &'a Filter) -> Self {
        Self { dir, filter, files: Files::new(), bytes: 0 }
    }

    /// Reads the files, by path relative to the folder and with `/` between segments. Links
    /// are followed.
    ///
    /// # Errors
    /// What cannot be read or is no text is named; so is a link that leads back up, and a
    /// folder without a file that counts.
    pub(super) fn read(mut self) -> Result<Files, Failure> {
        if !self.dir.is_dir() {
            return Err(Failure::usage(format!("DIR: {} is not a folder", self.dir.display())));
        }
        self.folder(self.dir, "", &mut Vec::new())?;
        let files = self.filter.settle(self.files);
        if files.keys().all(|path| filter::is_manifest(path)) {
            let dir = self.dir.display();
            return Err(Failure::run(format!("nothing to push: {dir} holds no policy file")).hint(
                "name another folder, or other endings with --extensions; hidden files do not count",
            ));
        }
        Ok(files)
    }

    /// `above` are the folders that lead to this one.
    fn folder(
        &mut self,
        dir: &Path,
        prefix: &str,
        above: &mut Vec<PathBuf>,
    ) -> Result<(), Failure> {
        let real = fs::canonicalize(dir).map_err(|error| unread(dir, &error))?;
        if above.contains(&real) {
            let dir = dir.display();
            return Err(Failure::run(format!("{dir} is a link to a folder that it is in"))
                .hint("remove the link"));
        }
        above.push(real);
        for entry in fs::read_dir(dir).map_err(|error| unread(dir, &error))? {
            let path = entry.map_err(|error| unread(dir, &error))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(|| {
                Failure::run(format!("{}: the name is not UTF-8; rename it", path.display()))
            })?;
            // Kubernetes mounts the files of a ConfigMap twice: by name, and below `..data`.
            if name.starts_with('.') && !filter::is_manifest(name) {
                continue;
            }
            let id = format!("{prefix}{name}");
            let kind = fs::metadata(&path).map_err(|error| unread(&path, &error))?;
            if kind.is_dir() {
                self.folder(&path, &format!("{id}/"), above)?;
            } else if self.filter.wants(&id) {
                if !kind.is_file() {
                    return Err(Failure::run(format!("{} is no plain file", path.display())));
                }
                self.file(&path, id)?;
            }
        }
        above.pop();
        Ok(())
    }

    fn file(&mut self, path: &Path, id: String) -> Result<(), Failure> {
        let size = fs::metadata(path).map_err(|error| unread(path, &error))?.len();
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if size > MAX_POLICY_FILE_BYTES {
            return Err(too_large(&path.display().to_string(), size, MAX_POLICY_FILE_BYTES));
        }
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > MAX_POLICY_BYTES {
            let (path, dir) = (path.display(), self.dir.display());
            return Err(too_large(&format!("{dir}, up to {path},"), self.bytes, MAX_POLICY_BYTES));
        }
        let text = fs::read_to_string(path).map_err(|error| unread(path, &error))?;
        if id == DATA || id.ends_with("/data.json") {
            serde_json::from_str::<IgnoredAny>(&text).map_err(|error| {
                Failure::run(format!("{} is not JSON: {error}", path.display()))
            })?;
        }
        self.files.insert(id, text);
        Ok(())
    }
}

fn unread(path: &Path, error: &io::Error) -> Failure {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::InvalidData => Failure::run(format!("{path} is not UTF-8 text"))
            .hint("save it as UTF-8, or move it out of the folder"),
        io::ErrorKind::NotFound => {
            Failure::run(format!("{path} leads nowhere")).hint("remove the link, or what it names")
        }
        _ => Failure::run(format!("cannot read {path}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    fn read(dir: &Path) -> Result<Files, Failure> {
        Folder::new(dir, &Filter::default()).read()
    }

    #[test]
    fn files_go_by_their_path_and_what_does_not_count_stays() {
        let dir = folder(&[
            ("rbac.rego", b"package rbac"),
            ("app/sub/x.rego", b"package x"),
            ("app/data.json", b"{\"a\":1}"),
            ("app/x_test.rego", b"package x"),
            (".manifest", b"app\nrbac.rego\n"),
            ("README.md", b"no"),
            (".git/y.rego", b"no"),
            (".hidden.rego", b"no"),
        ]);
        let files = read(dir.path()).unwrap();
        let paths: Vec<_> = files.keys().map(String::as_str).collect();
        assert_eq!(
            paths,
            [".manifest", "app/data.json", "app/sub/x.rego", "app/x_test.rego", "rbac.rego"]
        );
        assert_eq!(files["app/data.json"], "{\"a\":1}");
    }

    #[test]
    fn what_cannot_be_sent_is_named() {
        let large = vec![b'x'; MAX_POLICY_FILE_BYTES];
        let names = ["a.rego", "b.rego", "c.rego", "d.rego", "e.rego", "f.rego"];
        let many = names.map(|name| (name, &large[..]));
        let over = vec![b'x'; MAX_POLICY_FILE_BYTES + 1];
        for (files, words) in [
            (&[("a/bad.rego", &b"\xff\xfe"[..])][..], "bad.rego is not UTF-8 text"),
            (&[("a/data.json", b"{\"a\":}")], "data.json is not JSON: expected value at line 1"),
            (&[("b.md", b""), (".manifest", b"")], "nothing to push"),
            (&many, "has 9000000 bytes, the limit is 8388608"),
            (&[("a.rego", &over)], "a.rego has 1500001 bytes, the limit is 1500000"),
        ] {
            let dir = folder(files);
            let failure = read(dir.path()).unwrap_err();
            assert!(failure.message.contains(words), "{words}: {}", failure.message);
        }
        let failure = read(Path::new("/nowhere")).unwrap_err();
        assert!(failure.code == 2 && failure.message.contains("/nowhere is not a folder"));
    }

    #[test]
    fn patterns_leave_out_and_another_manifest_is_the_roots() {
        let dir = folder(&[
            ("gen/a.rego", b"package a"),
            ("order.txt", b"b.rego\n"),
            ("b.rego", b"package b"),
        ]);
        let filter = Filter::default().ignore(&["gen/**"]).manifest("order.txt");
        let files = Folder::new(dir.path(), &filter).read().unwrap();
        assert_eq!(files.keys().collect::<Vec<_>>(), [".manifest", "b.rego"]);
        assert_eq!(files[".manifest"], "b.rego\n");
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_unless_they_lead_back_up_or_nowhere() {
        use std::os::unix::fs::symlink;
        let dir = folder(&[("a/x.rego", b"package x")]);
        symlink(dir.path().join("a"), dir.path().join("b")).unwrap();
        let files = read(dir.path()).unwrap();
        assert_eq!(files.keys().collect::<Vec<_>>(), ["a/x.rego", "b/x.rego"]);

        symlink(dir.path(), dir.path().join("a/up")).unwrap();
        let failure = read(dir.path()).unwrap_err();
        assert!(failure.message.contains("up is a link to a folder that it is in"));
        fs::remove_file(dir.path().join("a/up")).unwrap();

        symlink("gone.rego", dir.path().join("a/y.rego")).unwrap();
        let failure = read(dir.path()).unwrap_err();
        assert!(failure.message.contains("y.rego leads nowhere"), "{}", failure.message);
    }
}
