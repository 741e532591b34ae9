//! A worker freezes between its last write and its COMMIT. Its transaction holds the share lock on
//! its shards; a successor waits two seconds for it, not longer, and what the frozen one wakes up
//! to commit is refused by the database.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use parcours_tests::fault::proxy::{Proxy, postgres::OnCommit};
use serde_json::json;

use crate::{
    api::{self, Api},
    backend::Admin,
    ground::Ground,
};

/// The stated time, and what a busy machine adds.
const AT_MOST: Duration = Duration::from_secs(8);

#[test]
fn its_locks_go_and_its_late_commit_changes_nothing() {
    let mut ground = Ground::postgres();
    let armed = Arc::new(AtomicBool::new(false));
    let (tell, frozen) = mpsc::channel();
    let (thaw, thawed) = mpsc::channel::<()>();
    let (freezing, thawed) = (Arc::clone(&armed), Mutex::new(thawed));
    let (_proxy, through) = Proxy::postgres(ground.url(), move |commit| {
        if commit.ran("INSERT INTO event ") && freezing.swap(false, Ordering::SeqCst) {
            tell.send(()).unwrap();
            // Here it stands, with everything written and the shards locked.
            let _ = thawed.lock().unwrap().recv();
        }
        OnCommit::Pass
    })
    .unwrap();
    ground.go_through(through);
    let server = ground.start();
    let brand = api::brand_of(&server, ground.data.path(), &ground.visits(), "visites");
    let admin = Admin::connect(ground.url());

    armed.store(true, Ordering::SeqCst);
    let visit = json!({"userId": "u1", "event": "Visite", "messageId": "m1",
        "properties": {"visite": "v1"}});
    let api = Api::new(&server, &brand.ingest_key);
    let asking = std::thread::spawn(move || api.send("POST", "/v1/track", Some(&visit)));
    frozen.recv_timeout(Duration::from_secs(60)).expect("the commit comes");
    let begun = Instant::now();
    let taken = admin.execute("UPDATE shard SET epoch = epoch + 1");
    let waited = begun.elapsed();
    thaw.send(()).unwrap();
    let (status, said) = asking.join().unwrap();
    println!(
        "a successor waited {waited:?} for {taken} shards of a frozen owner; it then said {status}"
    );
    assert!(waited < AT_MOST, "{waited:?}");
    assert_eq!(taken, 256);
    assert_eq!(status, 503, "{said}");
    assert_eq!(ground.number("SELECT count(*) FROM event"), 0, "the late commit did nothing");
}
