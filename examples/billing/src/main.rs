//! `billing [PORT]`: the billing service by itself, on port 7100 unless told otherwise.

use std::env;
use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let port = env::args().nth(1).unwrap_or_else(|| "7100".to_owned());
    let served = match port.parse() {
        Ok(port) => billing::serve(port).await,
        Err(_) => Err(format!("`{port}` is not a port: give a number from 0 to 65535")),
    };
    if let Err(problem) = served {
        eprintln!("billing: {problem}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
