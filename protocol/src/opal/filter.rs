//! Which files of a repository are its policy (`spec/opal-protocol.md` §2.1, `OPAL_FILTER_FILE_EXTENSIONS`,
//! `OPAL_BUNDLE_IGNORE`, `OPAL_POLICY_REPO_MANIFEST_PATH`, and the same of a scope in §4.7).
//!
//! Whoever reads a repository asks [`Filter::wants`] of each path and gives what it has read to
//! [`Filter::settle`]; from there on a policy is its files, and the order is what `.manifest` of
//! its root says.

use super::ignore::Ignored;
use super::policy::Files;

/// The name of a file that says in which order to load the others of its folder.
pub const MANIFEST: &str = ".manifest";
/// The endings of the files that are taken, where nothing is set.
pub const EXTENSIONS: &str = ".rego,.json";

/// Which files of a repository are its policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    extensions: Vec<String>,
    ignored: Ignored,
    directories: Vec<String>,
    /// A folder with a `.manifest`, or a file that is one; the root as empty text.
    manifest: String,
}

/// The parts of a setting that is a list with commas, without what is empty.
#[must_use]
pub fn list(text: &str) -> Vec<String> {
    let parts = text.split(',').map(str::trim);
    parts.filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// True for the name of a `.manifest`.
#[must_use]
pub fn is_manifest(path: &str) -> bool {
    path.rsplit('/').next() == Some(MANIFEST)
}

impl Default for Filter {
    /// [`EXTENSIONS`] anywhere, in the order of the root's `.manifest`.
    fn default() -> Self {
        Self {
            extensions: list(EXTENSIONS),
            ignored: Ignored::default(),
            directories: vec![],
            manifest: String::new(),
        }
    }
}

impl Filter {
    /// Takes files with these endings, `.rego` or `rego`; none are [`EXTENSIONS`].
    #[must_use]
    pub fn extensions<S: AsRef<str>>(mut self, endings: &[S]) -> Self {
        if !endings.is_empty() {
            let dotted = |ending: &S| format!(".{}", ending.as_ref().trim_start_matches('.'));
            self.extensions = endings.iter().map(dotted).collect();
        }
        self
    }

    /// Leaves out what these patterns fit; see [`Ignored`].
    #[must_use]
    pub fn ignore<S: AsRef<str>>(mut self, patterns: &[S]) -> Self {
        self.ignored = Ignored::new(patterns);
        self
    }

    /// Takes only what is below these folders; none, or `.` among them, are all.
    #[must_use]
    pub fn directories<S: AsRef<str>>(mut self, folders: &[S]) -> Self {
        self.directories = folders.iter().map(|folder| plain(folder.as_ref())).collect();
        self
    }

    /// Takes the order from there: a folder, whose `.manifest` it is, or a file. Empty for the
    /// root.
    #[must_use]
    pub fn manifest(mut self, path: &str) -> Self {
        let path = plain(path);
        self.manifest = if path == MANIFEST { String::new() } else { path };
        self
    }

    /// True for a file that is to be read. Manifests always are: one that is ignored still
    /// orders.
    #[must_use]
    pub fn wants(&self, path: &str) -> bool {
        is_manifest(path)
            || (!self.manifest.is_empty() && path == self.manifest)
            || self.takes(path)
    }

    /// True for a file that a pattern leaves out.
    #[must_use]
    pub fn ignores(&self, path: &str) -> bool {
        self.ignored.has(path)
    }

    /// True for a file that is policy, rather than its order.
    fn takes(&self, path: &str) -> bool {
        let name = path.rsplit('/').next().unwrap_or_default();
        let ends = |ending: &String| name.len() > ending.len() && name.ends_with(ending.as_str());
        self.extensions.iter().any(ends)
            && (self.directories.is_empty() || self.directories.iter().any(|it| is_below(path, it)))
            && !self.ignores(path)
    }

    /// The policy that these files are: without what is not wanted, and with the manifest that is
    /// set as `.manifest` of the root. Nobody behind this needs to know the setting.
    #[must_use]
    pub fn settle(&self, mut files: Files) -> Files {
        let root = self.root_manifest(&files);
        files.retain(|path, _| is_manifest(path) || self.takes(path));
        match root {
            None => {}
            Some(text) if text.is_empty() => {
                files.remove(MANIFEST);
            }
            Some(text) => {
                files.insert(MANIFEST.to_owned(), text);
            }
        }
        files
    }

    /// What the root's manifest must say, where the setting names another one.
    fn root_manifest(&self, files: &Files) -> Option<String> {
        if self.manifest.is_empty() {
            return None;
        }
        let Some(text) = files.get(&self.manifest) else {
            let is_there = files.contains_key(&format!("{}/{MANIFEST}", self.manifest));
            return Some(if is_there { format!("{}\n", self.manifest) } else { String::new() });
        };
        // Its lines are relative to its own folder.
        let folder = self.manifest.rsplit_once('/').map_or("", |(folder, _)| folder);
        let lines = text.lines().map(str::trim);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('/'));
        Some(
            lines
                .map(|line| format!("{folder}/{line}\n").trim_start_matches('/').to_owned())
                .collect(),
        )
    }
}

/// A path without the `/` around it, and without `.` segments: the root is empty.
fn plain(path: &str) -> String {
    let segments = path.trim().split('/').filter(|segment| !matches!(*segment, "" | "."));
    segments.collect::<Vec<_>>().join("/")
}

fn is_below(path: &str, folder: &str) -> bool {
    folder.is_empty() || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(all: &[(&str, &str)]) -> Files {
        all.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn a_file_is_wanted_by_its_ending_its_folder_and_unless_a_pattern_fits() {
        let filter = Filter::default();
        let app = filter.clone().directories(&["/app/", "./lib"]).ignore(&["app/gen/**"]);
        let cedar = filter.clone().extensions(&["cedar", ".rego"]);
        for (filter, path, expected) in [
            (&filter, "a.rego", true),
            (&filter, ".hidden/a.rego", true),
            (&filter, "data.json", true),
            (&filter, ".rego", false),
            (&filter, "README.md", false),
            (&filter, "a.cedar", false),
            (&cedar, "x/a.cedar", true),
            (&cedar, "data.json", false),
            (&app, "app/a.rego", true),
            (&app, "lib/x/a.rego", true),
            (&app, "apple/a.rego", false),
            (&app, "a.rego", false),
            (&app, "app/gen/a.rego", false),
            // Manifests order whatever else is set.
            (&app, ".manifest", true),
            (&app, "app/gen/.manifest", true),
        ] {
            assert_eq!(filter.wants(path), expected, "{path} {filter:?}");
        }
        assert!(app.ignores("app/gen/a.md") && !app.ignores("a.md"));
        assert!(filter.directories(&["."]).wants("a.rego"));
    }

    #[test]
    fn the_manifest_that_is_set_becomes_the_roots() {
        let all = files(&[
            (".manifest", "a.rego\n"),
            ("a.rego", ""),
            ("ord/.manifest", "o.rego\n"),
            ("ord/list.txt", " o.rego\r\n\n/a.rego\n../a.rego\n"),
            ("ord/o.rego", ""),
            ("list", "a.rego"),
        ]);
        for (manifest, expected) in [
            ("", Some("a.rego\n")),
            (".", Some("a.rego\n")),
            (".manifest", Some("a.rego\n")),
            ("/ord/", Some("ord\n")),
            ("ord/.manifest", Some("ord/o.rego\n")),
            ("ord/list.txt", Some("ord/o.rego\nord/../a.rego\n")),
            ("list", Some("a.rego\n")),
            ("nowhere", None),
        ] {
            let filter = Filter::default().manifest(manifest);
            let read: Files =
                all.clone().into_iter().filter(|(path, _)| filter.wants(path)).collect();
            let settled = filter.settle(read);
            assert_eq!(settled.get(MANIFEST).map(String::as_str), expected, "{manifest}");
            assert!(!settled.contains_key("ord/list.txt") && settled.contains_key("ord/o.rego"));
        }
    }

    #[test]
    fn a_list_is_read_as_it_is_written_in_a_setting() {
        assert_eq!(list(" .rego , .json,,"), [".rego", ".json"]);
        assert!(list("").is_empty());
    }
}
