//! The binary `parcours` as a library: settings, the composition root, commands and the demo.
//!
//! What always holds: nothing else in the workspace depends on this crate but the scenarios.

mod absent;
pub mod assemble;
pub mod cli;
pub mod command;
mod common;
pub mod config;
pub mod demo;
mod exit;
mod maintenance;
pub mod peers;
#[cfg(debug_assertions)]
mod planned;
mod serve;

pub use cli::Cli;
use cli::{Command, ContactCommand, KeyCommand, TenantCommand};
pub use exit::ExitStatus;

/// Runs a future on an actix system over a multi-threaded tokio runtime, with the crypto provider
/// installed.
///
/// # Panics
/// When the operating system gives no threads.
pub fn block_on<F: Future>(future: F) -> F::Output {
    // Installed before, by an embedding test: the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = || {
        #[expect(clippy::expect_used, reason = "without threads there is no process to speak of")]
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads")
    };
    actix::System::with_tokio_rt(runtime).block_on(future)
}

/// Runs a command; without one, the product.
///
/// # Errors
/// Whatever the command says, for people.
pub async fn run(cli: Cli) -> anyhow::Result<()> {
    let node = &cli.node;
    match &cli.command {
        None => serve::serve(node).await,
        Some(Command::Demo(args)) => demo::run(node, args).await,
        Some(Command::Apply(args)) => command::apply(node, args).await,
        Some(Command::Validate { dir }) => command::validate(dir),
        Some(Command::Diff(args)) => command::diff(node, args).await,
        Some(Command::Export(args)) => command::export(node, args).await,
        Some(Command::Copy(args)) => command::copy(node, args).await,
        Some(Command::Roundtrip(args)) => command::roundtrip(args).await,
        Some(Command::Tenant(TenantCommand::Dump(args))) => command::keep::dump(node, args).await,
        Some(Command::Tenant(TenantCommand::Load(args))) => command::keep::load(node, args).await,
        Some(Command::Backup(args)) => command::keep::backup(node, args).await,
        Some(Command::Restore(args)) => command::restore::restore(node, args).await,
        Some(Command::Sending(args)) => command::sending::sending(node, args).await,
        Some(Command::Key(KeyCommand::Create(args))) => command::key_create(node, args).await,
        Some(Command::Quota(args)) => command::quota::quota(node, args).await,
        Some(Command::Breaker(args)) => command::breaker::breaker(node, args).await,
        Some(Command::Contact(command @ ContactCommand::Show { .. })) => {
            command::contact_show(node, command).await
        }
        Some(Command::Rollup(args)) => command::rollup(node, args).await,
        Some(Command::Status(args)) => command::status(node, args).await,
        Some(Command::Preview(args)) => command::preview(node, args).await,
        Some(Command::TestSend(args)) => command::test_send(node, args).await,
        Some(Command::Migrate) => command::migrate(&cli.node).await,
        Some(Command::Openapi) => {
            println!("{}", parcours_gateway::openapi::json());
            Ok(())
        }
    }
}
