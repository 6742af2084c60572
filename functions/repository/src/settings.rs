//! Which settings say what is followed. The names are OPAL's (`spec/opal-protocol.md` §7.1), and a
//! few of ours.
//!
//! | setting | default | meaning |
//! |---|---|---|
//! | `POLICY_SOURCE_TYPE` | `GIT` | `GIT` or `API`, a bundle server |
//! | `POLICY_REPO_URL` | – | the repository; a user in it counts as credentials |
//! | `POLICY_REPO_MAIN_BRANCH` | `master` | the branch |
//! | `POLICY_REPO_TOKEN` | – | a token that may read it |
//! | `POLICY_REPO_USERNAME` | `x-access-token` | the user's name that goes with the token |
//! | `POLICY_REPO_POLLING_INTERVAL` | 0 | seconds between looks; 0 = only when told |
//! | `POLICY_REFRESH_INTERVAL` | the same | for scopes with `poll_updates` |
//! | `POLICY_BUNDLE_URL` | – | the folder of `bundle.tar.gz` |
//! | `POLICY_BUNDLE_SERVER_TYPE` | `HTTP` | `HTTP` or `AWS-S3` |
//! | `POLICY_BUNDLE_SERVER_TOKEN` | – | the server's token, or the access key's secret |
//! | `POLICY_BUNDLE_SERVER_TOKEN_ID` | – | the access key's id |
//! | `POLICY_BUNDLE_SERVER_AWS_REGION` | `us-east-1` | the bucket's region |
//! | `FILTER_FILE_EXTENSIONS` | `.rego,.json` | which files count |
//! | `BUNDLE_IGNORE` | – | which do not, as globs |
//! | `POLICY_REPO_MANIFEST_PATH` | – | where the manifest is |
//! | `POLICY_GATE` | `true` | a policy must compile, also where it is pushed |
//! | `POLICY_RUN_TESTS` | `false` | a policy's tests must pass, also where it is pushed |
//! | `REGO_V0` | `false` | modules that do not say so are of Rego before OPA 1.0 |

use git::{Auth, Remote};
use protocol::Problem;
use protocol::opal::filter::list;
use protocol::repository::{Access, Place, Secret, Source, TOKEN_USER, Wanted};
use rego::gate::{Language, Options};

use crate::bundle;

/// Reads a setting by its name without prefix; none if it is not set.
pub type Read<'r> = &'r dyn Fn(&str) -> Option<String>;

/// What the default scope follows; none if nothing is.
///
/// # Errors
/// 503 that names the setting.
pub fn source(read: Read<'_>) -> Result<Option<Source>, Problem> {
    let kind = read("POLICY_SOURCE_TYPE").unwrap_or_else(|| "GIT".to_owned());
    let (name, place) = match kind.trim().to_ascii_uppercase().as_str() {
        "GIT" => ("POLICY_REPO_URL", repository(read)),
        "API" => ("POLICY_BUNDLE_URL", bundle_server(read)),
        _ => return Err(wrong("POLICY_SOURCE_TYPE", "give `GIT` or `API`")),
    };
    let Some((place, access)) = place.map_err(|problem| wrong(name, &problem.detail))? else {
        return Ok(None);
    };
    let poll_ms = interval(read, "POLICY_REPO_POLLING_INTERVAL")?;
    Ok(Some(Source { place, access, wanted: wanted(read), poll_ms }))
}

fn repository(read: Read<'_>) -> Result<Option<(Place, Access)>, Problem> {
    let Some(url) = read("POLICY_REPO_URL") else { return Ok(None) };
    let branch = read("POLICY_REPO_MAIN_BRANCH").unwrap_or_else(|| "master".to_owned());
    let access = match read("POLICY_REPO_TOKEN") {
        Some(token) => {
            let username = read("POLICY_REPO_USERNAME").unwrap_or_else(|| TOKEN_USER.to_owned());
            Access::Basic { username, password: Secret::new(token.trim().to_owned()) }
        }
        None => Access::Open,
    };
    git(&url, branch.trim(), access).map(Some)
}

fn bundle_server(read: Read<'_>) -> Result<Option<(Place, Access)>, Problem> {
    let Some(url) = read("POLICY_BUNDLE_URL") else { return Ok(None) };
    bundle::address(&url)?;
    let url = url.trim().trim_end_matches('/').to_owned();
    let token = read("POLICY_BUNDLE_SERVER_TOKEN").map(Secret::new);
    let kind = read("POLICY_BUNDLE_SERVER_TYPE").unwrap_or_else(|| "HTTP".to_owned());
    Ok(Some(match kind.trim().to_ascii_uppercase().as_str() {
        "HTTP" => (Place::Bundle { url }, token.map_or(Access::Open, Access::Bearer)),
        "AWS-S3" => {
            let region = read("POLICY_BUNDLE_SERVER_AWS_REGION");
            let region = region.unwrap_or_else(|| "us-east-1".to_owned());
            let (Some(id), Some(secret)) = (read("POLICY_BUNDLE_SERVER_TOKEN_ID"), token) else {
                return Err(Problem::unavailable(
                    "storage of type AWS-S3 wants POLICY_BUNDLE_SERVER_TOKEN_ID and \
                     POLICY_BUNDLE_SERVER_TOKEN",
                ));
            };
            (Place::S3 { url, region }, Access::Key { id, secret })
        }
        _ => {
            return Err(Problem::unavailable("POLICY_BUNDLE_SERVER_TYPE: give `HTTP` or `AWS-S3`"));
        }
    }))
}

/// A branch of a repository, by the address that `git clone` takes. A user in the address counts
/// where `access` is open.
///
/// # Errors
/// 422: it is not of `http` or `https`, which is all that a function speaks.
pub fn git(url: &str, branch: &str, access: Access) -> Result<(Place, Access), Problem> {
    let remote = Remote::new(url.trim(), Auth::None);
    let remote = remote.map_err(|error| Problem::invalid(error.to_string()))?;
    let access = match (access, remote.auth()) {
        (Access::Open, Auth::Basic { username, password }) => {
            Access::Basic { username: username.clone(), password: password.clone() }
        }
        (access, _) => access,
    };
    Ok((Place::Git { url: remote.url().to_owned(), branch: branch.to_owned() }, access))
}

/// Milliseconds between looks at a scope's repository; none if nobody looks unasked.
///
/// # Errors
/// 503 that names the setting.
pub fn scope_interval(read: Read<'_>) -> Result<Option<u64>, Problem> {
    let name = "POLICY_REFRESH_INTERVAL";
    let is_set = read(name).is_some();
    interval(read, if is_set { name } else { "POLICY_REPO_POLLING_INTERVAL" })
}

/// How strict the gate is; none if there is none: not all that an OPA compiles does compile here.
///
/// # Errors
/// 503 that names the setting.
pub fn gate(read: Read<'_>) -> Result<Option<Options>, Problem> {
    if read("POLICY_GATE").is_some() && !flag(read, "POLICY_GATE")? {
        return Ok(None);
    }
    let language = if flag(read, "REGO_V0")? { Language::V0 } else { Language::V1 };
    Ok(Some(Options { run_tests: flag(read, "POLICY_RUN_TESTS")?, language }))
}

fn wanted(read: Read<'_>) -> Wanted {
    let listed = |name: &str| list(&read(name).unwrap_or_default());
    Wanted {
        extensions: listed("FILTER_FILE_EXTENSIONS"),
        ignore: listed("BUNDLE_IGNORE"),
        directories: vec![],
        manifest: read("POLICY_REPO_MANIFEST_PATH").unwrap_or_default(),
    }
}

/// True or false, as OPAL reads it; false if it is not set.
///
/// # Errors
/// 503 that names the setting.
pub fn flag(read: Read<'_>, name: &str) -> Result<bool, Problem> {
    let Some(text) = read(name) else { return Ok(false) };
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(wrong(name, "give `true` or `false`")),
    }
}

fn interval(read: Read<'_>, name: &str) -> Result<Option<u64>, Problem> {
    let Some(text) = read(name) else { return Ok(None) };
    // A number that a day is more than, in milliseconds, is still exact in JavaScript.
    let seconds = text.trim().parse::<u64>().ok().filter(|seconds| *seconds <= 31_536_000);
    let seconds = seconds.ok_or_else(|| wrong(name, "give a number of seconds, 0 for never"))?;
    Ok((seconds > 0).then(|| seconds.saturating_mul(1_000)))
}

fn wrong(name: &str, why: &str) -> Problem {
    Problem::unavailable(format!("the setting {name}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(settings: &[(&str, &str)]) -> Result<Option<Source>, Problem> {
        source(&|name| {
            let found = settings.iter().find(|(is, _)| *is == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn a_repository_has_opals_defaults_and_its_user_is_not_in_its_address() {
        assert_eq!(with(&[]), Ok(None));
        let source = with(&[("POLICY_REPO_URL", "https://u:pw@git.example/x.git")]).unwrap();
        let source = source.unwrap();
        let url = "https://git.example/x.git".to_owned();
        assert_eq!(source.place, Place::Git { url, branch: "master".to_owned() });
        assert_eq!(source.poll_ms, None);
        let password = Secret::new("pw".to_owned());
        assert_eq!(source.access, Access::Basic { username: "u".to_owned(), password });
        assert!(!format!("{source:?}").contains("pw"));
    }

    #[test]
    fn a_token_goes_with_a_name_that_hosts_take() {
        let all = [
            ("POLICY_REPO_URL", "https://h/x"),
            ("POLICY_REPO_TOKEN", " t "),
            ("POLICY_REPO_MAIN_BRANCH", "main"),
            ("POLICY_REPO_POLLING_INTERVAL", "30"),
        ];
        let source = with(&all).unwrap().unwrap();
        let (username, password) = (TOKEN_USER.to_owned(), Secret::new("t".to_owned()));
        assert_eq!(source.access, Access::Basic { username, password });
        assert_eq!((source.place.branch(), source.poll_ms), (Some("main"), Some(30_000)));
    }

    #[test]
    fn a_bundle_server_has_a_token_and_a_bucket_a_key() {
        let api = ("POLICY_SOURCE_TYPE", "api");
        let url = ("POLICY_BUNDLE_URL", "https://h/b/");
        let token = ("POLICY_BUNDLE_SERVER_TOKEN", "t");
        assert_eq!(with(&[api]), Ok(None));
        let http = with(&[api, url, token]).unwrap().unwrap();
        assert_eq!(http.place, Place::Bundle { url: "https://h/b".to_owned() });
        assert_eq!(http.access, Access::Bearer(Secret::new("t".to_owned())));
        let s3 = ("POLICY_BUNDLE_SERVER_TYPE", "AWS-S3");
        let id = ("POLICY_BUNDLE_SERVER_TOKEN_ID", "I");
        let s3_source = with(&[api, url, token, s3, id]).unwrap().unwrap();
        let (url_text, region) = ("https://h/b".to_owned(), "us-east-1".to_owned());
        assert_eq!(s3_source.place, Place::S3 { url: url_text, region });
        let problem = with(&[api, url, token, s3]).unwrap_err();
        assert!(problem.detail.contains("TOKEN_ID"), "{problem}");
    }

    #[test]
    fn a_mistake_names_its_setting_and_what_reaches_other_repositories() {
        for (settings, words) in [
            (&[("POLICY_REPO_URL", "git@h:x.git")][..], ["POLICY_REPO_URL", "policy track"]),
            (&[("POLICY_REPO_URL", "ssh://h/x")], ["POLICY_REPO_URL", "policy track"]),
            (&[("POLICY_SOURCE_TYPE", "SVN")], ["POLICY_SOURCE_TYPE", "API"]),
            (
                &[("POLICY_REPO_URL", "https://h/x"), ("POLICY_REPO_POLLING_INTERVAL", "soon")],
                ["POLICY_REPO_POLLING_INTERVAL", "seconds"],
            ),
            (
                &[("POLICY_SOURCE_TYPE", "API"), ("POLICY_BUNDLE_URL", "s3://bucket")],
                ["POLICY_BUNDLE_URL", "https://"],
            ),
        ] {
            let problem = with(settings).unwrap_err();
            assert_eq!(problem.status, 503);
            assert!(words.iter().all(|word| problem.detail.contains(word)), "{problem}");
        }
    }

    #[test]
    fn the_gate_is_there_unless_it_is_switched_off_and_runs_tests_if_that_is_set() {
        let gate_with = |set: &str, value: &str| {
            let gate = gate(&|name| (name == set).then(|| value.to_owned()));
            gate.map(|gate| gate.map(|it| it.run_tests)).map_err(|problem| problem.status)
        };
        assert_eq!(gate_with("", ""), Ok(Some(false)));
        assert_eq!(gate_with("POLICY_RUN_TESTS", "True"), Ok(Some(true)));
        assert_eq!(gate_with("POLICY_RUN_TESTS", "perhaps"), Err(503));
        assert_eq!(gate_with("POLICY_GATE", "true"), Ok(Some(false)));
        assert_eq!(gate_with("POLICY_GATE", "false"), Ok(None));
        assert_eq!(gate_with("POLICY_GATE", "off"), Err(503));
    }
}
