//! Load tests: start a server, talk to it as clients do, and print what it cost.
//!
//! Cast: [`server`] starts and ends the product; [`brands`] makes brands, keys and documents by the
//! API; [`traffic`] writes batches; [`watch`] reads processes in /proc; [`samples`] keeps what was
//! seen; [`report`] prints it and [`plot`] draws it. Each scenario is one file.
//!
//! What always holds: only loopback; every run ends by itself; a figure is printed only when what
//! was acknowledged is what the server says that it committed.

mod actors;
mod api;
mod args;
mod brands;
mod bulk;
mod burst;
mod churn;
mod live;
mod pending;
mod plot;
mod report;
mod rolling;
mod samples;
mod server;
mod sql;
mod stampede;
mod steady;
mod timers;
mod traffic;
mod watch;

use std::process::ExitCode;

use clap::Parser as _;

use args::{Args, Scenario};

fn main() -> ExitCode {
    // Two providers are compiled in; without a choice the first TLS use would panic.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        eprintln!("parcours-load: a crypto provider was installed before");
    }
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(run(&args)),
        Err(error) => Err(error.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("parcours-load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> anyhow::Result<()> {
    match args.scenario {
        Scenario::Steady => steady::run(args).await,
        Scenario::Timers => timers::run(args).await,
        Scenario::Actors => actors::run(args).await,
        Scenario::Burst => burst::run(args).await,
        Scenario::Pending => pending::run(args).await,
        Scenario::Rolling => rolling::run(args).await,
        Scenario::Stampede => stampede::run(args).await,
        Scenario::Bulk => bulk::run(args).await,
        Scenario::Churn => churn::run(args).await,
    }
}
