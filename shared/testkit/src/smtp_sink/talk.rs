//! One conversation of the sink with a client.

use std::{io, sync::Arc, time::Instant};

use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::TlsAcceptor;

use super::{At, Gate, KEY, Received, SmtpSink, State, locked, rule::Action};

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What is left to do after a rule.
enum Next {
    Go,
    Answered,
    Close,
}

struct Talk {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
    state: Arc<State>,
    connection: usize,
    message: usize,
    mail_from: String,
    parameters: String,
    rcpt: Vec<String>,
    auth: Vec<String>,
    tls: bool,
}

pub(super) async fn serve(stream: TcpStream, state: Arc<State>) {
    let connection = {
        let mut connections = locked(&state.connections);
        *connections += 1;
        *connections - 1
    };
    stream.set_nodelay(true).ok();
    let options = state.options;
    let start_tls = options.start_tls && !options.tls;
    let mut talk = Talk {
        stream: Box::new(tokio::io::empty()),
        buffer: Vec::new(),
        state,
        connection,
        message: 0,
        mail_from: String::new(),
        parameters: String::new(),
        rcpt: Vec::new(),
        auth: Vec::new(),
        tls: options.tls,
    };
    let outcome = if start_tls {
        talk.serve_with_start_tls(stream).await
    } else if options.tls {
        match accept_tls(stream).await {
            Ok(stream) => talk.serve(stream).await,
            Err(error) => Err(error),
        }
    } else {
        talk.serve(Box::new(stream)).await
    };
    // A client that goes away is not the sink's problem; tests look at what was received.
    outcome.ok();
}

async fn accept_tls(stream: TcpStream) -> io::Result<Box<dyn Stream>> {
    let certificate = SmtpSink::certificate()?;
    let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).map_err(io::Error::other)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .map_err(io::Error::other)?;
    Ok(Box::new(TlsAcceptor::from(Arc::new(config)).accept(stream).await?))
}

impl Talk {
    async fn serve(&mut self, stream: Box<dyn Stream>) -> io::Result<()> {
        self.stream = stream;
        if let Next::Close = self.greet().await? {
            return Ok(());
        }
        self.commands().await
    }

    /// The words before TLS, on the bare socket, then the rest of the conversation under TLS.
    async fn serve_with_start_tls(&mut self, mut stream: TcpStream) -> io::Result<()> {
        stream.write_all(b"220 sink\r\n").await?;
        let mut read = Vec::new();
        while !read.ends_with(b"\r\n") {
            read.push(stream.read_u8().await?);
        }
        stream.write_all(b"250-sink\r\n250 STARTTLS\r\n").await?;
        read.clear();
        while !read.ends_with(b"\r\n") {
            read.push(stream.read_u8().await?);
        }
        if let Some(Action::Reply(lines)) = self.state.action(At::StartTls, &[], 0) {
            return stream.write_all(format!("{lines}\r\n").as_bytes()).await;
        }
        let injected = if self.state.options.injects { "250 injected\r\n" } else { "" };
        stream.write_all(format!("220 go\r\n{injected}").as_bytes()).await?;
        self.stream = accept_tls(stream).await?;
        self.tls = true;
        self.commands().await
    }

    async fn greet(&mut self) -> io::Result<Next> {
        match self.rule(At::Connect).await? {
            Next::Go => {
                self.say("220 sink").await?;
                Ok(Next::Go)
            }
            next => Ok(next),
        }
    }

    async fn commands(&mut self) -> io::Result<()> {
        loop {
            let line = String::from_utf8_lossy(&self.line().await?).into_owned();
            let upper = line.to_ascii_uppercase();
            let at = if upper.starts_with("EHLO") || upper.starts_with("HELO") {
                At::Hello
            } else if upper.starts_with("AUTH") {
                At::Auth
            } else if upper.starts_with("MAIL FROM:") {
                self.begin(&line);
                At::MailFrom
            } else if upper.starts_with("RCPT TO:") {
                self.rcpt.push(path(&line));
                At::Rcpt
            } else if upper == "DATA" {
                At::Data
            } else if upper == "RSET" {
                At::Reset
            } else if upper == "QUIT" {
                return self.say("221 bye").await;
            } else {
                self.say("500 5.5.2 what").await?;
                continue;
            };
            match self.rule(at).await? {
                Next::Go => {}
                Next::Answered if at == At::Rcpt => {
                    self.rcpt.pop();
                    continue;
                }
                Next::Answered => continue,
                Next::Close => return Ok(()),
            }
            if let Next::Close = self.accept(at, &line).await? {
                return Ok(());
            }
        }
    }

    fn begin(&mut self, line: &str) {
        let mut messages = locked(&self.state.messages);
        self.message = *messages;
        *messages += 1;
        self.mail_from = path(line);
        self.parameters = line.split_once('>').map_or("", |(_, rest)| rest.trim()).to_owned();
        self.rcpt.clear();
    }

    async fn accept(&mut self, at: At, line: &str) -> io::Result<Next> {
        match at {
            At::Hello => {
                let auth = match (self.state.options.auth, self.state.options.auth_login) {
                    (true, _) => "250-AUTH PLAIN LOGIN\r\n",
                    (false, true) => "250-AUTH LOGIN\r\n",
                    (false, false) => "",
                };
                let last = if self.state.options.ascii_only { "8BITMIME" } else { "SMTPUTF8" };
                self.say(&format!("250-sink\r\n{auth}250 {last}")).await?;
            }
            At::Auth => self.authenticate(line).await?,
            At::Data => return self.data().await,
            At::Reset => {
                self.rcpt.clear();
                self.say("250 2.0.0 ok").await?;
            }
            At::Connect | At::StartTls | At::MailFrom | At::Rcpt | At::Body | At::Dot => {
                self.say("250 2.0.0 ok").await?;
            }
        }
        Ok(Next::Go)
    }

    async fn authenticate(&mut self, line: &str) -> io::Result<()> {
        self.auth.push(line.to_owned());
        if line.eq_ignore_ascii_case("AUTH LOGIN") {
            for question in ["334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6"] {
                self.say(question).await?;
                let answer = String::from_utf8_lossy(&self.line().await?).into_owned();
                self.auth.push(answer);
            }
        }
        self.say("235 2.7.0 welcome").await
    }

    async fn data(&mut self) -> io::Result<Next> {
        let at = std::time::SystemTime::now();
        self.say("354 go").await?;
        let mut raw = Vec::new();
        let mut first = true;
        loop {
            let line = self.line().await?;
            if line == b"." {
                break;
            }
            raw.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
            raw.extend_from_slice(b"\r\n");
            if std::mem::take(&mut first) {
                match self.rule(At::Body).await? {
                    Next::Go | Next::Answered => {}
                    Next::Close => return Ok(Next::Close),
                }
            }
        }
        let received = Received {
            mail_from: self.mail_from.clone(),
            parameters: self.parameters.clone(),
            rcpt: self.rcpt.clone(),
            raw,
            connection: self.connection,
            at,
            tls: self.tls,
            auth: self.auth.clone(),
            accepted: Instant::now(),
        };
        match self.state.action(At::Dot, &self.rcpt, self.message) {
            Some(Action::Reply(lines)) => {
                self.say(&lines).await?;
                return Ok(if lines.starts_with("421") { Next::Close } else { Next::Go });
            }
            Some(Action::HangUp) => return Ok(Next::Close),
            Some(Action::AcceptAndHangUp) => {
                self.keep(received);
                return Ok(Next::Close);
            }
            Some(Action::Hold(gate)) => self.hold(&gate).await,
            None => {}
        }
        self.keep(received);
        self.say("250 2.0.0 queued as SINK").await?;
        Ok(Next::Go)
    }

    async fn rule(&mut self, at: At) -> io::Result<Next> {
        match self.state.action(at, &self.rcpt, self.message) {
            None => Ok(Next::Go),
            Some(Action::Reply(lines)) => {
                self.say(&lines).await?;
                Ok(if lines.starts_with("421") { Next::Close } else { Next::Answered })
            }
            Some(Action::HangUp | Action::AcceptAndHangUp) => Ok(Next::Close),
            Some(Action::Hold(gate)) => {
                self.hold(&gate).await;
                Ok(Next::Go)
            }
        }
    }

    async fn hold(&mut self, gate: &Gate) {
        locked(&self.state.held).insert(self.connection, self.rcpt.clone());
        gate.pass().await;
        locked(&self.state.held).remove(&self.connection);
    }

    fn keep(&self, received: Received) {
        let received = Received { accepted: Instant::now(), ..received };
        self.state.received.send_modify(|list| list.push(received));
    }

    async fn say(&mut self, lines: &str) -> io::Result<()> {
        self.stream.write_all(format!("{lines}\r\n").as_bytes()).await?;
        self.stream.flush().await
    }

    /// The next line without its end.
    async fn line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some((line, end)) = self.line_in_buffer() {
                let line = self.buffer.get(..line).unwrap_or(&[]).to_vec();
                self.buffer.drain(..end);
                return Ok(line);
            }
            let mut chunk = [0; 8_192];
            let len = self.stream.read(&mut chunk).await?;
            if len == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.buffer.extend_from_slice(chunk.get(..len).unwrap_or(&[]));
        }
    }

    /// Length of the first line without and with its end.
    fn line_in_buffer(&self) -> Option<(usize, usize)> {
        if !self.state.options.lenient {
            let at = self.buffer.windows(2).position(|pair| pair == b"\r\n")?;
            return Some((at, at + 2));
        }
        let at = self.buffer.iter().position(|byte| matches!(byte, b'\r' | b'\n'))?;
        match (self.buffer.get(at), self.buffer.get(at + 1)) {
            (Some(b'\r'), Some(b'\n')) => Some((at, at + 2)),
            (Some(b'\r'), None) => None,
            _ => Some((at, at + 1)),
        }
    }
}

/// What stands between the angle brackets.
fn path(line: &str) -> String {
    let inside = line.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    inside.map_or("", |(path, _)| path).to_owned()
}
