//! The lines of the file: header, table, row, end; and how one value is written.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use parcours_domain::{TenantId, Timestamp};
use sea_orm::Value;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use uuid::Uuid;

use super::{seal::Derivation, tables::Kind};
use crate::{error::StoreError, side::sql::Row};

/// The version of the format that this build writes, and the newest that it reads.
pub(super) const FORMAT: u32 = 1;

/// What the first line's `parcours` says.
pub(super) const MAGIC: &str = "kept data";

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeptKind {
    /// One brand.
    Brand,
    /// The whole install.
    Install,
}

/// A brand in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptBrand {
    /// Its id.
    pub id: TenantId,
    /// The organisation that owns it.
    pub organisation: String,
    /// Its name.
    pub name: String,
}

/// What is kept of the install itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeptInstall {
    pub product_now: Option<i64>,
    pub product_speed: i64,
    pub clock_set_at: Option<i64>,
    pub halted_at: Option<i64>,
    pub halt_reason: Option<String>,
}

/// The first and the last month (by ids) or day of a partitioned table's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Span {
    /// Milliseconds of the first and the last id.
    Ids(i64, i64),
    /// Days since 1970-01-01.
    Days(i64, i64),
}

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    pub parcours: String,
    pub format: u32,
    pub kind: KeptKind,
    /// The migrations that the store had.
    pub schema: Vec<String>,
    /// The product's version, for people.
    pub product: String,
    /// Machine time.
    pub created_at: Timestamp,
    /// Product time, read before the snapshot was taken.
    pub product_at: Timestamp,
    pub brands: Vec<KeptBrand>,
    /// Whether the brand's sending was halted before the snapshot, so that it goes on elsewhere.
    pub moved: bool,
    pub install: KeptInstall,
    pub spans: BTreeMap<String, Span>,
    pub passphrase: Derivation,
}

/// A line that begins a table.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct TableLine {
    pub table: String,
    pub columns: Vec<String>,
}

/// The last line.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct EndLine {
    pub end: End,
}

/// Counts, and what vouches for everything before.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct End {
    pub rows: BTreeMap<String, u64>,
    /// SHA-256 of everything before this line, in hexadecimal.
    pub sha256: String,
    /// HMAC-SHA-256 of that hash under a key from the passphrase, in hexadecimal.
    pub mac: String,
}

/// A stored value as it stands in the file.
pub(super) fn written(row: &Row, column: &str, kind: Kind) -> Result<Json, StoreError> {
    Ok(match kind {
        Kind::Id => row.get::<Option<Uuid>>(column)?.map(|id| id.to_string()).into(),
        Kind::Bytes => row.get::<Option<Vec<u8>>>(column)?.map(|b| BASE64.encode(&b)).into(),
        Kind::Int | Kind::Shard => row.get::<Option<i64>>(column)?.into(),
        Kind::Text => row.get::<Option<String>>(column)?.into(),
    })
}

/// A stored value as a parameter, for going on after it.
pub(super) fn parameter(row: &Row, column: &str, kind: Kind) -> Result<Value, StoreError> {
    Ok(match kind {
        Kind::Id => row.get::<Option<Uuid>>(column)?.into(),
        Kind::Bytes => row.get::<Option<Vec<u8>>>(column)?.into(),
        Kind::Int | Kind::Shard => row.get::<Option<i64>>(column)?.into(),
        Kind::Text => row.get::<Option<String>>(column)?.into(),
    })
}

/// A value of the file as a parameter; none when it is not of this kind.
pub(super) fn read(value: Json, kind: Kind) -> Option<Value> {
    Some(match (kind, value) {
        (Kind::Id, Json::Null) => None::<Uuid>.into(),
        (Kind::Bytes, Json::Null) => None::<Vec<u8>>.into(),
        (Kind::Int | Kind::Shard, Json::Null) => None::<i64>.into(),
        (Kind::Text, Json::Null) => None::<String>.into(),
        (Kind::Id, Json::String(text)) => text.parse::<Uuid>().ok()?.into(),
        (Kind::Bytes, Json::String(text)) => BASE64.decode(text.as_bytes()).ok()?.into(),
        (Kind::Int | Kind::Shard, Json::Number(number)) => number.as_i64()?.into(),
        (Kind::Text, Json::String(text)) => text.into(),
        _ => return None,
    })
}
