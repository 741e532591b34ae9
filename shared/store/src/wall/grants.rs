//! What each role may do: the closed list.
//!
//! A door that needs more gets a line here, a migration that raises the wall anew, and nothing else;
//! a table with rows of brands that is missing here fails the test of the catalogue.
//!
//! What always holds: `SELECT ... FOR SHARE` and `FOR UPDATE` ask for the right to update some
//! column, so a role that only locks has it for one column that it has no reason to write.

use super::Role;

/// A table with rows of brands, and the column that says of which.
#[derive(Clone, Copy, Debug)]
pub struct TenantTable {
    /// Its name.
    pub name: &'static str,
    /// The column with the brand.
    pub column: &'static str,
    /// What [`Role::Brands`] may do in it with rows of the brands in its list; nothing: it may not
    /// even look.
    pub brands: &'static str,
}

/// What a role may do with a table, in the words of `GRANT`.
#[derive(Clone, Copy, Debug)]
pub struct Grant {
    /// The role.
    pub role: Role,
    /// The table.
    pub table: &'static str,
    /// The privileges, such as `SELECT, UPDATE (beat)`.
    pub privileges: &'static str,
}

const READ: &str = "SELECT";
const APPEND: &str = "SELECT, INSERT";
const KEEP: &str = "SELECT, INSERT, UPDATE";
const QUEUE: &str = "SELECT, INSERT, UPDATE, DELETE";

const fn tenant(name: &'static str, brands: &'static str) -> TenantTable {
    TenantTable { name, column: "tenant_id", brands }
}

/// Every table with rows of brands.
pub const TENANT_TABLES: [TenantTable; 39] = [
    // Publishing holds the brand and moves its version; halting and making brands is control's.
    tenant("brand", "SELECT, UPDATE (consent_version)"),
    tenant("api_key", ""),
    // What a brand may use is control's to say, never its own.
    tenant("quota", READ),
    tenant("event_lease", KEEP),
    tenant("template_lease", KEEP),
    tenant("send_day", QUEUE),
    tenant("sender_day", QUEUE),
    // Weights, limits and resets are control's; that a breaker has tripped is written by sending.
    tenant("brand_sending", READ),
    tenant("outcome_count", KEEP),
    tenant("complaint", APPEND),
    tenant("tenant_key", READ),
    tenant("secret", QUEUE),
    tenant("document", APPEND),
    tenant("document_head", KEEP),
    // A key above brands has its organisation here, or the install.
    TenantTable { name: "idempotency", column: "scope_id", brands: QUEUE },
    tenant("contact", KEEP),
    tenant("identity", KEEP),
    tenant("contact_state", KEEP),
    tenant("address", KEEP),
    tenant("contact_address", QUEUE),
    tenant("consent_head", KEEP),
    tenant("consent_fact", APPEND),
    tenant("leaf_pending", APPEND),
    tenant("event", APPEND),
    tenant("event_key", "SELECT, INSERT, DELETE"),
    tenant("trace", APPEND),
    tenant("run", QUEUE),
    tenant("timer", QUEUE),
    tenant("inbox", QUEUE),
    tenant("quarantine", QUEUE),
    tenant("message", KEEP),
    tenant("attempt", KEEP),
    tenant("send_key", APPEND),
    tenant("send_queue", QUEUE),
    tenant("send_head", QUEUE),
    tenant("message_link", KEEP),
    tenant("mailbox", APPEND),
    tenant("counter", READ),
    tenant("counter_delta", APPEND),
];

const fn grant(role: Role, table: &'static str, privileges: &'static str) -> Grant {
    Grant { role, table, privileges }
}

/// Roles that have something to do in every table with rows of brands.
const EVERYWHERE: [(Role, &str); 2] = [(Role::Backup, READ), (Role::Restore, "INSERT")];

/// What the roles may do besides what [`TENANT_TABLES`] says of [`Role::Brands`].
const DOORS: &[Grant] = &[
    // A commit holds its shards, the final commit before DATA the install.
    grant(Role::Brands, "shard", "SELECT, UPDATE (high_water)"),
    grant(Role::Brands, "install", "SELECT, UPDATE (created_at)"),
    grant(Role::Sweep, "shard", READ),
    grant(Role::Sweep, "timer", READ),
    grant(Role::Sweep, "inbox", READ),
    grant(Role::Sweep, "contact", "SELECT (tenant_id, id, merged_into)"),
    grant(Role::Sweep, "run", "SELECT (tenant_id, id, contact_id, live)"),
    grant(Role::Sweep, "document_head", READ),
    grant(Role::Sweep, "quarantine", "SELECT (tenant_id, contact_id, origin, requeued_at)"),
    grant(Role::Sending, "install", READ),
    grant(Role::Sending, "worker", READ),
    grant(Role::Sending, "brand", READ),
    grant(Role::Sending, "quota", READ),
    grant(Role::Sending, "send_queue", "SELECT, UPDATE, DELETE"),
    grant(Role::Sending, "send_head", KEEP),
    grant(
        Role::Sending,
        "brand_sending",
        "SELECT, INSERT (tenant_id, stops, cause, stopped_at, sent, bounced, refused, complained, \
         since), UPDATE (stops, cause, stopped_at, sent, bounced, refused, complained)",
    ),
    grant(
        Role::Sending,
        "message",
        "SELECT (tenant_id, id, contact_id, run_id, step, template, created_at, receipt)",
    ),
    grant(Role::Sending, "run", "SELECT (tenant_id, id, live, step)"),
    grant(Role::Shards, "worker", KEEP),
    grant(Role::Shards, "shard", "SELECT, UPDATE"),
    grant(Role::Retention, "idempotency", "SELECT (created_at), DELETE"),
    grant(Role::Retention, "event_key", "SELECT (day, received_at), DELETE"),
    grant(Role::Retention, "outcome_count", "SELECT (at), DELETE"),
    grant(Role::Rollup, "counter_delta", "SELECT, UPDATE (id), DELETE"),
    grant(Role::Rollup, "counter", KEEP),
    grant(Role::Status, "shard", READ),
    grant(Role::Status, "brand", "SELECT (tenant_id, organisation_id)"),
    grant(Role::Status, "timer", READ),
    grant(Role::Status, "inbox", "SELECT (tenant_id, lane, created_at)"),
    grant(Role::Status, "send_queue", READ),
    grant(Role::Status, "brand_sending", READ),
    grant(Role::Status, "quarantine", "SELECT (tenant_id, code, created_at, requeued_at)"),
    grant(Role::Status, "message", "SELECT (tenant_id, status, finished_at)"),
    grant(Role::Status, "document_head", READ),
    grant(Role::Status, "counter", READ),
    grant(Role::Status, "counter_delta", "SELECT (tenant_id, name, day, delta)"),
    grant(Role::Status, "run", "SELECT (tenant_id, id, live)"),
    grant(Role::Control, "install", KEEP),
    grant(Role::Control, "shard", "INSERT"),
    grant(Role::Control, "organisation", APPEND),
    grant(Role::Control, "brand", "SELECT, INSERT, UPDATE (halted_at, halt_reason)"),
    grant(Role::Control, "quota", KEEP),
    grant(Role::Control, "brand_sending", KEEP),
    grant(Role::Control, "outcome_count", "SELECT (tenant_id), DELETE"),
    grant(Role::Control, "api_key", KEEP),
    grant(Role::Control, "tenant_key", "INSERT"),
    grant(Role::Backup, "install", READ),
    grant(Role::Backup, "organisation", READ),
    grant(Role::Restore, "organisation", APPEND),
    grant(Role::Restore, "brand", READ),
    grant(Role::Restore, "api_key", READ),
    grant(Role::Restore, "install", "SELECT, UPDATE"),
    grant(Role::Restore, "worker", "SELECT, UPDATE"),
    grant(Role::Restore, "shard", "SELECT, UPDATE"),
];

/// Everything that the roles may do. A table may come more than once for a role.
#[must_use]
pub fn grants() -> Vec<Grant> {
    let own = |table: &TenantTable| grant(Role::Brands, table.name, table.brands);
    let own = TENANT_TABLES.iter().map(own).filter(|grant| !grant.privileges.is_empty());
    let everywhere = EVERYWHERE.into_iter().flat_map(|(role, privileges)| {
        TENANT_TABLES.iter().map(move |table| grant(role, table.name, privileges))
    });
    own.chain(everywhere).chain(DOORS.iter().copied()).collect()
}
