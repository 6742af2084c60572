//! Does any server break a look at it?

use git::{Auth, GitError, Look, MemoryObjects, Next, ObjectId, Outcome, Remote, Secret};

use crate::{Choices, LIMITS};

const SECRET: &str = "s3cret-of-the-fuzzer";

/// A whole conversation. A byte says how an answer begins: most often well, now and then with a
/// status or a redirect. Then come its bytes, up to the mark `\n--\n`, or all.
pub fn look(data: &[u8]) {
    let mut choices = Choices(data);
    let Some(first) = choices.byte() else { return };
    if data.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()) {
        // libFuzzer has found it by the comparisons below; a server may say what it likes.
        return;
    }
    let remote = Remote::new("https://h/x", Auth::Bearer(Secret::new(SECRET))).unwrap();
    let known = (first & 1 == 1).then(|| ObjectId::from_bytes([7; 20]));
    let mut look = Look::new(remote, "main", known, LIMITS).unwrap();
    let mut objects = MemoryObjects::default();
    let mut answers = split(choices.0);
    for _ in 0..12 {
        let sent = match look.request() {
            Next::Done(Outcome::New(commit)) => {
                assert!(git::reachable(&objects, &commit, &LIMITS).is_ok(), "all is there");
                return;
            }
            Next::Done(Outcome::Unchanged) => return,
            Next::Send(sent) => sent,
        };
        let is_home = sent.url.starts_with("https://h/");
        let has_secret = sent.headers.iter().any(|(_, value)| value.contains(SECRET));
        assert!(is_home || !has_secret, "{sent:?}");
        let Some(answer) = answers.next() else { return };
        let kind = if sent.method == "GET" {
            "application/x-git-upload-pack-advertisement"
        } else {
            "application/x-git-upload-pack-result"
        };
        if let Err(error) = read(&mut look, &mut objects, answer, kind) {
            let text = format!("{error} {error:?} {look:?}");
            assert!(!text.contains(SECRET), "{text}");
            return;
        }
    }
}

fn read(
    look: &mut Look,
    objects: &mut MemoryObjects,
    answer: &[u8],
    kind: &str,
) -> Result<(), GitError> {
    let mut choices = Choices(answer);
    let how = choices.byte().unwrap_or_default();
    let location = String::from_utf8_lossy(choices.0);
    match how {
        b'>' => look.head(302, None, Some(&location))?,
        b'!' => look.head(500, Some(kind), None)?,
        b'?' => look.head(200, Some("text/html"), None)?,
        _ => look.head(200, Some(kind), None)?,
    }
    for piece in choices.0.chunks(usize::from(how) + 1) {
        look.chunk(piece, objects)?;
    }
    look.end(objects)
}

fn split(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    const MARK: &[u8] = b"\n--\n";
    let mut rest = Some(data);
    std::iter::from_fn(move || {
        let bytes = rest?;
        match bytes.windows(MARK.len()).position(|window| window == MARK) {
            Some(at) => {
                rest = Some(&bytes[at + MARK.len()..]);
                Some(&bytes[..at])
            }
            None => rest.take(),
        }
    })
}
