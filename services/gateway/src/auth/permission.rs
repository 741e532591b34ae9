//! Extractors as proof of permission.

use std::{future::Future, marker::PhantomData, pin::Pin};

use actix_web::{FromRequest, HttpRequest, dev::Payload, web};
use parcours_domain::{TenantId, Timestamp};
use parcours_kit::Problem;
use parcours_store::{ApiKey, KeyKind, KeyScope, TenantStore};

use super::{authenticate, choose_brand, forbidden, may};
use crate::{failure, state::Gateway};

/// A scope as a type.
pub trait Permission: 'static {
    /// The scope.
    const SCOPE: KeyScope;
}

macro_rules! permission {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name;
        impl Permission for $name {
            const SCOPE: KeyScope = KeyScope::$name;
        }
    };
}

permission!(
    /// May send events.
    Ingest
);
permission!(
    /// May read.
    Read
);
permission!(
    /// May publish, send by API, change contacts.
    Manage
);
permission!(
    /// May publish what sends without consent, make keys, halt.
    Admin
);

/// A key of the scope, for one brand.
pub struct Access<P> {
    /// The wiring.
    pub gateway: web::Data<Gateway>,
    /// The key.
    pub key: ApiKey,
    /// The brand.
    pub tenant: TenantId,
    scope: PhantomData<P>,
}

/// A key of the scope, whatever it reaches: for what is above brands.
pub struct Above<P> {
    /// The wiring.
    pub gateway: web::Data<Gateway>,
    /// The key.
    pub key: ApiKey,
    scope: PhantomData<P>,
}

impl<P> Access<P> {
    /// The brand's door.
    #[must_use]
    pub fn store(&self) -> TenantStore {
        self.gateway.state.store.for_tenant(self.tenant)
    }

    /// Product time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.gateway.state.clock.now()
    }
}

impl<P: Permission> FromRequest for Access<P> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let Above { gateway, key, scope } = above::<P>(&request).await?;
            let tenant = choose_brand(&gateway, &key, request.headers()).await?;
            Ok(Self { gateway, key, tenant, scope })
        })
    }
}

impl<P: Permission> FromRequest for Above<P> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move { above::<P>(&request).await })
    }
}

async fn above<P: Permission>(request: &HttpRequest) -> Result<Above<P>, Problem> {
    let gateway = request.app_data::<web::Data<Gateway>>().cloned();
    let gateway = gateway.ok_or_else(failure::internal)?;
    let key = authenticate(&gateway, request.headers()).await?;
    // A public key is known to everybody: whatever its scopes say, it only sends events.
    if !may(&key, P::SCOPE) || (key.kind == KeyKind::Public && P::SCOPE != KeyScope::Ingest) {
        return Err(forbidden(P::SCOPE));
    }
    Ok(Above { gateway, key, scope: PhantomData })
}
