//! Does any commit make a path that leads elsewhere?

use git::{GitError, Kind, MemoryObjects, ObjectId, Objects as _, Selection, checkout as files_of};
use protocol::opal::policy;

use crate::{Choices, LIMITS};

const MODES: [&str; 8] =
    ["100644", "40000", "100755", "120000", "160000", "040000", "100644", "40000"];

/// A store of objects that the bytes choose, and the files of a commit in it.
pub fn checkout(data: &[u8]) {
    let mut choices = Choices(data);
    let mut objects = MemoryObjects::default();
    let mut ids = vec![ObjectId::of(Kind::Blob, b"nothing")];
    while ids.len() < 40
        && let Some(choice) = choices.byte()
    {
        let made = match choice % 4 {
            0 => choices.bytes(60).map(|data| (Kind::Blob, data.to_vec())),
            // Any bytes as a folder.
            1 => choices.bytes(120).map(|data| (Kind::Tree, data.to_vec())),
            _ => folder(&mut choices, &ids).map(|data| (Kind::Tree, data)),
        };
        let Some((kind, data)) = made else { break };
        let id = ObjectId::of(kind, &data);
        objects.put(id, kind, &data).unwrap();
        ids.push(id);
    }
    let root = ids.last().copied().unwrap_or(ids[0]);
    let commit = format!("tree {root}\n");
    let id = ObjectId::of(Kind::Commit, commit.as_bytes());
    objects.put(id, Kind::Commit, commit.as_bytes()).unwrap();
    let selection =
        Selection { wants: &|path| path.len() % 7 != 0, ignores: &|path| path.ends_with('~') };
    match files_of(&objects, &id, selection, &LIMITS) {
        Ok(files) if files.is_empty() => {}
        Ok(files) => {
            policy::check(&files).unwrap();
            assert!(files.keys().all(|path| !path.to_ascii_lowercase().contains(".git/")));
            assert!(files.len() <= LIMITS.files);
        }
        Err(error) => {
            assert!(!error.to_string().chars().any(char::is_control), "{error:?}");
            assert!(!matches!(error, GitError::Order(_)));
        }
    }
}

/// A folder of good form, with any names.
fn folder(choices: &mut Choices<'_>, ids: &[ObjectId]) -> Option<Vec<u8>> {
    let mut data = vec![];
    for _ in 0..choices.byte()? % 6 {
        let (mode, chosen) = (choices.byte()?, usize::from(choices.byte()?));
        let name = choices.bytes(12)?;
        let id = ids[chosen % ids.len()];
        data.extend_from_slice(MODES[usize::from(mode) % MODES.len()].as_bytes());
        data.push(b' ');
        data.extend(name.iter().filter(|byte| **byte != 0));
        data.push(0);
        data.extend_from_slice(id.as_bytes());
    }
    Some(data)
}
