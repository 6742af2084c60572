//! What goes into a store comes out of it, also after the process ended anywhere.

use tempfile::TempDir;

use super::*;

pub(super) fn identity() -> Identity {
    let topics = TopicSet::new(["t".to_owned()]).unwrap();
    Identity { scope: "default".to_owned(), server: Some("http://h".to_owned()), topics }
}

fn path(text: &str) -> DataPath {
    DataPath::parse(text).unwrap()
}

pub(super) fn tag(seq: u64) -> Tag {
    Tag { seq: Seq(seq), place: 0 }
}

fn record(seq: u64, at: &str, save_method: SaveMethod, data: &str) -> Record {
    let data = Json::known(data.to_owned());
    Record { tag: tag(seq), path: path(at), save_method, data }
}

pub(super) fn put(seq: u64, at: &str, data: &str) -> Record {
    record(seq, at, SaveMethod::Put, data)
}

pub(super) fn patch(seq: u64, at: &str, data: &str) -> Record {
    record(seq, at, SaveMethod::Patch, data)
}

pub(super) fn mark(cursor: u64) -> Mark {
    Mark { cursor: Seq(cursor), epoch: Some("e".to_owned()), ..Mark::default() }
}

pub(super) fn open(dir: &TempDir) -> (Store, Opened) {
    Store::open(Some(dir.path()), &identity()).unwrap()
}

/// Places and texts; `-` where nothing may be.
pub(super) fn owned(store: &Store) -> Vec<(String, String)> {
    let state = store.state().unwrap();
    assert_eq!(state.refused, []);
    let text = |text: Option<Json>| text.map_or("-".to_owned(), |it| it.get().to_owned());
    state.owned.into_iter().map(|(path, data)| (path.to_string(), text(data))).collect()
}

fn expect(store: &Store, expected: &[(&str, &str)]) {
    let found = owned(store);
    let found: Vec<_> = found.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    assert_eq!(found, expected);
}

fn wait_for_folding(store: &Store) {
    if let Kept::File(file) = &store.0 {
        file.wait_for_folding();
    }
}

/// The same for a store in a file, and for one in memory.
fn both(work: impl Fn(&Store)) {
    let dir = TempDir::new().unwrap();
    work(&open(&dir).0);
    work(&Store::open(None, &identity()).unwrap().0);
}

#[test]
fn all_writes_together_are_the_state() {
    both(|store| {
        expect(store, &[]);
        store.append(&[put(1, "/a", r#"{ "n" : 1.0 }"#)], &mark(0)).unwrap();
        store.append(&[put(2, "/b/c", "[1]")], &mark(1)).unwrap();
        let add = r#"[{"op":"add","path":"/c/-","value":2e0},{"op":"add","path":"/d","value":{}}]"#;
        store.append(&[patch(3, "/b", add)], &mark(2)).unwrap();
        let remove = r#"[{"op":"remove","path":"/b/d"}]"#;
        store.append(&[patch(4, "/", remove)], &mark(3)).unwrap();
        expect(store, &[("/a", r#"{ "n" : 1.0 }"#), ("/b/c", "[1,2e0]"), ("/b/d", "-")]);
    });
}

#[test]
fn what_the_engine_refused_is_dropped_and_what_has_taken_effect_stays() {
    both(|store| {
        store.append(&[put(1, "/a", "1")], &mark(0)).unwrap();
        store.append(&[put(2, "/a", "2")], &mark(1)).unwrap();
        expect(store, &[("/a", "2")]);
        store.discard(&[tag(2)]).unwrap();
        expect(store, &[("/a", "1")]);
        store.append(&[put(3, "/b", "3")], &mark(1)).unwrap();
        store.discard(&[tag(1)]).unwrap();
        store.discard(&[tag(9)]).unwrap();
        expect(store, &[("/a", "1"), ("/b", "3")]);
    });
}

#[test]
fn what_cannot_be_applied_is_told_once_and_gone() {
    both(|store| {
        store.append(&[put(1, "/a", "1")], &mark(0)).unwrap();
        store.append(&[put(2, "/a/b", "2")], &mark(1)).unwrap();
        store.append(&[put(3, "/c", "3")], &mark(2)).unwrap();
        store.append(&[patch(4, "/x", "[]")], &mark(3)).unwrap();
        let refused = store.state().unwrap().refused;
        let tags: Vec<Tag> = refused.iter().map(|(tag, _)| *tag).collect();
        assert_eq!(tags, [tag(2), tag(4)]);
        assert!(refused[0].1.contains("/a has no members"), "{refused:?}");
        assert!(refused[1].1.contains("nothing at /x to patch"), "{refused:?}");
        expect(store, &[("/a", "1"), ("/c", "3")]);
    });
}

#[test]
fn a_new_process_finds_everything_and_knows_what_is_above_the_cursor() {
    let dir = TempDir::new().unwrap();
    let (store, opened) = open(&dir);
    assert_eq!((opened.mark, opened.fresh), (Mark::default(), None));
    store.append(&[put(1, "/a", "1")], &mark(0)).unwrap();
    store.append(&[patch(3, "/", r#"[{"op":"add","path":"/x~1y","value":3}]"#)], &mark(1)).unwrap();
    store.append(&[put(2, "/b", "2")], &mark(1)).unwrap();
    drop(store);

    let (store, opened) = open(&dir);
    assert_eq!((opened.mark, opened.fresh), (mark(1), None));
    let written: Vec<(u64, String, SaveMethod)> = opened
        .written
        .iter()
        .map(|it| (it.tag.seq.0, it.path.to_string(), it.save_method))
        .collect();
    let expected = [(3, "/".to_owned(), SaveMethod::Patch), (2, "/b".to_owned(), SaveMethod::Put)];
    assert_eq!(written, expected);
    expect(&store, &[("/a", "1"), ("/b", "2"), ("/x%2Fy", "3")]);
    let end = Mark { complete: true, generation: 7, ..mark(3) };
    store.save(&end).unwrap();
    drop(store);
    let (_, opened) = open(&dir);
    assert_eq!((opened.mark, opened.written), (end, vec![]));
}

#[test]
fn folding_loses_no_write_and_no_tag_above_the_cursor() {
    let dir = TempDir::new().unwrap();
    let (store, _) = open(&dir);
    let filler = "x".repeat(200 << 10);
    store.append(&[put(1, "/k", "{}")], &mark(0)).unwrap();
    for seq in 2..40 {
        let add = format!(r#"[{{"op":"add","path":"/{}","value":"{seq}{filler}"}}]"#, seq % 4);
        store.append(&[patch(seq, "/k", &add)], &mark(1)).unwrap();
        if seq % 10 == 0 {
            wait_for_folding(&store);
        }
    }
    let before = owned(&store);
    drop(store);
    let (store, opened) = open(&dir);
    let tags: Vec<u64> = opened.written.iter().map(|it| it.tag.seq.0).collect();
    assert_eq!(tags, (2..40).collect::<Vec<_>>());
    assert_eq!(owned(&store), before);
    assert_eq!(before.len(), 1);
    for value in 36..40 {
        assert!(before[0].1.contains(&format!("\"{value}xxx")), "{value}");
    }
    let Kept::File(file) = &store.0 else { panic!("{store:?}") };
    assert!(file.tail_records() < 20, "{}", file.tail_records());

    // Behind the cursor they go with the next folding.
    for seq in 40..60 {
        store.append(&[put(seq, "/l", &format!("\"{filler}\""))], &mark(seq)).unwrap();
        wait_for_folding(&store);
    }
    drop(store);
    let (store, opened) = open(&dir);
    assert_eq!(opened.written, []);
    assert_eq!(owned(&store)[0], before[0]);
    assert_eq!(owned(&store)[1].1.len(), filler.len() + 2);
}

/// A string of so many bytes, of characters of several bytes.
fn long(bytes: usize) -> String {
    format!("\"x{}\"", "é世🌻".repeat(bytes / 9))
}

/// The bytes of all texts that a store's file has.
fn kept_bytes(dir: &TempDir) -> usize {
    let database = redb::Database::open(dir.path().join("state.redb")).unwrap();
    let table = redb::TableDefinition::<(u64, u32), &[u8]>::new("texts");
    let texts = redb::ReadableDatabase::begin_read(&database).unwrap().open_table(table).unwrap();
    let rows = redb::ReadableTable::iter(&texts).unwrap();
    rows.map(|row| row.unwrap().1.value().len()).sum()
}

#[test]
fn a_document_is_kept_once_however_often_it_is_folded_moved_and_copied() {
    let dir = TempDir::new().unwrap();
    let (store, _) = open(&dir);
    // Each of these is more than what came before, so that all that came before is folded.
    let fold = |store: &Store, seq: u64, bytes: usize| {
        store.append(&[put(seq, "/pad", &long(bytes))], &mark(seq)).unwrap();
        wait_for_folding(store);
    };
    let document = long(2 << 20);
    store.append(&[put(1, "/a", &document)], &mark(1)).unwrap();
    fold(&store, 2, 4 << 20);
    let both = r#"[{"op":"copy","from":"/a","path":"/b"},{"op":"move","from":"/a","path":"/c"}]"#;
    store.append(&[patch(3, "/", both)], &mark(3)).unwrap();
    fold(&store, 4, 8 << 20);
    store.append(&[put(5, "/b", "1")], &mark(5)).unwrap();
    fold(&store, 6, 16 << 20);
    drop(store);
    let (store, _) = open(&dir);
    let pad = long(16 << 20);
    expect(&store, &[("/a", "-"), ("/b", "1"), ("/c", &document), ("/pad", &pad)]);
    drop(store);
    // The pad before the last one is a document still; the last one is a record.
    let expected = document.len() + 1 + long(8 << 20).len() + pad.len();
    assert_eq!(kept_bytes(&dir), expected);
}

#[test]
fn the_last_record_can_be_discarded_also_while_others_are_folded() {
    both(|store| {
        for seq in 1..=20 {
            let text = format!("\"{seq}{}\"", "x".repeat(400 << 10));
            store.append(&[put(seq, "/k", &text)], &mark(0)).unwrap();
        }
        store.discard(&[tag(20)]).unwrap();
        wait_for_folding(store);
        assert!(owned(store)[0].1.starts_with("\"19x"));
    });
}

#[test]
fn when_the_log_begins_anew_the_documents_stay_and_the_tags_go() {
    let dir = TempDir::new().unwrap();
    let (store, _) = open(&dir);
    store.append(&[put(1, "/a", "1")], &mark(0)).unwrap();
    store.append(&[put(9, "/b", "9")], &mark(1)).unwrap();
    let again = Mark { epoch: Some("e2".to_owned()), generation: 1, ..Mark::default() };
    store.begin_again(&again).unwrap();
    // These were under way.
    store.append(&[put(8, "/c", "8")], &mark(7)).unwrap();
    store.save(&mark(8)).unwrap();
    drop(store);

    let (store, opened) = open(&dir);
    assert_eq!((opened.mark, opened.written), (again.clone(), vec![]));
    expect(&store, &[("/a", "1"), ("/b", "9"), ("/c", "8")]);
    store.append(&[put(2, "/b", "2")], &again).unwrap();
    drop(store);
    let (_, opened) = open(&dir);
    assert_eq!(opened.written.iter().map(|it| it.tag.seq.0).collect::<Vec<_>>(), [2]);
}

#[test]
fn a_mark_of_a_new_generation_begins_again_also_if_nobody_could_say_so_before() {
    let dir = TempDir::new().unwrap();
    let (store, _) = open(&dir);
    store.append(&[put(9, "/b", "9")], &mark(1)).unwrap();
    let again = Mark { generation: 1, ..Mark::default() };
    store.append(&[put(1, "/a", "1")], &again).unwrap();
    drop(store);
    let (_, opened) = open(&dir);
    assert_eq!(opened.written.iter().map(|it| it.tag.seq.0).collect::<Vec<_>>(), [1]);
}

fn module(seq: u64, place: u32, path: &str, rego: Option<&str>) -> Record {
    let entry = protocol::commit::module(path, rego).unwrap();
    let data = Json::known(entry.inline().unwrap().get().to_owned());
    let tag = Tag { seq: Seq(seq), place };
    Record { tag, path: entry.dst_path, save_method: entry.save_method, data }
}

fn marker(seq: u64, place: u32, hash: &str) -> Record {
    let marker = protocol::commit::Marker { hash: hash.to_owned(), old_hash: None };
    let entry = protocol::commit::marker(&marker).unwrap();
    let data = Json::known(entry.inline().unwrap().get().to_owned());
    let tag = Tag { seq: Seq(seq), place };
    Record { tag, path: entry.dst_path, save_method: entry.save_method, data }
}

/// The revision, and the modules as `id=text`.
fn policies_of(opened: &Opened) -> Option<(String, Vec<String>)> {
    let set = opened.policies.as_ref()?;
    let modules = set.modules.iter().map(|it| format!("{}={}", it.id, it.rego));
    Some((set.revision.clone()?, modules.collect()))
}

#[test]
fn a_commit_is_kept_as_a_whole_and_no_data_touches_its_policies() {
    let dir = TempDir::new().unwrap();
    let (store, opened) = open(&dir);
    assert_eq!(policies_of(&opened), None);
    let commit = [module(1, 0, "a/x.rego", Some("1")), put(1, "/app", "{}"), marker(1, 2, "r1")];
    store.append(&commit, &mark(0)).unwrap();
    store.append(&[put(2, "/", r#"{"k":1}"#)], &mark(1)).unwrap();
    expect(&store, &[("/", r#"{"k":1}"#)]);
    drop(store);
    let (store, opened) = open(&dir);
    assert_eq!(policies_of(&opened), Some(("r1".to_owned(), vec!["a/x.rego=1".to_owned()])));
    assert_eq!(opened.written.len(), 1);
    let next =
        [module(3, 0, "a/x.rego", None), module(3, 1, "b.rego", Some("3")), marker(3, 2, "r3")];
    store.append(&next, &mark(2)).unwrap();
    drop(store);
    let (_, opened) = open(&dir);
    assert_eq!(policies_of(&opened), Some(("r3".to_owned(), vec!["b.rego=3".to_owned()])));
}

#[test]
fn a_commit_that_is_refused_leaves_the_store_as_a_whole_or_not_at_all() {
    both(|store| {
        store.append(&[put(1, "/a", "1")], &mark(0)).unwrap();
        let commit = [put(2, "/a", "2"), marker(2, 1, "r2")];
        let tags = commit.each_ref().map(|it| it.tag);
        store.append(&commit, &mark(1)).unwrap();
        store.discard(&tags[1..]).unwrap();
        store.discard(&[tag(1), tags[0], tags[1]]).unwrap();
        expect(store, &[("/a", "2")]);
        store.append(&[put(3, "/b", "3")], &mark(1)).unwrap();
        store.discard(&tags).unwrap();
        expect(store, &[("/a", "2"), ("/b", "3")]);
    });
    both(|store| {
        store.append(&[put(1, "/a", "1")], &mark(0)).unwrap();
        let commit = [put(2, "/a", "2"), put(3, "/b", "2"), marker(3, 1, "r2")];
        store.append(&commit, &mark(1)).unwrap();
        expect(store, &[("/a", "2"), ("/b", "2")]);
        store.discard(&commit.each_ref().map(|it| it.tag)).unwrap();
        expect(store, &[("/a", "1")]);
    });
}

#[test]
fn policies_are_folded_like_documents_and_forgotten_when_the_log_begins_anew() {
    let dir = TempDir::new().unwrap();
    let (store, _) = open(&dir);
    let long = "x".repeat(40_000);
    for seq in 1..=60 {
        let name = format!("m{}.rego", seq % 3);
        let commit = [module(seq, 0, &name, Some(&long)), marker(seq, 1, &format!("r{seq}"))];
        store.append(&commit, &mark(seq - 1)).unwrap();
        wait_for_folding(&store);
    }
    let Kept::File(file) = &store.0 else { panic!() };
    assert!(file.tail_records() < 100, "{}", file.tail_records());
    drop(store);
    let (store, opened) = open(&dir);
    let (revision, modules) = policies_of(&opened).unwrap();
    assert_eq!((revision.as_str(), modules.len()), ("r60", 3));
    store.append(&[put(61, "/a", "1")], &mark(60)).unwrap();
    let again = Mark { epoch: Some("e2".to_owned()), generation: 1, ..Mark::default() };
    store.begin_again(&again).unwrap();
    // It was under way.
    store.append(&[marker(62, 0, "late")], &mark(61)).unwrap();
    drop(store);
    let (store, opened) = open(&dir);
    assert_eq!(policies_of(&opened), None);
    expect(&store, &[("/a", "1")]);
}

/// The grants that were kept, as `place text`.
fn grants_of(opened: &Opened) -> Vec<String> {
    opened.grants.iter().map(|(path, text)| format!("{path} {}", text.get())).collect()
}

#[test]
fn no_data_touches_grants_and_a_restart_has_them() {
    let dir = TempDir::new().unwrap();
    let (store, opened) = open(&dir);
    assert_eq!(grants_of(&opened), <[String; 0]>::default());
    store.append(&[put(1, "/girasol/grants/a", r#"{"id":"a"}"#)], &mark(0)).unwrap();
    store.append(&[put(2, "/girasol/grants/b", r#"{"id":"b"}"#)], &mark(1)).unwrap();
    store.append(&[put(3, "/", r#"{"k":1}"#)], &mark(2)).unwrap();
    store.append(&[put(4, "/girasol/grants/b", "{}")], &mark(3)).unwrap();
    expect(&store, &[("/", r#"{"k":1}"#)]);
    drop(store);
    let (store, opened) = open(&dir);
    assert_eq!(grants_of(&opened), [r#"/girasol/grants/a {"id":"a"}"#]);
    // A patch of one is nothing that the log has.
    store
        .append(&[patch(5, "/girasol/grants/a", r#"[{"op":"remove","path":""}]"#)], &mark(4))
        .unwrap();
    let refused = store.state().unwrap().refused;
    assert!(refused[0].1.contains("never patched"), "{refused:?}");
    drop(store);
    assert_eq!(grants_of(&open(&dir).1).len(), 1);
}

#[test]
fn grants_are_folded_like_documents_and_forgotten_when_the_log_begins_anew() {
    let dir = TempDir::new().unwrap();
    let (store, _) = open(&dir);
    for seq in 1..=400 {
        let grant = format!("{{\"id\":\"g{}\",\"seq\":{seq}}}", seq % 3);
        store
            .append(&[put(seq, &format!("/girasol/grants/g{}", seq % 3), &grant)], &mark(seq - 1))
            .unwrap();
        wait_for_folding(&store);
    }
    drop(store);
    let (store, opened) = open(&dir);
    let grants = grants_of(&opened);
    assert_eq!((grants.len(), grants[1].contains("400")), (3, true), "{grants:?}");
    store.append(&[put(401, "/a", "1")], &mark(400)).unwrap();
    let again = Mark { epoch: Some("e2".to_owned()), generation: 1, ..Mark::default() };
    store.begin_again(&again).unwrap();
    // It was under way.
    store.append(&[put(402, "/girasol/grants/late", r#"{"id":"late"}"#)], &mark(401)).unwrap();
    drop(store);
    let (store, opened) = open(&dir);
    assert_eq!(grants_of(&opened), <[String; 0]>::default());
    expect(&store, &[("/a", "1")]);
}

#[test]
fn the_data_of_a_commit_is_one_document_a_place() {
    let gone = r#"[{"op":"remove","path":""}]"#;
    let records = [
        module(1, 0, "a.rego", Some("1")),
        put(1, "/old", "{}"),
        patch(1, "/old", gone),
        put(1, "/app", r#"{"k":1}"#),
        put(1, "/app/sub", "{}"),
        put(1, "/back", "{}"),
        patch(1, "/back", gone),
        put(1, "/back/again", "2"),
    ];
    let merged = merged(&records).unwrap();
    let text = |text: &Option<Json>| text.as_ref().map_or("-".to_owned(), |it| it.get().to_owned());
    let merged: Vec<_> = merged.iter().map(|(at, it)| format!("{at} {}", text(it))).collect();
    assert_eq!(merged, [r#"/app {"k":1,"sub":{}}"#, r#"/back {"again":2}"#, "/old -"]);
}
