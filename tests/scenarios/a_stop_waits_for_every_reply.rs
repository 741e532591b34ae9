//! SIGTERM while fifty sessions wait for the reply to their final dot: the process records every
//! reply, gives back what has not left, and ends by itself; the next one sends the rest; nothing
//! arrives twice.

use std::collections::BTreeMap;

use parcours_testkit::smtp_sink::{At, Gate, Rule};
use parcours_tests::fault::supervisor::{ALL_ROLES, Supervisor};

use crate::campaign::{Campaign, House, user};

const SESSIONS: usize = 50;
const MESSAGES: usize = 200;

#[test]
fn with_fifty_sessions_behind_the_final_dot() {
    let data = tempfile::tempdir().unwrap();
    let house = House { connections: SESSIONS, dkim: None, rate: None, provider: None };
    let mut campaign = Campaign::new(Supervisor::sqlite(data.path()), ALL_ROLES, &house);
    campaign.subscribe(MESSAGES);
    let gate = Gate::default();
    campaign.sink.rule(Rule::hold(At::Dot, &gate));
    campaign.everybody("Hello");
    campaign.runtime.block_on(gate.reached(SESSIONS));

    let url = campaign.supervisor.url(ALL_ROLES).unwrap();
    let process = campaign.supervisor.part(ALL_ROLES).unwrap();
    let status = std::thread::scope(|scope| {
        let stopping = scope.spawn(|| process.stop().unwrap());
        // It takes no requests any more, so it has been told to stop; only then come the replies.
        let begun = std::time::Instant::now();
        while std::net::TcpStream::connect(url.trim_start_matches("http://")).is_ok() {
            assert!(begun.elapsed().as_secs() < 60, "it did not begin to stop");
            std::thread::yield_now();
        }
        gate.open();
        stopping.join().unwrap()
    });
    assert!(status.success(), "{status}");
    let left = campaign.sink.count();
    assert!(left >= SESSIONS, "{left} left before the end");

    campaign.supervisor.restart(ALL_ROLES).unwrap();
    campaign.until_quiet();
    let mut arrived: BTreeMap<String, usize> = BTreeMap::new();
    for mail in campaign.sink.received() {
        *arrived.entry(user(&mail)).or_default() += 1;
    }
    assert_eq!(arrived.len(), MESSAGES);
    assert!(arrived.values().all(|times| *times == 1), "{arrived:?}");
    assert!(campaign.messages("unknown").is_empty());
    println!("{SESSIONS} sessions behind the final dot at SIGTERM: {left} recorded, 0 twice");
}
