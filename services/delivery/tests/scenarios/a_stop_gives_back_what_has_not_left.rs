//! Stopping: what has passed its final commit gets its reply recorded, the rest is queued for the
//! next process, and nothing is sent twice.

use std::time::Duration;

use parcours_domain::SendOutcome;
use parcours_store::Backend;
use parcours_testkit::on_both_backends;
use parcours_testkit::smtp_sink::{At, Gate, Rule, SmtpSink};

use crate::stage::{Stage, Wanted};

on_both_backends!(here: a_stop_waits_for_the_reply_and_gives_back_the_rest);

async fn a_stop_waits_for_the_reply_and_gives_back_the_rest(on: Backend) {
    let sink = SmtpSink::start().await.unwrap();
    let stage = Stage::running(on).await;
    stage.smtp_sender(sink.port(), 1).await;
    let anna = stage.subscriber("anna").await;
    let gate = Gate::default();
    sink.rule(Rule::hold(At::Dot, &gate).times(1));
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(stage.enqueue(&Wanted::marketing(anna).by("smtp")).await);
    }
    gate.reached(1).await;
    let delivery = stage.delivery().clone();
    let stopping = tokio::spawn(async move { delivery.stop(Duration::from_secs(60)).await });
    tokio::task::yield_now().await;
    gate.open();
    assert!(stopping.await.unwrap());
    let left = sink.received().len();
    assert!(left <= 2, "{left} left after the stop");

    let mut stage = stage.restart().await;
    stage.start();
    stage.settle().await;
    for id in ids {
        stage.assert_ended(id, SendOutcome::Sent, None).await;
    }
    assert_eq!(sink.received().len(), 4, "each once");
}
