//! Hints reach listeners in other processes; losing Redis loses hints, nothing else.

use std::time::Duration;

use parcours_queue::{Hint, RedisHints};
use parcours_testkit::redis::RedisServer;
use tokio::{sync::broadcast::Receiver, time::timeout};

use crate::ground::{TENANT, ask, link};

fn hint(lane: i64) -> Hint {
    Hint { tenant: TENANT, lane }
}

async fn hears(listener: &mut Receiver<Hint>, wanted: Hint) {
    let hearing = async { while listener.recv().await != Ok(wanted) {} };
    timeout(Duration::from_secs(20), hearing).await.expect("the hint is heard");
}

/// Until both listen.
async fn until_heard(server: &RedisServer, listeners: i64) {
    while ask::<(String, i64)>(server.url(), &["PUBSUB", "NUMSUB", "p:i:1:hints"]).await.1
        < listeners
    {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_hint_is_heard_here_at_once_and_elsewhere_soon_also_after_redis_was_away() {
    let Some(mut server) = RedisServer::start("a_hint_is_heard").unwrap() else { return };
    let here = RedisHints::start(link(server.url()), "i");
    let elsewhere = RedisHints::start(link(server.url()), "i");
    let (mut own, mut other) = (here.listen(), elsewhere.listen());
    until_heard(&server, 2).await;
    here.tell(hint(1));
    assert_eq!(own.try_recv(), Ok(hint(1)));
    hears(&mut other, hint(1)).await;

    server.kill().unwrap();
    here.tell(hint(2));
    hears(&mut own, hint(2)).await;
    server.start_again().unwrap();
    until_heard(&server, 2).await;
    // The sender's own connection may still be resting: it is told again until it is heard.
    let heard = async {
        for told in 1.. {
            here.tell(hint(3));
            if timeout(Duration::from_millis(50), other.recv()).await == Ok(Ok(hint(3))) {
                return told;
            }
        }
        0
    };
    let told = timeout(Duration::from_secs(20), heard).await.expect("the hint is heard");
    let heard_here = std::iter::from_fn(|| own.try_recv().ok()).count();
    assert_eq!(heard_here, told, "Redis repeats to nobody what it said itself");
    drop(elsewhere);
    until_gone(&server).await;
}

/// A dropped listener takes its connection along.
async fn until_gone(server: &RedisServer) {
    while ask::<(String, i64)>(server.url(), &["PUBSUB", "NUMSUB", "p:i:1:hints"]).await.1 > 1 {
        tokio::task::yield_now().await;
    }
}
