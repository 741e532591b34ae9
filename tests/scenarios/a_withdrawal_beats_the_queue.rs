//! Thousands of messages wait, half of their recipients withdraw by one click, and then sending
//! goes on: none of them gets anything but what was already leaving, at most one message for each
//! open connection; everybody else gets theirs once.
//!
//! On SQLite the next hop stalls, on PostgreSQL the delivery process is frozen (SIGSTOP).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use parcours_testkit::{
    pg::TempDatabase,
    smtp_sink::{At, Gate, Rule},
};
use parcours_tests::{
    fault::supervisor::{ALL_ROLES, Supervisor},
    scaled,
};

use serde_json::json;

use crate::campaign::{Campaign, House, one_click, percentile, user};

const CONNECTIONS: usize = 8;
const HOUSE: House = House { connections: CONNECTIONS, dkim: None, rate: None, provider: None };

/// Subscribers, each of whom has had one mail; half of them will withdraw.
fn subscribers() -> usize {
    scaled(600, 10_000)
}

/// Everybody subscribes and gets a first mail; the one-click addresses in them.
fn first_mails(campaign: &mut Campaign) -> BTreeMap<String, String> {
    campaign.subscribe(subscribers());
    campaign.everybody("Hello");
    let mails = campaign.arrived(subscribers());
    campaign.until_quiet();
    mails.iter().map(|mail| (user(mail), one_click(mail))).collect()
}

/// What the withdrawals did.
struct Withdrawn {
    /// userId -> when it was acknowledged.
    at: BTreeMap<String, Instant>,
    took: Vec<Duration>,
}

fn withdraw(campaign: &Campaign, links: &BTreeMap<String, String>, who: &[String]) -> Withdrawn {
    let addresses: Vec<String> = who.iter().map(|user| links[user].clone()).collect();
    let answers = campaign.withdraw(&addresses);
    let took = answers.iter().map(|(_, _, took)| *took).collect();
    Withdrawn { at: answers.into_iter().map(|(n, at, _)| (who[n].clone(), at)).collect(), took }
}

/// Compares what arrived of the second mail with what may; prints the figures.
fn account(campaign: &Campaign, name: &str, withdrawn: &Withdrawn, leaving_most: usize) {
    campaign.until_quiet();
    let mut arrived: BTreeMap<String, Vec<Instant>> = BTreeMap::new();
    for mail in campaign.sink.received().into_iter().skip(subscribers()) {
        arrived.entry(user(&mail)).or_default().push(mail.accepted);
    }
    let doubled: Vec<_> = arrived.iter().filter(|(_, times)| times.len() > 1).collect();
    assert!(doubled.is_empty(), "{doubled:?}");
    let late: Vec<&String> = withdrawn
        .at
        .iter()
        .filter(|(user, at)| arrived.get(*user).is_some_and(|times| times[0] > **at))
        .map(|(user, _)| user)
        .collect();
    let unknown: BTreeSet<String> = campaign
        .messages("unknown")
        .iter()
        .map(|message| message["contact"].as_str().expect("a contact").to_owned())
        .collect();
    let missing: Vec<&String> = campaign
        .contacts
        .keys()
        .filter(|user| !withdrawn.at.contains_key(*user) && !arrived.contains_key(*user))
        .collect();
    println!(
        "{name}: {} queued, {} withdrew, {} of them got it after that (already leaving, at most \
         {leaving_most}), {} others got it once, {} listed unknown; withdrawal to effect: p50 {:?}, \
         p99 {:?}, longest {:?}",
        subscribers(),
        withdrawn.at.len(),
        late.len(),
        arrived.keys().filter(|user| !withdrawn.at.contains_key(*user)).count(),
        unknown.len(),
        percentile(&withdrawn.took, 0.5),
        percentile(&withdrawn.took, 0.99),
        percentile(&withdrawn.took, 1.0),
    );
    assert!(late.len() <= leaving_most, "{late:?}");
    assert!(unknown.len() <= CONNECTIONS, "{unknown:?}");
    for user in missing {
        assert!(unknown.contains(&campaign.contacts[user]), "{user} got nothing");
    }
    let refused = campaign.messages("refused");
    assert!(refused.iter().all(|message| message["reason"] == "withdrawn"));
    let got = withdrawn.at.keys().filter(|user| arrived.contains_key(*user)).count();
    assert!(refused.len() + got + unknown.len() >= withdrawn.at.len());
    assert!(refused.len() + got <= withdrawn.at.len());
}

/// Whose messages the next hop holds.
fn held(campaign: &Campaign) -> BTreeSet<String> {
    let user = |to: &String| to.split_once('@').map(|(user, _)| user.to_owned());
    campaign.sink.holding().iter().filter_map(user).collect()
}

#[test]
fn against_a_stalled_next_hop() {
    let data = tempfile::tempdir().unwrap();
    let mut campaign = Campaign::new(Supervisor::sqlite(data.path()), ALL_ROLES, &HOUSE);
    let links = first_mails(&mut campaign);

    // Half of the connections stand before the final commit, half behind the final dot.
    let (before, behind) = (Gate::default(), Gate::default());
    campaign.sink.rule(Rule::hold(At::Rcpt, &before).times(CONNECTIONS / 2));
    campaign.sink.rule(Rule::hold(At::Dot, &behind));
    // Nothing leaves while they are queued, so that no connection gives up before all have withdrawn.
    campaign.post("/v1/halt", json!({"reason": "the queue is filled"}));
    campaign.everybody("Sale");
    assert_eq!(campaign.messages("queued").len(), subscribers());
    campaign.post("/v1/unhalt", json!({}));
    campaign.runtime.block_on(async {
        before.reached(CONNECTIONS / 2).await;
        behind.reached(CONNECTIONS / 2).await;
    });
    // Those whose message is already leaving are among those who withdraw.
    let held = held(&campaign);
    assert_eq!(held.len(), CONNECTIONS);
    let others = campaign.contacts.keys().filter(|user| !held.contains(*user));
    let who: Vec<String> = held.iter().chain(others).take(subscribers() / 2).cloned().collect();
    let withdrawn = withdraw(&campaign, &links, &who);
    let still = self::held(&campaign);
    assert_eq!(still, held, "the server's patience ended before the last had withdrawn");
    campaign.sink.clear_rules();
    before.open();
    behind.open();
    account(&campaign, "SQLite, stalled next hop", &withdrawn, CONNECTIONS / 2);
    let counted = campaign.metric("parcours_messages_already_leaving_total");
    assert!((counted - 4.0).abs() < 0.5, "counted as already leaving: {counted}");
}

#[test]
fn against_a_frozen_sender() {
    let server = tokio::runtime::Runtime::new().unwrap();
    let database = server.block_on(TempDatabase::new()).unwrap();
    let data = tempfile::tempdir().unwrap();
    let (front, sender) = ("gateway,worker,consent", "delivery");
    let supervisor = Supervisor::postgres(data.path(), database.url());
    let mut campaign = Campaign::new(supervisor, front, &HOUSE);
    campaign.supervisor.start(sender).unwrap();
    let links = first_mails(&mut campaign);

    campaign.everybody("Sale");
    let some = subscribers() / 20;
    campaign.arrived(subscribers() + some);
    campaign.supervisor.part(sender).unwrap().freeze().unwrap();
    let arrived: BTreeSet<String> =
        campaign.sink.received().iter().skip(subscribers()).map(user).collect();
    let waiting = campaign.contacts.keys().filter(|user| !arrived.contains(*user));
    let who: Vec<String> = waiting.take(subscribers() / 2).cloned().collect();
    println!("frozen after {} of {}", arrived.len(), subscribers());
    let withdrawn = withdraw(&campaign, &links, &who);
    campaign.supervisor.part(sender).unwrap().thaw().unwrap();
    account(&campaign, "PostgreSQL, frozen sender", &withdrawn, CONNECTIONS);
}
