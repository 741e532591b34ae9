//! What tests put into a brand: documents, contacts with an address, facts, queued messages, and
//! final commits such as delivery makes.

use anyhow::{Context as _, Result, ensure};
use parcours_domain::{
    Channel, ContactId, FactId, MessageClass, MessageId, Millis, TenantId, Timestamp,
    consent::{FactKind, Scope},
    shard_of,
    value::Properties,
};
use parcours_journey::ContactState;
use parcours_kit::{Chance as _, OsChance};
use parcours_store::{
    ApiMessage, Claimed, CommitOutcome, ContactCommit, DotRequest, NewAddress, NewAttempt,
    NewDocument, NewFact, Store,
};

use crate::store::{derived, temp_contact};

/// Publishes one document.
///
/// # Errors
/// What the store says, or a name that is none.
pub async fn publish(
    (store, tenant): (&Store, TenantId),
    (kind, name): (&str, &str),
    body: &serde_json::Value,
    compiled: Option<Vec<u8>>,
    now: Timestamp,
) -> Result<()> {
    let new = NewDocument {
        kind: kind.to_owned(),
        name: name.parse()?,
        body_json: body.to_string(),
        compiled,
        version: None,
    };
    store.for_tenant(tenant).publish(vec![new], None, now).await?;
    Ok(())
}

/// A contact with these attributes and the address `USER@example.org`, or `user` where that is an
/// address itself.
///
/// # Errors
/// What the store says.
pub async fn addressed_contact(
    (store, tenant): (&Store, TenantId),
    user: &str,
    attributes: Properties,
    now: Timestamp,
) -> Result<ContactId> {
    let contact = temp_contact(&store.for_tenant(tenant), user).await?;
    let (_, handle) = derived("handle", user);
    let state = ContactState { handle, attributes, runs: Vec::new(), entries: Vec::new() };
    let state = state.encode().ok().context("a state that fits")?;
    let place = (tenant, contact, shard_of(contact, store.shards()));
    let mut commit = ContactCommit::of_state(place, (0, 0), state, now);
    let keys = store.keys(tenant).await?;
    let address = if user.contains('@') { user.to_owned() } else { format!("{user}@example.org") };
    let (hmac, ciphertext) = keys.seal_address(&address.parse()?)?;
    commit.address = Some(NewAddress { channel: Channel::Email, hmac, key_version: 1, ciphertext });
    let outcome = store.committer().commit(commit).await;
    ensure!(outcome == CommitOutcome::Done, "{outcome:?}");
    Ok(contact)
}

/// What a person says, on the channel e-mail.
#[must_use]
pub fn fact(kind: FactKind, scope: Scope, now: Timestamp) -> NewFact {
    NewFact {
        id: FactId::v7(now, OsChance.tail()),
        kind,
        scope,
        purpose: String::new(),
        channel: Channel::Email,
        address: None,
        source: "test".to_owned(),
        wording: None,
        nonce: [7; 32],
        once: false,
    }
}

/// Marketing of the topic `news` by the template `hello` (version 1) and the sender `main`, as the
/// API asks for it; it may leave now and expires after a day.
///
/// # Errors
/// None, as long as these are names.
pub fn marketing(contact: ContactId, now: Timestamp) -> Result<ApiMessage> {
    let id = MessageId::v7(now, OsChance.tail());
    Ok(ApiMessage {
        id,
        idempotency_key: id.to_string(),
        contact,
        template: "hello".parse()?,
        template_version: 1,
        sender: "main".parse()?,
        topic: "news".parse()?,
        class: MessageClass::Marketing,
        channel: Channel::Email,
        data: Properties::new(),
        lane: 0,
        not_before: now,
        expires_at: now + Millis::hours(24),
    })
}

/// The final commit of a claimed message, under the versions with which it was claimed; none when
/// it has no address.
#[must_use]
pub fn final_commit(
    claimed: &Claimed,
    receipt_json: String,
    links: Vec<(u16, String)>,
    now: Timestamp,
) -> Option<DotRequest> {
    let (address, _, _, address_version) = claimed.address.clone()?;
    Some(DotRequest {
        tenant: claimed.tenant,
        message: claimed.message,
        class: claimed.class,
        claim_id: claimed.claim_id,
        contact: claimed.contact,
        channel: claimed.row.channel,
        address,
        address_version,
        head_version: claimed.head_version,
        tenant_version: claimed.tenant_version,
        receipt_json,
        attempt: NewAttempt {
            number: claimed.attempt,
            started_at: now,
            ended_at: None,
            stage: "dot".to_owned(),
            result: "pending".to_owned(),
            code: None,
            enhanced: None,
        },
        links,
    })
}
