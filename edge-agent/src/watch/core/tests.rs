use super::super::pgoutput::Column;
use super::*;

const USERS: u32 = 1;
const OTHER: u32 = 9;

fn text(text: &str) -> Cell {
    Cell::Text(text.to_owned())
}

fn table(name: &str, key: &[&str]) -> Table {
    Table {
        schema: "public".to_owned(),
        name: name.to_owned(),
        key: key.iter().map(ToString::to_string).collect(),
        columns: None,
        target: Target {
            table: format!("public.{name}"),
            place: format!("/{name}"),
            topics: vec!["t".to_owned()],
        },
    }
}

fn relation(id: u32, name: &str, columns: &[(&str, u32)]) -> Message {
    let columns =
        columns.iter().map(|(name, kind)| Column { name: (*name).to_owned(), kind: *kind });
    Message::Relation(Relation {
        id,
        schema: "public".to_owned(),
        name: name.to_owned(),
        columns: columns.collect(),
    })
}

/// A core that watches `users`, with the number as key and a name.
fn core() -> Core {
    let mut core = Core::new(vec![table("users", &["id"])], "pg:db".to_owned());
    run(&mut core, [relation(USERS, "users", &[("id", 23), ("name", 25)])]);
    core
}

fn run<const N: usize>(core: &mut Core, messages: [Message; N]) -> Option<Wanted> {
    let wanted: Vec<_> =
        messages.into_iter().filter_map(|message| core.message(message).unwrap()).collect();
    assert!(wanted.len() <= 1);
    wanted.into_iter().next()
}

fn begin(lsn: u64) -> Message {
    Message::Begin { commit: Lsn(lsn) }
}

fn commit(lsn: u64) -> Message {
    Message::Commit { end: Lsn(lsn) }
}

fn insert(id: &str, name: Cell) -> Message {
    Message::Insert { relation: USERS, new: vec![text(id), name] }
}

fn update(old: Option<Old>, id: &str, name: Cell) -> Message {
    Message::Update { relation: USERS, old, new: vec![text(id), name] }
}

fn key(id: &str) -> Old {
    Old { is_full: false, tuple: vec![text(id), Cell::Null] }
}

/// The updates that are there, each as its entries' places, methods and data.
fn updates(core: &mut Core) -> Vec<String> {
    let parsed = std::iter::from_fn(|| core.next())
        .map(|update| protocol::Update::parse(update.body.as_bytes()).unwrap());
    let shown = parsed.map(|update| {
        let entries = update.entries.iter().map(|entry| {
            let data = entry.inline().unwrap().get();
            format!("{:?} {} {data}", entry.save_method, entry.dst_path)
        });
        entries.collect::<Vec<_>>().join("\n")
    });
    shown.collect()
}

fn gone(id: &str) -> String {
    format!(
        r#"Patch /users [{{"op":"add","path":"/{id}","value":{{}}}},{{"op":"remove","path":"/{id}"}}]"#
    )
}

#[test]
fn a_transaction_is_one_update_with_the_state_it_leaves() {
    let mut core = core();
    run(&mut core, [begin(10), insert("1", text("al")), insert("2", text("bo"))]);
    assert!(updates(&mut core).is_empty(), "it may go on");
    let delete = Message::Delete { relation: USERS, old: key("2") };
    run(&mut core, [update(None, "1", Cell::Null), delete, commit(11)]);
    let put = r#"Put /users/1 {"id":1,"name":null}"#;
    assert_eq!(updates(&mut core), [format!("{put}\n{}", gone("2"))]);
}

#[test]
fn a_row_whose_key_changes_moves() {
    let mut core = core();
    let moved = update(Some(key("1")), "2", text("al"));
    let same = update(Some(key("3")), "3", text("cy"));
    run(&mut core, [begin(10), moved, same, commit(11)]);
    let put = [r#"Put /users/2 {"id":2,"name":"al"}"#, r#"Put /users/3 {"id":3,"name":"cy"}"#];
    assert_eq!(updates(&mut core), [format!("{}\n{}\n{}", gone("1"), put[0], put[1])]);
}

#[test]
fn a_table_that_is_truncated_is_empty_and_can_be_filled_again() {
    let mut core = core();
    let truncate = Message::Truncate { relations: vec![USERS] };
    run(&mut core, [begin(10), insert("1", Cell::Null), truncate, insert("2", Cell::Null)]);
    run(&mut core, [commit(11)]);
    assert_eq!(updates(&mut core), [r#"Put /users {"2":{"id":2,"name":null}}"#]);
}

#[test]
fn a_large_value_that_did_not_change_is_taken_from_the_old_row_or_read_again() {
    let mut core = core();
    let full = Old { is_full: true, tuple: vec![text("1"), text("long")] };
    assert_eq!(run(&mut core, [begin(10), update(Some(full), "1", Cell::Unchanged)]), None);
    let wanted = run(&mut core, [update(None, "2", Cell::Unchanged)]).unwrap();
    assert_eq!(wanted, Wanted { table: 0, key: vec!["2".to_owned()], name: "2".to_owned() });
    core.reread(&wanted, Some(r#"{"id":2,"name":"read"}"#.to_owned())).unwrap();
    let wanted = run(&mut core, [update(Some(key("3")), "4", Cell::Unchanged)]).unwrap();
    core.reread(&wanted, None).unwrap();
    run(&mut core, [commit(11)]);
    let rows = [
        r#"Put /users/1 {"id":1,"name":"long"}"#,
        r#"Put /users/2 {"id":2,"name":"read"}"#,
        &gone("3"),
    ];
    assert_eq!(updates(&mut core), [rows.join("\n")]);
}

#[test]
fn columns_may_come_and_go_but_not_those_of_the_key() {
    let mut core = core();
    run(&mut core, [begin(10), insert("1", text("al")), commit(11)]);
    run(&mut core, [relation(USERS, "users", &[("role", 25), ("id", 23)]), begin(20)]);
    let new = vec![text("admin"), text("1")];
    run(&mut core, [Message::Insert { relation: USERS, new }, commit(21)]);
    let first = r#"Put /users/1 {"id":1,"name":"al"}"#;
    assert_eq!(updates(&mut core), [first, r#"Put /users/1 {"role":"admin","id":1}"#]);
    let error = core.message(relation(USERS, "users", &[("name", 25)])).unwrap_err();
    assert_eq!(error.to_string(), "public.users has no column id any more");
}

#[test]
fn only_the_columns_that_are_asked_for_are_published() {
    let mut users = table("users", &["org", "id"]);
    users.columns = Some(vec!["name".to_owned()]);
    let mut core = Core::new(vec![users], "pg:db".to_owned());
    let columns = [("id", 23), ("org", 25), ("name", 25), ("secret", 25)];
    run(&mut core, [relation(USERS, "users", &columns), begin(10)]);
    // A large value that is not asked for does not have to be there.
    let new = vec![text("1"), text("a,b"), text("al"), Cell::Unchanged];
    assert_eq!(run(&mut core, [Message::Update { relation: USERS, old: None, new }]), None);
    run(&mut core, [commit(11)]);
    assert_eq!(updates(&mut core), [r#"Put /users/a\,b,1 {"name":"al"}"#]);
}

#[test]
fn a_key_that_was_not_sent_is_an_error_that_says_what_to_do() {
    let mut core = core();
    let old = Old { is_full: false, tuple: vec![Cell::Null, Cell::Null] };
    core.message(begin(10)).unwrap();
    let error = core.message(Message::Delete { relation: USERS, old }).unwrap_err();
    assert_eq!(error.to_string(), "a change of public.users came without the row's key");
    assert!(error.advice().unwrap().contains("--install"));
}

#[test]
fn a_transaction_too_large_for_one_update_is_cut_while_it_arrives_and_always_at_the_same_rows() {
    let ids = |core: &mut Core| {
        let mut ids = vec![];
        core.message(begin(10)).unwrap();
        for id in 0..30 {
            core.message(insert(&id.to_string(), text(&"x".repeat(100_000)))).unwrap();
            ids.extend(std::iter::from_fn(|| core.next()).map(|update| update.id));
        }
        assert_eq!(ids.len(), 3, "nine rows each");
        core.message(commit(11)).unwrap();
        ids.extend(std::iter::from_fn(|| core.next()).map(|update| update.id));
        ids
    };
    let first = ids(&mut core());
    assert_eq!(first.len(), 4);
    assert!(first[3].starts_with("pg:db/0/A/3/"), "{first:?}");
    assert_eq!(first, ids(&mut core()));
}

#[test]
fn postgresql_may_forget_what_the_hub_has_accepted_and_not_more() {
    let mut core = core();
    run(&mut core, [begin(10), insert("1", Cell::Null), commit(11)]);
    run(&mut core, [begin(20), insert("2", Cell::Null), commit(21)]);
    assert_eq!(core.flushed(), Lsn(0));
    core.accepted();
    assert_eq!(core.flushed(), Lsn(11));
    // A transaction without a change that is watched waits for those before it.
    run(&mut core, [begin(30), commit(31)]);
    core.alive(Lsn(35));
    assert_eq!(core.flushed(), Lsn(11));
    core.accepted();
    assert_eq!(core.flushed(), Lsn(35));
    // A sign of life within a transaction says nothing of it.
    run(&mut core, [begin(40), insert("3", Cell::Null)]);
    core.alive(Lsn(50));
    assert_eq!(core.flushed(), Lsn(35));
    run(&mut core, [commit(41)]);
    core.accepted();
    assert_eq!(core.flushed(), Lsn(41));
    core.alive(Lsn(60));
    assert_eq!(core.flushed(), Lsn(60));
}

#[test]
fn tables_that_are_not_watched_are_passed_over() {
    let mut core = core();
    run(&mut core, [relation(OTHER, "other", &[("id", 23)]), begin(10)]);
    let old = Old { is_full: false, tuple: vec![text("1")] };
    run(&mut core, [Message::Delete { relation: OTHER, old }, commit(11)]);
    assert!(updates(&mut core).is_empty());
    assert_eq!(core.flushed(), Lsn(11));
    assert!(core.message(Message::Truncate { relations: vec![77] }).is_err(), "never described");
}

#[test]
fn types_of_the_database_itself_are_looked_up_once() {
    let mut core = core();
    let Message::Relation(moods) = relation(USERS, "users", &[("id", 23), ("moods", 70_001)])
    else {
        panic!()
    };
    assert_eq!(core.unknown_types(&moods), [70_001]);
    core.learn(70_001, Form::Array(Box::new(Form::Text), ','));
    assert!(core.unknown_types(&moods).is_empty());
    run(&mut core, [Message::Relation(moods), begin(10), insert("1", text("{ok}")), commit(11)]);
    assert_eq!(updates(&mut core), [r#"Put /users/1 {"id":1,"moods":["ok"]}"#]);
}
