//! A conversation with an SMTP server, command by command (RFC 5321).
//!
//! The sender of a message needs to act between the last RCPT and DATA, and needs to know after a
//! failure whether the message can have been delivered. So there are two calls, [`Connection::envelope`]
//! and [`Connection::data`], and a failure says at which stage it happened and whether the last byte
//! of the message may have been handed over ([`SmtpFailure::maybe_delivered`]).
//!
//! What always holds: no command carries a control character; what follows DATA is canonical CRLF,
//! dot-stuffed here; nothing that was read before STARTTLS is believed after it; a password goes
//! over TLS or to the same machine; a connection that saw an odd or closing reply is not used again.

use std::{fmt, io, time::Duration};

use data_encoding::BASE64;
use parcours_domain::EmailAddress;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

mod failure;
mod target;

pub use self::{
    failure::{Accepted, FailureKind, SmtpFailure, Stage},
    target::{SmtpCredentials, SmtpSecurity, SmtpTarget, SmtpTimeouts},
};
pub use super::tls::TlsTrust;
use super::{
    mime::is_canonical,
    reply::{Reply, ReplyBuffer, redacted},
};

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// An open conversation.
pub struct Connection {
    stream: Box<dyn Stream>,
    replies: ReplyBuffer,
    timeouts: SmtpTimeouts,
    extensions: Vec<String>,
    usable: bool,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("usable", &self.usable).finish_non_exhaustive()
    }
}

impl Connection {
    /// Connects, says hello, starts TLS and authenticates, as the target says.
    ///
    /// # Errors
    /// At [`Stage::Connect`], [`Stage::Tls`] or [`Stage::Auth`].
    pub async fn connect(target: &SmtpTarget) -> Result<Self, SmtpFailure> {
        if !is_hello(&target.hello) {
            let text = "the name for EHLO is not a domain name";
            return Err(SmtpFailure::new(Stage::Connect, FailureKind::Permanent, text));
        }
        let limit = target.timeouts.connect;
        let address = (target.host.as_str(), target.port);
        let tcp = within(Stage::Connect, limit, TcpStream::connect(address)).await?;
        let local = tcp.peer_addr().is_ok_and(|peer| peer.ip().is_loopback());
        tcp.set_nodelay(true).map_err(|error| io_failure(Stage::Connect, &error))?;
        let mut connection = match target.security {
            SmtpSecurity::None => Self::over(Box::new(tcp), target),
            SmtpSecurity::Tls => {
                let tls = target.trust.handshake(&target.host, tcp);
                Self::over(Box::new(within(Stage::Tls, limit, tls).await?), target)
            }
            SmtpSecurity::StartTls => Self::start_tls(tcp, target).await?,
        };
        if target.security != SmtpSecurity::StartTls {
            connection.greeting().await?;
        }
        connection.hello(&target.hello).await?;
        if let Some(credentials) = &target.credentials {
            if target.security == SmtpSecurity::None && !local {
                let text = "a password needs TLS";
                return Err(SmtpFailure::new(Stage::Auth, FailureKind::Permanent, text));
            }
            connection.authenticate(credentials).await?;
        }
        Ok(connection)
    }

    /// Names sender and recipient. After a failure, [`Connection::rset`] makes the connection ready
    /// for another envelope, if it is still [`usable`](Connection::is_usable).
    ///
    /// # Errors
    /// At [`Stage::MailFrom`] or [`Stage::Rcpt`].
    pub async fn envelope(&mut self, from: &str, to: &EmailAddress) -> Result<(), SmtpFailure> {
        let to = to.expose();
        for (stage, path) in [(Stage::MailFrom, from), (Stage::Rcpt, to)] {
            if !is_path(path) {
                let text = "an address that cannot stand in a command";
                return Err(SmtpFailure::new(stage, FailureKind::Permanent, text));
            }
        }
        let parameter = if from.is_ascii() && to.is_ascii() {
            ""
        } else if self.offers("SMTPUTF8") {
            " SMTPUTF8"
        } else {
            let text = "the server takes no internationalised addresses";
            return Err(SmtpFailure::new(Stage::Rcpt, FailureKind::Permanent, text));
        };
        let limit = self.timeouts.command;
        self.command(Stage::MailFrom, &format!("MAIL FROM:<{from}>{parameter}"), limit).await?;
        self.command(Stage::Rcpt, &format!("RCPT TO:<{to}>"), limit).await?;
        Ok(())
    }

    /// Hands over the message: DATA, the bytes with dots stuffed, the final dot.
    ///
    /// # Errors
    /// At [`Stage::Data`]: certainly not delivered. At [`Stage::Dot`] with a reply: refused. At
    /// [`Stage::Dot`] without one: `maybe_delivered`.
    pub async fn data(&mut self, message: &[u8]) -> Result<Accepted, SmtpFailure> {
        if !is_canonical(message) {
            let text = "the message has a bare CR or LF";
            return Err(SmtpFailure::new(Stage::Data, FailureKind::Permanent, text));
        }
        self.send(Stage::Data, b"DATA\r\n").await?;
        let reply = self.reply(Stage::Data, self.timeouts.data_start).await?;
        if reply.code != 354 {
            // A positive reply other than 354 leaves both sides in different states.
            self.usable &= reply.code >= 400;
            return Err(SmtpFailure::refused(Stage::Data, &reply));
        }
        let stuffed = dot_stuffed(message);
        self.usable = false;
        let limit = self.timeouts.data_write;
        within(Stage::Data, limit, self.stream.write_all(&stuffed)).await?;
        within(Stage::Data, limit, self.stream.flush()).await?;
        // From here on the message may be complete in the server's hands.
        self.finish().await.map_err(|failure| SmtpFailure {
            maybe_delivered: failure.code.is_none() || failure.kind == FailureKind::Protocol,
            ..failure
        })
    }

    async fn finish(&mut self) -> Result<Accepted, SmtpFailure> {
        self.send(Stage::Dot, b".\r\n").await?;
        let reply = self.reply(Stage::Dot, self.timeouts.dot).await?;
        self.usable = reply.code != 421;
        if (200..300).contains(&reply.code) {
            Ok(Accepted { code: reply.code, text: redacted(&reply.text) })
        } else {
            self.usable &= reply.code >= 400;
            Err(SmtpFailure::refused(Stage::Dot, &reply))
        }
    }

    /// Forgets the envelope.
    ///
    /// # Errors
    /// At [`Stage::MailFrom`]; the connection is then not usable.
    pub async fn rset(&mut self) -> Result<(), SmtpFailure> {
        let outcome = self.command(Stage::MailFrom, "RSET", self.timeouts.command).await;
        self.usable &= outcome.is_ok();
        outcome.map(|_| ())
    }

    /// Takes leave; whatever comes of it, the connection is closed.
    pub async fn quit(mut self) {
        let limit = self.timeouts.command.min(Duration::from_secs(5));
        if self.send(Stage::Connect, b"QUIT\r\n").await.is_ok() {
            self.reply(Stage::Connect, limit).await.ok();
        }
        self.stream.shutdown().await.ok();
    }

    /// Whether another command may be sent: false after a broken line, a reply 421, an odd reply,
    /// or a message whose end is open.
    #[must_use]
    pub const fn is_usable(&self) -> bool {
        self.usable
    }

    /// Changes how long each phase may take from now on.
    pub const fn set_timeouts(&mut self, timeouts: SmtpTimeouts) {
        self.timeouts = timeouts;
    }

    fn over(stream: Box<dyn Stream>, target: &SmtpTarget) -> Self {
        Self {
            stream,
            replies: ReplyBuffer::default(),
            timeouts: target.timeouts,
            extensions: Vec::new(),
            usable: true,
        }
    }

    async fn start_tls(tcp: TcpStream, target: &SmtpTarget) -> Result<Self, SmtpFailure> {
        let mut plain = PlainTalk { tcp, replies: ReplyBuffer::default() };
        let limit = target.timeouts.command;
        plain.expect(Stage::Connect, limit, None).await?;
        let hello = format!("EHLO {}\r\n", target.hello);
        let offered = plain.expect(Stage::Connect, limit, Some(&hello)).await?;
        if !offered.lines().iter().any(|line| line.eq_ignore_ascii_case("STARTTLS")) {
            let text = "the server does not offer STARTTLS";
            return Err(SmtpFailure::new(Stage::Tls, FailureKind::Protocol, text));
        }
        plain.expect(Stage::Tls, limit, Some("STARTTLS\r\n")).await?;
        if !plain.replies.is_empty() {
            let text = "the server sent more than its reply before TLS";
            return Err(SmtpFailure::new(Stage::Tls, FailureKind::Protocol, text));
        }
        let tls = target.trust.handshake(&target.host, plain.tcp);
        let tls = within(Stage::Tls, target.timeouts.connect, tls).await?;
        Ok(Self::over(Box::new(tls), target))
    }

    async fn greeting(&mut self) -> Result<(), SmtpFailure> {
        let reply = self.reply(Stage::Connect, self.timeouts.command).await?;
        self.judged(Stage::Connect, reply).map(|_| ())
    }

    async fn hello(&mut self, name: &str) -> Result<(), SmtpFailure> {
        let limit = self.timeouts.command;
        let reply = self.command(Stage::Connect, &format!("EHLO {name}"), limit).await?;
        self.extensions = reply.lines().iter().map(|line| line.to_ascii_uppercase()).collect();
        Ok(())
    }

    fn offers(&self, extension: &str) -> bool {
        self.extensions.iter().any(|line| line.split(' ').next() == Some(extension))
    }

    async fn authenticate(&mut self, credentials: &SmtpCredentials) -> Result<(), SmtpFailure> {
        let SmtpCredentials { username, password } = credentials;
        let offered = |name: &str| {
            self.extensions
                .iter()
                .any(|line| line.starts_with("AUTH") && line.split([' ', '=']).any(|m| m == name))
        };
        let limit = self.timeouts.command;
        if offered("PLAIN") {
            let secret = BASE64.encode(format!("\0{username}\0{password}").as_bytes());
            self.command(Stage::Auth, &format!("AUTH PLAIN {secret}"), limit).await?;
        } else if offered("LOGIN") {
            for line in [
                "AUTH LOGIN",
                &BASE64.encode(username.as_bytes()),
                &BASE64.encode(password.as_bytes()),
            ] {
                self.command(Stage::Auth, line, limit).await?;
            }
        } else {
            let text = "the server offers neither AUTH PLAIN nor AUTH LOGIN";
            return Err(SmtpFailure::new(Stage::Auth, FailureKind::Permanent, text));
        }
        Ok(())
    }

    /// Sends one command and judges its reply. 3xx passes: AUTH LOGIN goes on with it.
    async fn command(
        &mut self,
        stage: Stage,
        line: &str,
        limit: Duration,
    ) -> Result<Reply, SmtpFailure> {
        self.send(stage, format!("{line}\r\n").as_bytes()).await?;
        let reply = self.reply(stage, limit).await?;
        self.judged(stage, reply)
    }

    fn judged(&mut self, stage: Stage, reply: Reply) -> Result<Reply, SmtpFailure> {
        match reply.code {
            200..=299 => Ok(reply),
            300..=399 if stage == Stage::Auth => Ok(reply),
            400..=599 => Err(SmtpFailure::refused(stage, &reply)),
            _ => {
                self.usable = false;
                Err(SmtpFailure::refused(stage, &reply))
            }
        }
    }

    async fn send(&mut self, stage: Stage, bytes: &[u8]) -> Result<(), SmtpFailure> {
        let was_usable = std::mem::replace(&mut self.usable, false);
        let limit = self.timeouts.command;
        within(stage, limit, self.stream.write_all(bytes)).await?;
        within(stage, limit, self.stream.flush()).await?;
        self.usable = was_usable;
        Ok(())
    }

    /// Waits for a reply. Dropped or failed while waiting, the connection is not usable any more.
    async fn reply(&mut self, stage: Stage, limit: Duration) -> Result<Reply, SmtpFailure> {
        let was_usable = std::mem::replace(&mut self.usable, false);
        let reply = read_reply(stage, limit, &mut self.replies, &mut self.stream).await?;
        self.usable = was_usable && reply.code != 421;
        Ok(reply)
    }
}

/// The few words before STARTTLS.
struct PlainTalk {
    tcp: TcpStream,
    replies: ReplyBuffer,
}

impl PlainTalk {
    async fn expect(
        &mut self,
        stage: Stage,
        limit: Duration,
        line: Option<&str>,
    ) -> Result<Reply, SmtpFailure> {
        if let Some(line) = line {
            within(stage, limit, self.tcp.write_all(line.as_bytes())).await?;
        }
        let reply = read_reply(stage, limit, &mut self.replies, &mut self.tcp).await?;
        if (200..300).contains(&reply.code) {
            Ok(reply)
        } else {
            Err(SmtpFailure::refused(stage, &reply))
        }
    }
}

async fn read_reply(
    stage: Stage,
    limit: Duration,
    replies: &mut ReplyBuffer,
    stream: &mut (impl AsyncRead + Unpin + ?Sized),
) -> Result<Reply, SmtpFailure> {
    let protocol = |text| SmtpFailure::new(stage, FailureKind::Protocol, text);
    let reading = async {
        loop {
            match replies.take() {
                Ok(Some(reply)) => return Ok(reply),
                Ok(None) => {}
                Err(_) => return Err(protocol("the server's reply cannot be read")),
            }
            let mut chunk = [0; 4_096];
            match stream.read(&mut chunk).await {
                Ok(0) => {
                    let text = "the server closed the connection";
                    return Err(SmtpFailure::new(stage, FailureKind::Io, text));
                }
                Ok(len) => replies.push(chunk.get(..len).unwrap_or(&[])),
                Err(error) => return Err(io_failure(stage, &error)),
            }
        }
    };
    match timeout(limit, reading).await {
        Ok(outcome) => outcome,
        Err(_) => Err(SmtpFailure::new(stage, FailureKind::Timeout, "no reply in time")),
    }
}

async fn within<T>(
    stage: Stage,
    limit: Duration,
    work: impl Future<Output = io::Result<T>>,
) -> Result<T, SmtpFailure> {
    match timeout(limit, work).await {
        Ok(outcome) => outcome.map_err(|error| io_failure(stage, &error)),
        Err(_) => Err(SmtpFailure::new(stage, FailureKind::Timeout, "too slow")),
    }
}

/// Says the kind of an error, not its text, which may hold names.
fn io_failure(stage: Stage, error: &io::Error) -> SmtpFailure {
    SmtpFailure::new(stage, FailureKind::Io, &error.kind().to_string())
}

/// The message with every leading dot doubled (RFC 5321, section 4.5.2), ending in CRLF.
fn dot_stuffed(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + 64);
    let mut begins = true;
    for byte in message {
        if begins && *byte == b'.' {
            out.push(b'.');
        }
        out.push(*byte);
        begins = *byte == b'\n';
    }
    if !begins {
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// Whether a text can stand between the angle brackets of MAIL and RCPT.
fn is_path(text: &str) -> bool {
    let plain = |c: char| !c.is_control() && !c.is_whitespace() && !"<>\\\"".contains(c);
    !text.is_empty() && text.len() <= 320 && text.contains('@') && text.chars().all(plain)
}

/// A domain name, or an address literal in brackets.
fn is_hello(name: &str) -> bool {
    let inside = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.:_".contains(&byte);
    !inside.is_empty() && inside.len() <= 255 && inside.bytes().all(plain)
}
