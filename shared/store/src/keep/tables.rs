//! The closed list of what is kept: every table and column of the schema, or why it is left out.
//!
//! What always holds: the list is compared with the database's own catalogue by a test, so a new
//! table or column cannot be forgotten; a brand's rows are found by the first column of the key.

/// What a column holds, the same on both databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A UUID; text in the file.
    Id,
    /// Bytes; base64 in the file.
    Bytes,
    /// A whole number.
    Int,
    /// Text.
    Text,
    /// The shard of the row's contact: computed anew for the store that it comes into.
    Shard,
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub name: &'static str,
    pub kind: Kind,
}

/// Of which brand a table's rows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    /// Of the brand in this column.
    Brand(&'static str),
    /// The organisation that owns the brand.
    Organisation,
}

/// A table.
#[derive(Debug)]
pub(super) struct Table {
    pub name: &'static str,
    pub of: Of,
    pub key: &'static [&'static str],
    pub columns: &'static [Column],
}

impl Table {
    pub fn find(name: &str) -> Option<&'static Self> {
        TABLES.iter().find(|table| table.name == name)
    }

    pub fn position(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|one| one.name == column)
    }

    pub fn names(&self) -> Vec<&'static str> {
        self.columns.iter().map(|column| column.name).collect()
    }

    /// Rows read and written at a time: few where one row can be a whole message.
    pub fn page(&self) -> usize {
        if self.name == "mailbox" { 20 } else { 500 }
    }

    /// The column from which the row's shard follows.
    pub fn contact(&self) -> &'static str {
        if self.name == "contact" { "id" } else { "contact_id" }
    }
}

/// Tables without an entry in [`TABLES`], and why. A new install makes its own.
#[cfg(test)]
pub(super) const LEFT_OUT: &[(&str, &str)] = &[
    ("install", "the header has what is kept of it"),
    ("worker", "processes of the old place"),
    ("shard", "made with the install; contacts are given to its shards anew"),
    ("seaql_migrations", "the header names the migrations"),
    ("event_lease", "a moment's matter; elsewhere the brand begins with all that comes at once"),
    ("template_lease", "likewise"),
    ("outcome_count", "an hour's matter; elsewhere a brand's breaker begins to count anew"),
    ("send_day", "one day's matter; a store that a brand comes into begins the day anew"),
    ("sender_day", "likewise"),
];

macro_rules! tables {
    ($($table:ident of $of:expr, key [$($key:ident)+] { $($column:ident $kind:ident,)+ })+) => {
        &[$(Table {
            name: stringify!($table),
            of: $of,
            key: &[$(stringify!($key)),+],
            columns: &[$(Column { name: stringify!($column), kind: Kind::$kind }),+],
        }),+]
    };
}

const BRAND: Of = Of::Brand("tenant_id");

/// Every table that is kept, in the order of the file.
pub(super) const TABLES: &[Table] = tables! {
    organisation of Of::Organisation, key [id] { id Id, name Text, created_at Int, }
    brand of BRAND, key [tenant_id] {
        tenant_id Id, organisation_id Id, name Text, created_at Int, halted_at Int,
        halt_reason Text, consent_version Int,
    }
    quota of BRAND, key [tenant_id] {
        tenant_id Id, events Text, contacts Int, journeys Int, sends_per_day Int,
        template_cpu Int,
    }
    brand_sending of BRAND, key [tenant_id] {
        tenant_id Id, weight Int, complaints Int, bounces Int, refusals Int, sample Int, stops Int,
        cause Text, stopped_at Int, sent Int, bounced Int, refused Int, complained Int, since Int,
    }
    complaint of BRAND, key [tenant_id message_id] {
        tenant_id Id, message_id Id, reported_at Int, source Text,
    }
    tenant_key of BRAND, key [tenant_id purpose version] {
        tenant_id Id, purpose Text, version Int, wrapped Bytes, created_at Int,
    }
    api_key of BRAND, key [id] {
        id Id, organisation_id Id, tenant_id Id, prefix Text, hash Bytes, kind Text, scopes Text,
        label Text, created_at Int, expires_at Int, revoked_at Int, last_used_at Int,
    }
    secret of BRAND, key [tenant_id name] {
        tenant_id Id, name Text, version Int, ciphertext Bytes, created_at Int,
    }
    document of BRAND, key [tenant_id kind name version] {
        tenant_id Id, kind Text, name Text, version Int, body Text, compiled Bytes,
        published_at Int, published_by Id,
    }
    document_head of BRAND, key [tenant_id kind name] {
        tenant_id Id, kind Text, name Text, version Int, status Text, changed_at Int,
    }
    idempotency of Of::Brand("scope_id"), key [scope_id key route] {
        scope_id Id, key Bytes, route Text, body_hash Bytes, status Int, response Text,
        created_at Int,
    }
    contact of BRAND, key [tenant_id id] {
        tenant_id Id, id Id, shard Shard, handle Bytes, created_at Int, merged_into Id,
        erased_at Int,
    }
    identity of BRAND, key [tenant_id kind value_hmac] {
        tenant_id Id, kind Text, value_hmac Bytes, key_version Int, contact_id Id, created_at Int,
    }
    contact_state of BRAND, key [tenant_id contact_id] {
        tenant_id Id, contact_id Id, shard Shard, revision Int, seq Int, state Bytes,
        updated_at Int,
    }
    address of BRAND, key [tenant_id channel hmac] {
        tenant_id Id, channel Text, hmac Bytes, key_version Int, ciphertext Bytes, version Int,
        suppressed_at Int, suppressed_reason Text, objected_at Int, created_at Int,
    }
    contact_address of BRAND, key [tenant_id contact_id channel] {
        tenant_id Id, contact_id Id, channel Text, hmac Bytes, since Int,
    }
    consent_head of BRAND, key [tenant_id contact_id channel] {
        tenant_id Id, contact_id Id, channel Text, version Int,
    }
    consent_fact of BRAND, key [tenant_id id] {
        tenant_id Id, id Id, contact_id Id, handle Bytes, kind Text, topic Text, purpose Text,
        channel Text, address_hmac Bytes, at Int, source Text, wording Text, nonce Bytes,
        canonical Bytes,
    }
    leaf_pending of BRAND, key [tenant_id fact_id] {
        tenant_id Id, fact_id Id, commitment Bytes, created_at Int,
    }
    event of BRAND, key [tenant_id contact_id id] {
        tenant_id Id, id Id, contact_id Id, seq Int, kind Text, name Text, message_id Text,
        occurred_at Int, received_at Int, body Text,
    }
    event_key of BRAND, key [tenant_id key day] {
        tenant_id Id, key Bytes, day Int, contact_id Id, seq Int, body_hash Bytes, event_id Id,
        received_at Int,
    }
    trace of BRAND, key [tenant_id contact_id id] {
        tenant_id Id, id Id, contact_id Id, at Int, cause Text, body Text,
    }
    run of BRAND, key [tenant_id id] {
        tenant_id Id, id Id, contact_id Id, journey Text, version Int, run_key Text, live Int,
        status Text, step Text, entered_at Int, wakes_at Int, ended_at Int, ended_by Text,
    }
    timer of BRAND, key [tenant_id run_id] {
        tenant_id Id, contact_id Id, run_id Id, journey Text, shard Shard, seq Int, due_at Int,
        held Int,
    }
    inbox of BRAND, key [tenant_id id] {
        tenant_id Id, id Id, contact_id Id, shard Shard, source Bytes, lane Int, kind Text,
        ref Text, body Bytes, created_at Int,
    }
    quarantine of BRAND, key [tenant_id id] {
        tenant_id Id, id Id, contact_id Id, origin Text, code Text, detail Text, payload Bytes,
        key Bytes, body_hash Bytes, created_at Int, requeued_at Int,
    }
    message of BRAND, key [tenant_id id] {
        tenant_id Id, id Id, contact_id Id, run_id Id, journey Text, journey_version Int,
        step Text, occurrence Int, origin Text, template Text, template_version Int, sender Text,
        topic Text, class Text, channel Text, address_hmac Bytes, data Bytes, created_at Int,
        not_before Int, expires_at Int, status Text, reason Text, attempts Int, receipt Text,
        finished_at Int,
    }
    attempt of BRAND, key [tenant_id message_id id] {
        tenant_id Id, id Id, message_id Id, number Int, started_at Int, ended_at Int, stage Text,
        result Text, code Int, enhanced Text,
    }
    send_key of BRAND, key [tenant_id key] { tenant_id Id, key Bytes, message_id Id, }
    send_queue of BRAND, key [tenant_id message_id] {
        tenant_id Id, message_id Id, lane Int, class Text, not_before Int, expires_at Int,
        phase Int, claim_id Id, claim_owner Id, lease_until Int, attempts Int,
    }
    send_head of BRAND, key [tenant_id lane] { tenant_id Id, lane Int, ready_at Int, }
    message_link of BRAND, key [tenant_id message_id number] {
        tenant_id Id, message_id Id, number Int, url Text, clicked_at Int,
    }
    mailbox of BRAND, key [tenant_id message_id] {
        tenant_id Id, message_id Id, arrived_at Int, recipient_hmac Bytes, raw Bytes,
    }
    counter of BRAND, key [tenant_id name day] { tenant_id Id, name Text, day Int, value Int, }
    counter_delta of BRAND, key [tenant_id id name] {
        tenant_id Id, id Id, name Text, day Int, delta Int,
    }
};

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use sea_orm::{ConnectionTrait as _, SqlxSqliteConnector};

    use super::*;
    use crate::side::sql::Sql;

    type Catalogue = BTreeMap<String, BTreeMap<String, (String, i64)>>;

    /// Table -> column -> type and place in the key (0: not in it), as the database says.
    async fn catalogue() -> Catalogue {
        let pool = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1);
        let on = SqlxSqliteConnector::from_sqlx_sqlite_pool(
            pool.connect("sqlite::memory:").await.unwrap(),
        );
        on.execute_unprepared(&crate::migration::sqlite_schema()).await.unwrap();
        let text = "SELECT m.name AS t, c.name AS c, c.type AS kind, c.pk FROM sqlite_master m \
                    JOIN pragma_table_info(m.name) c WHERE m.type = 'table'";
        let mut found = Catalogue::new();
        for row in Sql::new(text, Vec::new()).all(&on).await.unwrap() {
            let column = (row.get("kind").unwrap(), row.get("pk").unwrap());
            let table: String = row.get("t").unwrap();
            found.entry(table).or_default().insert(row.get("c").unwrap(), column);
        }
        found
    }

    #[tokio::test]
    async fn every_table_and_column_of_the_schema_has_its_entry() {
        let found = catalogue().await;
        for (name, columns) in &found {
            let Some(table) = Table::find(name) else {
                let reason = LEFT_OUT.iter().find(|(left, _)| left == name);
                assert!(reason.is_some(), "table {name} has no entry in keep/tables.rs");
                continue;
            };
            for (column, (kind, pk)) in columns {
                let entry = table.columns.iter().find(|one| one.name == column);
                let entry = entry.unwrap_or_else(|| panic!("{name}.{column} has no entry"));
                let wanted = match entry.kind {
                    Kind::Id | Kind::Bytes => "BLOB",
                    Kind::Int | Kind::Shard => "INTEGER",
                    Kind::Text => "TEXT",
                };
                assert_eq!(kind, wanted, "{name}.{column}");
                assert_eq!(table.key.contains(&entry.name), *pk > 0, "{name}.{column}");
            }
            assert_eq!(table.columns.len(), columns.len(), "{name} has columns that are gone");
        }
        let gone = TABLES.iter().find(|table| !found.contains_key(table.name));
        assert!(gone.is_none(), "{gone:?} is not in the schema");
    }

    #[test]
    fn a_brands_rows_can_be_told_from_anothers() {
        for table in TABLES {
            if let Of::Brand(column) = table.of {
                assert!(table.position(column).is_some(), "{}", table.name);
            }
            if table.columns.iter().any(|column| column.kind == Kind::Shard) {
                assert!(table.position(table.contact()).is_some(), "{}", table.name);
            }
        }
    }
}
