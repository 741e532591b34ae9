//! One commit for many: requests that arrive together are answered together.
//!
//! Connections ask one at a time; the database is asked once for all that came within a moment. A
//! request whose answer is lost (the group is gone, the call panicked) gets none, never a guess.

use std::{future::Future, time::Duration};

use tokio::sync::{mpsc, oneshot};

/// How many requests go into one call, and how long the first waits for others.
#[derive(Clone, Copy, Debug)]
pub struct GroupLimits {
    /// At most so many in one call.
    pub most: usize,
    /// The first waits at most so long.
    pub wait: Duration,
}

impl Default for GroupLimits {
    fn default() -> Self {
        Self { most: 256, wait: Duration::from_millis(2) }
    }
}

/// A door through which single requests are answered in groups.
pub(crate) struct Group<Q, A> {
    queue: mpsc::Sender<(Q, oneshot::Sender<A>)>,
}

impl<Q, A> Clone for Group<Q, A> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone() }
    }
}

impl<Q: Send + 'static, A: Send + 'static> Group<Q, A> {
    /// Starts a group that asks `call`; it ends when the last clone of the door is dropped. `call`
    /// answers in the order of its requests; an answer that is missing is none.
    pub(crate) fn start<F, R>(limits: GroupLimits, call: F) -> Self
    where
        F: Fn(Vec<Q>) -> R + Send + 'static,
        R: Future<Output = Vec<A>> + Send + 'static,
    {
        let (queue, mut requests) = mpsc::channel(limits.most.max(1) * 4);
        tokio::spawn(async move {
            while let Some(first) = requests.recv().await {
                let batch = collect(first, &mut requests, limits).await;
                let (questions, waiting): (Vec<Q>, Vec<oneshot::Sender<A>>) =
                    batch.into_iter().unzip();
                // A task of its own, so that a panic in the call costs this batch only.
                let answers = tokio::spawn(call(questions)).await.unwrap_or_default();
                for (waiting, answer) in waiting.into_iter().zip(answers) {
                    let _ = waiting.send(answer);
                }
            }
        });
        Self { queue }
    }

    /// Asks, and waits for the answer.
    pub(crate) async fn ask(&self, question: Q) -> Option<A> {
        let (answer, waiting) = oneshot::channel();
        self.queue.send((question, answer)).await.ok()?;
        waiting.await.ok()
    }
}

async fn collect<T>(first: T, more: &mut mpsc::Receiver<T>, limits: GroupLimits) -> Vec<T> {
    let mut batch = vec![first];
    let until = tokio::time::Instant::now() + limits.wait;
    while batch.len() < limits.most {
        match tokio::time::timeout_at(until, more.recv()).await {
            Ok(Some(one)) => batch.push(one),
            Ok(None) | Err(_) => break,
        }
    }
    batch
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    #[tokio::test]
    async fn requests_of_one_moment_share_a_call_and_get_their_own_answers() {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let limits = GroupLimits { most: 100, wait: Duration::from_secs(5) };
        let group = Group::start(limits, move |batch: Vec<u32>| {
            counted.fetch_add(1, Ordering::SeqCst);
            async move { batch.into_iter().map(|n| n * 2).collect() }
        });
        let asked = (0..100).map(|n| {
            let group = group.clone();
            async move { (n, group.ask(n).await) }
        });
        for (n, answer) in futures::future::join_all(asked).await {
            assert_eq!(answer, Some(n * 2));
        }
        assert_eq!(calls.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_call_that_panics_answers_nobody_and_the_next_one_works() {
        let group = Group::start(GroupLimits::default(), |batch: Vec<u32>| async move {
            assert!(!batch.contains(&0), "poison");
            batch
        });
        assert_eq!(group.ask(0).await, None);
        assert_eq!(group.ask(7).await, Some(7));
    }
}
