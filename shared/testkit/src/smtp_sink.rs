//! An SMTP server inside the test: takes mail on a free port, does as it is told, and keeps what it
//! received.
//!
//! Faults are rules ([`Rule`]): at this stage, for this recipient or this message, so many times,
//! answer this, hang up, or wait at a [`Gate`] until the test opens it. Nothing here sleeps. The
//! strict sink ends lines at CRLF only; the lenient one at every CR or LF, as servers do that can be
//! tricked into reading one message as two.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Instant, SystemTime},
};

use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

mod rule;
mod talk;

use rule::Action;
pub use rule::{At, Gate, Rule};

const CERTIFICATE: &str = include_str!("smtp_sink/certificate.pem");
const KEY: &str = include_str!("smtp_sink/key.pem");

/// A message that the sink accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The envelope's sender.
    pub mail_from: String,
    /// What stood behind the sender in MAIL FROM.
    pub parameters: String,
    /// The envelope's recipients.
    pub rcpt: Vec<String>,
    /// The message's bytes, dots unstuffed, as they came.
    pub raw: Vec<u8>,
    /// Which connection brought it, from 0.
    pub connection: usize,
    /// When its data began, by the wall clock.
    pub at: SystemTime,
    /// Whether it came under TLS.
    pub tls: bool,
    /// The AUTH lines that came before, as they came.
    pub auth: Vec<String>,
    /// When it was accepted.
    pub accepted: Instant,
}

/// What kind of server the sink is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SinkOptions {
    /// Ends lines at every CR or LF.
    pub lenient: bool,
    /// Speaks TLS from the first byte.
    pub tls: bool,
    /// Offers STARTTLS.
    pub start_tls: bool,
    /// Offers AUTH PLAIN and LOGIN.
    pub auth: bool,
    /// Offers AUTH LOGIN only.
    pub auth_login: bool,
    /// Does not offer SMTPUTF8.
    pub ascii_only: bool,
    /// Sends a line of its own right after the reply to STARTTLS, in clear text.
    pub injects: bool,
}

/// The server. Stops when dropped.
#[derive(Debug)]
pub struct SmtpSink {
    address: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    options: SinkOptions,
    rules: Mutex<Vec<Rule>>,
    received: watch::Sender<Vec<Received>>,
    messages: Mutex<usize>,
    connections: Mutex<usize>,
    /// Recipients whose conversation waits at a gate, by connection.
    held: Mutex<BTreeMap<usize, Vec<String>>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SmtpSink {
    /// A strict sink without TLS.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start() -> io::Result<Self> {
        Self::with(SinkOptions::default()).await
    }

    /// A sink of this kind.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn with(options: SinkOptions) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            options,
            rules: Mutex::default(),
            received: watch::Sender::new(Vec::new()),
            messages: Mutex::default(),
            connections: Mutex::default(),
            held: Mutex::default(),
        });
        let shared = state.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(talk::serve(stream, shared.clone()));
            }
        });
        Ok(Self { address, state, task })
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.address.port()
    }
    /// The certificate of the TLS sinks: for `localhost` and 127.0.0.1, signed by itself.
    ///
    /// # Errors
    /// Never, as long as the file is what it was.
    pub fn certificate() -> io::Result<CertificateDer<'static>> {
        CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).map_err(io::Error::other)
    }
    /// Adds a rule. The first that fits acts.
    pub fn rule(&self, rule: Rule) {
        locked(&self.state.rules).push(rule);
    }
    /// Forgets all rules.
    pub fn clear_rules(&self) {
        locked(&self.state.rules).clear();
    }
    /// What was accepted so far, in order.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.state.received.borrow().clone()
    }
    /// Returns once so many messages have been accepted.
    pub async fn wait_for(&self, count: usize) -> Vec<Received> {
        let mut received = self.state.received.subscribe();
        received
            .wait_for(|list| list.len() >= count)
            .await
            .map(|list| list.clone())
            .unwrap_or_default()
    }
    /// The recipients of messages whose conversation waits at a [`Gate`].
    #[must_use]
    pub fn holding(&self) -> Vec<String> {
        locked(&self.state.held).values().flatten().cloned().collect()
    }
    /// How many messages were accepted so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.state.received.borrow().len()
    }
    /// How many connections were made.
    #[must_use]
    pub fn connections(&self) -> usize {
        *locked(&self.state.connections)
    }
}

impl Drop for SmtpSink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl State {
    fn action(&self, at: At, recipients: &[String], message: usize) -> Option<Action> {
        let mut rules = locked(&self.rules);
        let rule = rules.iter_mut().find(|rule| {
            rule.at == at
                && rule.times > 0
                && rule.message.is_none_or(|wanted| wanted == message)
                && rule.recipient.as_ref().is_none_or(|wanted| recipients.contains(wanted))
        })?;
        rule.times -= 1;
        Some(rule.action.clone())
    }
}
