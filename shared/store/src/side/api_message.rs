//! Messages by the API and test sends: record, send key and queue row in one commit, no actor.
//!
//! What always holds: one Idempotency-Key is one message, however often it is sent; a message of
//! the class `test` comes by [`TenantStore::enqueue_test_message`] only, and names its address.

use parcours_domain::{
    AddressHash, Channel, ContactId, EmailAddress, MessageClass, MessageId, Name, Timestamp,
    hash::sha256_head, value::Properties,
};
use sea_orm::ConnectionTrait;

use std::collections::BTreeMap;

use super::{
    delivery::lower_heads,
    inbox,
    messages::encode_data,
    sql::{Sql, bytes, ms, vals},
};
use crate::{TenantStore, error::StoreError, keys::TenantKeys};

/// A message to enqueue.
#[derive(Clone, Debug)]
pub struct ApiMessage {
    /// Its id: version 7 of the product time.
    pub id: MessageId,
    /// The request's Idempotency-Key.
    pub idempotency_key: String,
    /// To whom.
    pub contact: ContactId,
    /// The template.
    pub template: Name,
    /// Its published version.
    pub template_version: i64,
    /// The sender.
    pub sender: Name,
    /// The topic.
    pub topic: Name,
    /// The topic's class.
    pub class: MessageClass,
    /// By what it travels.
    pub channel: Channel,
    /// Data for the template.
    pub data: Properties,
    /// The queue lane (recipient domain's bucket).
    pub lane: i64,
    /// Not before.
    pub not_before: Timestamp,
    /// Not from here on.
    pub expires_at: Timestamp,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enqueued {
    /// It is in the queue.
    Fresh(MessageId),
    /// The key was used before, for this message.
    Already(MessageId),
}

/// How a message came.
enum Origin {
    Api,
    /// The address it goes to: its hash, and its text sealed.
    Test(AddressHash, Vec<u8>),
}

impl Origin {
    const fn as_str(&self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Test(..) => "test",
        }
    }
}

impl TenantStore {
    /// Enqueues a message under its key.
    ///
    /// # Errors
    /// `NotFound` when the brand has no such contact; otherwise what the database says.
    pub async fn enqueue_api_message(
        &self,
        message: &ApiMessage,
        now: Timestamp,
    ) -> Result<Enqueued, StoreError> {
        if message.class == MessageClass::Test {
            return Err(StoreError::Conflict);
        }
        self.enqueue(message, Origin::Api, now).await
    }

    /// Enqueues a test of a template: rendered with the contact, sent to an address.
    ///
    /// # Errors
    /// As there.
    pub async fn enqueue_test_message(
        &self,
        message: &ApiMessage,
        to: &EmailAddress,
        now: Timestamp,
    ) -> Result<Enqueued, StoreError> {
        let test = ApiMessage { class: MessageClass::Test, ..message.clone() };
        let (hash, sealed) = self.keys().await?.seal_address(to)?;
        self.enqueue(&test, Origin::Test(hash, sealed), now).await
    }

    async fn enqueue(
        &self,
        message: &ApiMessage,
        origin: Origin,
        now: Timestamp,
    ) -> Result<Enqueued, StoreError> {
        let tenant = self.tenant();
        let tx = self.begin().await?;
        let contact = inbox::live_contact(&tx, tenant, message.contact).await?;
        let known = Sql::new(
            "SELECT 1 AS known FROM contact \
             WHERE tenant_id = $1 AND id = $2 AND erased_at IS NULL",
            vals![tenant.0, contact.0],
        );
        known.one(&tx).await?.ok_or(StoreError::NotFound)?;
        let key: [u8; 16] =
            sha256_head(&[origin.as_str().as_bytes(), message.idempotency_key.as_bytes()]);
        let fresh = Sql::new(
            "INSERT INTO send_key (tenant_id, key, message_id) VALUES ($1, $2, $3) \
             ON CONFLICT (tenant_id, key) DO NOTHING",
            vals![tenant.0, bytes(&key), message.id.0],
        )
        .run(&tx)
        .await?;
        if fresh == 0 {
            let row = Sql::new(
                "SELECT message_id FROM send_key WHERE tenant_id = $1 AND key = $2",
                vals![tenant.0, bytes(&key)],
            )
            .one(&tx)
            .await?;
            return Ok(Enqueued::Already(row.ok_or(StoreError::Conflict)?.id("message_id")?));
        }
        if let Origin::Test(hash, sealed) = &origin {
            self.keep_address(&tx, message.channel, (hash, sealed), now).await?;
        }
        self.insert_message(&tx, message, (contact, &origin), now).await?;
        let ready = BTreeMap::from([((tenant, message.lane), message.not_before)]);
        lower_heads(&tx, ready).await?;
        tx.commit().await?;
        Ok(Enqueued::Fresh(message.id))
    }

    async fn insert_message(
        &self,
        tx: &impl ConnectionTrait,
        message: &ApiMessage,
        (contact, origin): (ContactId, &Origin),
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let tenant = self.tenant();
        let address = match origin {
            Origin::Api => None,
            Origin::Test(hash, _) => Some(hash.0.to_vec()),
        };
        Sql::new(
            "INSERT INTO message (tenant_id, id, contact_id, origin, template, template_version, \
             sender, topic, class, channel, address_hmac, data, created_at, not_before, \
             expires_at, status, attempts) VALUES ($1, $2, $3, $14, $4, $5, $6, $7, $8, $9, \
             coalesce($15, (SELECT hmac FROM contact_address WHERE tenant_id = $1 \
             AND contact_id = $3 AND channel = $9)), $10, $11, $12, $13, 'queued', 0)",
            vals![
                tenant.0,
                message.id.0,
                contact.0,
                message.template.as_str(),
                message.template_version,
                message.sender.as_str(),
                message.topic.as_str(),
                message.class.as_str(),
                message.channel.as_str(),
                encode_data(&message.data),
                ms(now),
                ms(message.not_before),
                ms(message.expires_at),
                origin.as_str(),
                address
            ],
        )
        .run(tx)
        .await?;
        Sql::new(
            "INSERT INTO send_queue (tenant_id, message_id, lane, class, not_before, expires_at, \
             phase, attempts) VALUES ($1, $2, $3, $4, $5, $6, 0, 0)",
            vals![
                tenant.0,
                message.id.0,
                message.lane,
                message.class.as_str(),
                ms(message.not_before),
                ms(message.expires_at)
            ],
        )
        .run(tx)
        .await?;
        Ok(())
    }

    /// The row of an address, with its text. What is known of the address stays.
    async fn keep_address(
        &self,
        tx: &impl ConnectionTrait,
        channel: Channel,
        (hash, sealed): (&AddressHash, &[u8]),
        now: Timestamp,
    ) -> Result<(), StoreError> {
        Sql::new(
            "INSERT INTO address (tenant_id, channel, hmac, key_version, ciphertext, version, \
             created_at) VALUES ($1, $2, $3, $4, $5, 0, $6) \
             ON CONFLICT (tenant_id, channel, hmac) DO UPDATE SET ciphertext = excluded.ciphertext",
            vals![
                self.tenant().0,
                channel.as_str(),
                bytes(&hash.0),
                TenantKeys::VERSION,
                bytes(sealed),
                ms(now)
            ],
        )
        .run(tx)
        .await?;
        Ok(())
    }
}
