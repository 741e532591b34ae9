//! A process that stands still, or a machine that sleeps, between final commit and DATA: what was
//! decided is too old, so nothing is handed over and the message is judged again. The time is the
//! machine's time since it was started, sleep included; a wall clock that is set changes nothing.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use parcours_delivery::DeliveryConfig;
use parcours_domain::{Millis, SendOutcome};
use parcours_store::Backend;
use parcours_testkit::{on_both_backends, smtp_sink::SmtpSink};

use crate::stage::{Stage, Wanted};

on_both_backends!(
    here: after_the_grace_the_message_is_judged_again,
    up_to_the_grace_it_is_sent,
);

/// A machine that sleeps for six seconds after the first look at its clock, and after the second,
/// and never again. One for each backend.
fn sleepy<const MACHINE: usize>() -> Duration {
    static LOOKS: [AtomicU32; 2] = [AtomicU32::new(0), AtomicU32::new(0)];
    Duration::from_secs(6) * LOOKS[MACHINE].fetch_add(1, Ordering::SeqCst).min(2)
}

/// A machine on which no time passes.
const fn standing() -> Duration {
    Duration::from_secs(7)
}

async fn after_the_grace_the_message_is_judged_again(on: Backend) {
    let sink = SmtpSink::start().await.unwrap();
    let mut stage = Stage::new(on).await;
    stage.smtp_sender(sink.port(), 1).await;
    let since_boot = match on {
        Backend::Sqlite => sleepy::<0>,
        Backend::Postgres => sleepy::<1>,
    };
    stage.start_with(DeliveryConfig { since_boot, ..DeliveryConfig::default() });
    let anna = stage.subscriber("anna").await;
    let late = stage.enqueue(&Wanted::marketing(anna).by("smtp")).await;
    stage.settle().await;
    let row = stage.message(late).await;
    assert_eq!((row.status.as_str(), row.attempts), ("queued", 1));
    assert!(sink.received().is_empty(), "nothing was handed over");
    stage.advance(Millis::minutes(2));
    stage.settle().await;
    stage.assert_ended(late, SendOutcome::Sent, None).await;
    assert_eq!(sink.received().len(), 1);
    let why = stage.store.for_tenant(stage.tenant).message_why(late).await.unwrap().unwrap();
    let results: Vec<_> = why.attempts.iter().map(|attempt| attempt.result.as_str()).collect();
    assert_eq!(results, ["too_late_for_data", "sent"]);
}

async fn up_to_the_grace_it_is_sent(on: Backend) {
    let sink = SmtpSink::start().await.unwrap();
    let mut stage = Stage::new(on).await;
    stage.smtp_sender(sink.port(), 1).await;
    stage.start_with(DeliveryConfig {
        since_boot: standing,
        dot_grace: Duration::ZERO,
        ..DeliveryConfig::default()
    });
    let anna = stage.subscriber("anna").await;
    let id = stage.enqueue(&Wanted::marketing(anna).by("smtp")).await;
    stage.settle().await;
    stage.assert_ended(id, SendOutcome::Sent, None).await;
    assert_eq!(sink.received().len(), 1);
}
