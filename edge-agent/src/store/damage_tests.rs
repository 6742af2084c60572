//! State files that are no good: each is a fresh start that says so, or a clear error;
//! never a panic, and never a state that was not.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

use tempfile::TempDir;

use super::{
    tests::{identity, mark, open, owned, patch, put},
    *,
};

fn file(dir: &TempDir) -> PathBuf {
    dir.path().join("state.redb")
}

fn aside(dir: &TempDir) -> PathBuf {
    dir.path().join("state.redb.aside")
}

/// Fills a store and returns what it held after each write, with the mark.
fn fill(store: &Store) -> Vec<(Mark, Vec<(String, String)>)> {
    let mut history = vec![(Mark::default(), vec![])];
    for seq in 1..=12 {
        let record = match seq % 3 {
            0 => patch(seq, "/", &format!(r#"[{{"op":"add","path":"/p{seq}","value":{seq}}}]"#)),
            // In several pieces.
            1 => put(seq, "/a", &format!("[{}]", vec![seq.to_string(); 50_000].join(","))),
            _ => put(seq, &format!("/b/{seq}"), &format!(r#"{{"n":{seq}}}"#)),
        };
        store.append(std::slice::from_ref(&record), &mark(seq - 1)).unwrap();
        history.push((mark(seq - 1), owned(store)));
    }
    history
}

/// Opens what is there, and expects a fresh start for this reason.
fn expect_fresh(dir: &TempDir, reason: &str) {
    let (store, opened) = open(dir);
    let fresh = opened.fresh.unwrap();
    let [from, to] = [file(dir), aside(dir)].map(|path| path.display().to_string());
    assert_eq!(fresh, format!("{from} {reason}; it was moved to {to}"));
    assert!(aside(dir).exists());
    assert_eq!((opened.mark, opened.written), (Mark::default(), vec![]));
    assert_eq!(owned(&store), []);
    // And the new one keeps.
    store.append(&[put(1, "/new", "1")], &mark(1)).unwrap();
    drop(store);
    let (store, opened) = open(dir);
    assert_eq!((opened.mark, opened.fresh), (mark(1), None));
    assert_eq!(owned(&store).len(), 1);
}

#[test]
fn a_file_that_is_something_else_is_moved_aside() {
    for (content, reason) in [
        (vec![], "is empty"),
        (b"hello".to_vec(), "is not a state file"),
        (vec![0; 100_000], "is not a state file"),
    ] {
        let dir = TempDir::new().unwrap();
        fs::write(file(&dir), &content).unwrap();
        expect_fresh(&dir, reason);
        assert_eq!(fs::read(aside(&dir)).unwrap(), content);
    }
}

#[test]
fn the_state_of_another_identity_is_not_ours() {
    let topics = || TopicSet::new(["t".to_owned(), "u".to_owned()]).unwrap();
    for other in [
        Identity { scope: "other".to_owned(), ..identity() },
        Identity { server: None, ..identity() },
        Identity { topics: topics(), ..identity() },
    ] {
        let dir = TempDir::new().unwrap();
        fill(&Store::open(Some(dir.path()), &other).unwrap().0);
        expect_fresh(&dir, "belongs to another scope, server or set of topics");
    }
}

#[test]
fn another_versions_file_is_moved_aside() {
    let change = |dir: &TempDir, name: &str, value: &str| {
        let database = redb::Database::open(file(dir)).unwrap();
        let transaction = database.begin_write().unwrap();
        let table = redb::TableDefinition::<&str, &str>::new("meta");
        transaction.open_table(table).unwrap().insert(name, value).unwrap();
        transaction.commit().unwrap();
    };
    for (name, value, reason) in [
        ("format", "3", "was written by a newer version"),
        ("format", "1", "was written by an older version"),
        ("format", "x", "is damaged"),
        ("mark", "{", "is damaged"),
        ("base_bytes", "-1", "is damaged"),
    ] {
        let dir = TempDir::new().unwrap();
        fill(&open(&dir).0);
        change(&dir, name, value);
        expect_fresh(&dir, reason);
    }
    // Tables of another type, and no tables at all.
    for (kind, reason) in
        [(true, "was written by another version, or is damaged"), (false, "holds nothing")]
    {
        let dir = TempDir::new().unwrap();
        let database = redb::Database::create(file(&dir)).unwrap();
        let transaction = database.begin_write().unwrap();
        if kind {
            let table = redb::TableDefinition::<u64, u64>::new("meta");
            transaction.open_table(table).unwrap().insert(1, 1).unwrap();
        }
        transaction.commit().unwrap();
        drop(database);
        expect_fresh(&dir, reason);
    }
}

#[test]
fn a_second_agent_is_told_so_and_harms_nothing() {
    let dir = TempDir::new().unwrap();
    let (store, _) = open(&dir);
    store.append(&[put(1, "/a", "1")], &mark(1)).unwrap();
    for other in [identity(), Identity { scope: "other".to_owned(), ..identity() }] {
        let error = Store::open(Some(dir.path()), &other).unwrap_err().to_string();
        let folder = dir.path().display();
        let words = "is used by another agent; stop that one, or give this one another folder";
        assert_eq!(error, format!("--data-dir {folder} {words}"));
    }
    store.append(&[put(2, "/b", "2")], &mark(2)).unwrap();
    assert_eq!(owned(&store).len(), 2);
    assert!(!aside(&dir).exists());
}

#[test]
fn what_is_kept_is_for_this_user_only() {
    let dir = TempDir::new().unwrap();
    let below = dir.path().join("made/here");
    drop(Store::open(Some(&below), &identity()).unwrap());
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&below), 0o700);
    assert_eq!(mode(&below.join("state.redb")), 0o600);
    fs::set_permissions(below.join("state.redb"), fs::Permissions::from_mode(0o644)).unwrap();
    drop(Store::open(Some(&below), &identity()).unwrap());
    assert_eq!(mode(&below.join("state.redb")), 0o600);
}

#[test]
fn a_folder_that_cannot_be_one_is_a_clear_error() {
    let dir = TempDir::new().unwrap();
    let occupied = dir.path().join("file");
    fs::write(&occupied, "x").unwrap();
    for path in [occupied.clone(), occupied.join("below"), PathBuf::from("/proc/no")] {
        let error = Store::open(Some(&path), &identity()).unwrap_err();
        assert!(matches!(error, StoreError::Folder(_)), "{error}");
        let words = error.to_string();
        assert!(words.starts_with(&format!("--data-dir {} failed: ", path.display())), "{words}");
    }
}

/// Numbers that look random and are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % end
    }
}

#[test]
fn no_damage_makes_a_panic_or_a_state_that_was_not() {
    let dir = TempDir::new().unwrap();
    let (store, _) = open(&dir);
    let history = fill(&store);
    drop(store);
    let sound = fs::read(file(&dir)).unwrap();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut fresh, mut same) = (0, 0);
    for run in 0..400 {
        let mut bytes = sound.clone();
        match run % 4 {
            // Cut short.
            0 => bytes.truncate(random.below(sound.len())),
            // Flipped bits, also in the first page, where what matters most is.
            1 | 2 => {
                let end = if run % 4 == 1 { bytes.len() } else { 4_096 };
                for _ in 0..=random.below(3) {
                    let at = random.below(end);
                    bytes[at] ^= 1 << random.below(8);
                }
            }
            // A page that never reached the disk.
            _ => {
                let at = random.below(bytes.len() / 4_096) * 4_096;
                bytes[at..at + 4_096].fill(0);
            }
        }
        fs::write(file(&dir), &bytes).unwrap();
        let (store, opened) = open(&dir);
        let found = owned(&store);
        match opened.fresh {
            Some(_) => {
                assert_eq!((opened.mark, opened.written), (Mark::default(), vec![]));
                assert_eq!(found, []);
                fresh += 1;
            }
            None => {
                assert!(history.contains(&(opened.mark, found)), "run {run}");
                same += 1;
            }
        }
        drop(store);
        let _ = fs::remove_file(aside(&dir));
    }
    assert!(fresh > 150 && same > 50, "{fresh} {same}");
}

#[test]
fn a_process_killed_between_any_two_writes_to_the_disk_has_lost_nothing_it_kept() {
    // The file as it is while the store is open is what a killed process leaves.
    let (dir, copy) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (store, _) = open(&dir);
    for seq in 1..=30 {
        store.append(&[put(seq, "/k", &format!("[{seq}]"))], &mark(seq)).unwrap();
        fs::copy(file(&dir), file(&copy)).unwrap();
        let (left, opened) = open(&copy);
        assert_eq!((opened.mark, opened.fresh), (mark(seq), None));
        assert_eq!(owned(&left), [("/k".to_owned(), format!("[{seq}]"))]);
    }
}

#[test]
fn a_process_killed_while_records_are_folded_has_lost_nothing_it_kept() {
    let (dir, copy) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (store, _) = open(&dir);
    let text = |seq: u64| format!("[{}]", vec![seq.to_string(); 100_000].join(","));
    let Kept::File(kept) = &store.0 else { panic!("{store:?}") };
    let (mut folds, mut meanwhile) = (0, 0);
    for seq in 1..=24 {
        store.append(&[put(seq, &format!("/k{}", seq % 3), &text(seq))], &mark(seq)).unwrap();
        let at_least = seq.saturating_sub(2).max(1);
        folds += u32::from(kept.is_folding());
        loop {
            // A fold is one transaction, so that a copy has it, or has not.
            let is_folding = kept.is_folding();
            fs::copy(file(&dir), file(&copy)).unwrap();
            let (left, opened) = open(&copy);
            assert_eq!((opened.mark, opened.fresh), (mark(seq), None));
            let mut expected: Vec<_> =
                (at_least..=seq).map(|seq| (format!("/k{}", seq % 3), text(seq))).collect();
            expected.sort();
            assert_eq!(owned(&left), expected);
            if !is_folding {
                break;
            }
            meanwhile += 1;
        }
    }
    assert!(folds > 0 && meanwhile > 0, "{folds} {meanwhile}");
}

#[test]
fn a_disk_that_is_full_is_told_and_what_was_kept_stays() {
    const DIR: &str = "GIRASOL_TEST_SMALL_DISK";
    let kept = |dir: &std::path::Path| {
        let (store, opened) = Store::open(Some(dir), &identity()).unwrap();
        assert_eq!(opened.fresh, None);
        (opened.mark.cursor.0, owned(&store), store)
    };
    // A limit on the size of files belongs to a process, so that this test takes another one.
    let Ok(dir) = std::env::var(DIR) else {
        let dir = TempDir::new().unwrap();
        let name = "store::damage_tests::a_disk_that_is_full_is_told_and_what_was_kept_stays";
        let script = "trap '' XFSZ; ulimit -f 8000; exec \"$@\"";
        let mut again = std::process::Command::new("sh");
        again.args(["-c", script, "sh"]).arg(std::env::current_exe().unwrap());
        let ended = again.args(["--exact", name]).env(DIR, dir.path()).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stdout).into_owned();
        assert!(ended.status.success() && said.contains("1 passed"), "{said}");
        // With room again, everything that was said to be kept is there, and more can be.
        let (cursor, before, store) = kept(dir.path());
        store.append(&[put(cursor + 1, "/more", "1")], &mark(cursor + 1)).unwrap();
        assert_eq!(owned(&store).len(), before.len() + 1);
        return;
    };
    let store = Store::open(Some(dir.as_ref()), &identity()).unwrap().0;
    let text = format!("\"{}\"", "x".repeat(300 << 10));
    let failed = (1..).find_map(|seq| {
        let appended = store.append(&[put(seq, &format!("/k{seq}"), &text)], &mark(seq));
        appended.err().map(|error| (seq, error))
    });
    let (seq, error) = failed.unwrap();
    assert!(matches!(&error, StoreError::Failed(why) if why.contains("failed: ")), "{error}");
    assert_eq!(owned(&store).len(), usize::try_from(seq - 1).unwrap());
    // The same again is refused again, not silently lost.
    assert!(store.append(&[put(seq, "/again", &text)], &mark(seq)).is_err());
    drop(store);
    let (cursor, owned, _) = kept(dir.as_ref());
    assert_eq!((cursor, owned.len()), (seq - 1, usize::try_from(seq - 1).unwrap()));
}
