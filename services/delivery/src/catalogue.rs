//! Settings, templates and secrets of brands, read when they are needed and parsed once.
//!
//! Brand is looked up for each batch, and a claim tells the version of its messages' senders, so a
//! change counts at once; what was parsed is kept while its version stays. A published template
//! version never changes, so its renderer is kept as long as there is room. Secrets stay here, in
//! parsed form, and are never printed.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use parcours_content::{CompiledTemplate, Renderer};
use parcours_domain::{MessageClass, Name, TenantId, hash::sha256_head};
use parcours_store::{Store, StoreError, UnknownPolicy as Resolve};
use serde::de::DeserializeOwned;

use crate::{
    config::DeliveryConfig,
    documents,
    letter::House,
    mail::{
        dkim::{DkimAlgorithm, DkimKey},
        smtp::{SmtpCredentials, SmtpSecurity, SmtpTarget, TlsTrust},
    },
    settings::{
        Algorithm, BrandSettings, SecretName, Security, SenderSettings, Signature, SmtpSettings,
        Transport, UnknownPolicies, UnknownPolicy,
    },
};

/// Renderers beyond which all are dropped and made again as needed.
const RENDERERS_MOST: usize = 2_000;

/// Why a message cannot be worked on.
#[derive(Debug)]
pub(crate) enum Unready {
    /// A document that must be there is not, or cannot be read: the stable reason.
    Missing(&'static str),
    /// A secret is missing or unusable; it can still be set.
    Secret(Name),
    /// The store did not answer.
    Store(StoreError),
}

impl From<StoreError> for Unready {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// What is kept of one document or secret: its version and what was made of it.
type Kept<K, T> = Mutex<HashMap<K, (i64, Arc<T>)>>;

/// See the head of this file.
pub(crate) struct Catalogue {
    store: Store,
    /// What the brands' own documents are called.
    names: Mutex<HashMap<TenantId, Name>>,
    brands: Kept<TenantId, BrandSettings>,
    senders: Kept<(TenantId, Name), SenderSettings>,
    renderers: Kept<(TenantId, Name, i64), Renderer>,
    dkim: Kept<(TenantId, Signature), DkimKey>,
    policies: Policies,
    learnt: AtomicBool,
    trust: OnceLock<TlsTrust>,
}

fn kept<K: Eq + Hash, T>(cache: &Kept<K, T>, key: &K, version: i64) -> Option<Arc<T>> {
    let cache = cache.lock().unwrap_or_else(PoisonError::into_inner);
    cache.get(key).filter(|(kept, _)| *kept == version).map(|(_, value)| Arc::clone(value))
}

fn keep<K: Eq + Hash, T>(cache: &Kept<K, T>, key: K, version: i64, value: T) -> Arc<T> {
    let value = Arc::new(value);
    let mut cache = cache.lock().unwrap_or_else(PoisonError::into_inner);
    if cache.len() >= RENDERERS_MOST {
        cache.clear();
    }
    cache.insert(key, (version, Arc::clone(&value)));
    value
}

fn parse<T: DeserializeOwned>(body: &str) -> Option<T> {
    serde_json::from_str(body)
        .inspect_err(|error| tracing::error!(%error, "a published document cannot be read"))
        .ok()
}

impl Catalogue {
    pub(crate) fn new(store: Store) -> Self {
        Self {
            store,
            names: Mutex::default(),
            brands: Mutex::default(),
            senders: Mutex::default(),
            renderers: Mutex::default(),
            dkim: Mutex::default(),
            policies: Policies::default(),
            learnt: AtomicBool::new(false),
            trust: OnceLock::new(),
        }
    }

    /// The brand's settings as published now; none when there are none.
    pub(crate) async fn brand(
        &self,
        tenant: TenantId,
    ) -> Result<Option<Arc<BrandSettings>>, StoreError> {
        let known = self.names.lock().unwrap_or_else(PoisonError::into_inner).get(&tenant).cloned();
        let found = documents::brand(&self.store, tenant, known).await?;
        let Some(found) = found else { return Ok(None) };
        if let Some(brand) = kept(&self.brands, &tenant, found.version) {
            return Ok(Some(brand));
        }
        let Some(brand) = parse::<BrandSettings>(&found.body) else { return Ok(None) };
        self.policies.brand(tenant, brand.unknown_policy);
        self.names.lock().unwrap_or_else(PoisonError::into_inner).insert(tenant, found.name);
        Ok(Some(keep(&self.brands, tenant, found.version, brand)))
    }

    /// A sender, in the version that was published when its messages were claimed.
    pub(crate) async fn sender(
        &self,
        tenant: TenantId,
        (name, version): (&Name, Option<i64>),
    ) -> Result<Arc<SenderSettings>, Unready> {
        let version = version.ok_or(Unready::Missing("no_sender"))?;
        let key = (tenant, name.clone());
        if let Some(sender) = kept(&self.senders, &key, version) {
            return Ok(sender);
        }
        let found = documents::sender(&self.store, tenant, name).await?;
        let found = found.ok_or(Unready::Missing("no_sender"))?;
        let sender = parse(&found.body).ok_or(Unready::Missing("no_sender"))?;
        Ok(keep(&self.senders, key, found.version, sender))
    }

    /// Everything that a sender's messages share.
    pub(crate) async fn house(
        &self,
        tenant: TenantId,
        brand: Option<Arc<BrandSettings>>,
        sender: (&Name, Option<i64>),
    ) -> Result<House, Unready> {
        let brand = brand.ok_or(Unready::Missing("no_brand"))?;
        let sender = self.sender(tenant, sender).await?;
        self.policies.transport(tenant, &sender.transport);
        let mut dkim = Vec::with_capacity(sender.dkim.len());
        for signature in &sender.dkim {
            dkim.push(self.dkim_key(tenant, signature).await?);
        }
        let keys = self.store.keys(tenant).await?;
        let link_key = keys.link.first().cloned().ok_or(Unready::Missing("no_link_key"))?;
        Ok(House { tenant, brand, sender, dkim, link_key })
    }

    async fn dkim_key(
        &self,
        tenant: TenantId,
        signature: &Signature,
    ) -> Result<Arc<DkimKey>, Unready> {
        let name = &signature.key.secret;
        let (secret, _) = self.secret(tenant, &signature.key).await?;
        // By content: a secret that was deleted and made again begins at version 1 again.
        let version = i64::from_be_bytes(sha256_head(&[secret.as_bytes()]));
        let key = (tenant, signature.clone());
        if let Some(parsed) = kept(&self.dkim, &key, version) {
            return Ok(parsed);
        }
        let algorithm = match signature.algorithm {
            Algorithm::Rsa => DkimAlgorithm::Rsa,
            Algorithm::Ed25519 => DkimAlgorithm::Ed25519,
        };
        let parsed = DkimKey::parse(algorithm, &signature.selector, &signature.domain, &secret)
            .map_err(|_| Unready::Secret(name.clone()))?;
        Ok(keep(&self.dkim, key, version, parsed))
    }

    async fn secret(&self, tenant: TenantId, name: &SecretName) -> Result<(String, i64), Unready> {
        let name = &name.secret;
        let missing = || Unready::Secret(name.clone());
        let found = self.store.for_tenant(tenant).open_secret(name).await?;
        let (bytes, version) = found.ok_or_else(missing)?;
        let text = str::from_utf8(&bytes).map_err(|_| missing())?;
        Ok((text.trim().to_owned(), version))
    }

    /// Where the sender's connections lead.
    pub(crate) async fn target(
        &self,
        tenant: TenantId,
        smtp: &SmtpSettings,
        config: &DeliveryConfig,
    ) -> Result<SmtpTarget, Unready> {
        let credentials = match (&smtp.username, &smtp.password) {
            (Some(username), Some(password)) => {
                let (password, _) = self.secret(tenant, password).await?;
                Some(SmtpCredentials { username: username.clone(), password })
            }
            (_, _) => None,
        };
        Ok(SmtpTarget {
            host: smtp.host.clone(),
            port: smtp.port,
            security: match smtp.security {
                Security::Tls => SmtpSecurity::Tls,
                Security::Starttls => SmtpSecurity::StartTls,
                Security::None => SmtpSecurity::None,
            },
            credentials,
            hello: config.hello_name.clone(),
            timeouts: config.smtp_timeouts,
            trust: self.trust(config)?,
        })
    }

    fn trust(&self, config: &DeliveryConfig) -> Result<TlsTrust, Unready> {
        if let Some(trust) = config.trust.as_ref().or_else(|| self.trust.get()) {
            return Ok(trust.clone());
        }
        // A machine without root certificates can still use a relay without TLS.
        let trust = TlsTrust::system()
            .or_else(|error| {
                tracing::error!(%error, "no certificate of any SMTP server will be believed");
                TlsTrust::only([])
            })
            .map_err(|_| Unready::Missing("no_tls"))?;
        Ok(self.trust.get_or_init(|| trust).clone())
    }

    /// The renderer of one template version.
    pub(crate) async fn renderer(
        &self,
        tenant: TenantId,
        name: &Name,
        version: i64,
    ) -> Result<Arc<Renderer>, Unready> {
        let key = (tenant, name.clone(), version);
        if let Some(renderer) = kept(&self.renderers, &key, version) {
            return Ok(renderer);
        }
        let compiled = documents::template(&self.store, tenant, name, version).await?;
        let compiled = compiled.ok_or(Unready::Missing("no_template"))?;
        let unreadable = Unready::Missing("template_unreadable");
        let Ok(template) = CompiledTemplate::decode(&compiled) else { return Err(unreadable) };
        let Ok(renderer) = Renderer::new(&template) else { return Err(unreadable) };
        Ok(keep(&self.renderers, key, version, renderer))
    }

    /// Reads all brands' policies, once: what a dead process left may be of any brand.
    pub(crate) async fn learn_policies(&self) -> Result<(), StoreError> {
        if self.learnt.load(Ordering::SeqCst) {
            return Ok(());
        }
        for brand in self.store.admin().brands(None).await? {
            let (found, senders) = documents::house(&self.store, brand.tenant).await?;
            let settings = found.and_then(|found| parse::<BrandSettings>(&found.body));
            let Some(settings) = settings else { continue };
            self.policies.brand(brand.tenant, settings.unknown_policy);
            for sender in senders.iter().filter_map(|s| parse::<SenderSettings>(&s.body)) {
                self.policies.transport(brand.tenant, &sender.transport);
            }
        }
        self.learnt.store(true, Ordering::SeqCst);
        Ok(())
    }

    /// What the brands want done with messages whose reply was lost.
    pub(crate) const fn policies(&self) -> &Policies {
        &self.policies
    }
}

/// The brands' policies, as last read, and who sends by more than the built-in mailbox.
#[derive(Debug, Default)]
pub(crate) struct Policies(Mutex<HashMap<TenantId, BrandPolicy>>);

#[derive(Clone, Copy, Debug, Default)]
struct BrandPolicy {
    unknown: UnknownPolicies,
    mailbox: bool,
    smtp: bool,
}

impl Policies {
    fn change(&self, tenant: TenantId, change: impl FnOnce(&mut BrandPolicy)) {
        let mut policies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(policies.entry(tenant).or_default());
    }
    fn brand(&self, tenant: TenantId, unknown: UnknownPolicies) {
        self.change(tenant, |policy| policy.unknown = unknown);
    }
    fn transport(&self, tenant: TenantId, transport: &Transport) {
        self.change(tenant, |policy| match transport {
            Transport::Mailbox => policy.mailbox = true,
            Transport::Smtp(_) => policy.smtp = true,
        });
    }

    /// The mailbox keeps its copy in the transaction that ends the message, so one of its messages
    /// that has not ended has certainly not arrived: again. Otherwise as the brand says.
    pub(crate) fn of(&self, tenant: TenantId, class: MessageClass) -> Resolve {
        let policies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let policy = policies.get(&tenant).copied().unwrap_or_default();
        let only_mailbox = policy.mailbox && !policy.smtp;
        match policy.unknown.of(class) {
            UnknownPolicy::NeverAgain if !only_mailbox => Resolve::Final,
            UnknownPolicy::NeverAgain | UnknownPolicy::Again => Resolve::Again,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parcours_domain::Timestamp;

    #[test]
    fn marketing_whose_reply_was_lost_is_not_sent_again_unless_it_cannot_have_arrived() {
        let policies = Policies::default();
        let tenant = TenantId::v7(Timestamp::EPOCH, [1; 10]);
        let (marketing, transactional) = (MessageClass::Marketing, MessageClass::Transactional);
        assert_eq!(policies.of(tenant, marketing), Resolve::Final);
        assert_eq!(policies.of(tenant, transactional), Resolve::Again);
        policies.transport(tenant, &Transport::Mailbox);
        assert_eq!(policies.of(tenant, marketing), Resolve::Again);
        let smtp = r#"{"kind":"smtp","host":"h","port":25,"security":"none"}"#;
        policies.transport(tenant, &serde_json::from_str(smtp).unwrap());
        assert_eq!(policies.of(tenant, marketing), Resolve::Final);
    }
}
