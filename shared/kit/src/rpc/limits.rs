//! The written limits of the internal connections.

use std::time::Duration;

/// Limits of one connection, the same on both sides.
#[derive(Clone, Copy, Debug)]
pub struct RpcLimits {
    /// The most bytes of one message. A request of the API has at most 5 MiB; its events take up to
    /// four times as much here.
    pub message_bytes_max: usize,
    /// Asks of one stream that are worked on at once; one more is refused as busy.
    pub asks_max: usize,
    /// Bytes of asks to one peer that are not answered; with one more the caller is told busy.
    pub bytes_max: usize,
    /// Hints of one kind that wait for one peer; more are dropped, the sweeps find what they meant.
    pub hints_max: usize,
    /// How long connecting, and opening the stream, may take.
    pub open_max: Duration,
    /// After a failure, how long nobody tries again.
    pub reopen_after: Duration,
    /// Pings on an open connection, idle or not.
    pub ping_every: Duration,
    /// A ping that is not answered for so long ends the connection.
    pub ping_answer_max: Duration,
    /// How long the callee works on one ask, whatever the caller's patience.
    pub work_max: Duration,
    /// How long a stopping callee waits for the asks that it took.
    pub drain_max: Duration,
}

impl Default for RpcLimits {
    fn default() -> Self {
        Self {
            message_bytes_max: 32 * 1024 * 1024,
            asks_max: 512,
            bytes_max: 64 * 1024 * 1024,
            hints_max: 10_000,
            open_max: Duration::from_secs(2),
            reopen_after: Duration::from_millis(100),
            ping_every: Duration::from_secs(1),
            ping_answer_max: Duration::from_secs(2),
            work_max: Duration::from_secs(30),
            drain_max: Duration::from_secs(10),
        }
    }
}
