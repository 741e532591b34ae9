//! Options of `breaker`.

use clap::{Args, Subcommand};

use super::RemoteArgs;

/// Options of `breaker`.
#[derive(Clone, Debug, Args)]
pub struct BreakerArgs {
    /// Without a command: its limits, what it counts, and whether it has stopped the brand.
    #[command(subcommand)]
    pub command: Option<BreakerCommand>,
    /// The brand: its name, or `organisation/name`.
    #[arg(long, global = true)]
    pub brand: Option<String>,
    /// How to reach the server.
    #[command(flatten)]
    pub remote: RemoteArgs,
    /// As JSON.
    #[arg(long, global = true)]
    pub json: bool,
}

/// `breaker` commands.
#[derive(Clone, Debug, Subcommand)]
pub enum BreakerCommand {
    /// Set what is named; the rest stays. `default` takes a limit of the brand's own away again.
    Set(BreakerSetArgs),
    /// Let a stopped brand send again. What was counted is forgotten.
    Reset,
}

/// Options of `breaker set`.
#[derive(Clone, Debug, Args)]
pub struct BreakerSetArgs {
    /// Complaints, of the marketing sent in 24 hours: such as 0.3%.
    #[arg(long, value_name = "SHARE")]
    pub complaints: Option<String>,
    /// Recipients refused for good, of the marketing handed over in an hour.
    #[arg(long, value_name = "SHARE")]
    pub bounces: Option<String>,
    /// Messages refused by policy, reputation or content, of the same.
    #[arg(long, value_name = "SHARE")]
    pub refusals: Option<String>,
    /// Fewer outcomes than these decide nothing.
    #[arg(long, value_name = "COUNT")]
    pub sample: Option<String>,
}
