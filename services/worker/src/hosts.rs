//! The threads that actors live on: one actix system of the worker's own, with some arbiters.
//!
//! The caller's runtime stays free: whoever starts a worker need not be an actix system.

use std::{io, sync::mpsc, thread::JoinHandle};

use actix::{Arbiter, ArbiterHandle, System};

/// Threads for actors.
pub(crate) struct Hosts {
    handles: Vec<ArbiterHandle>,
    own: Option<(System, JoinHandle<()>)>,
}

impl Hosts {
    /// Starts a system with `n` arbiters (at least one) on threads of its own.
    pub(crate) fn start(n: usize) -> io::Result<Self> {
        let (tell, told) = mpsc::channel();
        let thread =
            std::thread::Builder::new().name("parcours-actors".to_owned()).spawn(move || {
                let runner = System::new();
                let handles = (0..n.max(1)).map(|_| Arbiter::new().handle()).collect();
                // The starter waits for this; if it is gone, there is nothing to run for.
                if tell.send((System::current(), handles)).is_ok()
                    && let Err(error) = runner.run()
                {
                    tracing::error!(%error, "the actors' system ended badly");
                }
            })?;
        let (system, handles) = told.recv().map_err(io::Error::other)?;
        Ok(Self { handles, own: Some((system, thread)) })
    }

    /// The caller's own arbiter, for tests that share its thread.
    #[cfg(test)]
    pub(crate) fn here() -> Self {
        Self { handles: vec![Arbiter::current()], own: None }
    }

    pub(crate) fn handles(&self) -> Vec<ArbiterHandle> {
        self.handles.clone()
    }

    /// Stops the threads and waits for them.
    pub(crate) async fn stop(self) {
        let Some((system, thread)) = self.own else { return };
        for handle in &self.handles {
            handle.stop();
        }
        system.stop();
        let joined = tokio::task::spawn_blocking(move || thread.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            tracing::error!("the actors' thread ended by a panic");
        }
    }
}
