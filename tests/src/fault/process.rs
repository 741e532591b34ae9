//! One process of the product: started until it says that it is ready, killed, frozen, thawed.
//!
//! What always holds: signals go to the child that was started here and not yet waited for, so
//! never to another process; a dropped process is killed.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, ExitStatus, Stdio},
};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

/// What a process says when it is ready and serves HTTP, before its URL.
const LISTENS: &str = "listens on ";
/// What versions said that served no HTTP in processes without a gateway.
const NO_HTTP: &str = "runs without HTTP";
/// What stands before the first admin key.
const FIRST_KEY: &str = "first admin key (shown once): ";

/// A running `parcours`.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    /// The admin key printed at the first start; empty at later ones.
    pub admin_key: String,
}

impl Process {
    /// Starts it and returns once it said that it is ready.
    ///
    /// # Errors
    /// It ended before that; with what it said.
    pub fn start(command: &mut Command) -> anyhow::Result<Self> {
        Self::start_logging(command, Stdio::inherit())
    }

    /// The same; its log goes there.
    ///
    /// # Errors
    /// As there.
    pub fn start_logging(command: &mut Command, log: impl Into<Stdio>) -> anyhow::Result<Self> {
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn()?;
        let stdout = child.stdout.take().context("stdout is piped")?;
        // From here on it is killed whatever happens.
        let mut this = Self { child, url: String::new(), admin_key: String::new() };
        let mut lines = BufReader::new(stdout).lines();
        let (mut ready, mut said) = (false, String::new());
        for line in lines.by_ref() {
            let line = line?;
            if let Some((_, key)) = line.split_once(FIRST_KEY) {
                this.admin_key = key.trim().to_owned();
            }
            if let Some((_, at)) = line.split_once(LISTENS) {
                this.url = at.trim().to_owned();
            }
            ready = !this.url.is_empty() || line.contains(NO_HTTP);
            if ready {
                break;
            }
            said.push_str(&line);
            said.push('\n');
        }
        if !ready {
            bail!("ended with {:?} before it was ready; it said:\n{said}", this.child.wait());
        }
        // What it prints later is read and dropped, so that it never blocks on a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(this)
    }

    /// Its process id, while it has not been waited for.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`; returns when it is gone.
    ///
    /// # Errors
    /// It cannot be signalled.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to stop (SIGTERM), and returns how it ended.
    ///
    /// # Errors
    /// It cannot be signalled.
    pub fn stop(&mut self) -> anyhow::Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        Ok(self.child.wait()?)
    }

    /// Waits for it to end by itself; how it ended.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        Ok(self.child.wait()?)
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// It cannot be asked.
    pub fn has_ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Stops it where it stands (SIGSTOP); returns when it stands.
    ///
    /// # Errors
    /// It has ended.
    pub fn freeze(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)?;
        let pid = Pid::from_child(&self.child);
        match waitpid(Some(pid), WaitOptions::UNTRACED)? {
            Some((_, status)) if status.stopped() => Ok(()),
            other => bail!("process {pid:?} did not freeze: {other:?}"),
        }
    }

    /// Lets it go on (SIGCONT).
    ///
    /// # Errors
    /// It has ended.
    pub fn thaw(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)
    }

    /// Signals the child, unless it has ended: then its id may be another's.
    fn signal(&mut self, signal: Signal) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the process has ended: {status}");
        }
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
