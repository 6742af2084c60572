//! What a server may not say.

use super::*;
use crate::object::MemoryObjects;
use crate::remote::Auth;

const ID: &str = "0123456789abcdef0123456789abcdef01234567";

fn look() -> Look {
    let remote = Remote::new("https://h/x", Auth::None).unwrap();
    Look::new(remote, "main", None, Limits::default()).unwrap()
}

fn lines(lines: &[&str]) -> Vec<u8> {
    let mut bytes = vec![];
    for line in lines {
        match *line {
            "flush" => bytes.extend(crate::packet::FLUSH),
            "delimiter" => bytes.extend(crate::packet::DELIMITER),
            line => crate::packet::push_line(&mut bytes, line),
        }
    }
    bytes
}

/// Hands in an answer of the right kind.
fn answer(look: &mut Look, body: &[u8]) -> Result<(), GitError> {
    let mut objects = MemoryObjects::default();
    let kind = match look.request() {
        Next::Send(sent) if sent.method == "GET" => discovery::CONTENT_TYPE,
        Next::Send(_) => SERVICE_TYPE,
        Next::Done(_) => panic!("it is over"),
    };
    look.head(200, Some(kind), None)?;
    look.chunk(body, &mut objects)?;
    look.end(&mut objects)
}

fn discovered() -> Look {
    let mut look = look();
    let said = ["version 2", "ls-refs", "fetch=shallow filter", "object-format=sha1", "flush"];
    answer(&mut look, &lines(&said)).unwrap();
    look
}

#[test]
fn the_requests_are_those_of_version_2() {
    let mut look = discovered();
    let Next::Send(sent) = look.request() else { panic!("it is over") };
    assert_eq!((sent.method, sent.url.as_str()), ("POST", "https://h/x/git-upload-pack"));
    assert!(sent.headers.contains(&("git-protocol", "version=2".to_owned())));
    let body = String::from_utf8(sent.body).unwrap();
    assert!(body.ends_with("0001001fref-prefix refs/heads/main\n0000"), "{body}");
    answer(&mut look, &lines(&[&format!("{ID} refs/heads/main"), "flush"])).unwrap();
    let Next::Send(sent) = look.request() else { panic!("it is over") };
    let body = String::from_utf8(sent.body).unwrap();
    for line in [&format!("want {ID}"), "deepen 1", "filter blob:limit=1500001", "done"] {
        assert!(body.contains(line), "{body}");
    }
    assert!(!body.contains("have") && !body.contains("thin-pack"), "{body}");
}

#[test]
fn lists_of_branches_that_are_none_are_refused() {
    let other = format!("{ID} refs/heads/main2");
    let main = format!("{ID} refs/heads/main");
    for (said, why) in [
        (&[other.as_str(), "flush"][..], "no branch `main`"),
        (&[&main], "cut short"),
        (&["hello", "flush"], "`hello` in its list"),
        (&["0123 refs/heads/main", "flush"], "in its list"),
        (&[ID, "flush"], "in its list"),
        (&[&main, "delimiter", "flush"], "Delimiter in its list"),
        (&[&main, "flush", &main], "more after the end"),
        (&["ERR not\u{7} now"], r"says: not\u{7} now"),
        (&["\u{1b}[2J refs", "flush"], r"`\u{1b}[2J refs`"),
    ] {
        let error = answer(&mut discovered(), &lines(said)).unwrap_err().to_string();
        assert!(error.contains(why), "{error}, not {why}");
    }
}

#[test]
fn answers_to_a_fetch_that_are_none_are_refused() {
    let main = lines(&[&format!("{ID} refs/heads/main"), "flush"]);
    for (said, why) in [
        (&[][..], "cut short"),
        (&["packfile"], "cut short"),
        (&["packfile", "flush"], "cut short"),
        (&["shallow-info", &format!("shallow {ID}"), "flush"], "Flush where Other"),
        (&["hello"], "a section `hello`"),
        (&["packfile", "\u{2}counting", "\u{3}out of memory"], "says: out of memory"),
        (&["packfile", "hello"], "band 104"),
        (&["packfile", "delimiter"], "Delimiter where Pack"),
        (&["packfile", "\u{1}no pack at all"], "does not begin"),
        (&["packfile", "flush", "more"], "more after its pack"),
        (&["ERR upload-pack: not our ref"], "not our ref"),
    ] {
        let mut look = discovered();
        answer(&mut look, &main).unwrap();
        let error = answer(&mut look, &lines(said)).unwrap_err().to_string();
        assert!(error.contains(why), "{error}, not {why}");
    }
}

#[test]
fn a_list_without_end_ends_at_the_limit() {
    let mut look = discovered();
    let limits = Limits { answer_bytes: 100, ..Limits::default() };
    look.limits = limits;
    let other = format!("{ID} refs/heads/main2");
    let error = answer(&mut look, &lines(&[&other, &other])).unwrap_err().to_string();
    assert!(error.contains("over 100 bytes"), "{error}");
}

#[test]
fn statuses_say_what_is_to_be_done() {
    for (status, location, temporary, why) in [
        (401, None, false, "give a token"),
        (403, None, false, "give a token"),
        (404, None, false, "no such repository"),
        (429, None, true, "429"),
        (500, None, true, "500"),
        (503, None, true, "503"),
        (204, None, false, "204"),
        (301, None, false, "301"),
        (301, Some("http://h/x/info/refs?service=git-upload-pack"), false, "from https to http"),
    ] {
        let mut look = look();
        look.request();
        let error = look.head(status, None, location).unwrap_err();
        assert_eq!(error.is_temporary(), temporary, "{error}");
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[test]
fn credentials_are_in_no_text() {
    let remote = Remote::new("https://user:s3cret@h/x", Auth::None).unwrap();
    let mut look = Look::new(remote, "main", None, Limits::default()).unwrap();
    let Next::Send(sent) = look.request() else { panic!("it is over") };
    let header = &sent.headers.iter().find(|(name, _)| *name == "authorization").unwrap().1;
    assert!(header.starts_with("Basic "));
    for text in [format!("{look:?}"), format!("{sent:?}")] {
        assert!(!text.contains("s3cret") && !text.contains(header.as_str()), "{text}");
    }
}

#[test]
fn a_step_out_of_order_is_an_error() {
    let (mut look, mut objects) = (look(), MemoryObjects::default());
    assert!(matches!(look.chunk(b"x", &mut objects), Err(GitError::Order(_))));
    assert!(matches!(look.end(&mut objects), Err(GitError::Order(_))));
}
