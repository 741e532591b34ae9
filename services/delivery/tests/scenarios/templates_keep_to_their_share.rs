//! A brand whose templates have used up their share of a processor waits, and nobody with it.

use std::time::{Duration, Instant};

use parcours_domain::{CpuShare, Quotas, Value, value::Properties};
use parcours_store::Backend;
use parcours_testkit::on_both_backends;

use crate::stage::{Stage, Wanted, sent};

on_both_backends!(
    here: a_brand_beyond_its_share_waits_alone,
    what_rendering_uses_is_told_to_all_processes,
);

async fn may_use(stage: &Stage, percent: u32) -> CpuShare {
    let share = CpuShare::new(percent).unwrap();
    let quotas = Quotas { template_cpu: Some(share), ..Quotas::default() };
    stage.store.admin().set_quotas(stage.tenant, &quotas).await.unwrap();
    share
}

async fn a_brand_beyond_its_share_waits_alone(on: Backend) {
    let mut stage = Stage::new(on).await;
    let loud = stage.tenant;
    let share = may_use(&stage, 1).await;
    // Another process has rendered: a second and a half of what takes 150 s to come.
    let used = Duration::from_millis(1_500);
    let store = stage.store.for_tenant(loud);
    assert!(store.charge_templates(share, used, Instant::now()).await.unwrap().as_secs() > 100);
    let anna = stage.subscriber("anna").await;
    let waits = stage.enqueue(&Wanted::marketing(anna)).await;
    stage.as_another_brand("books").await;
    let bert = stage.subscriber("bert").await;
    let mut others = Vec::new();
    for _ in 0..20 {
        others.push(stage.enqueue(&Wanted::marketing(bert)).await);
    }
    stage.start();
    assert_eq!(sent(&stage, &others, 20).await, 20);
    stage.tenant = loud;
    assert_eq!(sent(&stage, &[waits], 0).await, 0);
    assert!(!stage.delivery().quiet(), "there is work, and it waits");
    // A process that begins when there is no quota any more knows of none.
    stage.store.admin().set_quotas(loud, &Quotas::default()).await.unwrap();
    let mut stage = stage.restart().await;
    stage.start();
    assert_eq!(sent(&stage, &[waits], 1).await, 1);
}

async fn what_rendering_uses_is_told_to_all_processes(on: Backend) {
    let mut stage = Stage::new(on).await;
    let share = may_use(&stage, 1).await;
    stage.start();
    let anna = stage.subscriber("anna").await;
    // Each takes as much as one rendering may.
    let html = "{% for a in run.items %}{% for b in run.items %}{% endfor %}{% endfor %}";
    stage.template("heavy", "Heavy", html).await;
    let items = Value::List(vec![Value::Int(1); 1_000]);
    for _ in 0..8 {
        let data = Properties::from([("items".to_owned(), items.clone())]);
        stage.enqueue(&Wanted { data, ..Wanted::marketing(anna).template("heavy") }).await;
    }
    // A hundredth of a core is used up by the first few.
    let store = stage.store.for_tenant(stage.tenant);
    let mut rest = Duration::ZERO;
    while rest.is_zero() {
        rest = store.charge_templates(share, Duration::ZERO, Instant::now()).await.unwrap();
        tokio::task::yield_now().await;
    }
}
