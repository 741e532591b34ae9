//! A batch is divided among its owners, whatever the map said; hints find theirs.

use std::{collections::BTreeMap, sync::Arc};

use parcours_domain::{ContactId, shard_of};
use parcours_kit::route::Hint;
use parcours_wire::{ContactEvents, WorkerApi as _};
use uuid::Uuid;

use super::stage::{APPLIED, Directory, Process, SHARDS, contact_in, events, gateway, one, tenant};

fn three() -> Vec<Process> {
    (0..3).map(|n| Process::start((0..SHARDS).filter(|shard| shard % 3 == n))).collect()
}

fn truth(processes: &[Process], shift: usize, epoch: i64) -> Vec<parcours_kit::route::ShardPlace> {
    let owner = |shard: u16| &processes[(usize::from(shard) + shift) % processes.len()];
    (0..SHARDS).map(|shard| owner(shard).place(shard, epoch)).collect()
}

/// So many events, spread over as many contacts as hundreds.
fn batch(count: usize) -> Vec<ContactEvents> {
    let contacts = u128::try_from(count / 100).unwrap();
    let of = |n| events(ContactId(Uuid::from_u128(n)), (0..100).map(|i| format!("{n}-{i:03}")));
    (0..contacts).map(of).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_events_keep_their_order_for_each_contact() {
    let processes = three();
    let directory = Arc::new(Directory::default());
    directory.say(truth(&processes, 0, 1));
    let sent = batch(10_000);
    let outcomes = gateway(&directory).accept(sent.clone()).await;
    assert_eq!(outcomes, vec![vec![APPLIED; 100]; 100]);
    let mut applied: BTreeMap<ContactId, Vec<String>> = BTreeMap::new();
    for (owner, process) in processes.iter().enumerate() {
        assert!(process.shop.applied() > 0, "every owner has a part");
        for (contact, id) in process.shop.applied.lock().unwrap().iter() {
            assert_eq!(usize::from(shard_of(*contact, SHARDS)) % 3, owner);
            applied.entry(*contact).or_default().push(id.clone());
        }
    }
    for of in sent {
        let ids: Vec<String> = of.events.into_iter().map(|event| event.message_id).collect();
        assert_eq!(applied[&of.contact], ids);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_map_that_is_wrong_everywhere_everything_succeeds_once() {
    let processes = three();
    let directory = Arc::new(Directory::default());
    directory.say(truth(&processes, 1, 1));
    let gateway = gateway(&directory);
    // It learns the wrong map from a hint, without asking anybody.
    gateway.wake(tenant(), contact_in(0));
    let mut heard = processes[1].shop.hints.subscribe();
    heard.wait_for(|hints| !hints.is_empty()).await.unwrap();
    directory.say(truth(&processes, 0, 2));
    let outcomes = gateway.accept(batch(3_000)).await;
    assert_eq!(outcomes, vec![vec![APPLIED; 100]; 30]);
    let applied: usize = processes.iter().map(|process| process.shop.applied()).sum();
    assert_eq!(applied, 3_000, "once each");
    for process in &processes {
        assert!(*process.shop.came.borrow() <= 2, "its own part, and at most one by mistake");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hints_arrive_in_the_same_stream() {
    let processes = three();
    let directory = Arc::new(Directory::default());
    directory.say(truth(&processes, 0, 1));
    let gateway = gateway(&directory);
    let wake = Hint::Wake(tenant(), contact_in(4));
    gateway.wake(tenant(), contact_in(4));
    let mut owner = processes[1].shop.hints.subscribe();
    owner.wait_for(|hints| hints.contains(&wake)).await.unwrap();
    gateway.plans_changed(tenant());
    for process in &processes {
        let mut hints = process.shop.hints.subscribe();
        hints.wait_for(|hints| hints.contains(&Hint::Plans(tenant()))).await.unwrap();
    }
    assert_eq!(gateway.accept(one(4, "a")).await, [[APPLIED]]);
    assert!(!processes[0].shop.hints.borrow().contains(&wake), "nobody else is told");
}
