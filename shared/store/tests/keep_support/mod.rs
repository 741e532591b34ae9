//! A store with something in every table, files of it, and files that were tampered with.

#![allow(dead_code, reason = "shared by one test binary")]

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::{BASE64, HEXLOWER};
use parcours_domain::{
    ContactId, CpuShare, EventQuota, MessageId, Quotas, TenantId, Timestamp, Weight,
    breaker::BreakerRules, ids::uuid_v7, shard_of,
};
use parcours_store::{
    Backend, ClaimOrder, Moments, RootKeySource, Store, StoreConfig,
    keep::{Arrived, KeepError, KeptFile, Passphrase, Snapshot},
};
use parcours_testkit::store::{TempPlace, temp_brand, temp_contact};
use serde_json::Value as Json;
use uuid::Uuid;

use super::common::{self, NOW};

pub const PASSPHRASE: &str = "a passphrase of some length";
pub const BRAND: &str = "moving";
pub const SECRET: &str = "smtp";
pub const PASSWORD: &str = "the password of the next hop";

const SCHEMA: &str = include_str!("../../src/migration/v1.sql");

/// Tables that the store itself fills.
const MADE: [&str; 7] =
    ["install", "worker", "shard", "organisation", "brand", "tenant_key", "secret"];

/// A closed store with rows in every table, of two brands.
pub struct Full {
    pub place: TempPlace,
    pub tenant: TenantId,
}

pub async fn full_store(backend: Backend) -> Full {
    let place = TempPlace::new(backend).await.unwrap();
    let store = Store::open(place.config()).await.unwrap();
    let mut tenants = Vec::new();
    for name in [BRAND, "staying"] {
        let tenant = temp_brand(&store, name).await.unwrap();
        let door = store.for_tenant(tenant);
        door.put_secret(&SECRET.parse().unwrap(), PASSWORD.as_bytes(), NOW).await.unwrap();
        let quotas = Quotas {
            events: EventQuota::Unlimited,
            contacts: Some(1),
            journeys: Some(2),
            sends_per_day: Some(3),
            template_cpu: CpuShare::new(20),
            weight: Weight::new(7).unwrap(),
        };
        store.admin().set_quotas(tenant, &quotas).await.unwrap();
        let rules = BreakerRules { sample: Some(4), ..BreakerRules::default() };
        store.admin().set_breaker(tenant, &rules).await.unwrap();
        let contact = temp_contact(&door, "anna").await.unwrap();
        let run = common::run_id();
        let mut commit = common::event_commit(&store, (tenant, contact), 0, "m1");
        commit.runs.push(common::run_row(run, "waiting"));
        commit.timers.push(common::timer(run, 1, NOW));
        commit.sends.push(common::message(7, run));
        assert_eq!(
            common::commit_all(&store, vec![commit]).await,
            [parcours_store::CommitOutcome::Done]
        );
        complained(&place, tenant).await;
        fill(&place, tenant).await;
        tenants.push(tenant);
    }
    store.close().await;
    Full { place, tenant: tenants[0] }
}

/// Puts in a complaint, which is of a migration after the first.
async fn complained(place: &TempPlace, tenant: TenantId) {
    let uuid = |id: Uuid| match place.database() {
        Some(_) => format!("'{id}'::uuid"),
        None => format!("x'{}'", id.simple()),
    };
    let (tenant, message) = (uuid(tenant.0), uuid(Uuid::new_v4()));
    let columns = "tenant_id, message_id, reported_at, source";
    let values = format!("{tenant}, {message}, 1, 'complaint:test'");
    common::execute(place, &format!("INSERT INTO complaint ({columns}) VALUES ({values})")).await;
}

/// Puts rows into every table that has none of its own, every column set in one of them.
async fn fill(place: &TempPlace, tenant: TenantId) {
    for (table, columns) in tables() {
        if MADE.contains(&table.as_str()) {
            continue;
        }
        for n in 0..3_u8 {
            let names: Vec<&str> = columns.iter().map(|column| column.0.as_str()).collect();
            let values: Vec<String> =
                columns.iter().map(|column| literal(place, tenant, (&table, column), n)).collect();
            let (names, values) = (names.join(", "), values.join(", "));
            common::execute(place, &format!("INSERT INTO {table} ({names}) VALUES ({values})"))
                .await;
        }
    }
}

type Column = (String, String, bool);

/// Every table of the schema: name, type and nullability of its columns.
fn tables() -> Vec<(String, Vec<Column>)> {
    let mut found: Vec<(String, Vec<Column>)> = Vec::new();
    for line in SCHEMA.lines() {
        let line = line.split("--").next().unwrap_or_default().trim_end();
        if let Some(rest) = line.strip_prefix("CREATE TABLE ") {
            found.push((rest.trim_end_matches(" (").to_owned(), Vec::new()));
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        if let ([name, kind, ..], Some(open)) = (words.as_slice(), found.last_mut())
            && line.starts_with("  ")
            && ["UUID", "BYTEA", "BIGINT", "TEXT"].contains(&kind.trim_end_matches(','))
        {
            let kind = kind.trim_end_matches(',').to_owned();
            open.1.push(((*name).to_owned(), kind, !line.contains("NOT NULL")));
        }
    }
    found
}

fn literal(place: &TempPlace, tenant: TenantId, (table, column): (&str, &Column), n: u8) -> String {
    let (name, kind, nullable) = column;
    let bytes = |bytes: &[u8]| {
        let hex = HEXLOWER.encode(bytes);
        match (place.database().is_some(), kind.as_str()) {
            (true, "UUID") => format!("'{hex}'::uuid"),
            (true, _) => format!("'\\x{hex}'::bytea"),
            (false, _) => format!("x'{hex}'"),
        }
    };
    match (name.as_str(), kind.as_str()) {
        ("tenant_id" | "scope_id", _) => bytes(&tenant.bytes()),
        ("merged_into", _) => "NULL".to_owned(),
        ("organisation_id", _) => "NULL".to_owned(),
        (_, _) if *nullable && n == 1 => "NULL".to_owned(),
        // Years before the present partitions.
        ("id", _) => {
            let at = NOW + parcours_domain::Millis::days(31 * i64::from(n));
            bytes(uuid_v7(at, *tail().first_chunk().unwrap()).as_bytes())
        }
        ("day", _) if table == "event_key" => (NOW.utc_day() + i64::from(n)).to_string(),
        ("phase", _) => n.to_string(),
        ("lane", _) => n.to_string(),
        ("live" | "held", _) => "0".to_owned(),
        (_, "UUID") => bytes(Uuid::new_v4().as_bytes()),
        (_, "BYTEA") => bytes(&tail()),
        (_, "BIGINT") => (i64::from(n) + 1_000_000_000_000).to_string(),
        (_, _) => format!("'é\"\\ {n} {}'", Uuid::new_v4()),
    }
}

fn tail() -> [u8; 16] {
    *Uuid::new_v4().as_bytes()
}

/// Shards of another install.
pub const SHARDS: u16 = 64;

/// Another install: another root key, another number of shards.
pub fn other_install(place: &TempPlace) -> StoreConfig {
    let root_key = RootKeySource::Hex("7e".repeat(32));
    StoreConfig { root_key, shards: SHARDS, ..place.config() }
}

pub async fn dump(place: &TempPlace, tenant: TenantId, moved: bool) -> Vec<u8> {
    dump_of(&place.config(), tenant, moved).await
}

pub async fn dump_of(config: &StoreConfig, tenant: TenantId, moved: bool) -> Vec<u8> {
    let snapshot = Snapshot::take(config).await.unwrap();
    let brands = snapshot.brands().await.unwrap();
    let brand = brands.iter().find(|brand| brand.tenant == tenant).unwrap();
    let passphrase = Passphrase::new(PASSPHRASE).unwrap();
    let mut file = Vec::new();
    snapshot.dump(brand, (moved, false), &passphrase, (&mut file, &mut |_| {})).await.unwrap();
    file
}

pub async fn backup(place: &TempPlace) -> Vec<u8> {
    backup_of(&place.config()).await
}

pub async fn backup_of(config: &StoreConfig) -> Vec<u8> {
    let snapshot = Snapshot::take(config).await.unwrap();
    let passphrase = Passphrase::new(PASSPHRASE).unwrap();
    let mut file = Vec::new();
    snapshot.backup(&passphrase, (&mut file, &mut |_| {})).await.unwrap();
    file
}

pub fn kept(file: &[u8]) -> Result<KeptFile, KeepError> {
    let passphrase = Passphrase::new(PASSPHRASE).unwrap();
    KeptFile::open(Box::new(std::io::Cursor::new(file.to_vec())), &passphrase)
}

pub async fn load_file(store: &Store, file: &[u8]) -> Result<Arrived, KeepError> {
    store.load_brand(&mut kept(file)?, &mut |_| {}).await
}

pub async fn restore(store: &Store, file: &[u8]) -> Result<Arrived, KeepError> {
    store.restore(&mut kept(file)?, &mut |_| {}).await
}

/// A store restored from a backup of a full one, which has not caught up yet.
pub async fn restored(backend: Backend) -> (TempPlace, Store, TenantId) {
    let source = full_store(Backend::Sqlite).await;
    let file = backup(&source.place).await;
    let place = TempPlace::new(backend).await.unwrap();
    let store = Store::open(other_install(&place)).await.unwrap();
    assert!(restore(&store, &file).await.unwrap().halted);
    // Only messages that exist as messages can leave.
    let orphans = "DELETE FROM send_queue WHERE message_id NOT IN (SELECT id FROM message)";
    common::execute(&place, orphans).await;
    (place, store, source.tenant)
}

/// Later than everything in a full store.
pub fn store_now() -> Timestamp {
    NOW + parcours_domain::Millis::hours(1)
}

pub fn order(tenant: TenantId, lane: i64, now: Timestamp) -> ClaimOrder {
    let now = Moments { product: now, machine: now };
    ClaimOrder { tenant, lane, count: 100, lease_ms: 60_000, now }
}

/// The rows of a file by table, without what differs by intent: wrapped keys, leases, shards.
pub fn rows_of(file: &[u8]) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut open = (String::new(), Vec::new());
    for line in file.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let line: Json = serde_json::from_slice(line).unwrap();
        if let Some(table) = line["table"].as_str() {
            let columns: Vec<String> = serde_json::from_value(line["columns"].clone()).unwrap();
            open = (table.to_owned(), columns);
            found.insert(open.0.clone(), BTreeSet::new());
        } else if let Json::Array(mut values) = line {
            for (column, value) in open.1.iter().zip(&mut values) {
                let differs = ["wrapped", "lease_until", "shard"].contains(&column.as_str());
                if differs && !value.is_null() {
                    *value = "differs".into();
                }
            }
            found.get_mut(&open.0).unwrap().insert(Json::Array(values).to_string());
        }
    }
    found
}

/// Rows of a file whose shard is not the one that follows from their contact.
pub fn misplaced(file: &[u8], shards: u16) -> Vec<String> {
    let (mut columns, mut wrong) = (Vec::<String>::new(), Vec::new());
    for line in file.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let line: Json = serde_json::from_slice(line).unwrap();
        if line["table"].is_string() {
            columns = serde_json::from_value(line["columns"].clone()).unwrap();
        }
        let at = |name: &str| columns.iter().position(|column| column == name);
        let (Some(shard), Some(contact)) = (at("shard"), at("contact_id").or(at("id"))) else {
            continue;
        };
        if line.is_array() {
            let contact: ContactId = line[contact].as_str().unwrap().parse().unwrap();
            if line[shard].as_u64() != Some(shard_of(contact, shards).into()) {
                wrong.push(line.to_string());
            }
        }
    }
    wrong
}

/// Whether the file holds these bytes in clear, as base64 at any offset, or as hexadecimal.
pub fn holds(file: &[u8], secret: &[u8]) -> bool {
    let has = |needle: &[u8]| file.windows(needle.len()).any(|window| window == needle);
    let in_base64 = (0..3).any(|shift| {
        let shifted = [vec![0; shift], secret.to_vec()].concat();
        let text = BASE64.encode(&shifted);
        // The first and the last group depend on what stands beside.
        let inner = text.trim_end_matches('=').as_bytes();
        has(&inner[4..inner.len() - 3])
    });
    has(secret) || in_base64 || has(HEXLOWER.encode(secret).as_bytes())
}

/// The file cut and changed in many places.
pub fn bent(file: &[u8]) -> Vec<(String, Vec<u8>)> {
    let ends: Vec<usize> =
        file.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1).collect();
    let mut bent = Vec::new();
    for at in [1, ends[0], ends[1], ends[ends.len() / 2], ends[ends.len() - 2], file.len() - 1] {
        bent.push((format!("cut at {at} of {}", file.len()), file[..at].to_vec()));
    }
    for step in 1..16 {
        let at = file.len() * step / 16;
        let mut changed = file.to_vec();
        changed[at] = if changed[at] == b'1' { b'2' } else { b'1' };
        bent.push((format!("changed at {at}"), changed));
    }
    let row = ends[ends.len() / 2]..ends[ends.len() / 2 + 1];
    let without = [&file[..row.start], &file[row.end..]].concat();
    bent.push(("a row less".to_owned(), without));
    bent.push(("a row twice".to_owned(), [&file[..row.end], &file[row.start..]].concat()));
    bent.push(("a line after the end".to_owned(), [file, b"[]\n"].concat()));
    bent
}

/// The file with another value in its header.
pub fn with_header(file: &[u8], member: &str, value: Json) -> Vec<u8> {
    let end = file.iter().position(|byte| *byte == b'\n').unwrap();
    let mut header: Json = serde_json::from_slice(&file[..end]).unwrap();
    header[member] = value;
    [header.to_string().as_bytes(), &file[end..]].concat()
}

/// How many rows there are in all tables that a brand has rows in.
pub async fn everything(place: &TempPlace) -> i64 {
    let mut all = 0;
    for (table, _) in tables() {
        if !["install", "worker", "shard"].contains(&table.as_str()) {
            all += common::count(place, &format!("SELECT count(*) FROM {table}")).await;
        }
    }
    all
}

/// Names a message of [`common::message`].
pub fn message_id(send_key: u8) -> MessageId {
    MessageId::v7(NOW, [send_key; 10])
}
