//! Faults of the next hop and of the sender itself, one row each: how the message ends, whether it
//! is sent again, whether its address is suppressed, how often it arrives. The rows below are the
//! expectation; the table that the test prints is what was seen.
//!
//! Marketing shows the policy "never again" (at most once), transactional the policy "again" (at
//! least once, under the same Message-ID). Both are the defaults.

use std::{sync::Arc, time::Duration};

use parcours_delivery::{Delivery, DeliveryConfig, DeliveryHandle};
use parcours_domain::{MessageId, Millis, SendOutcome};
use parcours_queue::MemoryTokens;
use parcours_store::Backend;
use parcours_testkit::{
    on_both_backends,
    smtp_sink::{At, Gate, Rule, SmtpSink},
};

use crate::stage::{Stage, Wanted, header};

on_both_backends!(here: each_smtp_fault_has_its_row);

/// What goes wrong, once.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// The server answers this there.
    Reply(At, &'static str),
    /// It hangs up after the final dot, having kept the message, or not.
    HangUp { kept: bool },
    /// Its reply to the final dot comes too late, or just not yet too late.
    Slow { too_late: bool },
    /// The sender stands still past its lease, before or after its final commit, while another
    /// sender works on the same queue.
    Frozen { after_the_commit: bool },
}

/// What must be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    /// Status and reason after the first attempt.
    first: &'static str,
    /// And in the end.
    last: &'static str,
    arrivals: usize,
    suppressed: bool,
}

const fn seen(first: &'static str, last: &'static str, arrivals: usize) -> Seen {
    Seen { first, last, arrivals, suppressed: false }
}

const LOST: &str = "unknown reply_lost";

/// The fault; marketing; transactional.
const ROWS: [(Fault, Seen, Seen); 14] = {
    use Fault::{Frozen, HangUp, Reply, Slow};
    let no_such_user =
        Seen { suppressed: true, ..seen("bounced smtp:5.1.1", "bounced smtp:5.1.1", 0) };
    let refused = seen("failed smtp:5.7.1", "failed smtp:5.7.1", 0);
    let content = seen("failed smtp:5.1.1", "failed smtp:5.1.1", 0);
    let again = seen("queued", "sent", 1);
    let sent = seen("sent", "sent", 1);
    [
        (Reply(At::Rcpt, "550 5.1.1 no such user"), no_such_user, no_such_user),
        (Reply(At::Rcpt, "550 5.7.1 blocked"), refused, refused),
        (Reply(At::MailFrom, "550 5.7.1 not from you"), refused, refused),
        (Reply(At::Data, "554 5.7.1 no data"), refused, refused),
        (Reply(At::Dot, "554 5.7.1 spam"), refused, refused),
        (Reply(At::Dot, "550 5.1.1 no such user"), content, content),
        (Reply(At::Rcpt, "450 4.2.1 greylisted"), again, again),
        (Reply(At::Dot, "451 4.3.0 later"), again, again),
        (HangUp { kept: true }, seen(LOST, LOST, 1), seen("queued", "sent", 2)),
        (HangUp { kept: false }, seen(LOST, LOST, 0), again),
        (Slow { too_late: true }, seen(LOST, LOST, 1), seen("queued", "sent", 2)),
        (Slow { too_late: false }, sent, sent),
        (Frozen { after_the_commit: false }, sent, sent),
        (Frozen { after_the_commit: true }, seen(LOST, LOST, 1), seen("sent", "sent", 2)),
    ]
};

/// Longer than a message takes to its final commit, and not long.
const LEASE: Duration = Duration::from_secs(1);

async fn each_smtp_fault_has_its_row(on: Backend) {
    let sink = SmtpSink::start().await.unwrap();
    let mut stage = Stage::new(on).await;
    stage.smtp_sender(sink.port(), 1).await;
    let mut table = format!(
        "{on:?}\n{:<46} {:<13} {:<18} {:<18} {:>8} {:<10}\n",
        "fault", "class", "after one attempt", "in the end", "arrivals", "suppressed"
    );
    let mut wrong = Vec::new();
    for (number, (fault, marketing, transactional)) in ROWS.into_iter().enumerate() {
        for (class, expected) in [("marketing", marketing), ("transactional", transactional)] {
            let user = format!("{class}{number}");
            let found = play(&mut stage, &sink, fault, &user).await;
            let fault = format!("{fault:?}");
            let (first, last, arrivals, suppressed) = &found;
            table += &format!(
                "{fault:<46} {class:<13} {first:<18} {last:<18} {arrivals:>8} {suppressed:<10}\n"
            );
            let Seen { first, last, arrivals, suppressed } = expected;
            if found != (first.to_owned(), last.to_owned(), arrivals, suppressed) {
                wrong.push(format!("{fault} {class}: {found:?}, not {expected:?}"));
            }
        }
    }
    println!("{table}");
    assert!(wrong.is_empty(), "{table}\n{wrong:#?}");
}

/// Plays one fault; state after one attempt, state in the end, arrivals, suppressed.
async fn play(
    stage: &mut Stage,
    sink: &SmtpSink,
    fault: Fault,
    user: &str,
) -> (String, String, usize, bool) {
    let contact = stage.subscriber(user).await;
    let wanted = if user.starts_with("marketing") {
        Wanted::marketing(contact).by("smtp")
    } else {
        Wanted::transactional(contact).by("smtp")
    };
    let (id, first) = match fault {
        Fault::Reply(at, lines) => {
            stage.start();
            sink.rule(Rule::reply(at, lines).times(1));
            let id = stage.enqueue(&wanted).await;
            stage.settle().await;
            (id, state(stage, id).await)
        }
        Fault::HangUp { kept } => {
            stage.start();
            let rule = if kept { Rule::accept_and_hang_up() } else { Rule::hang_up(At::Dot) };
            sink.rule(rule.times(1));
            let id = stage.enqueue(&wanted).await;
            stage.settle().await;
            (id, state(stage, id).await)
        }
        Fault::Slow { too_late } => slow(stage, sink, &wanted, too_late).await,
        Fault::Frozen { after_the_commit } => frozen(stage, sink, &wanted, after_the_commit).await,
    };
    stage.advance(Millis::minutes(2));
    stage.settle().await;
    let last = state(stage, id).await;
    let arrivals = arrivals(sink, user, id);
    sink.clear_rules();

    let probe = stage.enqueue(&Wanted::transactional(contact).by("smtp")).await;
    stage.settle().await;
    let suppressed = stage.ended(probe).await;
    let suppressed = suppressed == ("refused".to_owned(), Some("suppressed".to_owned()));
    if !suppressed {
        stage.assert_ended(probe, SendOutcome::Sent, None).await;
    }
    assert!(stage.delivery().stop(Duration::from_secs(60)).await);
    (first, last, arrivals, suppressed)
}

/// The reply to the final dot waits for the test.
async fn slow(
    stage: &mut Stage,
    sink: &SmtpSink,
    wanted: &Wanted,
    too_late: bool,
) -> (MessageId, String) {
    let mut config = DeliveryConfig::default();
    if too_late {
        config.smtp_timeouts.dot = Duration::from_millis(200);
    }
    stage.start_with(config);
    let gate = Gate::default();
    sink.rule(Rule::hold(At::Dot, &gate).times(1));
    let before = sink.count();
    let id = stage.enqueue(wanted).await;
    gate.reached(1).await;
    if too_late {
        stage.settle().await;
    }
    gate.open();
    sink.wait_for(before + 1).await;
    stage.settle().await;
    (id, state(stage, id).await)
}

/// One sender is held in its conversation until its lease is over and another has looked at the
/// queue; then it goes on.
async fn frozen(
    stage: &mut Stage,
    sink: &SmtpSink,
    wanted: &Wanted,
    after_the_commit: bool,
) -> (MessageId, String) {
    let never = Duration::from_secs(3_600);
    let config = DeliveryConfig {
        lease: LEASE,
        sweep_every: never,
        settle_every: never,
        ..DeliveryConfig::default()
    };
    let stands: DeliveryHandle =
        Delivery::start(config, &stage.store, stage.clock.clone(), Arc::new(MemoryTokens::new()));
    stands.settled().await;
    let gate = Gate::default();
    let at = if after_the_commit { At::Data } else { At::Rcpt };
    sink.rule(Rule::hold(at, &gate).times(1));
    stage.delivery = None;
    let id = stage.enqueue(wanted).await;
    stands.poke();
    gate.reached(1).await;
    let held = state(stage, id).await;

    let every = Duration::from_millis(20);
    stage.start_with(DeliveryConfig { settle_every: every, ..DeliveryConfig::default() });
    while state(stage, id).await == held {
        stage.settle().await;
    }
    let first = state(stage, id).await;
    let before = sink.count();
    gate.open();
    stands.settled().await;
    if after_the_commit {
        sink.wait_for(before + 1).await;
    }
    assert!(stands.stop(Duration::from_secs(60)).await);
    (id, first)
}

async fn state(stage: &Stage, id: MessageId) -> String {
    let (status, reason) = stage.ended(id).await;
    reason.map_or(status.clone(), |reason| format!("{status} {reason}"))
}

/// How often the message arrived; each time under its own Message-ID.
fn arrivals(sink: &SmtpSink, user: &str, id: MessageId) -> usize {
    let to = format!("{user}@example.org");
    let mails: Vec<_> =
        sink.received().into_iter().filter(|mail| mail.rcpt == [to.clone()]).collect();
    for mail in &mails {
        let name = header(&String::from_utf8_lossy(&mail.raw), "Message-ID");
        assert_eq!(name, Some(format!("<{id}@shop.example>")));
    }
    mails.len()
}
