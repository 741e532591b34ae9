//! Orderly stopping: one trigger, any number of waiters.

use tokio::sync::watch;

/// Tells loops and servers that the process is to stop.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

/// Pulls the trigger; dropping it does so too.
#[derive(Debug)]
pub struct ShutdownTrigger(watch::Sender<bool>);

impl Shutdown {
    /// A trigger and its first listener.
    #[must_use]
    pub fn new() -> (ShutdownTrigger, Self) {
        let (sender, receiver) = watch::channel(false);
        (ShutdownTrigger(sender), Self(receiver))
    }

    /// Whether stopping was asked for, or the trigger is gone.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }

    /// Returns when stopping is asked for or the trigger is gone.
    pub async fn requested(&mut self) {
        // An error means the trigger was dropped, which is the same word.
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}

impl ShutdownTrigger {
    /// Asks everything that listens to stop.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

/// Returns at the first interrupt (Ctrl-C) or termination signal.
///
/// # Errors
/// The signal handlers cannot be installed.
pub async fn signalled() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminate.recv() => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_listener_hears_the_trigger_and_its_loss() {
        let (trigger, mut one) = Shutdown::new();
        let mut two = one.clone();
        assert!(!one.is_requested());
        trigger.stop();
        one.requested().await;
        two.requested().await;
        let (trigger, mut orphan) = Shutdown::new();
        drop(trigger);
        orphan.requested().await;
        assert!(orphan.is_requested(), "or a loop that asks would go round for ever");
    }
}
