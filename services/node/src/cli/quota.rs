//! Options of `quota`.

use clap::{Args, Subcommand};

use super::RemoteArgs;

/// Options of `quota`.
#[derive(Clone, Debug, Args)]
pub struct QuotaArgs {
    /// Without a command: what holds and what is used.
    #[command(subcommand)]
    pub command: Option<QuotaCommand>,
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

/// `quota` commands.
#[derive(Clone, Debug, Subcommand)]
pub enum QuotaCommand {
    /// Set what is named; the rest stays. `default` takes a quota away again.
    Set(QuotaSetArgs),
}

/// Options of `quota set`.
#[derive(Clone, Debug, Args)]
pub struct QuotaSetArgs {
    /// Events: a rate such as "500/s burst 5000", `none`, or `default`: as the install says.
    #[arg(long, value_name = "RATE")]
    pub events: Option<String>,
    /// The most contacts.
    #[arg(long, value_name = "COUNT")]
    pub contacts: Option<String>,
    /// The most journeys that are not archived.
    #[arg(long, value_name = "COUNT")]
    pub journeys: Option<String>,
    /// The most messages of a day (UTC).
    #[arg(long, value_name = "COUNT")]
    pub sends_per_day: Option<String>,
    /// How much of a processor the rendering of its templates may take, in percent of one core.
    #[arg(long, value_name = "PERCENT")]
    pub template_cpu: Option<String>,
    /// Its weight beside other brands in delivery, 1 to 100; 10 by default.
    #[arg(long, value_name = "WEIGHT")]
    pub weight: Option<String>,
}
