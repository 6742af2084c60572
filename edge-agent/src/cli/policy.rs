//! `policy push` and `policy track`: what makes files the policy that the server hands out.
//!
//! | question | file |
//! |---|---|
//! | Which flags do both have? | this one |
//! | Which files of a folder are sent? | `policy/folder.rs` |
//! | How is a repository read? | `policy/repository.rs` |
//! | When is it looked at, and what is said of that? | `policy/track.rs` |
//! | How do files get to the server? | `policy/upload.rs` |

mod folder;
mod repository;
mod track;
mod upload;

use std::path::PathBuf;

use protocol::opal::filter::{self, Filter};
use protocol::opal::policy;

use super::{Failure, call, say};
use folder::Folder;
use upload::Upload;

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    #[command(
        about = "Makes the files of a folder the policy that the server hands out",
        after_help = super::examples(&[
            "policy push policy/ --token $TOKEN",
            "policy push policy/ --revision $(git rev-parse HEAD)",
            "policy push policy/ --scope acme --extensions .rego",
        ])
    )]
    Push(Push),
    #[command(
        about = "Follows a branch of a git repository, and makes each commit the server's policy",
        long_about = "Follows a branch of a git repository, and makes each commit the policy that the \
                      server hands out: for repositories that this machine can reach and the server cannot",
        after_help = super::examples(&[
            "policy track https://git.example/policy.git --branch main --token $TOKEN",
            "policy track git@git.example:policy.git --interval 10s",
            "policy track ./policy --once",
        ])
    )]
    Track(track::Track),
}

#[derive(clap::Args)]
struct Push {
    /// The folder: its files replace the policy as a whole; hidden files are left out, but
    /// .manifest, and tests (*_test.rego) are only run by a server that is set to
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// What this revision is called, such as the commit that it is of [default: made from the
    /// files]
    #[arg(long, value_name = "NAME")]
    revision: Option<String>,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    selection: Selection,
}

/// Whose policy it becomes.
#[derive(clap::Args)]
struct Target {
    /// A token of type datasource [env: GIRASOL_TOKEN, OPAL_CLIENT_TOKEN]
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// Address of the server [default: http://localhost:7002] [env: GIRASOL_SERVER, OPAL_SERVER_URL]
    #[arg(long, alias = "server", value_name = "URL")]
    server_url: Option<String>,
    /// Whose policy it is [default: the server's own]
    #[arg(long, value_name = "SCOPE")]
    scope: Option<String>,
}

/// Which files it is.
#[derive(clap::Args)]
struct Selection {
    /// The endings of the files to send, separated by commas
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = filter::EXTENSIONS,
        value_parser = ending
    )]
    extensions: Vec<String>,
    /// Patterns of paths to leave out, separated by commas: dir/**, *.gen.rego, !keep.rego
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    ignore: Vec<String>,
    /// The folder whose .manifest says in which order to load the files, or a file that does
    /// [default: the root]
    #[arg(long, value_name = "PATH")]
    manifest: Option<String>,
}

impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.action {
            Action::Push(push) => push.run(),
            Action::Track(track) => track.run(),
        }
    }
}

impl Push {
    fn run(self) -> Result<(), Failure> {
        let upload = Upload::new(self.target)?;
        if let Some(revision) = &self.revision {
            policy::check_revision(revision)
                .map_err(|problem| Failure::usage(format!("--revision: {}", problem.detail)))?;
        }
        let filter = self.selection.filter();
        let files = Folder::new(&self.dir, &filter).read()?;
        let body = upload::body(&files, self.revision.as_deref())?;
        let answer = call::runtime()?.block_on(upload.put(body))?;
        say(upload.accepted(answer)?.trim());
        Ok(())
    }
}

impl Selection {
    fn filter(&self) -> Filter {
        let filter = Filter::default().extensions(&self.extensions).ignore(&self.ignore);
        filter.manifest(self.manifest.as_deref().unwrap_or_default())
    }
}

/// A file name's ending, with its dot.
fn ending(text: &str) -> Result<String, String> {
    let ending = text.trim().trim_start_matches('.');
    if ending.is_empty() || ending.contains(['/', '*']) {
        return Err("give endings such as .rego,.json".to_owned());
    }
    Ok(format!(".{ending}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ending_may_be_given_with_and_without_its_dot() {
        assert_eq!(ending("rego"), Ok(".rego".to_owned()));
        assert_eq!(ending(" .cedar "), Ok(".cedar".to_owned()));
        assert!(ending(".").is_err() && ending("*.rego").is_err());
    }
}
