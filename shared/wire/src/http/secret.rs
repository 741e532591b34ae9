//! Secrets: set or made, never shown.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A secret's value.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretRequest {
    /// The value: a password, or a private key in PEM. At most 64 KiB.
    pub value: String,
}

impl std::fmt::Debug for SecretRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<secret>")
    }
}

/// A secret as others may see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SecretView {
    /// Its name.
    pub name: String,
    /// Grows each time it is set.
    pub version: i64,
}

/// How to make a secret's value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretGenerateRequest {
    /// Whether a secret of this name may be replaced; what it held is gone then.
    #[serde(default)]
    pub replace: bool,
}

/// A private key that was made and stored; only its public half is here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SecretGenerated {
    /// The secret's name.
    pub name: String,
    /// Grows each time it is set.
    pub version: i64,
    /// What the key is for: `ed25519`.
    #[schema(example = "ed25519")]
    pub algorithm: String,
    /// The TXT record to publish at `SELECTOR._domainkey.DOMAIN`.
    #[schema(example = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=")]
    pub dns_txt: String,
}

/// The names of a brand's secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SecretList {
    /// The secrets, by name.
    pub items: Vec<SecretView>,
}
