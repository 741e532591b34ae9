//! The wall between brands inside PostgreSQL: row-level security with two kinds of door.
//!
//! A transaction says in its first statement whom it is for: a list of brands, of which it sees and
//! writes rows and of nobody else; or one of the closed list of [`Role`]s, which reach across brands
//! but only the tables, and only in the ways, of [`grants()`]. Whoever says nothing sees nothing.
//!
//! Cast: [`Role`] and [`grants()`] are what is allowed; `Door` is what a transaction asks for;
//! `raise` writes it into the database, `roles` makes the roles that a cluster's databases share,
//! `gap` keeps it open for processes of the version before, as long as there are some.
//!
//! What always holds: role and list belong to the transaction (`set_config` with `true`) and end
//! with it, so a pooled connection carries nothing over, and a pool in front of the server that
//! hands out connections by transaction changes nothing; no role owns anything, logs in, or may
//! bypass row security. The wall is a belt: whoever can put a text of his own into a statement can
//! call `set_config` too. SQLite has no row security: there the statements alone keep brands apart.
//!
//! Sources: PostgreSQL's manual, chapters "Row Security Policies", "CREATE POLICY", "SET ROLE".

pub(crate) mod gap;
mod grants;
mod raise;
mod roles;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use parcours_domain::TenantId;

pub use grants::{Grant, TENANT_TABLES, TenantTable, grants};
pub(crate) use raise::{raise, walled};
pub(crate) use roles::ready;

/// The setting that holds a transaction's list of brands, as an array of UUIDs.
pub const LIST_SETTING: &str = "parcours.tenants";

/// Who a transaction can be: roles of the database that nobody logs in as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Requests, actors and messages of the brands in the transaction's list; every pooled
    /// connection begins as this, with no list. The only role that is bound to a list.
    Brands,
    /// Finds due timers, waiting inbox rows and stuck runs; writes nothing.
    Sweep,
    /// Finds messages to send, to expire and to settle, and keeps the heads of their lanes.
    Sending,
    /// Workers and shards: signs of life, taking and giving back.
    Shards,
    /// Forgets what is older than its window.
    Retention,
    /// Folds counters.
    Rollup,
    /// Counts what waits, for every brand.
    Status,
    /// Install, organisations, brands and their keys; looks API keys up.
    Control,
    /// Reads everything, for a dump or a backup.
    Backup,
    /// Puts a dumped brand or a backup into the store.
    Restore,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 10] = [
        Self::Brands,
        Self::Sweep,
        Self::Sending,
        Self::Shards,
        Self::Retention,
        Self::Rollup,
        Self::Status,
        Self::Control,
        Self::Backup,
        Self::Restore,
    ];

    /// Its name in the database; the databases of one server share it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Brands => "parcours_brands",
            Self::Sweep => "parcours_sweep",
            Self::Sending => "parcours_sending",
            Self::Shards => "parcours_shards",
            Self::Retention => "parcours_retention",
            Self::Rollup => "parcours_rollup",
            Self::Status => "parcours_status",
            Self::Control => "parcours_control",
            Self::Backup => "parcours_backup",
            Self::Restore => "parcours_restore",
        }
    }

    /// What follows the texts of this role's statements. A prepared statement is planned for the
    /// role that runs it, and anew when another runs the same text: so no two roles have the same.
    pub(crate) const fn mark(self) -> &'static str {
        match self {
            Self::Brands => "",
            Self::Sweep => " /* sweep */",
            Self::Sending => " /* sending */",
            Self::Shards => " /* shards */",
            Self::Retention => " /* retention */",
            Self::Rollup => " /* rollup */",
            Self::Status => " /* status */",
            Self::Control => " /* control */",
            Self::Backup => " /* backup */",
            Self::Restore => " /* restore */",
        }
    }
}

/// Whom a transaction is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// These brands, exactly.
    Brands(BTreeSet<TenantId>),
    /// What this role may do, for whichever brand.
    Named(Role),
    /// The login itself, which owns the tables: schema and partitions, no rows of brands.
    Owner,
}

impl Door {
    /// The door of these brands.
    pub(crate) fn of(tenants: impl IntoIterator<Item = TenantId>) -> Self {
        Self::Brands(tenants.into_iter().collect())
    }

    /// The role's name for `SET ROLE`.
    pub(crate) const fn role(&self) -> &'static str {
        match self {
            Self::Brands(_) => Role::Brands.name(),
            Self::Named(role) => role.name(),
            Self::Owner => "none",
        }
    }

    /// The list for the policies; empty when there is none.
    pub(crate) fn list(&self) -> String {
        let Self::Brands(tenants) = self else { return String::new() };
        let tenants: Vec<_> = tenants.iter().map(|tenant| tenant.0.to_string()).collect();
        format!("{{{}}}", tenants.join(","))
    }

    pub(crate) const fn mark(&self) -> &'static str {
        match self {
            Self::Brands(_) => Role::Brands.mark(),
            Self::Named(role) => role.mark(),
            Self::Owner => " /* owner */",
        }
    }
}

impl From<TenantId> for Door {
    fn from(tenant: TenantId) -> Self {
        Self::of([tenant])
    }
}

impl From<Role> for Door {
    fn from(role: Role) -> Self {
        Self::Named(role)
    }
}
