//! Several workers on one PostgreSQL: who has a shard, who gets it next, and what a former owner
//! can still do (nothing).

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod common;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use common::*;
use parcours_domain::{ContactId, TenantId, Timestamp, shard_of};
use parcours_store::{
    Backend, BatchEnd, CommitOutcome, Fault, FaultPoint, Faults, NewInbox, ShardTimes, Store,
    StoreConfig, StoreError, Watcher, keep,
};
use parcours_testkit::store::{TempPlace, temp_brand, temp_contact};

/// How long something that must happen may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Deaths do not happen here, however busy the machine is.
const CALM: ShardTimes = ShardTimes {
    beat: Duration::from_millis(100),
    dead_after: Duration::from_secs(120),
    deadline: Duration::from_secs(100),
    look: Duration::from_millis(20),
    calm: Duration::from_millis(100),
    drain: Duration::from_secs(10),
    moves: 3,
};

/// A worker that stands still is dead soon.
const DEADLY: ShardTimes = ShardTimes {
    dead_after: Duration::from_millis(1_500),
    deadline: Duration::from_millis(1_050),
    ..CALM
};

/// A worker whose beats and commits a test can stop, and whose refused writes it counts.
#[derive(Default)]
struct Hooks {
    frozen: AtomicBool,
    /// The next commit says that it is there, then waits.
    commit: Mutex<Option<(mpsc::Sender<()>, mpsc::Receiver<()>)>>,
    fenced: AtomicUsize,
    /// Rounds of its keeper.
    rounds: AtomicUsize,
}

impl Hooks {
    fn freeze(&self, frozen: bool) {
        self.frozen.store(frozen, Ordering::SeqCst);
    }

    fn fenced(&self) -> usize {
        self.fenced.load(Ordering::SeqCst)
    }

    /// Stops the next commit after everything of it is written: when it is there, and its end.
    fn stop_commit(&self) -> (mpsc::Receiver<()>, mpsc::Sender<()>) {
        let (tell, told) = mpsc::channel();
        let (thaw, thawed) = mpsc::channel();
        *self.commit.lock().unwrap() = Some((tell, thawed));
        (told, thaw)
    }
}

impl Faults for Hooks {
    fn at(&self, point: FaultPoint) -> Option<Fault> {
        match point {
            FaultPoint::Beat => self.frozen.load(Ordering::SeqCst).then_some(Fault::Fail),
            FaultPoint::BeforeCommit => {
                let (tell, thawed) = self.commit.lock().unwrap().take()?;
                tokio::task::block_in_place(|| {
                    tell.send(()).unwrap();
                    let _ended = thawed.recv_timeout(PATIENCE);
                });
                None
            }
            FaultPoint::DuringCommit
            | FaultPoint::AfterCommitBeforeAck
            | FaultPoint::AfterClaim
            | FaultPoint::BatchBrands => None,
        }
    }
}

impl Watcher for Hooks {
    fn batch(&self, _: BatchEnd, _: usize, _: Duration) {}
    fn loaded(&self, _: usize, _: usize, _: Duration) {}
    fn fenced(&self, contacts: usize) {
        self.fenced.fetch_add(contacts, Ordering::SeqCst);
    }
    fn shards(&self, _: usize) {
        self.rounds.fetch_add(1, Ordering::SeqCst);
    }
}

async fn place() -> TempPlace {
    TempPlace::new(Backend::Postgres).await.unwrap()
}

fn config(place: &TempPlace, times: ShardTimes) -> StoreConfig {
    StoreConfig { shard_times: times, ..place.config() }
}

async fn worker(place: &TempPlace, times: ShardTimes) -> Store {
    Store::open(config(place, times)).await.unwrap()
}

async fn hooked(place: &TempPlace, times: ShardTimes) -> (Store, Arc<Hooks>) {
    let hooks = Arc::new(Hooks::default());
    let store = Store::open(StoreConfig {
        faults: Some(Arc::clone(&hooks) as _),
        watcher: Some(Arc::clone(&hooks) as _),
        ..config(place, times)
    });
    (store.await.unwrap(), hooks)
}

/// Waits until this worker holds so many shards.
async fn holds(store: &Store, shards: usize) {
    let mut held = store.held();
    let wait = held.wait_for(|held| held.len() == shards);
    let waited = tokio::time::timeout(PATIENCE, wait).await.map(|held| held.is_ok());
    assert_eq!(
        waited.ok(),
        Some(true),
        "it holds {} and not {shards}",
        store.held().borrow().len()
    );
}

/// Looks until a number is this.
async fn until(place: &TempPlace, sql: &str, wanted: i64) {
    let begun = Instant::now();
    loop {
        let found = count(place, sql).await;
        if found == wanted {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{sql} is {found} and not {wanted}");
        tokio::task::yield_now().await;
    }
}

const EPOCHS: &str = "SELECT CAST(sum(epoch) AS BIGINT) FROM shard";

/// A contact whose shard fits.
async fn contact_in(
    store: &Store,
    tenant: TenantId,
    fits: impl Fn(u16) -> bool,
) -> (TenantId, ContactId) {
    for number in 0.. {
        let contact = temp_contact(&store.for_tenant(tenant), &format!("user {number}")).await;
        let contact = contact.unwrap();
        if fits(shard_of(contact, store.shards())) {
            return (tenant, contact);
        }
    }
    unreachable!("some user's shard fits")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn workers_share_fairly_and_move_no_more_than_they_must() {
    let place = place().await;
    let a = worker(&place, CALM).await;
    assert_eq!(a.held().borrow().len(), 16, "alone it has all at once");
    let b = Store::open(StoreConfig {
        worker_address: Some("10.0.0.2:9000".to_owned()),
        ..config(&place, CALM)
    });
    let b = b.await.unwrap();
    holds(&a, 8).await;
    holds(&b, 8).await;
    let c = worker(&place, CALM).await;
    for (store, shards) in [(&a, 6), (&b, 6), (&c, 4)] {
        holds(store, shards).await;
    }
    // Each move is a new epoch: all to the first, half to the second, a quarter to the third.
    assert_eq!(count(&place, EPOCHS).await, 16 + 8 + 4);
    let owners = c.shard_owners().await.unwrap();
    assert_eq!(owners.iter().map(|one| one.shard).collect::<Vec<_>>(), (0..16).collect::<Vec<_>>());
    for one in owners {
        let by = [&a, &b, &c].into_iter().filter(|store| store.held().borrow().contains(one.shard));
        let by: Vec<_> = by.map(Store::incarnation).collect();
        assert_eq!(by, [one.owner.unwrap()], "one owner, and both sides say the same");
        assert_eq!(one.address.is_some(), one.owner == Some(b.incarnation()));
    }
    // Who is no worker reads the same, and has nothing.
    let reader = StoreConfig { worker_role: false, ..place.config() };
    let reader = Store::open(reader).await.unwrap();
    assert_eq!(reader.shard_owners().await.unwrap(), a.shard_owners().await.unwrap());
    assert!(reader.held().borrow().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_leaves_in_order_is_succeeded_without_waiting() {
    let place = place().await;
    let a = worker(&place, CALM).await;
    let (b, hooks) = hooked(&place, CALM).await;
    holds(&b, 8).await;
    holds(&a, 8).await;
    let tenant = temp_brand(&a, "one").await.unwrap();
    let held = Arc::clone(&b.held().borrow());
    let contact = contact_in(&a, tenant, |shard| held.contains(shard)).await;
    let first = event_commit(&b, contact, 0, "m1");
    assert_eq!(b.committer().commit(first).await, CommitOutcome::Done);
    let begun = Instant::now();
    b.release_shards().await;
    holds(&a, 16).await;
    println!("graceful: {:?} from the wish to leave to the successor", begun.elapsed());
    assert!(begun.elapsed() < CALM.dead_after / 10, "nobody waits for a death");
    let second = event_commit(&b, contact, 1, "m2");
    assert_eq!(b.committer().commit(second.clone()).await, CommitOutcome::Moved);
    assert_eq!(a.committer().commit(second).await, CommitOutcome::Done);
    assert_eq!(count(&place, EPOCHS).await, 16 + 8 + 8, "no epoch went down, none moved twice");
    // It is no dead one: what it is sending now is its own.
    let leaving = "SELECT count(*) FROM worker WHERE dead_at IS NULL AND leaving_at IS NOT NULL";
    assert_eq!(count(&place, leaving).await, 1);
    let of_b = "SELECT beat FROM worker WHERE leaving_at IS NOT NULL";
    let beat = count(&place, of_b).await;
    let begun = Instant::now();
    while count(&place, of_b).await < beat + 3 {
        assert!(begun.elapsed() < PATIENCE, "it goes on beating");
    }
    assert!(b.held().borrow().is_empty() && hooks.fenced() == 0);
    b.close().await;
    assert_eq!(count(&place, "SELECT count(*) FROM worker WHERE dead_at IS NULL").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_being_committed_ends_before_its_shard_is_given_back() {
    let place = place().await;
    let (store, hooks) = hooked(&place, CALM).await;
    let tenant = temp_brand(&store, "one").await.unwrap();
    let first = contact_in(&store, tenant, |_| true).await;
    let shard = shard_of(first.1, store.shards());
    let other = temp_brand(&store, "two").await.unwrap();
    let second = contact_in(&store, other, |of| of == shard).await;
    let (told, thaw) = hooks.stop_commit();
    let committing = tokio::spawn({
        let (committer, commit) = (store.committer(), event_commit(&store, first, 0, "m1"));
        async move { committer.commit(commit).await }
    });
    tokio::task::spawn_blocking(move || told.recv_timeout(PATIENCE).unwrap()).await.unwrap();
    // Another waits in the lane behind it.
    let committer = store.committer();
    let mut waiting = Box::pin(committer.commit(event_commit(&store, second, 0, "m1")));
    assert!(futures::poll!(&mut waiting).is_pending());
    let leaving = tokio::spawn({
        let store = store.clone();
        async move { store.release_shards().await }
    });
    holds(&store, 0).await;
    for _ in 0..20 {
        let owned = "SELECT count(*) FROM shard WHERE owner IS NOT NULL";
        assert_eq!(count(&place, owned).await, 16, "not before they have ended");
    }
    thaw.send(()).unwrap();
    assert_eq!(committing.await.unwrap(), CommitOutcome::Done);
    assert_eq!(waiting.await, CommitOutcome::Done);
    leaving.await.unwrap();
    assert_eq!(count(&place, "SELECT count(*) FROM shard WHERE owner IS NULL").await, 16);
    assert_eq!(hooks.fenced(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_frozen_worker_is_succeeded_and_what_it_still_writes_is_refused() {
    let place = place().await;
    let (a, hooks) = hooked(&place, DEADLY).await;
    let b = worker(&place, DEADLY).await;
    holds(&a, 8).await;
    holds(&b, 8).await;
    let tenant = temp_brand(&a, "one").await.unwrap();
    let held = Arc::clone(&a.held().borrow());
    let contact = contact_in(&a, tenant, |shard| held.contains(shard)).await;
    let first = event_commit(&a, contact, 0, "m1");
    assert_eq!(a.committer().commit(first).await, CommitOutcome::Done);
    hooks.freeze(true);
    let begun = Instant::now();
    holds(&b, 16).await;
    println!("frozen: {:?} until its successor has its shards", begun.elapsed());
    assert!(begun.elapsed() >= DEADLY.dead_after / 2, "not without seeing it stand still");
    let mut theirs = event_commit(&b, contact, 1, "theirs");
    theirs.state = b"the successor's".to_vec();
    assert_eq!(b.committer().commit(theirs).await, CommitOutcome::Done);
    // It does not know yet, and says so with the right revision.
    let late = event_commit(&a, contact, 2, "late");
    assert_eq!(a.committer().commit(late.clone()).await, CommitOutcome::Moved);
    assert!(hooks.fenced() > 0, "counted");
    assert_eq!(a.committer().commit(late).await, CommitOutcome::Moved, "and let go of");
    let state = load(&b, contact.0, contact.1).await;
    assert_eq!((state.revision, state.state.as_deref()), (2, Some(&b"the successor's"[..])));
    // Thawed, it learns of its death and has nothing more.
    hooks.freeze(false);
    tokio::time::timeout(PATIENCE, a.declared_dead()).await.expect("it is told");
    holds(&a, 0).await;
    assert!(!a.may_act());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_who_see_a_third_dead_take_each_of_its_shards_once() {
    let place = place().await;
    let a = worker(&place, DEADLY).await;
    let b = worker(&place, DEADLY).await;
    holds(&b, 8).await;
    let (c, hooks) = hooked(&place, DEADLY).await;
    for (store, shards) in [(&a, 6), (&b, 6), (&c, 4)] {
        holds(store, shards).await;
    }
    let before = count(&place, EPOCHS).await;
    hooks.freeze(true);
    holds(&a, 8).await;
    holds(&b, 8).await;
    assert_eq!(count(&place, EPOCHS).await, before + 4);
    let theirs = "SELECT count(*) FROM shard s JOIN worker w ON w.incarnation = s.owner \
                  WHERE w.dead_at IS NULL";
    assert_eq!(count(&place, theirs).await, 16);
    assert_eq!(count(&place, "SELECT count(*) FROM worker WHERE dead_at IS NOT NULL").await, 1);
    drop(c);
}

/// It froze with everything written and its shard locked: the others take its other shards at
/// once, and this one when the server has ended its transaction; its COMMIT does nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn frozen_between_the_check_and_its_commit_it_holds_up_one_shard_for_a_bounded_time() {
    let place = place().await;
    let b = worker(&place, DEADLY).await;
    let (a, hooks) = hooked(&place, DEADLY).await;
    holds(&a, 8).await;
    holds(&b, 8).await;
    let tenant = temp_brand(&b, "one").await.unwrap();
    let held = Arc::clone(&a.held().borrow());
    let contact = contact_in(&b, tenant, |shard| held.contains(shard)).await;
    let shard = shard_of(contact.1, a.shards());
    let (told, thaw) = hooks.stop_commit();
    hooks.freeze(true);
    let late = tokio::spawn({
        let (committer, commit) = (a.committer(), event_commit(&a, contact, 0, "m1"));
        async move { committer.commit(commit).await }
    });
    tokio::task::spawn_blocking(move || told.recv_timeout(PATIENCE).unwrap()).await.unwrap();
    let begun = Instant::now();
    let mut of_b = b.held();
    let taken = of_b.wait_for(|held| held.contains(shard));
    tokio::time::timeout(PATIENCE, taken).await.expect("it is taken").unwrap();
    println!("frozen before COMMIT: {:?} until its shard is another's", begun.elapsed());
    thaw.send(()).unwrap();
    let outcome = late.await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Unknown | CommitOutcome::Moved), "{outcome:?}");
    assert_eq!(count(&place, "SELECT count(*) FROM event").await, 0, "the late COMMIT did nothing");
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_new_owners_time_is_not_below_what_the_shard_has_seen() {
    let place = place().await;
    // Time enough to tell the second its time before the first hands anything over.
    let a = worker(&place, ShardTimes { calm: Duration::from_secs(1), ..CALM }).await;
    a.follow_time(|| Timestamp::from_millis(7_000_000));
    until(&place, "SELECT max(high_water) FROM worker", 7_000_000).await;
    let b = worker(&place, CALM).await;
    assert_eq!(b.high_water().as_millis(), 7_000_000, "what its time begins above");
    // Its clock does not keep to it.
    let time = Arc::new(AtomicI64::new(5_000_000));
    let told = Arc::clone(&time);
    b.follow_time(move || Timestamp::from_millis(told.load(Ordering::SeqCst)));
    holds(&a, 8).await;
    until(&place, "SELECT count(*) FROM shard WHERE owner IS NULL", 8).await;
    let given = "SELECT min(high_water) FROM shard WHERE owner IS NULL";
    assert_eq!(count(&place, given).await, 7_000_000);
    let beats = "SELECT CAST(sum(beat) AS BIGINT) FROM worker";
    let (beat, begun) = (count(&place, beats).await, Instant::now());
    while count(&place, beats).await < beat + 10 {
        assert!(begun.elapsed() < PATIENCE, "they beat");
    }
    assert!(b.held().borrow().is_empty(), "it had many looks, and its time has not come");
    time.store(7_000_000, Ordering::SeqCst);
    holds(&b, 8).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_worker_sweeps_its_own_shards() {
    let place = place().await;
    let a = worker(&place, CALM).await;
    let b = worker(&place, CALM).await;
    holds(&a, 8).await;
    holds(&b, 8).await;
    let tenant = temp_brand(&a, "one").await.unwrap();
    let held = Arc::clone(&a.held().borrow());
    let of_a = contact_in(&a, tenant, |shard| held.contains(shard)).await;
    let of_b = contact_in(&a, tenant, |shard| !held.contains(shard)).await;
    for (store, contact, source) in [(&a, of_a, 1_u8), (&b, of_b, 2)] {
        let mut commit = state_commit(store, contact, 0);
        commit.timers = vec![timer(run_id(), 1, NOW)];
        commit.inbox_new = vec![NewInbox {
            tenant,
            contact: contact.1,
            source: [source; 16],
            kind: "click",
            ref_json: "{}".to_owned(),
            body: None,
        }];
        assert_eq!(store.committer().commit(commit).await, CommitOutcome::Done);
    }
    for (store, contact) in [(&a, of_a), (&b, of_b)] {
        let sweep = store.sweep();
        let due = sweep.due_timers(NOW, None, 10).await.unwrap();
        assert_eq!(due.iter().map(|row| row.contact).collect::<Vec<_>>(), [contact.1]);
        let (inbox, _) = sweep.inbox_contacts(Default::default(), (10, 10)).await.unwrap();
        assert_eq!(inbox.iter().map(|found| found.contact).collect::<Vec<_>>(), [contact.1]);
        assert_eq!(sweep.counts(NOW).await.unwrap().timers_due, 2, "what waits is counted for all");
    }
    b.release_shards().await;
    holds(&a, 16).await;
    assert_eq!(a.sweep().due_timers(NOW, None, 10).await.unwrap().len(), 2);
    assert!(b.sweep().due_timers(NOW, None, 10).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_is_about_to_stop_takes_nothing() {
    let place = place().await;
    let (a, hooks) = hooked(&place, CALM).await;
    let b = worker(&place, CALM).await;
    holds(&a, 8).await;
    holds(&b, 8).await;
    a.take_no_shards();
    b.close().await;
    let (begun, seen) = (Instant::now(), hooks.rounds.load(Ordering::SeqCst));
    while hooks.rounds.load(Ordering::SeqCst) < seen + 3 {
        assert!(begun.elapsed() < PATIENCE);
        tokio::task::yield_now().await;
    }
    assert_eq!(a.held().borrow().len(), 8, "what is free is for those who stay");
    holds(&worker(&place, CALM).await, 8).await;
}

/// One who only sends.
async fn sender(place: &TempPlace, times: ShardTimes) -> Store {
    let config = StoreConfig { worker_role: false, sends: true, ..config(place, times) };
    Store::open(config).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_only_sends_is_missed_when_gone_and_has_no_shards() {
    let place = place().await;
    let living = "SELECT count(*) FROM worker WHERE dead_at IS NULL";
    let s = sender(&place, CALM).await;
    // Neither one that shares nor one that must be alone takes it for a worker that was left.
    let alone = StoreConfig { sole_worker: true, ..config(&place, CALM) };
    let a = Store::open(alone).await.unwrap();
    holds(&a, 16).await;
    assert_eq!(count(&place, living).await, 2);
    a.close().await;
    let a = worker(&place, DEADLY).await;
    holds(&a, 16).await;
    until(&place, living, 2).await;
    // Taken for dead, it lives again with its next beat.
    execute(&place, "UPDATE worker SET dead_at = 1 WHERE leaving_at IS NOT NULL").await;
    until(&place, living, 2).await;
    assert!(s.held().borrow().is_empty());
    s.close().await;
    assert_eq!(count(&place, living).await, 1, "one that ends says so");
    drop(sender(&place, CALM).await);
    assert_eq!(count(&place, living).await, 2, "one that is killed says nothing");
    until(&place, living, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_must_be_alone_is_alone() {
    let place = place().await;
    let sole = || StoreConfig { sole_worker: true, ..config(&place, CALM) };
    let a = worker(&place, CALM).await;
    let refused = Store::open(sole()).await.err();
    let Some(StoreError::Held { by }) = refused else { panic!("{refused:?}") };
    assert!(by.contains("process"), "{by}");
    assert_eq!(a.held().borrow().len(), 16, "it took nothing");
    a.close().await;
    let alone = Store::open(sole()).await.unwrap();
    assert_eq!(alone.held().borrow().len(), 16);
    let refused = Store::open(config(&place, CALM)).await.err();
    assert!(matches!(refused, Some(StoreError::Held { .. })), "{refused:?}");
    alone.close().await;
    let next = worker(&place, CALM).await;
    assert_eq!(next.held().borrow().len(), 16);
}

/// Its connections were cut and it stands still: a restore finds nobody in the way, and what the
/// worker believed to own is not its any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_restore_keeps_workers_out() {
    let source = TempPlace::new(Backend::Sqlite).await.unwrap();
    Store::open(source.config()).await.unwrap().close().await;
    let snapshot = keep::Snapshot::take(&source.config()).await.unwrap();
    let passphrase = keep::Passphrase::new("a passphrase of some length").unwrap();
    let mut file = Vec::new();
    snapshot.backup(&passphrase, (&mut file, &mut |_| {})).await.unwrap();
    let open = || keep::KeptFile::open(Box::new(std::io::Cursor::new(file.clone())), &passphrase);

    let place = place().await;
    let (a, hooks) = hooked(&place, CALM).await;
    let other = StoreConfig { worker_role: false, ..config(&place, CALM) };
    let other = Store::open(other).await.unwrap();
    let refused = other.restore(&mut open().unwrap(), &mut |_| {}).await.err();
    let held = matches!(refused, Some(keep::KeepError::Store(StoreError::Held { .. })));
    assert!(held, "{refused:?}");
    hooks.freeze(true);
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
               WHERE application_name LIKE 'parcours worker%' AND datname = current_database()";
    until(&place, cut, 1).await;
    until(&place, cut, 0).await;
    other.restore(&mut open().unwrap(), &mut |_| {}).await.unwrap();
    assert_eq!(count(&place, "SELECT count(*) FROM shard WHERE owner IS NULL").await, 16);
    hooks.freeze(false);
    tokio::time::timeout(PATIENCE, a.declared_dead()).await.expect("it is told");
}
