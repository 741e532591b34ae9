//! The written limits of delivery, with the values that production uses.
//!
//! All spans here are machine time, except the backoff, which is product time.

use std::time::Duration;

use parcours_kit::since_boot;

use crate::{
    backoff::Backoff,
    group::GroupLimits,
    mail::smtp::{SmtpTimeouts, TlsTrust},
};

/// How delivery works; `default()` is production.
#[derive(Clone)]
pub struct DeliveryConfig {
    /// Most messages in one claim; also a brand's quantum in the round.
    pub claim_most: u32,
    /// Most claims that are worked on at once, over all brands. Most of them only wait for a
    /// server's replies.
    pub batches_most: usize,
    /// Most claims of one brand that are worked on at once.
    pub batches_of_brand_most: usize,
    /// Most claims of one brand's lane that are worked on at once.
    pub batches_of_head_most: usize,
    /// Most messages that are rendered at once: one for each core is enough.
    pub renders_most: usize,
    /// For how long a claim is ours. Longer than [`DeliveryConfig::stale_after`] and the time that
    /// a server may take to answer the final dot (600 s, RFC 5321 section 4.5.3.2.6) together.
    pub lease: Duration,
    /// A claimed message that has not reached its envelope by then goes back to the queue.
    pub stale_after: Duration,
    /// More than this between the final commit and DATA: the connection is closed, and the message
    /// is judged again.
    pub dot_grace: Duration,
    /// The clock by which that is measured: time since the machine was started, sleep included.
    pub since_boot: fn() -> Duration,
    /// How often the queue is looked at without a hint.
    pub sweep_every: Duration,
    /// How often claims whose lease is over are settled; looked at with the queue.
    pub settle_every: Duration,
    /// Grouping of final commits, for which connections wait, and of recorded outcomes: what is not
    /// recorded when the process is killed is unknown, so neither waits for long.
    pub group: GroupLimits,
    /// Waits between attempts.
    pub backoff: Backoff,
    /// Attempts after which a message fails.
    pub attempts_most: u32,
    /// How long one message may take to render before it counts as stalled.
    pub render_most: Duration,
    /// How long an idle SMTP connection is kept.
    pub idle_connection: Duration,
    /// The name with which we greet SMTP servers.
    pub hello_name: String,
    /// How long each phase of an SMTP conversation may take.
    pub smtp_timeouts: SmtpTimeouts,
    /// Whose certificates are believed; none: the system's roots.
    pub trust: Option<TlsTrust>,
}

impl std::fmt::Debug for DeliveryConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeliveryConfig")
            .field("claim_most", &self.claim_most)
            .finish_non_exhaustive()
    }
}

impl Default for DeliveryConfig {
    fn default() -> Self {
        Self {
            claim_most: 256,
            batches_most: 512,
            batches_of_brand_most: 8,
            batches_of_head_most: 2,
            renders_most: 4,
            lease: Duration::from_secs(900),
            stale_after: Duration::from_secs(120),
            dot_grace: Duration::from_secs(5),
            since_boot,
            sweep_every: Duration::from_millis(500),
            settle_every: Duration::from_secs(5),
            group: GroupLimits::default(),
            backoff: Backoff::default(),
            attempts_most: 30,
            render_most: Duration::from_secs(5),
            idle_connection: Duration::from_secs(30),
            hello_name: "localhost".to_owned(),
            smtp_timeouts: SmtpTimeouts::default(),
            trust: None,
        }
    }
}
