//! Recording facts: an opt-in names one published topic, a withdrawal may cover all marketing, the
//! purpose is the published one, and who is told is told after the commit.

use parcours_domain::{
    Channel, ContactId, MessageClass,
    consent::{AddressStanding, FactKind, Ground, Question, Refusal, Scope, verdict},
};
use parcours_wire::{ConsentApi as _, ConsentError, FactRequest};

use crate::stage::{Stage, name};

fn fact(kind: FactKind, scope: Scope) -> FactRequest {
    FactRequest {
        kind,
        scope,
        channel: Channel::Email,
        source: "api".to_owned(),
        wording: Some("form-3".to_owned()),
        address: None,
    }
}

#[actix_web::test]
async fn an_opt_in_names_one_topic() {
    let stage = Stage::new().await;
    let record = |facts| stage.service.record(stage.tenant, stage.contact, facts);
    for kind in [FactKind::Given, FactKind::Confirmed] {
        let refused = record(vec![fact(kind, Scope::AllMarketing)]).await;
        assert!(matches!(refused, Err(ConsentError::NotGranular)));
    }
    let unknown = record(vec![fact(FactKind::Given, Scope::Topic(name("nothing")))]).await;
    assert!(matches!(unknown, Err(ConsentError::NoTopic(topic)) if topic == name("nothing")));
    let nobody = ContactId(parcours_domain::FactId::v7(crate::stage::now(), [1; 10]).0);
    let offers = vec![fact(FactKind::Given, Scope::Topic(name("offers")))];
    let refused = stage.service.record(stage.tenant, nobody, offers.clone()).await;
    assert!(matches!(refused, Err(ConsentError::NoContact)));
    assert_eq!(stage.woken.count(), 0);

    let ids = record(offers).await.unwrap();
    let standing = stage.standing().await.standing;
    assert_eq!(standing.topics[&name("offers")].fact, ids[0]);
    assert_eq!(stage.woken.count(), 1);
}

#[actix_web::test]
async fn an_objection_outranks_consent_given_before_it_and_not_after() {
    let stage = Stage::new().await;
    let topic = name("news");
    let ask = async || {
        let now = stage.standing().await;
        let address = now.address.map_or(AddressStanding::default(), |(_, standing)| standing);
        verdict(&Question {
            test_address: false,
            topic: &topic,
            class: MessageClass::Marketing,
            double_opt_in: false,
            standing: &now.standing,
            address,
        })
    };
    assert!(ask().await.is_ok());
    let record = |facts| stage.service.record(stage.tenant, stage.contact, facts);
    record(vec![fact(FactKind::Objected, Scope::AllMarketing)]).await.unwrap();
    assert_eq!(ask().await, Err(Refusal::Objected));
    let ids = record(vec![fact(FactKind::Given, Scope::Topic(topic.clone()))]).await.unwrap();
    assert_eq!(ask().await, Ok(Ground::Consent(ids[0])), "a fresh opt-in, on record, lifts it");
}
