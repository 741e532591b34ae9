//! Writing the file: a moment of the store, table by table in the order of keys, page by page.

use std::{collections::BTreeMap, io::Write};

use data_encoding::HEXLOWER;
use sea_orm::{DatabaseTransaction, Value};
use serde::Serialize;
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};

use super::{
    KeepError, Progress,
    form::{End, EndLine, Header, TableLine, parameter, written},
    seal::Sealing,
    tables::{Of, TABLES, Table},
};
use crate::{
    error::StoreError,
    keys::{self, RootKey},
    side::sql::{Row, Sql, damaged},
};
use parcours_domain::{OrganisationId, TenantId};

/// Which rows go into a file.
#[derive(Clone, Copy)]
pub(super) enum Which {
    /// One brand's, and its organisation.
    Brand(TenantId, OrganisationId),
    /// All.
    Install,
}

/// What the writing needs to know.
pub(super) struct Task<'a> {
    pub tx: &'a DatabaseTransaction,
    pub root: &'a RootKey,
    pub sealing: &'a Sealing,
    pub which: Which,
    /// The halt of the brand is the move's own: its row goes without it.
    pub unhalt: bool,
}

/// A file under way: whatever is written is counted into its hash.
struct Out<'a> {
    file: &'a mut dyn Write,
    hash: Sha256,
    line: Vec<u8>,
}

impl Out<'_> {
    fn put(&mut self, line: &impl Serialize) -> Result<(), KeepError> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, line).map_err(std::io::Error::from)?;
        self.line.push(b'\n');
        self.hash.update(&self.line);
        Ok(self.file.write_all(&self.line)?)
    }
}

/// Writes header, rows and end; the rows of each table.
pub(super) async fn file(
    task: &Task<'_>,
    header: &Header,
    file: &mut dyn Write,
    progress: &mut dyn FnMut(Progress),
) -> Result<BTreeMap<String, u64>, KeepError> {
    let mut out = Out { file, hash: Sha256::new(), line: Vec::new() };
    out.put(header)?;
    let (mut counts, mut rows) = (BTreeMap::new(), 0);
    for table in TABLES {
        let columns = table.names().into_iter().map(str::to_owned).collect();
        out.put(&TableLine { table: table.name.to_owned(), columns })?;
        let (mut after, mut count) = (None, 0);
        loop {
            let page = page(task, table, after.take()).await?;
            for row in &page {
                out.put(&of_row(task, table, row)?)?;
            }
            count += page.len() as u64;
            progress(Progress { table: table.name, rows: rows + count });
            match page.last().filter(|_| page.len() >= table.page()) {
                Some(last) => after = Some(key_of(table, last)?),
                None => break,
            }
        }
        rows += count;
        counts.insert(table.name.to_owned(), count);
    }
    let digest = out.hash.clone().finalize();
    let end = End {
        rows: counts.clone(),
        sha256: HEXLOWER.encode(&digest),
        mac: HEXLOWER.encode(&task.sealing.vouching.mac(&[&digest])),
    };
    out.put(&EndLine { end })?;
    out.file.flush()?;
    Ok(counts)
}

/// The next rows of a table in the order of its key, after this key.
async fn page(
    task: &Task<'_>,
    table: &Table,
    after: Option<Vec<Value>>,
) -> Result<Vec<Row>, StoreError> {
    let head = format!("SELECT {} FROM {} WHERE ", table.names().join(", "), table.name);
    let sql = Sql::default().text(&head);
    let sql = match (task.which, table.of) {
        (Which::Install, _) => sql.text("1 = 1"),
        (Which::Brand(tenant, _), Of::Brand(column)) => sql.text(column).text(" = ").arg(tenant.0),
        (Which::Brand(_, organisation), Of::Organisation) => sql.text("id = ").arg(organisation.0),
    };
    let key = table.key.join(", ");
    let sql = match after {
        Some(after) => sql.text(&format!(" AND ({key}) > ")).list(after),
        None => sql,
    };
    let limit = i64::try_from(table.page()).unwrap_or(i64::MAX);
    sql.text(&format!(" ORDER BY {key} LIMIT ")).arg(limit).all(task.tx).await
}

fn key_of(table: &Table, row: &Row) -> Result<Vec<Value>, StoreError> {
    let columns = table.columns.iter().filter(|column| table.key.contains(&column.name));
    let by_name = columns
        .map(|column| Ok((column.name, parameter(row, column.name, column.kind)?)))
        .collect::<Result<BTreeMap<_, _>, StoreError>>()?;
    let in_order = table.key.iter().filter_map(|name| by_name.get(name).cloned());
    Ok(in_order.collect())
}

/// A row as it stands in the file. Wrapped keys go over to the passphrase; everything that the
/// brands' keys seal stays as it is.
fn of_row(task: &Task<'_>, table: &Table, row: &Row) -> Result<Vec<Json>, StoreError> {
    let mut values = table
        .columns
        .iter()
        .map(|column| written(row, column.name, column.kind))
        .collect::<Result<Vec<_>, _>>()?;
    match table.name {
        "tenant_key" => {
            let (tenant, purpose) = (row.id("tenant_id")?, row.get::<String>("purpose")?);
            let which = (tenant, purpose.as_str(), row.get("version")?);
            let over = (&task.root.wrapping(), &task.sealing.wrapping);
            let wrapped = keys::rewrap(over, which, &row.get::<Vec<u8>>("wrapped")?)?;
            set(table, &mut values, "wrapped", data_encoding::BASE64.encode(&wrapped).into())?;
        }
        "brand" if task.unhalt => {
            set(table, &mut values, "halted_at", Json::Null)?;
            set(table, &mut values, "halt_reason", Json::Null)?;
        }
        _ => {}
    }
    Ok(values)
}

fn set(
    table: &Table,
    values: &mut [Json],
    column: &'static str,
    value: Json,
) -> Result<(), StoreError> {
    let place = table.position(column).and_then(|at| values.get_mut(at));
    *place.ok_or_else(|| damaged(column))? = value;
    Ok(())
}
