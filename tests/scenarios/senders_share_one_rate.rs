//! Three processes send for one brand, and one of their machines believes that it is an hour later:
//! together they keep the brand's rate and use it, and so they do with the rate of a provider.

use std::time::{Duration, Instant};

use parcours_testkit::{pg::TempDatabase, redis::RedisServer};
use parcours_tests::{
    fault::{shim::Shim, supervisor::Supervisor},
    scaled,
};

use crate::campaign::{Campaign, House, Provider};

/// Messages a second, for all senders together.
const RATE: usize = 100;
const BRANDS: House = House { connections: 8, dkim: None, rate: Some("100/s"), provider: None };
const PROVIDERS: House = House {
    connections: 8,
    dkim: None,
    rate: None,
    provider: Some(Provider { name: "google", domain: "gmail.com", rate: "100/s" }),
};
const SENDERS: [&str; 3] = ["sender-1", "sender-2", "sender-3"];
const FRONT: &str = "gateway,worker,consent";
const SECOND: Duration = Duration::from_secs(1);
/// The sink sees messages when they have arrived, later than they were let go, and on a machine that
/// is busy with other tests some come together with the next; over some seconds that evens out.
const SPAN: Duration = Duration::from_secs(4);

/// For each arrival, how many there are from it within this span; ascending.
fn windows(arrivals: &[Instant], span: Duration) -> Vec<usize> {
    let from = |(place, from): (usize, &Instant)| {
        arrivals.iter().skip(place).take_while(|at| **at - *from < span).count()
    };
    let mut windows: Vec<usize> = arrivals.iter().enumerate().map(from).collect();
    windows.sort_unstable();
    windows
}

#[test]
fn whatever_their_clocks_say() {
    three_senders(&BRANDS);
}

#[test]
fn of_a_provider_too() {
    three_senders(&PROVIDERS);
}

fn three_senders(house: &House) {
    let Some(redis) = RedisServer::start("senders_share_one_rate").unwrap() else { return };
    let server = tokio::runtime::Runtime::new().unwrap();
    let database = server.block_on(TempDatabase::new()).unwrap();
    let data = tempfile::tempdir().unwrap();
    let shim = Shim::build(data.path()).unwrap();
    shim.shift_clock(3_600_000).unwrap();
    let supervisor = Supervisor::postgres(data.path(), database.url())
        .with("PARCOURS_REDIS_URL", redis.url())
        .with("PARCOURS_RPC_SECRET", &"5e".repeat(16))
        .with("PARCOURS_RPC_LISTEN", "127.0.0.1:0");
    let mut campaign = Campaign::new(supervisor, FRONT, house);
    let messages = scaled(1_500, 12_000);
    campaign.subscribe(messages);
    campaign.everybody("Hello");
    let ahead = shim.variables(data.path()).map(|(name, value)| (name.to_owned(), value));
    for (sender, settings) in SENDERS.into_iter().zip([Vec::new(), ahead.to_vec(), Vec::new()]) {
        campaign.supervisor.begin((sender, "delivery"), settings).unwrap();
    }
    let mails = campaign.arrived(messages);
    campaign.until_quiet();
    assert_eq!(campaign.sink.count(), messages, "each once");
    for sender in SENDERS {
        let log = campaign.supervisor.log(sender).unwrap();
        assert!(!log.contains("claim lost"), "{sender} takes no claim for over that is not");
    }

    let mut arrivals: Vec<Instant> = mails.iter().map(|mail| mail.accepted).collect();
    arrivals.sort_unstable();
    let seconds = windows(&arrivals, SECOND);
    let (fullest, of_99) = (seconds[messages - 1], seconds[messages * 99 / 100]);
    let spans = windows(&arrivals, SPAN)[messages - 1];
    // Once all have started, and while there is a backlog.
    let (from, until) = (messages / 4, messages * 9 / 10);
    let took = arrivals[until] - arrivals[from];
    let used = (until - from) * 100 / RATE * 1_000 / usize::try_from(took.as_millis()).unwrap();
    println!(
        "{messages} messages at {RATE}/s by 3 senders; {used} % used; at most {fullest} in a \
         second, {of_99} in 99 % of them, {spans} within {SPAN:?}"
    );
    assert!(spans <= 4 * RATE + RATE / 2, "{spans} within {SPAN:?}");
    // Beside other tests permits come too late now and then.
    assert!(used >= scaled(70, 90), "{used} % used");
    if scaled(0, 1) == 1 {
        assert!(fullest <= 110 && of_99 <= 105, "{fullest} in a second, {of_99} in 99 % of them");
    }
}
