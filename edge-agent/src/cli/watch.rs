//! `watch postgres`: what changes in a database becomes updates, until the command is ended.

use clap::ValueEnum;
use protocol::DataPath;

use super::{Failure, call, say, variable};
use crate::logging;
use crate::settings::LogFormat;
use crate::watch::{self, Database, Hub, Mode, Plan, TablePlan, WatchError};

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    source: Source,
}

#[derive(clap::Subcommand)]
enum Source {
    #[command(
        about = "Publishes what changes in tables of a PostgreSQL",
        long_about = "Publishes what changes in tables of a PostgreSQL: first all rows, then each \
                      transaction as it is committed. Each row is a member of its table's place, \
                      named by the row's key; several columns of a key are joined by commas, with \
                      a backslash before a comma or backslash in one of them",
        after_help = super::examples(&[
            "watch postgres --source-url postgresql://me@db/app --table users --topics users --install",
            "watch postgres --table users --table roles --topics users --columns users=id,name",
            "watch postgres --table users --topics users --mode notify --install",
            "watch postgres --uninstall",
        ])
    )]
    Postgres(Postgres),
}

#[derive(clap::Args)]
struct Postgres {
    /// The database: postgresql://USER@HOST:PORT/NAME, with ?sslmode=disable, prefer, require or verify-full
    /// [env: GIRASOL_SOURCE_URL; the password may also be in PGPASSWORD]
    #[arg(long, value_name = "URL")]
    source_url: Option<String>,
    /// A table to watch; give it several times for several tables
    #[arg(long = "table", value_name = "TABLE", required_unless_present = "uninstall")]
    tables: Vec<String>,
    /// How changes are learnt of: from the write-ahead log, or from triggers
    #[arg(long, value_enum, default_value = "replication")]
    mode: ModeArgument,
    /// Who gets the rows; give it several times for several topics [default: policy_data]
    #[arg(long, short, value_name = "TOPIC", value_delimiter = ',')]
    topics: Vec<String>,
    /// Where a table goes in the engine's data: /PATH or, of one of several tables, TABLE=/PATH
    /// [default: / and the table's name]
    #[arg(long, value_name = "PATH")]
    dst_path: Vec<String>,
    /// The columns that name a row: COLUMN,… or TABLE=COLUMN,… [default: the primary key]
    #[arg(long, value_name = "COLUMNS")]
    key: Vec<String>,
    /// The columns that are published: COLUMN,… or TABLE=COLUMN,… [default: all]
    #[arg(long, value_name = "COLUMNS")]
    columns: Vec<String>,
    /// Makes in the database what is missing there, then watches
    #[arg(long)]
    install: bool,
    /// Takes away what was made there, and ends
    #[arg(long, conflicts_with_all = ["install", "copy"])]
    uninstall: bool,
    /// Copies the tables again, for example to a hub that has lost them
    #[arg(long)]
    copy: bool,
    /// What this watcher is called in the database; each needs a name of its own
    #[arg(long, value_name = "NAME", default_value = "girasol")]
    slot: String,
    /// The publication that the tables are in, for --mode replication
    #[arg(long, value_name = "NAME", default_value = "girasol")]
    publication: String,
    /// A token of type datasource [env: GIRASOL_TOKEN, OPAL_CLIENT_TOKEN]
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// Address of the server [default: http://localhost:7002] [env: GIRASOL_SERVER, OPAL_SERVER_URL]
    #[arg(long, alias = "server", value_name = "URL")]
    server_url: Option<String>,
    /// Whose data it is [default: the server's own]
    #[arg(long, value_name = "SCOPE")]
    scope: Option<String>,
    /// What is logged: error, warn, info, debug
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: tracing::Level,
}

#[derive(Clone, Copy, ValueEnum)]
enum ModeArgument {
    Replication,
    Notify,
}

impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.source {
            Source::Postgres(postgres) => postgres.run(),
        }
    }
}

impl Postgres {
    fn run(self) -> Result<(), Failure> {
        let plan = self.plan()?;
        let url = self.source_url.or_else(|| variable(&["GIRASOL_SOURCE_URL"]));
        let url = url.ok_or_else(|| {
            Failure::usage("no database: give --source-url, or set GIRASOL_SOURCE_URL")
        })?;
        let password = std::env::var("PGPASSWORD").ok().filter(|password| !password.is_empty());
        let database = Database::new(&url, password)
            .map_err(|reason| Failure::usage(format!("--source-url: {reason}")))?;
        logging::init(self.log_level, LogFormat::Text);
        let runtime = call::runtime()?;
        if self.uninstall {
            runtime
                .block_on(watch::uninstall(&database, &plan))
                .map_err(|error| failure(&error))?;
            say("nothing of this watcher is left in the database");
            return Ok(());
        }
        let server = call::server(self.server_url.as_deref())?;
        let url = call::route(
            &server,
            &call::scoped(self.scope.as_deref(), "/data/config", "data/update")?,
        );
        let hub = Hub::new(url, call::token(self.token, "--token")?)
            .map_err(|error| Failure::run(error.to_string()))?;
        runtime.block_on(async {
            tokio::select! {
                ended = watch::watch(&database, &plan, &hub) => ended.map_err(|error| failure(&error)),
                ended = call::stopped() => ended,
            }
        })
    }

    fn plan(&self) -> Result<Plan, Failure> {
        let is_name = |name: &str| {
            let is_fine = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
            (1..=watch::MAX_SLOT_BYTES).contains(&name.len()) && name.bytes().all(is_fine)
        };
        if !is_name(&self.slot) {
            return Err(Failure::usage(format!(
                "--slot: give 1 to {} small letters, digits and _",
                watch::MAX_SLOT_BYTES
            )));
        }
        let topics = if self.topics.is_empty() {
            vec!["policy_data".to_owned()]
        } else {
            self.topics.clone()
        };
        for topic in &topics {
            protocol::topic::check(topic)
                .map_err(|problem| Failure::usage(format!("--topics: {}", problem.detail)))?;
        }
        let (places, keys, columns) = (
            PerTable::new("--dst-path", &self.dst_path, &self.tables)?,
            PerTable::new("--key", &self.key, &self.tables)?,
            PerTable::new("--columns", &self.columns, &self.tables)?,
        );
        let mut tables: Vec<TablePlan> = vec![];
        for name in &self.tables {
            let own = name.rsplit('.').next().unwrap_or(name).trim_matches('"');
            let place = place(places.of(name).unwrap_or(own))?;
            if let Some(other) = tables.iter().find(|other| overlap(&other.place, &place)) {
                return Err(Failure::usage(format!(
                    "{} and {name} go to the same place, {place}",
                    other.name
                ))
                .hint(format!("give one of them another: --dst-path {name}=/PATH")));
            }
            tables.push(TablePlan {
                name: name.clone(),
                key: keys.of(name).map(list).unwrap_or_default(),
                columns: columns.of(name).map(list),
                place,
                topics: topics.clone(),
            });
        }
        Ok(Plan {
            mode: match self.mode {
                ModeArgument::Replication => Mode::Replication,
                ModeArgument::Notify => Mode::Notify,
            },
            tables,
            slot: self.slot.clone(),
            publication: self.publication.clone(),
            install: self.install,
            copy: self.copy,
        })
    }
}

/// What is said of one table (`TABLE=…`), or of all.
struct PerTable<'a> {
    named: Vec<(&'a str, &'a str)>,
    otherwise: Option<&'a str>,
}

impl<'a> PerTable<'a> {
    fn new(flag: &str, given: &'a [String], tables: &[String]) -> Result<Self, Failure> {
        let (mut named, mut otherwise) = (vec![], None);
        for text in given {
            match text.split_once('=') {
                Some((table, value)) if tables.iter().any(|known| known == table) => {
                    named.push((table, value));
                }
                Some((table, _)) => {
                    return Err(Failure::usage(format!("{flag}: {table} is no --table"))
                        .hint("write the table's name as --table has it"));
                }
                None => otherwise = Some(text.as_str()),
            }
        }
        Ok(Self { named, otherwise })
    }

    fn of(&self, table: &str) -> Option<&'a str> {
        let named = self.named.iter().find(|(name, _)| *name == table);
        named.map(|(_, value)| *value).or(self.otherwise)
    }
}

fn list(text: &str) -> Vec<String> {
    text.split(',').map(|column| column.trim().to_owned()).collect()
}

/// A table's place, with one leading slash. The root would be replaced as a whole.
fn place(text: &str) -> Result<String, Failure> {
    let path = DataPath::parse(text)
        .map_err(|problem| Failure::usage(format!("--dst-path: {}", problem.detail)))?;
    if path.is_root() || path.is_policy() {
        return Err(Failure::usage("--dst-path: give a place of its own, such as /users"));
    }
    Ok(path.to_string())
}

fn overlap(one: &str, other: &str) -> bool {
    match (DataPath::parse(one), DataPath::parse(other)) {
        (Ok(one), Ok(other)) => one.overlaps(&other),
        _ => false,
    }
}

fn failure(error: &WatchError) -> Failure {
    let failure = Failure::run(error.to_string());
    match error.advice() {
        Some(advice) => failure.hint(advice),
        None => failure,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        postgres: Postgres,
    }

    fn plan(line: &[&str]) -> Result<Plan, Failure> {
        Line::parse_from(std::iter::once(&"watch").chain(line)).postgres.plan()
    }

    #[test]
    fn what_is_said_of_one_table_goes_before_what_is_said_of_all() {
        let line = [
            "--table",
            "public.users",
            "--table",
            "roles",
            "--topics",
            "a,b",
            "--columns",
            "id",
            "--columns",
            "roles=id, name",
            "--dst-path",
            "public.users=people",
        ];
        let plan = plan(&line).unwrap();
        let [users, roles] = plan.tables.as_slice() else { panic!() };
        assert_eq!((&*users.place, &*roles.place), ("/people", "/roles"));
        assert_eq!(users.columns, Some(vec!["id".to_owned()]));
        assert_eq!(roles.columns, Some(vec!["id".to_owned(), "name".to_owned()]));
        assert_eq!((users.topics.len(), users.key.len()), (2, 0));
    }

    #[test]
    fn a_plan_that_cannot_be_is_refused() {
        for (line, words) in [
            (&["--table", "users", "--slot", "My-Slot"][..], "--slot: give 1 to"),
            (&["--table", "users", "--dst-path", "/"], "give a place of its own"),
            (&["--table", "users", "--dst-path", "/a//b"], "--dst-path: "),
            (&["--table", "users", "--key", "roles=id"], "--key: roles is no --table"),
            (&["--table", "a.users", "--table", "b.users"], "go to the same place"),
            (&["--table", "a", "--table", "b", "--dst-path", "a=/b/c"], "go to the same place"),
            (&["--table", "users", "--topics", "a\nb"], "--topics: "),
        ] {
            let failure = plan(line).unwrap_err();
            assert!(failure.message.contains(words), "{line:?}: {}", failure.message);
            assert_eq!(failure.code, 2);
        }
    }
}
