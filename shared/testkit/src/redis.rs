//! A throw-away Redis.
//!
//! With `PARCOURS_TEST_REDIS_URL` tests share that server, each under an install id of its own.
//! Without it this process starts a server of its own, reachable by a Unix socket in a new directory
//! only, so no port is taken. A test that flushes, kills or freezes Redis starts one for itself
//! ([`RedisServer`]). Where there is no `redis-server`, the test says so, is counted, and does nothing.
//!
//! What always holds: a server ends with the process that started it, however that ends, because its
//! shell waits for the end of our side of a pipe; its directory goes with it.

use std::{
    fs::OpenOptions,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    process::Command,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use anyhow::{Result, bail};
use uuid::Uuid;

use crate::minder::Minder;

/// Names the server that tests share.
pub const URL_VARIABLE: &str = "PARCOURS_TEST_REDIS_URL";

/// Starts a server and says when it is ready; then does as told, line by line, until standard
/// input ends.
const SCRIPT: &str = r#"
dir=$(mktemp -d /tmp/parcours-redis.XXXXXX) || exit 1
cd "$dir"
trap '' INT
serve() {
  sh -c 'echo $$ >pid; exec redis-server --port 0 --unixsocket "$0/socket" --save "" --appendonly no "$@"' "$dir" "$@" </dev/null |
    while read -r line; do
      case $line in *"eady to accept connections"*) echo ready;; esac
    done &
}
end() { kill -CONT "$(cat pid)" 2>/dev/null; kill -KILL "$(cat pid)" 2>/dev/null; wait; }
echo "$dir"
serve "$@"
while read -r word; do
  case $word in
    kill) end; echo done;;
    start) serve "$@";;
    freeze) kill -STOP "$(cat pid)"; echo done;;
    thaw) kill -CONT "$(cat pid)"; echo done;;
  esac
done
end
cd /
rm -rf "$dir"
"#;

/// A server that this process started, for one test alone.
pub struct RedisServer {
    minder: Minder,
    socket: String,
    url: String,
}

impl RedisServer {
    /// A fresh, empty server; none, said and counted, when there is no `redis-server`.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(test: &str) -> Result<Option<Self>> {
        if !installed() {
            skip(test);
            return Ok(None);
        }
        Self::start_with(&[]).map(Some)
    }

    /// The same with other settings, such as `["--maxmemory", "2mb"]`; `redis-server` is there.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_with(settings: &[&str]) -> Result<Self> {
        let mut shell = Command::new("sh");
        let (mut minder, directory) =
            Minder::start(shell.args(["-c", SCRIPT, "sh"]).args(settings))?;
        minder.expect("ready")?;
        let socket = format!("{directory}/socket");
        let url = format!("redis+unix://{socket}");
        Ok(Self { minder, socket, url })
    }

    /// Its URL; the same after [`RedisServer::start_again`].
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The path of its socket.
    #[must_use]
    pub fn socket(&self) -> &str {
        &self.socket
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// When the shell that minds it is gone.
    pub fn kill(&mut self) -> Result<()> {
        self.minder.order("kill", "done")
    }

    /// Starts it again, with what it saved last (`SAVE`), if it saved anything.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_again(&mut self) -> Result<()> {
        self.minder.order("start", "ready")
    }

    /// It answers nothing until [`RedisServer::thaw`].
    ///
    /// # Errors
    /// When the shell that minds it is gone.
    pub fn freeze(&mut self) -> Result<()> {
        self.minder.order("freeze", "done")
    }

    /// It goes on.
    ///
    /// # Errors
    /// When the shell that minds it is gone.
    pub fn thaw(&mut self) -> Result<()> {
        self.minder.order("thaw", "done")
    }

    /// Gives it a command that is answered with one line, such as `FLUSHALL`; the line.
    ///
    /// # Errors
    /// When it is away, or answers with an error.
    pub fn ask(&self, words: &[&str]) -> Result<String> {
        let mut stream = UnixStream::connect(&self.socket)?;
        let mut command = format!("*{}\r\n", words.len());
        for word in words {
            command.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        stream.write_all(command.as_bytes())?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        match line.trim().split_at_checked(1) {
            Some(("-", error)) => bail!("Redis: {error}"),
            Some((_, answer)) => Ok(answer.to_owned()),
            None => bail!("Redis closed the connection"),
        }
    }
}

static SERVER: Mutex<Weak<RedisServer>> = Mutex::new(Weak::new());

/// A place of its own in a server that others use too.
pub struct TempRedis {
    url: String,
    install: String,
    _server: Option<Arc<RedisServer>>,
}

impl TempRedis {
    /// An install that nobody else has; none, said and counted, when there is no Redis.
    ///
    /// # Errors
    /// When a server is there and does not start.
    pub fn new(test: &str) -> Result<Option<Self>> {
        let install = Uuid::new_v4().simple().to_string();
        if let Some(url) = std::env::var(URL_VARIABLE).ok().filter(|url| !url.is_empty()) {
            return Ok(Some(Self { url, install, _server: None }));
        }
        let mut shared = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
        let server = match shared.upgrade() {
            Some(server) => server,
            None => {
                let Some(server) = RedisServer::start(test)? else { return Ok(None) };
                let server = Arc::new(server);
                *shared = Arc::downgrade(&server);
                server
            }
        };
        Ok(Some(Self { url: server.url().to_owned(), install, _server: Some(server) }))
    }

    /// The server's URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What tells this test's keys from all others.
    #[must_use]
    pub fn install(&self) -> &str {
        &self.install
    }
}

fn installed() -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|path| path.join("redis-server").exists())
}

/// Says that a test does nothing, and has `tests/run` count it.
fn skip(test: &str) {
    eprintln!("SKIPPED: {test}: there is no redis-server; tests/run installs it");
    if let Some(list) = std::env::var_os("PARCOURS_TEST_SKIPS")
        && let Ok(mut file) = OpenOptions::new().append(true).open(list)
    {
        // The line above was the loud one; a list that cannot be written loses only the count.
        let _ = writeln!(file, "{test}: there is no redis-server");
    }
}
