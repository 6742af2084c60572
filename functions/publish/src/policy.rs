//! The bundle of policies that a client asks for (`spec/opal-protocol.md` §2.1).

use std::collections::BTreeSet;

use protocol::Problem;
use protocol::internal::Policy;
use protocol::opal::policy::{
    DataModule, DeletedFiles, PolicyBundle, PolicyModule, Revision, folder_of, is_bundled, is_data,
    is_in, is_under,
};

/// A file that says in which order to load the others.
const MANIFEST: &str = ".manifest";

/// The bundle of what is under `folders`, `.` for all.
///
/// It is what has changed since the revision that the client has, if that is known; and
/// everything if it is not, or if only modules are gone since: clients with patterns of paths to
/// ignore fail on such a change (§5.5), and on their own delete what is not in a complete
/// bundle. Data that is gone they delete only when they are told.
///
/// # Errors
/// 404 for a folder that is not there.
pub fn bundle(policy: &Policy, folders: &[String]) -> Result<PolicyBundle, Problem> {
    let Policy { revision, files, base } = policy;
    let folders: Vec<&str> = folders.iter().map(|folder| plain(folder)).collect();
    for folder in &folders {
        let here = |path: &String| is_under(path, folder) || path == folder;
        if !files.keys().any(here) {
            return Err(Problem::not_found(format!(
                "requested path {folder} was not found in the policy repo!"
            )));
        }
    }
    let wanted = |path: &str| is_bundled(path) && is_in(path, &folders);
    let base = base.as_ref().filter(|base| is_better_told_as_change(base, revision, &wanted));
    let has_changed =
        |path: &str| base.is_none_or(|base| base.digests.get(path) != revision.digests.get(path));
    let mut bundle = PolicyBundle {
        manifest: vec![],
        hash: revision.hash.clone(),
        old_hash: base.map(|base| base.hash.clone()),
        data_modules: vec![],
        policy_modules: vec![],
        deleted_files: base.and_then(|base| deleted(base, revision, &wanted)),
    };
    for path in in_order(policy) {
        let Some(text) = files.get(path).filter(|_| wanted(path) && has_changed(path)) else {
            continue;
        };
        bundle.manifest.push(path.to_owned());
        if is_data(path) {
            let data = DataModule { path: folder_of(path).to_owned(), data: text.clone() };
            bundle.data_modules.push(data);
        } else {
            bundle.policy_modules.push(PolicyModule {
                path: path.to_owned(),
                package_name: package_of(text).to_owned(),
                rego: text.clone(),
            });
        }
    }
    Ok(bundle)
}

/// A folder as paths begin with it, `.` for the root.
pub(crate) fn plain(folder: &str) -> &str {
    let folder = folder.trim_matches('/');
    if folder.is_empty() { "." } else { folder }
}

/// True for the revision itself, and unless only modules are gone.
fn is_better_told_as_change(
    base: &Revision,
    revision: &Revision,
    wanted: &dyn Fn(&str) -> bool,
) -> bool {
    deleted(base, revision, wanted)
        .is_none_or(|gone| !gone.data_modules.is_empty() || gone.policy_modules.is_empty())
}

fn deleted(
    base: &Revision,
    revision: &Revision,
    wanted: &dyn Fn(&str) -> bool,
) -> Option<DeletedFiles> {
    let is_gone = |path: &&String| wanted(path) && !revision.digests.contains_key(*path);
    let gone: Vec<&String> = base.digests.keys().filter(is_gone).collect();
    let (data, policies): (Vec<_>, Vec<_>) = gone.into_iter().partition(|path| is_data(path));
    (!data.is_empty() || !policies.is_empty()).then(|| DeletedFiles {
        data_modules: data.into_iter().map(|path| folder_of(path).to_owned()).collect(),
        policy_modules: policies.into_iter().rev().cloned().collect(),
    })
}

/// Every path: those that a manifest names first, in its order, then the files of a folder
/// before those of its folders.
fn in_order(policy: &Policy) -> Vec<&str> {
    let mut order = vec![];
    manifest(policy, ".", &mut BTreeSet::new(), &mut order);
    let named: BTreeSet<&str> = order.iter().copied().collect();
    let mut others: Vec<&str> = policy.files.keys().map(String::as_str).collect();
    others.retain(|path| !named.contains(path));
    // Segment by segment, a file before a folder: `0` and `1` before the name.
    others.sort_by_cached_key(|path| {
        let last = path.split('/').count().saturating_sub(1);
        let segments = path.split('/').enumerate();
        segments.map(|(at, segment)| (at != last, segment)).collect::<Vec<_>>()
    });
    order.extend(others);
    order
}

/// Follows the manifest of a folder; a line that names a folder is that folder's manifest.
fn manifest<'p>(
    policy: &'p Policy,
    folder: &str,
    followed: &mut BTreeSet<String>,
    order: &mut Vec<&'p str>,
) {
    let at = |name: &str| if folder == "." { name.to_owned() } else { format!("{folder}/{name}") };
    let Some(text) = policy.files.get(&at(MANIFEST)) else { return };
    if !followed.insert(folder.to_owned()) {
        return;
    }
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let path = at(line.trim_end_matches('/'));
        match policy.files.get_key_value(&path) {
            Some((path, _)) if !order.contains(&path.as_str()) => order.push(path),
            Some(_) => {}
            None => manifest(policy, &path, followed, order),
        }
    }
}

/// The package that a module says it is of.
pub(crate) fn package_of(rego: &str) -> &str {
    let named = rego.lines().find_map(|line| line.strip_prefix("package "));
    let name = named.map(|rest| rest.split_whitespace().next().unwrap_or_default());
    name.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use protocol::opal::policy::Files;

    use super::*;

    fn files(all: &[(&str, &str)]) -> Files {
        all.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
    }

    fn policy(all: &[(&str, &str)], base: Option<&[(&str, &str)]>) -> Policy {
        let files_of = files(all);
        let base = base.map(|base| Revision::of(&files(base)));
        Policy { revision: Revision::of(&files_of), files: files_of, base }
    }

    const FILES: [(&str, &str); 6] = [
        ("app/sub/x.rego", "package app.sub.x\n"),
        ("app/nopkg.rego", "# none"),
        ("data.json", "{}"),
        ("data1/data.json", r#"{"x":1}"#),
        ("data1/other.json", "1"),
        ("rbac.rego", "package app.rbac # it\n"),
    ];

    fn paths(bundle: &PolicyBundle) -> Vec<&str> {
        bundle.manifest.iter().map(String::as_str).collect()
    }

    #[test]
    fn a_complete_bundle_has_every_module_and_data_file() {
        let bundle = bundle(&policy(&FILES, None), &[]).unwrap();
        assert_eq!(
            paths(&bundle),
            ["data.json", "rbac.rego", "app/nopkg.rego", "app/sub/x.rego", "data1/data.json"]
        );
        assert_eq!(bundle.old_hash, None);
        assert_eq!(bundle.deleted_files, None);
        assert_eq!(bundle.data_modules[1].path, "data1");
        let packages = bundle.policy_modules.iter().map(|it| it.package_name.as_str());
        assert_eq!(packages.collect::<Vec<_>>(), ["app.rbac", "", "app.sub.x"]);
    }

    #[test]
    fn folders_limit_a_bundle_and_must_be_there() {
        let folders = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let policy = policy(&FILES, None);
        assert_eq!(
            paths(&bundle(&policy, &folders(&["/app/"])).unwrap()),
            ["app/nopkg.rego", "app/sub/x.rego"]
        );
        assert!(paths(&bundle(&policy, &folders(&["rbac.rego"])).unwrap()).is_empty());
        let problem = bundle(&policy, &folders(&["app", "nope"])).unwrap_err();
        assert_eq!(problem.status, 404);
        assert_eq!(problem.detail, "requested path nope was not found in the policy repo!");
        assert_eq!(bundle(&policy, &folders(&["ap"])).unwrap_err().status, 404);
    }

    #[test]
    fn a_manifest_orders_and_one_in_a_folder_too() {
        let mut all = FILES.to_vec();
        all.push((".manifest", "app/\nrbac.rego\n../x\nnone.rego\nrbac.rego\n"));
        all.push(("app/.manifest", "sub/x.rego\n"));
        assert_eq!(
            paths(&bundle(&policy(&all, None), &[]).unwrap()),
            ["app/sub/x.rego", "rbac.rego", "data.json", "app/nopkg.rego", "data1/data.json"]
        );
    }

    #[test]
    fn a_change_has_what_is_other_and_what_is_gone() {
        let mut now = FILES.to_vec();
        now.retain(|(path, _)| !matches!(*path, "data1/data.json" | "app/sub/x.rego"));
        now[1].1 = r#"{"new":1}"#;
        let change = bundle(&policy(&now, Some(&FILES)), &[]).unwrap();
        assert_eq!(paths(&change), ["data.json"]);
        let gone = change.deleted_files.unwrap();
        assert_eq!(
            (gone.data_modules, gone.policy_modules),
            (vec!["data1".to_owned()], vec!["app/sub/x.rego".to_owned()],)
        );
        assert_eq!(change.old_hash, Some(Revision::of(&files(&FILES)).hash));
    }

    #[test]
    fn where_only_modules_are_gone_the_bundle_is_complete() {
        let mut now = FILES.to_vec();
        now.retain(|(path, _)| *path != "app/sub/x.rego");
        let complete = bundle(&policy(&now, Some(&FILES)), &[]).unwrap();
        assert_eq!((complete.old_hash.as_ref(), complete.manifest.len()), (None, 4));
    }

    #[test]
    fn nothing_new_is_an_empty_change() {
        let nothing = bundle(&policy(&FILES, Some(&FILES)), &[]).unwrap();
        assert_eq!(nothing.old_hash.as_ref(), Some(&nothing.hash));
        assert!(nothing.manifest.is_empty() && nothing.deleted_files.is_none());
    }
}
