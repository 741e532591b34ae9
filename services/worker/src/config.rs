//! The worker's limits. Every queue, mailbox, batch and page has one, written here.

use std::time::Duration;

/// The most inputs that fold into one commit of a contact.
pub const FOLD_INPUTS_MAX: usize = 256;
/// How often a contact is reloaded and stepped again because someone else moved it or took a key.
pub const RETRIES_MAX: u32 = 5;
/// Inbox rows that one load brings; as many again may wait.
pub const INBOX_ROWS_PER_LOAD: usize = 256;
/// Rows of one pass of a sweep, and entries of one pop from the timer index.
pub const SWEEP_ROWS_MAX: usize = 1_000;
/// Contacts in one group commit of the store: what the bulk lane's share is a share of.
pub const BATCH_CONTACTS: usize = 512;
/// The share that the bulk lane may have of all that is under way beside live work, in percent.
pub const BULK_SHARE_PERCENT: usize = 30;
/// Contacts of the bulk lane that may be under way however little live work there is.
pub const BULK_LEAST: usize = 4;

/// How a worker runs.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// Threads that actors live on; a contact's shard chooses one.
    pub arbiters: usize,
    /// Messages that wait for one contact; one more is answered with `Busy`.
    pub mailbox: usize,
    /// Inputs (events, timers, wakes) accepted and not yet answered, of all contacts.
    pub in_flight_max: usize,
    /// Of these, timers.
    pub timers_in_flight_max: usize,
    /// Machine time after which an idle contact leaves memory, while there is room for it.
    pub idle_in_room: Duration,
    /// The same once there are more contacts in memory than there is room for.
    pub idle_passivate: Duration,
    /// For how many contacts there is room; an active one takes about 2 kB.
    pub active_contacts: usize,
    /// Period of the timer sweep and of the inbox sweep, machine time.
    pub sweep_period: Duration,
    /// Period in which published documents are compared with those in memory, machine time.
    pub plans_period: Duration,
    /// Period in which live runs without a timer are looked for and given one, machine time.
    pub repair_period: Duration,
    /// How long a graceful stop waits for accepted inputs, machine time.
    pub drain_max: Duration,
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self {
            arbiters: 2,
            mailbox: 1_024,
            in_flight_max: 50_000,
            timers_in_flight_max: 10_000,
            idle_in_room: Duration::from_secs(900),
            idle_passivate: Duration::from_secs(30),
            active_contacts: 100_000,
            sweep_period: Duration::from_secs(1),
            plans_period: Duration::from_secs(5),
            repair_period: Duration::from_secs(60),
            drain_max: Duration::from_secs(30),
        }
    }
}
