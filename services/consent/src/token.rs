//! Tokens from outside: either whole, ours and for this use, or "not found".
//!
//! Every way to be wrong (length, alphabet, unknown brand, unknown key version, wrong MAC, the
//! token of another kind of link) ends in the same error.

use parcours_content::{LinkKind, LinkToken};
use parcours_store::{Store, StoreError};
use parcours_wire::ConsentError;

use crate::service::refused;

/// The token, once its MAC is known to be right.
pub(crate) async fn verified(
    store: &Store,
    text: &str,
    kind: LinkKind,
) -> Result<LinkToken, ConsentError> {
    let claimed = LinkToken::parse(text).ok_or(ConsentError::NotFound)?;
    let keys = match store.keys(claimed.tenant()).await {
        Ok(keys) => keys,
        Err(StoreError::NotFound | StoreError::Key(_)) => return Err(ConsentError::NotFound),
        Err(error) => return Err(refused(error)),
    };
    let key = keys.link.iter().find(|(version, _)| *version == claimed.key_version());
    let token = key.and_then(|(_, key)| claimed.verify(key)).ok_or(ConsentError::NotFound)?;
    if token.kind == kind { Ok(token) } else { Err(ConsentError::NotFound) }
}
