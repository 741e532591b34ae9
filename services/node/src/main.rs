//! `parcours`: reads the command line, runs the command, says what went wrong.

use std::process::ExitCode;

use clap::Parser as _;
use mimalloc::MiMalloc;
use parcours_node::{Cli, ExitStatus, block_on, run};

/// Events are allocated on one thread and freed on another; the C library's allocator pays for
/// that with half of the server's time.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    parcours_kit::telemetry::init(cli.node.log_json);
    match block_on(run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let (status, said) = ExitStatus::of(&error);
            if !said.is_empty() {
                eprintln!("parcours: {said}");
            }
            ExitCode::from(status)
        }
    }
}
