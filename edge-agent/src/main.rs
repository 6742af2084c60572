//! The edge agent's executable; see the library for what it does.

use std::process::ExitCode;

fn main() -> ExitCode {
    edge_agent::cli::main()
}
