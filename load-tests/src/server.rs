//! The product as a child process: started on a free port, ended when the run is over.

use std::{
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use crate::args::{Args, Scenario};

/// How long a start may take.
const START: Duration = Duration::from_secs(60);
/// How long a graceful stop may take before the process is killed.
const STOP: Duration = Duration::from_secs(60);
/// Any 32 bytes: the store is thrown away.
const ROOT_KEY: &str = "6c6f6164206c6f6164206c6f6164206c6f6164206c6f6164206c6f6164206c6f";

/// A running server.
pub struct Server {
    child: Child,
    _stdout: Lines<BufReader<ChildStdout>>,
    /// Its process id.
    pub pid: u32,
    /// Where it listens.
    pub url: String,
    /// The install's first admin key; only the first start prints it.
    pub admin_key: Option<String>,
    /// Where SQLite keeps its file.
    pub data: PathBuf,
}

impl Server {
    /// Starts the server and waits until it listens.
    pub async fn start(args: &Args) -> anyhow::Result<Self> {
        let data = args.work.join("data");
        std::fs::create_dir_all(&args.work)?;
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(args.work.join("server.log"))
            .context("the server's log cannot be written")?;
        let mut command = Command::new(&args.server);
        command
            .args(["--listen", "127.0.0.1:0", "--root-key", ROOT_KEY, "--data"])
            .arg(&data)
            .env_remove("PARCOURS_DATABASE_URL")
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true);
        if let Some(url) = &args.postgres {
            command.env("PARCOURS_DATABASE_URL", url);
        }
        if matches!(args.scenario, Scenario::Actors) {
            // What is freed goes back at once, so that what is resident is what is held.
            command.env("MIMALLOC_PURGE_DELAY", "0");
        }
        let mut child =
            command.spawn().with_context(|| format!("cannot start {}", args.server.display()))?;
        let pid = child.id().context("the server ended at once")?;
        let stdout = child.stdout.take().context("the server has no output")?;
        let mut lines = BufReader::new(stdout).lines();
        let spoken = timeout(START, first_lines(&mut lines)).await;
        let (url, admin_key) = spoken.context("the server did not start in a minute")??;
        Ok(Self { child, _stdout: lines, pid, url, admin_key, data })
    }

    /// Ends it in order and waits.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let told = Command::new("kill").args(["-TERM", &self.pid.to_string()]).status().await?;
        if !told.success() {
            bail!("the server had ended by itself; see server.log");
        }
        let status: ExitStatus = timeout(STOP, self.child.wait())
            .await
            .context("the server does not stop; it is killed now")??;
        if !status.success() {
            bail!("the server ended with {status}; see server.log");
        }
        Ok(())
    }
}

/// Reads up to the line that says where it listens.
async fn first_lines(
    lines: &mut Lines<BufReader<ChildStdout>>,
) -> anyhow::Result<(String, Option<String>)> {
    let mut key = None;
    while let Some(line) = lines.next_line().await? {
        if let Some(text) = line.strip_prefix("first admin key (shown once): ") {
            key = Some(text.to_owned());
        }
        if let Some(url) = line.strip_prefix("Parcours listens on ") {
            return Ok((url.to_owned(), key));
        }
    }
    bail!("the server ended before it listened; see server.log")
}
