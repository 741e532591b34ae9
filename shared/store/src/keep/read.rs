//! Reading the file: the header first, then line by line with a running hash, then the end.

use std::{
    collections::BTreeMap,
    io::{BufRead, Read as _},
};

use data_encoding::HEXLOWER;
use parcours_domain::Timestamp;
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};

use super::{
    KeepError, Passphrase,
    form::{EndLine, FORMAT, Header, KeptBrand, KeptKind, MAGIC, TableLine},
    seal::Sealing,
    tables::Table,
};
use crate::migration;

/// The longest line: a mailbox copy of a large message in base64, with room.
const LINE_BYTES_MAX: u64 = 256 << 20;

/// A file whose header was read and whose passphrase is right.
pub struct KeptFile {
    lines: Lines,
    pub(super) header: Header,
    pub(super) sealing: Sealing,
}

struct Lines {
    from: Box<dyn BufRead>,
    hash: Sha256,
    number: u64,
    line: Vec<u8>,
}

/// What a line after the header is.
pub(super) enum Line {
    Table(&'static Table),
    Row(Vec<Json>),
    /// The counts; the file is whole and nobody changed it.
    End(BTreeMap<String, u64>),
}

impl Lines {
    /// The next line with its line feed; whether there was one. `counted`: it goes into the hash.
    fn next(&mut self) -> Result<bool, KeepError> {
        self.line.clear();
        let mut limited = (&mut self.from).take(LINE_BYTES_MAX);
        limited.read_until(b'\n', &mut self.line)?;
        self.number += 1;
        if self.line.is_empty() {
            return Ok(false);
        }
        // Whatever is cut is cut within a line, or before the last.
        if self.line.last() == Some(&b'\n') { Ok(true) } else { Err(KeepError::Cut) }
    }

    fn count(&mut self) {
        self.hash.update(&self.line);
    }

    fn damaged(&self, what: &'static str) -> KeepError {
        KeepError::Damaged { line: self.number, what }
    }
}

impl KeptFile {
    /// Reads the header and checks that the passphrase fits; nothing else is read yet.
    ///
    /// # Errors
    /// It is no such file, a newer one, or the passphrase is not its own.
    pub fn open(from: Box<dyn BufRead>, passphrase: &Passphrase) -> Result<Self, KeepError> {
        let mut lines = Lines { from, hash: Sha256::new(), number: 0, line: Vec::new() };
        match lines.next() {
            Ok(true) => {}
            Ok(false) | Err(KeepError::Cut) => return Err(KeepError::NotOurs),
            Err(error) => return Err(error),
        }
        lines.count();
        let header = header_of(&lines.line)?;
        let sealing = Sealing::of(passphrase, &header.passphrase)?;
        Ok(Self { lines, header, sealing })
    }

    /// What it holds.
    #[must_use]
    pub fn kind(&self) -> KeptKind {
        self.header.kind
    }

    /// The brands in it.
    #[must_use]
    pub fn brands(&self) -> &[KeptBrand] {
        &self.header.brands
    }

    /// Machine time at which it was written.
    #[must_use]
    pub fn created_at(&self) -> Timestamp {
        self.header.created_at
    }

    /// Whether the brand's sending was halted at its source before the dump.
    #[must_use]
    pub fn moved(&self) -> bool {
        self.header.moved
    }

    pub(super) fn damaged(&self, what: &'static str) -> KeepError {
        self.lines.damaged(what)
    }

    /// The next line. After [`Line::End`] nothing may follow.
    pub(super) fn next(&mut self) -> Result<Line, KeepError> {
        let lines = &mut self.lines;
        if !lines.next()? {
            return Err(KeepError::Cut);
        }
        if lines.line.first() == Some(&b'[') {
            lines.count();
            let row = serde_json::from_slice(&lines.line);
            return row.map(Line::Row).map_err(|_| lines.damaged("it is no row"));
        }
        if let Ok(line) = serde_json::from_slice::<TableLine>(&lines.line) {
            lines.count();
            let table = Table::find(&line.table);
            let table = table.ok_or_else(|| lines.damaged("it names an unknown table"))?;
            if table.names() != line.columns {
                return Err(lines.damaged("the table has other columns than in this version"));
            }
            return Ok(Line::Table(table));
        }
        let end = serde_json::from_slice::<EndLine>(&lines.line);
        let end =
            end.map_err(|_| lines.damaged("it is neither a table, nor a row, nor the end"))?;
        self.finish(end)
    }

    fn finish(&mut self, EndLine { end }: EndLine) -> Result<Line, KeepError> {
        let digest = self.lines.hash.clone().finalize();
        let mac = HEXLOWER.decode(end.mac.as_bytes()).unwrap_or_default();
        let whole = mac.len() == 32 && self.sealing.vouching.verify(&[&digest], &mac);
        if !whole || self.lines.next()? {
            return Err(KeepError::Changed);
        }
        Ok(Line::End(end.rows))
    }
}

fn header_of(line: &[u8]) -> Result<Header, KeepError> {
    let loose: Json = serde_json::from_slice(line).map_err(|_| KeepError::NotOurs)?;
    if loose["parcours"] != MAGIC {
        return Err(KeepError::NotOurs);
    }
    let newer = || KeepError::Newer(loose["product"].as_str().unwrap_or("unknown").to_owned());
    if loose["format"].as_u64() != Some(u64::from(FORMAT)) {
        return Err(newer());
    }
    let header: Header = serde_json::from_value(loose.clone())
        .map_err(|_| KeepError::Header("a part of it is missing or has another form"))?;
    if !migration::reads(&header.schema) {
        return Err(newer());
    }
    Ok(header)
}
