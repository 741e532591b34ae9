//! A process that dies with messages in hand: what had not passed its final commit is sent by the
//! next one; what had, follows the policy; what only the built-in mailbox would have kept has
//! certainly not arrived, and arrives. And a process that lives on but does not know what it holds,
//! because the answer to its claim was lost.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parcours_delivery::{DeliveryConfig, gate};
use parcours_domain::{MessageId, SendOutcome};
use parcours_kit::{Clock as _, machine_now};
use parcours_store::{
    Backend, ClaimOrder, DotAnswer, DotTimes, Fault, FaultPoint, Faults, Moments,
};
use parcours_testkit::{brand, on_both_backends};

use crate::stage::{Stage, Wanted};

on_both_backends!(
    here: what_the_mailbox_had_not_kept_is_kept_by_the_next_process,
    what_may_have_left_over_smtp_follows_the_policy,
    a_claim_whose_answer_was_lost_does_not_wait_for_its_lease,
);

fn moments(stage: &Stage) -> Moments {
    Moments { product: stage.clock.now(), machine: machine_now() }
}

/// Claims everything, and takes these messages past their final commit, as a process would that
/// dies right after.
async fn die_holding(stage: &Stage, past_the_dot: &[MessageId]) {
    let door = stage.store.delivery();
    let now = moments(stage);
    let order = ClaimOrder { tenant: stage.tenant, lane: 0, count: 100, lease_ms: 900_000, now };
    let claimed = door.claim(&order).await.unwrap();
    for one in claimed {
        assert!(gate::judge(&one, now.product).is_ok());
        if !past_the_dot.contains(&one.message) {
            continue;
        }
        let receipt = format!(r#"{{"class":"{}"}}"#, gate::class_of(&one));
        let request = brand::final_commit(&one, receipt, Vec::new(), now.product).unwrap();
        let times = DotTimes { now, lease_ms: 900_000 };
        assert_eq!(door.commit_dot(vec![request], times).await.unwrap(), [DotAnswer::Go]);
    }
}

async fn what_the_mailbox_had_not_kept_is_kept_by_the_next_process(on: Backend) {
    let stage = Stage::new(on).await;
    let anna = stage.subscriber("anna").await;
    let claimed = stage.enqueue(&Wanted::marketing(anna)).await;
    let leaving = stage.enqueue(&Wanted::marketing(anna)).await;
    die_holding(&stage, &[leaving]).await;

    let mut stage = stage.restart().await;
    stage.start();
    stage.settle().await;
    for id in [claimed, leaving] {
        stage.assert_ended(id, SendOutcome::Sent, None).await;
        assert!(stage.mail(id).await.is_some());
    }
}

async fn what_may_have_left_over_smtp_follows_the_policy(on: Backend) {
    let sink = parcours_testkit::smtp_sink::SmtpSink::start().await.unwrap();
    let stage = Stage::new(on).await;
    stage.smtp_sender(sink.port(), 1).await;
    let anna = stage.subscriber("anna").await;
    let claimed = stage.enqueue(&Wanted::marketing(anna).by("smtp")).await;
    let marketing = stage.enqueue(&Wanted::marketing(anna).by("smtp")).await;
    let order = stage.enqueue(&Wanted::transactional(anna).by("smtp")).await;
    die_holding(&stage, &[marketing, order]).await;

    let mut stage = stage.restart().await;
    stage.start();
    stage.settle().await;
    stage.assert_ended(claimed, SendOutcome::Sent, None).await;
    stage.assert_ended(marketing, SendOutcome::Unknown, Some("reply_lost")).await;
    stage.assert_ended(order, SendOutcome::Sent, None).await;
    assert_eq!(sink.received().len(), 2);
}

/// The answer to the first claim is lost.
#[derive(Default)]
struct FirstClaim(AtomicBool);

impl Faults for FirstClaim {
    fn at(&self, point: FaultPoint) -> Option<Fault> {
        let first = point == FaultPoint::AfterClaim && !self.0.swap(true, Ordering::SeqCst);
        first.then_some(Fault::Fail)
    }
}

async fn a_claim_whose_answer_was_lost_does_not_wait_for_its_lease(on: Backend) {
    let faults = Arc::new(FirstClaim::default());
    let mut stage = Stage::with_faults(on, Some(Arc::<FirstClaim>::clone(&faults))).await;
    let anna = stage.subscriber("anna").await;
    let message = stage.enqueue(&Wanted::marketing(anna)).await;
    let settle_every = Duration::from_millis(20);
    stage.start_with(DeliveryConfig { settle_every, ..DeliveryConfig::default() });
    let arrived = async {
        while stage.mail(message).await.is_none() {
            stage.settle().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), arrived).await.expect("long before its lease");
    assert!(faults.0.load(Ordering::SeqCst), "the answer was lost");
    stage.assert_ended(message, SendOutcome::Sent, None).await;
}
