//! Where brands wait for one another, each gets its part by weight, and none waits for the other's end.

use parcours_delivery::DeliveryConfig;
use parcours_domain::{Quotas, Weight};
use parcours_store::Backend;
use parcours_testkit::on_both_backends;
use parcours_testkit::smtp_sink::SmtpSink;

use crate::stage::{Stage, Wanted};

on_both_backends!(here: a_brand_of_three_times_the_weight_gets_three_times_as_much);

/// Messages of each brand.
const EACH: usize = 240;
/// What the heavier brand gets in a turn.
const QUANTUM: u32 = 30;

async fn backlog(stage: &Stage, sink: &SmtpSink, weight: u32) {
    let quotas = Quotas { weight: Weight::new(weight).unwrap(), ..Quotas::default() };
    stage.store.admin().set_quotas(stage.tenant, &quotas).await.unwrap();
    stage.smtp_sender(sink.port(), 4).await;
    let contact = stage.subscriber("anna").await;
    for _ in 0..EACH {
        stage.enqueue(&Wanted::marketing(contact).by("smtp")).await;
    }
}

async fn a_brand_of_three_times_the_weight_gets_three_times_as_much(on: Backend) {
    let (heavy, light) = (SmtpSink::start().await.unwrap(), SmtpSink::start().await.unwrap());
    let mut stage = Stage::new(on).await;
    backlog(&stage, &heavy, 60).await;
    stage.as_another_brand("books").await;
    backlog(&stage, &light, 20).await;
    // One batch at a time: everybody waits for everybody.
    let config = DeliveryConfig { claim_most: QUANTUM, batches_most: 1, ..Default::default() };
    stage.start_with(config);
    stage.settle().await;

    let all = [(&heavy, true), (&light, false)].map(|(sink, is_heavy)| {
        let received = sink.received();
        assert_eq!(received.len(), EACH);
        received.into_iter().map(|one| (one.accepted, is_heavy)).collect::<Vec<_>>()
    });
    let mut order = all.concat();
    order.sort_unstable();
    // As long as both have some waiting, at any moment.
    for end in (0..=EACH).step_by(40) {
        let of_heavy = order[..end].iter().filter(|(_, is_heavy)| *is_heavy).count();
        let beyond = of_heavy.abs_diff(end * 3 / 4);
        assert!(beyond <= QUANTUM as usize, "{of_heavy} of the first {end}");
    }
}
