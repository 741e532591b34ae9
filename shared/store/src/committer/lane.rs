//! A lane: collects a batch, commits it, answers, again.
//!
//! What always holds: one transaction in flight; the order of one contact's commits is kept; brands
//! take turns; the written limits of a batch are never exceeded.

use std::collections::{BTreeSet, HashSet};

use parcours_domain::{ContactId, TenantId};
use tokio::{
    sync::mpsc,
    time::{Duration, timeout_at},
};

use super::{CommitterParts, Job, LANE_QUEUE, Message, batch};
use crate::turns::Turns;

/// How long the first of a batch waits for company.
const WAIT: Duration = Duration::from_millis(2);
const CONTACTS_MAX: usize = 512;
const BYTES_MAX: usize = 4 << 20;
const SHARDS_MAX: usize = 128;

/// A batch being collected.
#[derive(Default)]
struct Batch {
    jobs: Vec<Job>,
    bytes: usize,
    contacts: HashSet<(TenantId, ContactId)>,
    shards: BTreeSet<u16>,
}

impl Batch {
    /// Whether the job may go with this batch.
    fn fits(&self, job: &Job) -> bool {
        let commit = &job.commit;
        let room = self.jobs.is_empty()
            || (self.jobs.len() < CONTACTS_MAX
                && self.bytes + job.bytes <= BYTES_MAX
                && (self.shards.len() < SHARDS_MAX || self.shards.contains(&commit.shard)));
        room && !self.contacts.contains(&(commit.tenant, commit.contact))
    }

    /// Whether nothing more has room.
    fn is_full(&self) -> bool {
        self.jobs.len() >= CONTACTS_MAX || self.bytes >= BYTES_MAX
    }

    fn add(&mut self, job: Job) {
        self.contacts.insert((job.commit.tenant, job.commit.contact));
        self.shards.insert(job.commit.shard);
        self.bytes += job.bytes;
        self.jobs.push(job);
    }
}

pub(super) async fn run(parts: CommitterParts, mut receiver: mpsc::Receiver<Message>) {
    let mut waiting = Turns::default();
    let mut stop = None;
    loop {
        if waiting.len() == 0 {
            match receiver.recv().await {
                Some(Message::Commit(job)) => waiting.push(job.commit.tenant, *job),
                Some(Message::Stop(done)) => stop = Some(done),
                None => return,
            }
        }
        if stop.is_none() {
            stop = gather(&mut receiver, &mut waiting).await;
        }
        while let batch = close(&mut waiting)
            && !batch.is_empty()
        {
            batch::settle(&parts, batch).await;
            if stop.is_none() {
                break;
            }
        }
        if let Some(done) = stop {
            receiver.close();
            let _gone = done.send(());
            return;
        }
    }
}

/// Takes in all that has come, so that every brand has its turn; waits until the oldest has waited
/// its time or there is enough for a batch.
async fn gather(
    receiver: &mut mpsc::Receiver<Message>,
    waiting: &mut Turns<Job>,
) -> Option<tokio::sync::oneshot::Sender<()>> {
    let deadline = waiting.firsts().map(|job| job.since).min()? + WAIT;
    let mut bytes: usize = waiting.firsts().map(|job| job.bytes).sum();
    while waiting.len() < LANE_QUEUE {
        let enough = waiting.len() >= CONTACTS_MAX || bytes >= BYTES_MAX;
        let message = match receiver.try_recv() {
            Ok(message) => message,
            Err(_) if enough => return None,
            Err(_) => match timeout_at(deadline, receiver.recv()).await {
                Ok(Some(message)) => message,
                Ok(None) | Err(_) => return None,
            },
        };
        match message {
            Message::Commit(job) => {
                bytes += job.bytes;
                waiting.push(job.commit.tenant, *job);
            }
            Message::Stop(done) => return Some(done),
        }
    }
    None
}

/// Takes from the waiting what fits into one batch; the rest keeps its order.
fn close(waiting: &mut Turns<Job>) -> Vec<Job> {
    let mut batch = Batch::default();
    let mut rest = Vec::new();
    let mut passed_over = HashSet::new();
    while !batch.is_full()
        && let Some((tenant, job)) = waiting.next()
    {
        let contact = (tenant, job.commit.contact);
        // Once one commit of a contact waits, its later ones wait behind it.
        if !passed_over.contains(&contact) && batch.fits(&job) {
            batch.add(job);
        } else {
            passed_over.insert(contact);
            rest.push((tenant, job));
        }
    }
    waiting.put_back(rest);
    batch.jobs
}

#[cfg(test)]
mod tests {
    use parcours_domain::Timestamp;
    use tokio::{sync::oneshot, time::Instant};
    use uuid::Uuid;

    use super::*;
    use crate::ContactCommit;

    fn job(contact: u128, shard: u16, bytes: usize) -> Job {
        job_of(TenantId(Uuid::nil()), contact, shard, bytes)
    }

    fn job_of(tenant: TenantId, contact: u128, shard: u16, bytes: usize) -> Job {
        let contact = ContactId(Uuid::from_u128(contact));
        let at = Timestamp::EPOCH;
        let commit = ContactCommit::of_state((tenant, contact, shard), (0, 0), Vec::new(), at);
        let answer = oneshot::channel().0;
        Job { commit, bytes, since: Instant::now(), answer, _under_way: None }
    }

    fn batches(jobs: Vec<Job>) -> Vec<Vec<u128>> {
        let mut waiting = Turns::default();
        jobs.into_iter().for_each(|job| waiting.push(job.commit.tenant, job));
        let mut found = Vec::new();
        while waiting.len() > 0 {
            let batch = close(&mut waiting);
            found.push(batch.iter().map(|job| job.commit.contact.0.as_u128()).collect());
        }
        found
    }

    #[test]
    fn a_contact_appears_once_in_a_batch_and_its_commits_keep_their_order() {
        let jobs = vec![job(1, 0, 1), job(2, 0, 1), job(1, 0, 1), job(1, 0, 1), job(3, 0, 1)];
        assert_eq!(batches(jobs), [vec![1, 2, 3], vec![1], vec![1]]);
    }

    #[test]
    fn who_comes_behind_a_crowd_goes_with_the_next_batch() {
        let mut jobs: Vec<Job> = (0..2_000).map(|n| job(n, 0, 1)).collect();
        jobs.extend((0..10).map(|n| job_of(TenantId(Uuid::max()), 9_000 + n, 0, 1)));
        let found = batches(jobs);
        assert_eq!(found[0].iter().filter(|contact| **contact >= 9_000).count(), 10);
        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [512, 512, 512, 474]);
    }

    #[test]
    fn a_batch_keeps_to_its_written_limits() {
        let many = (0..1_000).map(|n| job(n, 0, 1)).collect();
        let sizes: Vec<usize> = batches(many).iter().map(Vec::len).collect();
        assert_eq!(sizes, [512, 488]);
        let large = vec![job(1, 0, 3 << 20), job(2, 0, 3 << 20), job(3, 0, 9 << 20)];
        assert_eq!(batches(large), [[1], [2], [3]]);
        let spread = (0..200).map(|n| job(n, n as u16, 1)).collect();
        let sizes: Vec<usize> = batches(spread).iter().map(Vec::len).collect();
        assert_eq!(sizes, [128, 72]);
    }
}
