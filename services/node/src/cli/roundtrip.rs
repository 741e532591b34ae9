//! Options of `roundtrip`.

use clap::Args;

use super::RemoteArgs;

/// Options of `roundtrip`.
#[derive(Clone, Debug, Args)]
pub struct RoundtripArgs {
    /// Where the links in messages are answered, when that is not where the API is: a process with the
    /// consent role, or the public address.
    #[arg(long, env = "PARCOURS_LINKS", value_name = "URL")]
    pub links: Option<String>,
    /// Seconds that all of it may take.
    #[arg(long, env = "PARCOURS_WITHIN", value_name = "SECONDS", default_value_t = 60)]
    pub within: u32,
    /// The organisation of the brand, when the key does not say it; made when it is new.
    #[arg(long, value_name = "NAME", default_value = "parcours")]
    pub organisation: String,
    /// How to reach the server. The key is an admin key of the install or of an organisation.
    #[command(flatten)]
    pub remote: RemoteArgs,
}
