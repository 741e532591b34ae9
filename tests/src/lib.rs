//! What the scenarios share: the built binary as a server, the fault kit ([`fault`]), a client that
//! remembers what it was told ([`client`]), the history checker ([`history`]), and foreign tools
//! when they are there.
//!
//! The scenarios themselves are in `scenarios/`, one file each, named as the behaviour that they
//! show. Nothing here sleeps: a server is ready when it says so.

pub mod fault;

use std::{
    fs::OpenOptions,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::bail;

pub mod client;
pub mod dice;
pub mod history;

use fault::process::Process;

/// A command for the binary beside this test, with its data in `data`, on a free port, with no
/// settings from the environment.
///
/// # Panics
/// When the binary was not built: `cargo build --workspace` does it, and `tests/run` begins so.
#[must_use]
pub fn parcours(data: &Path) -> Command {
    let here = std::env::current_exe().unwrap_or_default();
    let binary = here.ancestors().nth(2).unwrap_or(&here).join("parcours");
    assert!(binary.exists(), "{} is not built; run tests/run", binary.display());
    parcours_of(&binary, data)
}

/// The same for another version's binary.
#[must_use]
pub fn parcours_of(binary: &Path, data: &Path) -> Command {
    let mut command = Command::new(binary);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PARCOURS_")) {
        command.env_remove(name);
    }
    command.env("PARCOURS_DATA", data).env("PARCOURS_LISTEN", "127.0.0.1:0");
    command
}

/// A running `parcours` with every role on a free port; killed when dropped.
pub struct Server {
    process: Process,
    /// `http://127.0.0.1:PORT`
    pub url: String,
    /// The admin key printed at the first start; empty at later ones.
    pub admin_key: String,
}

impl Server {
    /// Starts the product with real time and data in `data`, and waits until it listens.
    ///
    /// # Errors
    /// It ended before it listened; with what it said.
    pub fn start(data: &Path) -> anyhow::Result<Self> {
        Self::start_with(&mut parcours(data))
    }

    /// As [`Server::start`], with a prepared command.
    ///
    /// # Errors
    /// As there.
    pub fn start_with(command: &mut Command) -> anyhow::Result<Self> {
        let process = Process::start(command)?;
        let (url, admin_key) = (process.url.clone(), process.admin_key.clone());
        Ok(Self { process, url, admin_key })
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// It cannot be signalled.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.process.kill()
    }

    /// Runs a `parcours` command against this server and returns what it printed.
    ///
    /// # Errors
    /// It ended with another status than 0; with what it said.
    pub fn command(&self, data: &Path, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = parcours(data);
        command.env("PARCOURS_URL", &self.url).env("PARCOURS_KEY", &self.admin_key);
        let output = command.args(arguments).output()?;
        if !output.status.success() {
            bail!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8(output.stdout)?)
    }
}

/// `short` in `tests/run`, `long` in `tests/long`.
#[must_use]
pub fn scaled(short: usize, long: usize) -> usize {
    if std::env::var_os("PARCOURS_LONG").is_some() { long } else { short }
}

/// A foreign tool in the scratch folder that `tests/run` fills, such as `py/bin/python`. When it
/// is not there the caller returns at once: the skip is said aloud and counted by `tests/run`.
#[must_use]
pub fn foreign(tool: &str, test: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PARCOURS_TEST_FOREIGN").map(|f| PathBuf::from(f).join(tool));
    if let Some(path) = path.filter(|path| path.exists()) {
        return Some(path);
    }
    eprintln!("SKIPPED: {test}: {tool} is not there; tests/run installs it");
    if let Some(list) = std::env::var_os("PARCOURS_TEST_SKIPS")
        && let Ok(mut file) = OpenOptions::new().append(true).open(list)
    {
        // The line above was the loud one; a list that cannot be written loses only the count.
        let _ = writeln!(file, "{test}: {tool} is not there");
    }
    None
}

/// The folder of the scripts that drive foreign tools.
#[must_use]
pub fn foreign_scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("foreign")
}
