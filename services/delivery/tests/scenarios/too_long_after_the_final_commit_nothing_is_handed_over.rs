//! A process that stands still, or a machine that sleeps, between final commit and DATA: what was
//! decided is too old, so nothing is handed over and the message is listed as unknown. The time is
//! the machine's time since it was started, sleep included; a wall clock that is set changes
//! nothing.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use parcours_delivery::DeliveryConfig;
use parcours_domain::SendOutcome;
use parcours_store::Backend;
use parcours_testkit::{on_both_backends, smtp_sink::SmtpSink};

use crate::stage::{Stage, Wanted};

on_both_backends!(here: more_than_the_grace_is_unknown, up_to_the_grace_is_sent);

/// A machine that sleeps for six seconds between any two looks at its clock.
fn sleepy() -> Duration {
    static SINCE: AtomicU64 = AtomicU64::new(0);
    Duration::from_secs(SINCE.fetch_add(6, Ordering::SeqCst))
}

/// A machine on which no time passes.
const fn standing() -> Duration {
    Duration::from_secs(7)
}

async fn more_than_the_grace_is_unknown(on: Backend) {
    let sink = SmtpSink::start().await.unwrap();
    let mut stage = Stage::new(on).await;
    stage.smtp_sender(sink.port(), 1).await;
    stage.start_with(DeliveryConfig { since_boot: sleepy, ..DeliveryConfig::default() });
    let anna = stage.subscriber("anna").await;
    let id = stage.enqueue(&Wanted::marketing(anna).by("smtp")).await;
    stage.settle().await;
    stage.assert_ended(id, SendOutcome::Unknown, Some("reply_lost")).await;
    assert!(sink.received().is_empty());
}

async fn up_to_the_grace_is_sent(on: Backend) {
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
