//! Complaints: somebody called a message spam, and a mailbox provider's feedback loop said so.
//!
//! What always holds: a message is complained about once, however often that is reported; the
//! suppression, the record of the complaint and its count for the brand's breaker are one commit; what
//! is said about a test send touches nobody, because its reader is not its contact.

use parcours_domain::{
    AddressHash, Channel, ContactId, FactId, MessageClass, MessageId, SendOutcome, TenantId,
    Timestamp,
};

use super::{
    ConsentDoor, NewFact, breaker,
    consent::{self, Subject},
    messages,
    sql::{Sql, bytes, ms, vals},
};
use crate::error::StoreError;

/// Whom an address that was complained for belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// A contact that has it now.
    pub contact: ContactId,
    /// The newest message that was sent to it, if any was.
    pub message: Option<MessageId>,
    /// Whether the address is suppressed already.
    pub is_suppressed: bool,
}

/// What a complaint has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Complained {
    /// The contact that was written to, as it is now.
    pub contact: ContactId,
    /// The suppression; none when the message was complained about before, and for a test send.
    pub suppression: Option<FactId>,
}

impl ConsentDoor {
    /// Whom an address belongs to; none when nobody has it.
    ///
    /// # Errors
    /// What the database says.
    pub async fn recipient(
        &self,
        tenant: TenantId,
        channel: Channel,
        address: AddressHash,
    ) -> Result<Option<Recipient>, StoreError> {
        let row = Sql::new(
            "SELECT p.contact_id, m.id AS message_id, a.suppressed_at FROM contact_address p \
             JOIN address a ON a.tenant_id = p.tenant_id AND a.channel = p.channel \
             AND a.hmac = p.hmac \
             LEFT JOIN message m ON m.tenant_id = p.tenant_id AND m.contact_id = p.contact_id \
             AND m.address_hmac = p.hmac AND m.status = 'sent' AND m.class <> 'test' \
             WHERE p.tenant_id = $1 AND p.channel = $2 AND p.hmac = $3 \
             ORDER BY CASE WHEN m.id IS NULL THEN 1 ELSE 0 END, m.id DESC, p.contact_id LIMIT 1",
            vals![tenant.0, channel.as_str(), bytes(&address.0)],
        )
        .one(&self.store.db().read(tenant))
        .await?;
        row.map(|row| {
            Ok(Recipient {
                contact: row.id("contact_id")?,
                message: row.id_opt("message_id")?,
                is_suppressed: row.time_opt("suppressed_at")?.is_some(),
            })
        })
        .transpose()
    }

    /// Records a complaint about a message: suppresses the address that it went to by this fact, and
    /// counts it for the brand's breaker.
    ///
    /// # Errors
    /// `NotFound` when the brand has no such message; otherwise what the database says.
    pub async fn complain(
        &self,
        (tenant, message): (TenantId, MessageId),
        fact: NewFact,
        now: Timestamp,
    ) -> Result<Complained, StoreError> {
        let mut tx = self.store.db().begin(tenant).await?;
        let row = messages::by_ids(&tx, tenant, &[message]).await?.remove(&message);
        let row = row.ok_or(StoreError::NotFound)?;
        let nothing = Complained { contact: row.contact, suppression: None };
        if row.class == MessageClass::Test {
            return Ok(nothing);
        }
        // Whoever reports the same at the same time waits here, and is second.
        let noted = Sql::new(
            "INSERT INTO complaint (tenant_id, message_id, reported_at, source) \
             VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
            vals![tenant.0, message.0, ms(now), fact.source.clone()],
        );
        if noted.run(&tx).await? == 0 {
            return Ok(nothing);
        }
        let (contact, handle) = consent::lock_contact(&tx, tenant, row.contact).await?;
        let subject = Subject { tenant, contact, handle };
        let fact = NewFact { address: row.address.or(fact.address), ..fact };
        let facts = consent::record_in(&tx, self.store.shards(), &subject, &[fact], now).await?;
        let sent = row.finished_at.filter(|_| row.status == SendOutcome::Sent.as_str());
        let tripped = match sent {
            None => Vec::new(),
            Some(sent_at) => {
                let slot = (tenant, row.class, sent_at);
                breaker::complained(&mut tx, self.store.incarnation(), slot, now).await?
            }
        };
        tx.commit().await?;
        breaker::tell(&self.store, &tripped);
        Ok(Complained { contact, suppression: facts.first().copied() })
    }
}
