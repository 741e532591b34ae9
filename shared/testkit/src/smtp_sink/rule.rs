//! Planned faults: where, for whom, how often, and what happens there.

use std::sync::Arc;

use tokio::sync::watch;

/// Where in a conversation a rule acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Instead of the greeting.
    Connect,
    /// At EHLO.
    Hello,
    /// At STARTTLS.
    StartTls,
    /// At AUTH and its answers.
    Auth,
    /// At MAIL FROM.
    MailFrom,
    /// At RCPT TO.
    Rcpt,
    /// At DATA.
    Data,
    /// After the first line of the message.
    Body,
    /// After the final dot, before the message counts as received.
    Dot,
    /// At RSET.
    Reset,
}

#[derive(Clone, Debug)]
pub(super) enum Action {
    Reply(String),
    HangUp,
    AcceptAndHangUp,
    Hold(Gate),
}

/// What the sink does instead of accepting.
#[derive(Clone, Debug)]
pub struct Rule {
    pub(super) at: At,
    pub(super) recipient: Option<String>,
    pub(super) message: Option<usize>,
    pub(super) action: Action,
    pub(super) times: usize,
}

impl Rule {
    fn new(at: At, action: Action) -> Self {
        Self { at, recipient: None, message: None, action, times: usize::MAX }
    }
    /// Answers these lines (without the last CRLF). A reply 421 also hangs up.
    #[must_use]
    pub fn reply(at: At, lines: &str) -> Self {
        Self::new(at, Action::Reply(lines.to_owned()))
    }
    /// Closes the connection without a word.
    #[must_use]
    pub fn hang_up(at: At) -> Self {
        Self::new(at, Action::HangUp)
    }
    /// Keeps the message and closes the connection without a reply.
    #[must_use]
    pub fn accept_and_hang_up() -> Self {
        Self::new(At::Dot, Action::AcceptAndHangUp)
    }
    /// Waits at the gate, then goes on as if nothing had been.
    #[must_use]
    pub fn hold(at: At, gate: &Gate) -> Self {
        Self::new(at, Action::Hold(gate.clone()))
    }
    /// Only for this recipient.
    #[must_use]
    pub fn to(mut self, recipient: &str) -> Self {
        self.recipient = Some(recipient.to_owned());
        self
    }
    /// Only for this message, counted by MAIL FROM over all connections, from 0.
    #[must_use]
    pub const fn message(mut self, number: usize) -> Self {
        self.message = Some(number);
        self
    }
    /// Only so many times.
    #[must_use]
    pub const fn times(mut self, times: usize) -> Self {
        self.times = times;
        self
    }
}

/// A place where the sink waits until the test lets it go on.
#[derive(Clone, Debug)]
pub struct Gate {
    open: Arc<watch::Sender<bool>>,
    reached: Arc<watch::Sender<usize>>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { open: Arc::new(watch::Sender::new(false)), reached: Arc::new(watch::Sender::new(0)) }
    }
}

impl Gate {
    /// Lets everyone through, now and later.
    pub fn open(&self) {
        self.open.send_replace(true);
    }
    /// Returns once `count` conversations have come to the gate.
    pub async fn reached(&self, count: usize) {
        self.reached.subscribe().wait_for(|reached| *reached >= count).await.ok();
    }
    pub(super) async fn pass(&self) {
        self.reached.send_modify(|reached| *reached += 1);
        self.open.subscribe().wait_for(|open| *open).await.ok();
    }
}
