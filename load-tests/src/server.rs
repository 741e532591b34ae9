//! The product as a child process, or as several: started on free ports, ended when the run is
//! over.

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

use crate::{
    api::Api,
    args::{Args, Scenario},
};

/// How long a start may take.
const START: Duration = Duration::from_secs(60);
/// How long a graceful stop may take before the process is killed.
const STOP: Duration = Duration::from_secs(60);
/// Any 32 bytes: the store is thrown away.
const ROOT_KEY: &str = "6c6f6164206c6f6164206c6f6164206c6f6164206c6f6164206c6f6164206c6f";

/// What the processes of an install know and nobody else.
const RPC_SECRET: &str = "known-to-the-load-test-alone";

/// A running server.
pub struct Server {
    processes: Vec<Process>,
    /// Its process ids: first the one that clients speak to.
    pub pids: Vec<u32>,
    /// Where each of them listens.
    pub urls: Vec<String>,
    /// Where clients speak to it.
    pub url: String,
    /// The install's first admin key; only the first start prints it.
    pub admin_key: Option<String>,
    /// Where SQLite keeps its file.
    pub data: PathBuf,
}

struct Process {
    child: Child,
    _stdout: Lines<BufReader<ChildStdout>>,
    pid: u32,
    url: String,
    admin_key: Option<String>,
}

impl Server {
    /// Starts the server and waits until it listens.
    pub async fn start(args: &Args) -> anyhow::Result<Self> {
        let data = args.work.join("data");
        std::fs::create_dir_all(&args.work)?;
        let mut processes = Vec::new();
        let first = (args.workers > 0).then_some("gateway,delivery,consent");
        processes.push(Process::start(args, first).await?);
        for _ in 0..args.workers {
            // Each serves its figures.
            processes.push(Process::start(args, Some("gateway,worker")).await?);
        }
        let first = processes.first().context("nothing was started")?;
        let (url, admin_key) = (first.url.clone(), first.admin_key.clone());
        let pids = processes.iter().map(|process| process.pid).collect();
        let urls = processes.iter().map(|process| process.url.clone()).collect();
        Ok(Self { processes, pids, urls, url, admin_key, data })
    }

    /// Ends it in order and waits.
    pub async fn stop(self) -> anyhow::Result<()> {
        for process in self.processes {
            process.stop().await?;
        }
        Ok(())
    }

    /// The metrics pages of all its processes, one after another.
    pub async fn metrics(&self) -> anyhow::Result<String> {
        let mut pages = String::new();
        for url in &self.urls {
            pages.push_str(&Api::new(url, "").metrics().await?);
        }
        Ok(pages)
    }
}

impl Process {
    /// With every role, or with these.
    async fn start(args: &Args, roles: Option<&str>) -> anyhow::Result<Self> {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(args.work.join("server.log"))
            .context("the server's log cannot be written")?;
        let mut command = Command::new(&args.server);
        command
            .args(["--listen", "127.0.0.1:0", "--root-key", ROOT_KEY, "--data"])
            .arg(args.work.join("data"))
            .env_remove("PARCOURS_DATABASE_URL")
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true);
        if let Some(url) = &args.postgres {
            command.env("PARCOURS_DATABASE_URL", url);
        }
        if let Some(url) = &args.redis {
            command.env("PARCOURS_REDIS_URL", url);
        }
        if let Some(roles) = roles {
            command.args(["--roles", roles, "--rpc-listen", "127.0.0.1:0"]);
            command.args(["--rpc-secret", RPC_SECRET]);
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
        Ok(Self { child, _stdout: lines, pid, url, admin_key })
    }

    async fn stop(mut self) -> anyhow::Result<()> {
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
