//! The command line, parsed once into types. Every option can also come from the environment.

mod breaker;
mod copy;
mod process;
mod quota;
mod roundtrip;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use breaker::{BreakerArgs, BreakerCommand, BreakerSetArgs};
pub use copy::CopyArgs;
pub use process::{NodeArgs, Role};
pub use quota::{QuotaArgs, QuotaCommand, QuotaSetArgs};
pub use roundtrip::RoundtripArgs;

/// Marketing automation for many brands: journeys, consent, delivery.
#[derive(Debug, Parser)]
#[command(name = "parcours", version, about, max_term_width = 100)]
pub struct Cli {
    /// What to do; without a command the product starts and runs until told to stop.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Where data is and how the server listens.
    #[command(flatten)]
    pub node: NodeArgs,
}

/// A command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// A record shop's eighteen months in a minute or two, on real purchases.
    Demo(DemoArgs),
    /// Publish the documents of a folder: brands, senders, topics, templates, journeys.
    Apply(DocumentArgs),
    /// Show every fault in the documents of a folder; needs no server and no store.
    Validate {
        /// Folder or file with YAML or JSON documents.
        dir: PathBuf,
    },
    /// Show what `apply` would change.
    Diff(DocumentArgs),
    /// Write the published documents of a brand as files that can be applied again.
    Export(ExportArgs),
    /// Copy a journey, with the templates that it sends, to another brand of the same organisation.
    ///
    /// All or nothing, under the checks of `apply`. Brand document, senders, secrets and topics are each
    /// brand's own and have to be there; what is missing is listed at once. What the other brand has
    /// already and is equal is left; what differs is a conflict.
    Copy(CopyArgs),
    /// Move one brand: as a file, from store to store, also from SQLite to PostgreSQL.
    #[command(subcommand)]
    Tenant(TenantCommand),
    /// Write the whole install to a file, beside the running server.
    ///
    /// Keys and stored secrets are in it wrapped under the passphrase; other personal data is in it
    /// as it is in the database. Keep file and passphrase apart.
    Backup(BackupArgs),
    /// Put a backup into an empty store, with all sending held.
    ///
    /// What came due since the backup is worked off at once, so that every delay has its time.
    /// Messages that were queued then, or were asked for since, may have left before the old store
    /// was lost: they are set apart. Nothing leaves until `parcours sending release`. Stop the old
    /// store for good first. What happened after the backup is not in it: events, clicks, and
    /// withdrawals, too.
    Restore(RestoreArgs),
    /// What is in the queue of all brands; after a restore, what would leave and what may have left.
    Sending(SendingArgs),
    /// API keys.
    #[command(subcommand)]
    Key(KeyCommand),
    /// What a brand may use, and what it uses of it.
    Quota(QuotaArgs),
    /// A brand's breaker: its limits, what it counts, and whether it has stopped the brand.
    Breaker(BreakerArgs),
    /// One contact: state, runs, timeline.
    #[command(subcommand)]
    Contact(ContactCommand),
    /// What waits, what is late, what needs a person. Ends with 0 when nothing does, with 1 when
    /// something does, with 2 when nobody answers.
    Status(StatusArgs),
    /// What happened in each brand that the key reaches: events, runs, messages by outcome.
    Rollup(RollupArgs),
    /// Show that an install works from end to end: an event starts a journey, its mail comes to the
    /// built-in mailbox, is unsubscribed from with one click, and the next one is refused, with why.
    ///
    /// It does so in a brand of its own, `parcours-roundtrip`, which stays and is used again; no mail
    /// leaves. One at a time. Prints a line for each step, and ends with 0, or with 1 and what failed,
    /// where, and what to do.
    Roundtrip(RoundtripArgs),
    /// Show a template with a contact's values, where each comes from, and whether it would be sent.
    Preview(PreviewArgs),
    /// Send a template, marked as a test, to one of the brand's `test_addresses`.
    TestSend(TestSendArgs),
    /// Make the schema of the store, or bring it up to date, and end.
    ///
    /// Every process does so when it starts, one at a time and all or nothing; run it before the
    /// others are replaced to see it done, or with a login that may do more than theirs. Processes
    /// of the version before go on meanwhile.
    Migrate,
    /// Print the OpenAPI document.
    Openapi,
}

/// The passphrase of a file: from the environment (PARCOURS_PASSPHRASE) or from a file.
#[derive(Clone, Debug, Args)]
pub struct PassphraseArgs {
    /// File with the passphrase, at least 12 characters; `-` reads standard input. Without it the
    /// environment variable PARCOURS_PASSPHRASE holds it.
    #[arg(long, env = "PARCOURS_PASSPHRASE_FILE")]
    pub passphrase_file: Option<PathBuf>,
}

/// `tenant` commands.
#[derive(Debug, Subcommand)]
pub enum TenantCommand {
    /// Write one brand to a file, beside the running server.
    ///
    /// With --halt its sending is halted first, and the file says so: where it is loaded, sending
    /// goes on. Without --halt the source goes on sending what is in the file as still to be sent,
    /// so two installs could send the same message; such a brand arrives halted. Events that come
    /// to the source after the dump are not in the file: send them to the new place.
    Dump(DumpArgs),
    /// Put a dumped brand into this store; refused when it is there already.
    Load(LoadArgs),
}

/// Options of `tenant dump`.
#[derive(Clone, Debug, Args)]
pub struct DumpArgs {
    /// The file to write; it must not exist.
    pub file: PathBuf,
    /// The brand: its name, or `organisation/name`.
    #[arg(long)]
    pub brand: String,
    /// Halt the brand's sending here first: it moves.
    #[arg(long)]
    pub halt: bool,
    /// The passphrase.
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
    /// How to reach the server that has the store, for --halt.
    #[command(flatten)]
    pub remote: RemoteArgs,
}

/// Options of `tenant load`.
#[derive(Clone, Debug, Args)]
pub struct LoadArgs {
    /// The file.
    pub file: PathBuf,
    /// The passphrase.
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
}

/// Options of `backup`.
#[derive(Clone, Debug, Args)]
pub struct BackupArgs {
    /// The file to write; it must not exist.
    pub file: PathBuf,
    /// The passphrase.
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
}

/// Options of `restore`.
#[derive(Clone, Debug, Args)]
pub struct RestoreArgs {
    /// The backup.
    #[arg(required_unless_present = "resume")]
    pub file: Option<PathBuf>,
    /// Complete a restore that was interrupted after its rows had come in.
    #[arg(long, conflicts_with = "file")]
    pub resume: bool,
    /// The passphrase.
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
}

/// Options of `sending`.
#[derive(Clone, Debug, Args)]
pub struct SendingArgs {
    /// Without a command: the list.
    #[command(subcommand)]
    pub command: Option<SendingCommand>,
    /// How to reach the server.
    #[command(flatten)]
    pub remote: RemoteArgs,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
}

/// `sending` commands.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum SendingCommand {
    /// Let a restored install send.
    Release {
        /// What to do with messages that may have left before the restore: not send them (they end
        /// as `unknown`), or send them, perhaps for the second time.
        #[arg(long, value_enum, default_value = "skip")]
        may_have_left: MayHaveLeftArg,
    },
}

/// What to do with messages that may have left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MayHaveLeftArg {
    /// Not again.
    Skip,
    /// Again.
    Send,
}

/// What `preview` and `test-send` share.
#[derive(Clone, Debug, Args)]
pub struct TryoutArgs {
    /// The template's name.
    pub template: String,
    /// The contact whose values stand in it: an id, or `user:ID`.
    #[arg(long)]
    pub contact: String,
    /// `run.*`, as JSON.
    #[arg(long)]
    pub data: Option<String>,
    /// The topic; that of the journey that sends it, unless given.
    #[arg(long)]
    pub topic: Option<String>,
    /// Which brand.
    #[arg(long)]
    pub brand: Option<String>,
    /// How to reach the server.
    #[command(flatten)]
    pub remote: RemoteArgs,
}

/// Options of `preview`.
#[derive(Clone, Debug, Args)]
pub struct PreviewArgs {
    /// What is shown.
    #[command(flatten)]
    pub tryout: TryoutArgs,
    /// A Template document that is not published, shown in place of the published one.
    #[arg(long)]
    pub source: Option<PathBuf>,
    /// Where to write the HTML.
    #[arg(long)]
    pub html: Option<PathBuf>,
}

/// Options of `test-send`.
#[derive(Clone, Debug, Args)]
pub struct TestSendArgs {
    /// What is sent.
    #[command(flatten)]
    pub tryout: TryoutArgs,
    /// To which address.
    #[arg(long)]
    pub to: String,
}

/// Options of `demo`.
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// End after the table instead of serving.
    #[arg(long)]
    pub no_serve: bool,
    /// Start again, even if an earlier demo was interrupted; otherwise that one goes on.
    #[arg(long)]
    pub fresh: bool,
    /// Print the table as one line of JSON, too, after the table for people.
    #[arg(long)]
    pub json: bool,
}

/// How a command reaches the server.
#[derive(Clone, Debug, Args)]
pub struct RemoteArgs {
    /// The server; without it the command opens the store itself.
    #[arg(long, env = "PARCOURS_URL")]
    pub url: Option<String>,
    /// An API key of the server.
    #[arg(long, env = "PARCOURS_KEY", hide_env_values = true)]
    pub key: Option<String>,
}

/// Options of `apply` and `diff`.
#[derive(Clone, Debug, Args)]
pub struct DocumentArgs {
    /// Folder or file with YAML or JSON documents.
    pub dir: PathBuf,
    /// How to reach the server.
    #[command(flatten)]
    pub remote: RemoteArgs,
    /// The brand, when the folder holds no Brand document.
    #[arg(long)]
    pub brand: Option<String>,
}

/// Options of `export`.
#[derive(Clone, Debug, Args)]
pub struct ExportArgs {
    /// Folder to write into; made when absent.
    pub dir: PathBuf,
    /// How to reach the server.
    #[command(flatten)]
    pub remote: RemoteArgs,
    /// Which brand.
    #[arg(long)]
    pub brand: Option<String>,
}

/// Options of `status`.
#[derive(Clone, Debug, Args)]
pub struct StatusArgs {
    /// Only this brand.
    #[arg(long)]
    pub brand: Option<String>,
    /// Show brands that have nothing waiting, too.
    #[arg(long)]
    pub all: bool,
    /// Print the answer of `GET /v1/status` instead of a table.
    #[arg(long)]
    pub json: bool,
    /// How to reach the server.
    #[command(flatten)]
    pub remote: RemoteArgs,
}

/// Options of `rollup`.
#[derive(Clone, Debug, Args)]
pub struct RollupArgs {
    /// How many days (UTC), today included; at most 400.
    #[arg(long, default_value_t = 7)]
    pub days: u16,
    /// Only this brand: its name, or `organisation/name`.
    #[arg(long)]
    pub brand: Option<String>,
    /// Print the answer of `GET /v1/rollup` instead of a table.
    #[arg(long)]
    pub json: bool,
    /// How to reach the server.
    #[command(flatten)]
    pub remote: RemoteArgs,
}

/// `key` commands.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key and print its secret once.
    Create(KeyCreateArgs),
}

/// Options of `key create`.
#[derive(Clone, Debug, Args)]
pub struct KeyCreateArgs {
    /// The brand it is for; without it the key is for the whole install.
    #[arg(long)]
    pub brand: Option<String>,
    /// Comma-separated: ingest, read, manage, admin.
    #[arg(long, value_delimiter = ',', default_value = "ingest,read,manage,admin")]
    pub scopes: Vec<String>,
    /// A key for web pages: anonymous events only.
    #[arg(long)]
    pub public: bool,
    /// What it is for.
    #[arg(long, default_value = "made on the command line")]
    pub label: String,
    /// How to reach the server.
    #[command(flatten)]
    pub remote: RemoteArgs,
}

/// `contact` commands.
#[derive(Debug, Subcommand)]
pub enum ContactCommand {
    /// Print a contact's state, runs and timeline as JSON.
    Show {
        /// The contact's id, or `user:ID`.
        contact: String,
        /// Which brand.
        #[arg(long)]
        brand: Option<String>,
        /// How to reach the server.
        #[command(flatten)]
        remote: RemoteArgs,
    },
}
