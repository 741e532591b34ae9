//! A shell that minds a server which a test started: it does as told, line by line, and ends the
//! server when it is told nothing any more.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

/// The shell; when dropped, its server has ended and its directory is gone.
pub(crate) struct Minder {
    shell: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Minder {
    /// Starts it; what it says first.
    pub(crate) fn start(command: &mut Command) -> Result<(Self, String)> {
        let mut shell =
            command.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let orders = shell.stdin.take();
        let answers = BufReader::new(shell.stdout.take().context("no output")?);
        let mut this = Self { shell, orders, answers };
        let first = this.heard()?;
        Ok((this, first))
    }

    /// Tells it to do something, and waits until it says so.
    pub(crate) fn order(&mut self, word: &str, done: &str) -> Result<()> {
        writeln!(self.orders.as_mut().context("it was ended")?, "{word}")?;
        self.expect(done)
    }

    /// Waits for a word.
    pub(crate) fn expect(&mut self, done: &str) -> Result<()> {
        let answer = self.heard()?;
        if answer != done {
            bail!("the server was expected to be {done}, and it is {answer:?}");
        }
        Ok(())
    }

    fn heard(&mut self) -> Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }
}

impl Drop for Minder {
    fn drop(&mut self) {
        drop(self.orders.take());
        // The shell ends the server and removes its directory.
        let _status = self.shell.wait();
    }
}
