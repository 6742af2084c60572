//! The bundle of policies that a client asks for (`spec/opal-protocol.md` §2.1).
//!
//! | question | file |
//! |---|---|
//! | what is in a bundle? | this one |
//! | in which order? | `order.rs` |
//! | what has changed since the client's revision? | `difference.rs` |

mod difference;
mod order;

use protocol::Problem;
use protocol::internal::Policy;
use protocol::opal::policy::{
    DataModule, DeletedFiles, PolicyBundle, PolicyModule, folder_of, is_bundled, is_data, is_in,
    is_under,
};

use difference::Difference;

/// The bundle of what is under `folders`, `.` for all.
///
/// It is what has changed since the revision that the client has, if that is known and such a
/// change can be told; else it is everything.
///
/// # Errors
/// 404 for a folder that is not there.
pub fn bundle(policy: &Policy, folders: &[String]) -> Result<PolicyBundle, Problem> {
    let Policy { revision, files, base } = policy;
    let folders: Vec<String> = folders.iter().map(|folder| plain(folder)).collect();
    for folder in &folders {
        let here = |path: &String| is_under(path, folder) || path == folder;
        if !files.keys().any(here) {
            return Err(Problem::not_found(format!(
                "requested path {folder} was not found in the policy repo!"
            )));
        }
    }
    let wanted = |path: &str| is_bundled(path) && is_in(path, &folders);
    let change = base.as_ref().map(|base| (base, Difference::between(base, revision, &wanted)));
    let change = change.filter(|(_, change)| change.can_be_told());
    let paths = match &change {
        Some((_, change)) => change.here.clone(),
        None => {
            let all = files.keys().map(String::as_str).filter(|path| wanted(path));
            let mut all: Vec<&str> = all.collect();
            all.sort_by(|left, right| order::walk(left, right));
            all
        }
    };
    let mut bundle = PolicyBundle {
        manifest: in_load_order(policy, &paths),
        hash: revision.hash.clone(),
        old_hash: change.as_ref().map(|(base, _)| base.hash.clone()),
        data_modules: vec![],
        policy_modules: vec![],
        deleted_files: change.as_ref().and_then(|(_, change)| deleted(&change.gone)),
    };
    for path in paths {
        let Some(text) = files.get(path) else { continue };
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

/// A folder's path as it would be written in the list of files; `.` for the root.
pub(crate) fn plain(folder: &str) -> String {
    let segments = folder.split('/').filter(|segment| !matches!(*segment, "" | "."));
    let path = segments.collect::<Vec<_>>().join("/");
    if path.is_empty() { ".".to_owned() } else { path }
}

/// What manifests name first, in their order.
fn in_load_order(policy: &Policy, paths: &[&str]) -> Vec<String> {
    let named = order::named(&policy.files);
    let mut paths: Vec<&str> = paths.to_vec();
    paths.sort_by_key(|path| named.get(path).copied().unwrap_or(usize::MAX));
    paths.into_iter().map(str::to_owned).collect()
}

/// Data in the order in which it is deleted, modules against theirs.
fn deleted(gone: &[&str]) -> Option<DeletedFiles> {
    let (data, policies): (Vec<&str>, Vec<&str>) = gone.iter().partition(|path| is_data(path));
    (!gone.is_empty()).then(|| DeletedFiles {
        data_modules: data.into_iter().map(|path| folder_of(path).to_owned()).collect(),
        policy_modules: policies.into_iter().rev().map(str::to_owned).collect(),
    })
}

/// The package that a module says it is of, as opal-server reads it: the first line that is
/// `package` and a name of these characters, and nothing else.
fn package_of(rego: &str) -> &str {
    let is_part = |character: char| {
        character.is_ascii_alphanumeric() || matches!(character, '.' | '"' | '[' | ']')
    };
    let name = rego.lines().find_map(|line| {
        let behind = line.strip_prefix("package")?;
        let name = behind.trim_start();
        let is_name = !name.is_empty() && name.len() < behind.len() && name.chars().all(is_part);
        is_name.then_some(name)
    });
    name.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use protocol::opal::policy::{Files, Revision};

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
        assert_eq!(packages.collect::<Vec<_>>(), ["", "", "app.sub.x"]);
    }

    #[test]
    fn a_package_is_named_as_an_opal_server_names_it() {
        for (rego, package) in [
            ("package a\n", "a"),
            ("# c\n\npackage p4\n", "p4"),
            ("package p5[\"a\"]\n", "p5[\"a\"]"),
            ("package   p7\n", "p7"),
            ("package p8\r\nx := 1\r\n", "p8"),
            ("package a-b\npackage p9\n", "p9"),
            ("x := `\npackage no\n`\n", "no"),
            ("package pb", "pb"),
            ("package p_1\n", ""),
            ("  package p2\n", ""),
            ("package p3 # x\n", ""),
            ("package p6   \n", ""),
            ("packages\n", ""),
        ] {
            assert_eq!(package_of(rego), package, "{rego:?}");
        }
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

    /// As an opal-server answered for these two commits.
    #[test]
    fn a_change_is_in_the_order_of_an_opal_server() {
        let before = [
            ("a.rego", "package a\n"),
            ("b/data.json", "{}"),
            ("b/y/data.json", r#"{"moved":1}"#),
            ("b/y/z.rego", "package z\n"),
            ("c/d/e.rego", "package e\n"),
            ("c/data.json", "[1]"),
        ];
        let now = [
            ("a.rego", "package a\nx:=1\n"),
            ("a1/e1.rego", "package e1\n"),
            ("b/data.json", r#"{"z":1}"#),
            ("b/w/data.json", r#"{"moved":1}"#),
            ("c/z2.rego", "package z\n"),
            ("n/data.json", "{ }"),
            ("zz/ren.rego", "package bigg\n"),
        ];
        let change = bundle(&policy(&now, Some(&before)), &[]).unwrap();
        assert_eq!(
            paths(&change),
            [
                "a1/e1.rego",
                "n/data.json",
                "zz/ren.rego",
                "b/w/data.json",
                "c/z2.rego",
                "a.rego",
                "b/data.json"
            ]
        );
        let data = change.data_modules.iter().map(|it| it.path.as_str());
        assert_eq!(data.collect::<Vec<_>>(), ["n", "b/w", "b"]);
        let modules = change.policy_modules.iter().map(|it| it.path.as_str());
        assert_eq!(
            modules.collect::<Vec<_>>(),
            ["a1/e1.rego", "zz/ren.rego", "c/z2.rego", "a.rego"]
        );
        let gone = change.deleted_files.unwrap();
        assert_eq!(gone.data_modules, ["c", "b/y"]);
        assert_eq!(gone.policy_modules, ["b/y/z.rego", "c/d/e.rego"]);
    }

    #[test]
    fn a_manifest_orders_what_is_loaded_and_not_what_is_listed() {
        let mut all = FILES.to_vec();
        all.push((".manifest", "rbac.rego\napp/sub/x.rego\n"));
        let complete = bundle(&policy(&all, None), &[]).unwrap();
        assert_eq!(paths(&complete)[..2], ["rbac.rego", "app/sub/x.rego"]);
        let modules = complete.policy_modules.iter().map(|it| it.path.as_str());
        assert_eq!(modules.collect::<Vec<_>>(), ["rbac.rego", "app/nopkg.rego", "app/sub/x.rego"]);
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
