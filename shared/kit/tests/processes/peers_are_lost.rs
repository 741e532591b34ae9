//! Owners die, freeze and stop while they are asked; nobody waits for ever, nothing is done twice.

use std::{sync::Arc, time::Duration};

use parcours_kit::{
    route::{Asked, Peer as _, RouteLimits, ShardPlace},
    rpc::{Link, LinkSettings},
};
use parcours_wire::{ItemOutcome, WorkerApi as _};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    time::Instant,
};
use uuid::Uuid;

use super::stage::{APPLIED, Directory, Process, SHARDS, Shop, gateway, limits, one, open, secret};

const WITHIN: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_dies_while_asked_is_unavailable_once_and_its_heir_goes_on() {
    let (mut owner, heir) = (Process::start(0..SHARDS), Process::start(0..SHARDS));
    let directory = Arc::new(Directory::default());
    directory.say((0..SHARDS).map(|shard| owner.place(shard, 1)));
    let gateway = Arc::new(gateway(&directory));
    owner.shop.gate(false);
    let asked = tokio::spawn({
        let gateway = Arc::clone(&gateway);
        async move { gateway.accept(one(3, "a")).await }
    });
    owner.shop.has_come(1).await;
    owner.kill();
    directory.say((0..SHARDS).map(|shard| heir.place(shard, 2)));
    assert_eq!(asked.await.unwrap(), [[ItemOutcome::Unavailable]]);
    assert_eq!(heir.shop.applied(), 0, "nobody but the client repeats what may have been done");
    assert_eq!(gateway.accept(one(3, "a")).await, [[APPLIED]]);
    assert_eq!((owner.shop.applied(), heir.shop.applied()), (0, 1));
}

/// Stands between a caller and a process until it is told to freeze: then bytes stay where they are
/// and no connection is closed.
async fn freezer(to: String) -> (String, watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (freeze, frozen) = watch::channel(false);
    tokio::spawn(async move {
        while let Ok((mut caller, _)) = listener.accept().await {
            let (to, frozen) = (to.clone(), frozen.clone());
            tokio::spawn(async move {
                let mut callee = TcpStream::connect(to).await.unwrap();
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut caller, &mut callee) => {}
                    () = told(frozen) => std::future::pending().await,
                }
            });
        }
    });
    (address, freeze)
}

async fn told(mut frozen: watch::Receiver<bool>) {
    drop(frozen.wait_for(|frozen| *frozen).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_owner_is_noticed_within_seconds_and_holds_up_nobody_else() {
    let (frozen, well) = (Process::start(0..6), Process::start(6..SHARDS));
    let (address, freeze) = freezer(frozen.address.clone()).await;
    let directory = Arc::new(Directory::default());
    let through = |shard| ShardPlace { address: Some(address.clone()), ..frozen.place(shard, 1) };
    directory.say((0..6).map(through));
    directory.say((6..SHARDS).map(|shard| well.place(shard, 1)));
    let gateway = Arc::new(gateway(&directory));
    assert_eq!(gateway.accept(one(2, "a")).await, [[APPLIED]]);
    frozen.shop.gate(false);
    let began = Instant::now();
    let asked = tokio::spawn({
        let gateway = Arc::clone(&gateway);
        async move { gateway.accept(one(2, "b")).await }
    });
    frozen.shop.has_come(2).await;
    freeze.send_replace(true);
    assert_eq!(gateway.accept(one(8, "c")).await, [[APPLIED]]);
    assert!(!asked.is_finished(), "the other one's answer was not waited for");
    assert_eq!(asked.await.unwrap(), [[ItemOutcome::Unavailable]]);
    let answer_max = RouteLimits::default().answer_max;
    assert!(began.elapsed() < answer_max / 2, "by pings, not by patience: {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_lets_connect_and_says_nothing_is_not_waited_for() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let directory = Arc::new(Directory::default());
    let owner = Some(Uuid::new_v4());
    let place = |shard| ShardPlace { shard, epoch: 1, owner, address: Some(address.clone()) };
    directory.say((0..SHARDS).map(place));
    let gateway = Arc::new(gateway(&directory));
    let asked = tokio::spawn({
        let gateway = Arc::clone(&gateway);
        async move { gateway.accept(one(2, "a")).await }
    });
    // It is connected to; its successor appears.
    let _connected = silent.accept().await.unwrap();
    let heir = Process::start(0..SHARDS);
    directory.say((0..SHARDS).map(|shard| heir.place(shard, 2)));
    assert_eq!(asked.await.unwrap(), [[APPLIED]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopping_owner_answers_what_it_took_and_says_that_it_takes_no_more() {
    let shop = Shop::new(0..SHARDS);
    let server = open(&shop, limits()).await;
    let link = Link::new(&server.address().to_string(), LinkSettings::new(secret(), limits()));
    shop.gate(false);
    let taken = tokio::spawn({
        let link = link.clone();
        async move { link.ask(&one(3, "a").iter().collect::<Vec<_>>(), WITHIN).await }
    });
    shop.has_come(1).await;
    let stopped = tokio::spawn(server.stop());
    // As soon as the owner has said so, nothing goes to it any more.
    let mut tries = 0;
    loop {
        tries += 1;
        let late = one(3, &format!("late-{tries}"));
        let late: Vec<_> = late.iter().collect();
        if link.ask(&late, Duration::from_millis(50)).await == Asked::NotSent {
            break;
        }
    }
    shop.gate(true);
    assert_eq!(taken.await.unwrap(), Asked::Answered(vec![vec![APPLIED]]));
    stopped.await.unwrap();
    let again = link.ask(&one(3, "b").iter().collect::<Vec<_>>(), WITHIN).await;
    assert_eq!(again, Asked::NotSent, "the port is closed");
}
