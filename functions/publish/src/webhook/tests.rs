use serde_json::json;

use super::*;

const SECRET: &str = "It's a Secret to Everybody";
/// GitHub's own example of a signature.
const SIGNATURE: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

fn webhooks(params: &str) -> Webhooks {
    Webhooks::new(Some(SECRET.to_owned()), Some(params), false).unwrap()
}

fn place(url: &str, branch: &str) -> Place {
    Place::Git { url: url.to_owned(), branch: branch.to_owned() }
}

/// Reads with these headers, whatever case they are asked for in.
fn read(webhooks: &Webhooks, headers: &[(&str, &str)], body: &Value) -> Result<Said, Problem> {
    let header = |name: &str| {
        let found = headers.iter().find(|(is, _)| is.eq_ignore_ascii_case(name));
        found.map(|(_, value)| (*value).to_owned())
    };
    webhooks.read(&header, body.to_string().as_bytes())
}

fn open() -> Webhooks {
    Webhooks::new(None, None, false).unwrap()
}

#[test]
fn a_signature_is_that_of_the_body_and_the_secret() {
    let github = webhooks("github");
    let verify = |sent: &str, body: &[u8]| github.verify(Some(sent.to_owned()), body);
    assert_eq!(verify(SIGNATURE, b"Hello, World!"), Ok(()));
    for (sent, body, words) in [
        (SIGNATURE, &b"Hello, World"[..], "signatures didn't match!"),
        ("sha256=00", b"Hello, World!", "signatures didn't match!"),
        ("sha256=", b"Hello, World!", "No secret was provided!"),
        ("sha1=757107ea", b"Hello, World!", "No secret was provided!"),
        ("", b"Hello, World!", "No secret was provided!"),
    ] {
        assert_eq!(verify(sent, body), Err(Problem::unauthorized(words)), "{sent}");
    }
    let other = Webhooks::new(Some("other".to_owned()), None, false).unwrap();
    assert!(other.verify(Some(SIGNATURE.to_owned()), b"Hello, World!").is_err());
}

#[test]
fn a_token_is_compared_and_without_a_secret_nothing_is() {
    let body = json!({"repository": {"full_name": "o/r"}});
    for (params, header) in
        [("gitlab", "X-Gitlab-Token"), ("azure", "x-api-key"), ("bitbucket", "x-hook-uuid")]
    {
        assert!(read(&webhooks(params), &[(header, SECRET)], &body).is_ok(), "{params}");
        let wrong = read(&webhooks(params), &[(header, "x")], &body).unwrap_err();
        assert_eq!(wrong, Problem::unauthorized("secret-tokens didn't match!"));
        let none = read(&webhooks(params), &[], &body).unwrap_err();
        assert_eq!(none, Problem::unauthorized("No secret was provided!"));
    }
    assert!(read(&open(), &[], &body).is_ok());
}

#[test]
fn every_host_says_its_event_where_its_preset_looks() {
    let body = json!({"repository": {"full_name": "o/r"}, "eventType": "git.push"});
    for (params, secret, header, event) in [
        ("gitlab", "X-Gitlab-Token", ("X-Gitlab-Event", "Push Hook"), "Push Hook"),
        ("azure", "x-api-key", ("x", ""), "git.push"),
        ("bitbucket", "x-hook-uuid", ("X-Event-Key", "repo:push"), "repo:push"),
    ] {
        let webhooks = webhooks(params);
        let said = read(&webhooks, &[(secret, SECRET), header], &body).unwrap();
        assert_eq!(said.event, event);
        assert!(webhooks.is_push(&said));
    }
    let said = read(&open(), &[], &body).unwrap();
    assert_eq!((said.event.as_str(), open().is_push(&said)), ("ping", false));
}

#[test]
fn a_webhook_is_about_the_repository_whose_address_or_name_it_has() {
    let tracked = place("https://git.example:8443/o/r.git", "main");
    let judge = |body: &Value| {
        let said = read(&open(), &[("X-GitHub-Event", "push")], body).unwrap();
        open().judge(&said, &[&tracked])
    };
    let yes = Verdict::Of(vec![0]);
    for (body, expected) in [
        (json!({"repository": {"clone_url": "https://git.example:8443/o/r.git"}}), &yes),
        (json!({"repository": {"url": "https://u:p@Git.Example:8443/o/r/?x=1"}}), &yes),
        (json!({"project": {"git_http_url": "https://git.example:8443/o/r.git"}}), &yes),
        (json!({"resource": {"repository": {"remoteUrl": "https://git.example:8443/o/r"}}}), &yes),
        (json!({"repository": {"full_name": "o/r"}}), &yes),
        (json!({"project": {"path_with_namespace": "o/r"}}), &yes),
        (json!({"repository": {"full_name": "x/r"}}), &Verdict::Ignored),
        // The port counts; a name does not where there are addresses.
        (
            json!({"repository": {"clone_url": "https://git.example/o/r", "full_name": "o/r"}}),
            &Verdict::Ignored,
        ),
    ] {
        assert_eq!(judge(&body), *expected, "{body}");
    }
    let nothing = read(&open(), &[], &json!({"ref": "refs/heads/main"})).unwrap_err();
    assert_eq!(nothing, Problem::new(400, "repo url or full name not found in payload!"));
    assert_eq!(read(&open(), &[], &json!([1])).unwrap_err().status, 400);
}

#[test]
fn another_branch_is_told_apart_only_where_that_is_asked_for() {
    let strict = Webhooks::new(None, None, true).unwrap();
    let (main, other) = (place("https://h/o/r", "main"), place("https://h/o/r", "other"));
    let about = json!({"full_name": "o/r"});
    for (push, expected) in [
        (json!({"repository": about, "ref": "refs/heads/main"}), Verdict::Of(vec![0])),
        (json!({"repository": about, "ref": "refs/heads/nobody's"}), Verdict::OtherBranch),
        (json!({"repository": about}), Verdict::Of(vec![0, 1])),
        (
            json!({"repository": about, "push": {"changes": [{"new": {"name": "other"}}]}}),
            Verdict::Of(vec![1]),
        ),
        (
            json!({"repository": about, "resource": {"refUpdates": [{"name": "refs/heads/main"}]}}),
            Verdict::Of(vec![0]),
        ),
    ] {
        let said = read(&strict, &[], &push).unwrap();
        assert_eq!(strict.judge(&said, &[&main, &other]), expected, "{push}");
        assert_ne!(open().judge(&said, &[&main, &other]), Verdict::OtherBranch);
    }
    let said = read(&strict, &[], &json!({"repository": {"full_name": "x/y"}})).unwrap();
    assert_eq!(strict.judge(&said, &[]), Verdict::Ignored);
}

#[test]
fn parameters_of_ones_own_are_opals_object() {
    let own = r#"{"secret_header_name":"x-s","secret_type":"token",
        "secret_parsing_regex":"^Key (\\w+)$","event_request_key":"what",
        "push_event_value":"pushed","match_sender_url":false}"#;
    let own = Webhooks::new(Some("abc".to_owned()), Some(own), false).unwrap();
    let said = read(&own, &[("X-S", "Key abc")], &json!({"what": "pushed"})).unwrap();
    assert!(own.is_push(&said));
    assert_eq!(own.judge(&said, &[&place("https://h/x", "m")]), Verdict::Of(vec![0]));
    assert!(read(&own, &[("X-S", "Key abd")], &json!({})).is_err());
    for wrong in [
        "svn",
        "{}",
        r#"{"secret_header_name":"x","secret_type":"token","secret_parsing_regex":"(","push_event_value":"p"}"#,
    ] {
        let problem = Webhooks::new(None, Some(wrong), false).unwrap_err();
        assert_eq!(problem.status, 503);
        assert!(problem.detail.contains("POLICY_REPO_WEBHOOK_PARAMS"), "{problem}");
    }
}
