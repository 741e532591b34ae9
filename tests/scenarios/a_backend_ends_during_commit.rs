//! The database's backend is terminated during COMMIT, a hundred times: no event is acknowledged
//! that is not there, none is there twice.
//!
//! Half of the time before the server sees the COMMIT, half of the time after it has committed and
//! before anybody was told; then some more at no particular moment. The product cannot tell which,
//! answers 503, and the client's retry finds what was done by its messageId.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use parcours_tests::{
    fault::proxy::{
        Proxy,
        postgres::{Commit, OnCommit},
    },
    scaled,
};
use serde_json::{Value, json};

use crate::{api, backend::Admin, ground::Ground, sdk::Whereabouts};

const CLIENTS: usize = 6;
const ITEMS: usize = 5;

/// What happens to a COMMIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Moment {
    /// The backend is gone before the COMMIT reaches it.
    Before,
    /// The backend has committed, and is gone before its answer is.
    After,
    /// The backend is told to end while the COMMIT is on its way.
    Meanwhile,
}

/// How many faults of each kind are still to come, and how often commits passed in between.
struct Plan {
    left: BTreeMap<Moment, usize>,
    turn: usize,
}

impl Plan {
    /// Every second commit of events is hit, by each kind in its turn.
    fn next(&mut self) -> Option<Moment> {
        self.turn += 1;
        if self.turn.is_multiple_of(2) {
            return None;
        }
        let open: Vec<Moment> =
            self.left.iter().filter(|(_, left)| **left > 0).map(|(moment, _)| *moment).collect();
        let moment = *open.get((self.turn / 2) % open.len().max(1))?;
        *self.left.get_mut(&moment)? -= 1;
        Some(moment)
    }

    fn is_done(&self) -> bool {
        self.left.values().all(|left| *left == 0)
    }
}

struct Faults {
    admin: Arc<Admin>,
    armed: AtomicBool,
    plan: Mutex<Plan>,
    /// Backends that were there and are gone.
    ended: Arc<AtomicUsize>,
}

impl Faults {
    fn at(&self, commit: &Commit) -> OnCommit {
        if !self.armed.load(Ordering::SeqCst) || !commit.ran("INSERT INTO event ") {
            return OnCommit::Pass;
        }
        let moment = self.plan.lock().unwrap().next();
        let backend = commit.backend;
        match moment {
            None => OnCommit::Pass,
            Some(Moment::Before) => {
                let done = self.admin.terminate(backend);
                self.ended.fetch_add(usize::from(done), Ordering::SeqCst);
                OnCommit::Pass
            }
            Some(Moment::After) => {
                let (admin, ended) = (Arc::clone(&self.admin), Arc::clone(&self.ended));
                OnCommit::Withhold(Box::new(move || {
                    ended.fetch_add(usize::from(admin.terminate(backend)), Ordering::SeqCst);
                }))
            }
            Some(Moment::Meanwhile) => {
                let admin = Arc::clone(&self.admin);
                std::thread::spawn(move || admin.terminate_soon(backend));
                OnCommit::Pass
            }
        }
    }
}

/// What one client saw.
#[derive(Default)]
struct Seen {
    items: usize,
    accepted: u64,
    duplicates: u64,
    refusals: usize,
}

#[test]
fn nothing_is_acknowledged_in_vain_and_nothing_is_doubled() {
    let half = scaled(50, 500);
    let mut ground = Ground::postgres();
    let left =
        [(Moment::Before, half), (Moment::After, half), (Moment::Meanwhile, half / 2)].into();
    let faults = Arc::new(Faults {
        admin: Arc::new(Admin::connect(ground.url())),
        armed: AtomicBool::new(false),
        plan: Mutex::new(Plan { left, turn: 0 }),
        ended: Arc::default(),
    });
    let asked = Arc::clone(&faults);
    let (_proxy, through) = Proxy::postgres(ground.url(), move |commit| asked.at(commit)).unwrap();
    ground.go_through(through);
    let server = ground.start();
    let brand = api::brand_of(&server, ground.data.path(), &ground.visits(), "visites");
    faults.armed.store(true, Ordering::SeqCst);

    let place = Whereabouts::new(&server.url);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let mut sdk = place.client(&brand.ingest_key);
            let faults = Arc::clone(&faults);
            runtime.spawn(async move {
                let mut seen = Seen::default();
                while !faults.plan.lock().unwrap().is_done() {
                    let items: Vec<Value> =
                        (0..ITEMS).map(|n| item(client, seen.items + n)).collect();
                    let taken = sdk.deliver("/v1/batch", &json!({"batch": items})).await;
                    seen.items += ITEMS;
                    seen.accepted += taken.accepted();
                    seen.duplicates += taken.duplicates();
                    seen.refusals += taken.refusals;
                }
                seen
            })
        })
        .collect();
    let seen = clients.into_iter().map(|client| runtime.block_on(client).expect("a client"));
    verify(&ground, half, &seen.collect::<Vec<_>>());
    // One or another was told to end meanwhile, and had gone before its next turn came.
    let ended = faults.ended.load(Ordering::SeqCst);
    assert!(ended + half / 2 >= 2 * half, "backends ended before and after: {ended}");
    println!("backends gone before or after: {ended}");
}

/// Customers are shared by the clients, so that commits of one contact come from several.
fn item(client: usize, n: usize) -> Value {
    json!({"type": "track", "event": "Visite", "userId": format!("u{}", n % 40),
        "messageId": format!("m-{client}-{n}"), "properties": {"visite": format!("{client}-{n}")}})
}

fn verify(ground: &Ground, half: usize, seen: &[Seen]) {
    let items: usize = seen.iter().map(|one| one.items).sum();
    let accepted: u64 = seen.iter().map(|one| one.accepted).sum();
    let duplicates: u64 = seen.iter().map(|one| one.duplicates).sum();
    let refusals: usize = seen.iter().map(|one| one.refusals).sum();
    let events = ground.number("SELECT count(*) FROM event");
    let distinct = ground.number("SELECT count(DISTINCT message_id) FROM event");
    let runs = ground.number("SELECT count(*) FROM run");
    let keys = ground.number("SELECT count(DISTINCT run_key) FROM run");
    let timers = ground.number("SELECT count(*) FROM timer");
    let seq = ground.number("SELECT CAST(sum(seq) AS BIGINT) FROM contact_state");
    println!("backend terminated at COMMIT: before {half}, after {half}, meanwhile {}", half / 2);
    println!(
        "acknowledged {items} (accepted {accepted}, found by their retry {duplicates}; requests \
         refused {refusals}); stored {events}, distinct {distinct}; runs {runs}, timers {timers}"
    );
    let items = i64::try_from(items).unwrap();
    let lost = items - distinct;
    let doubled = (events - distinct) + (runs - keys);
    println!("acknowledged but not there: {lost}; there twice: {doubled}");
    assert_eq!((lost, doubled), (0, 0));
    assert_eq!((runs, timers, seq), (items, items, items), "each event had its effect once");
    assert_eq!(i64::try_from(accepted + duplicates).unwrap(), items);
    let half = half as u64;
    assert!(duplicates >= half, "each that had committed is found by its retry: {duplicates}");
    assert!(refusals as u64 >= 2 * half, "each was told that nothing is certain: {refusals}");
}
