//! Rows as one array for each column, in PostgreSQL's text form (its manual, section 8.15.6).
//!
//! A statement over `unnest` has the same text for any number of rows: it is parsed and planned
//! once for a connection, where a list of thousands of placeholders is parsed for each number of
//! rows, and planned and bound value by value each time, which costs more than carrying it out.

use std::fmt::Write as _;

use sea_orm::{DbBackend, Value};

/// Each column as an array's text, with the cast that reads it; none where rows must be written
/// out: not on PostgreSQL, or a value of another type than these.
pub(super) fn columns(
    backend: DbBackend,
    rows: &[Vec<Value>],
) -> Option<Vec<(String, &'static str)>> {
    if backend != DbBackend::Postgres {
        return None;
    }
    let width = rows.first()?.len();
    (0..width).map(|place| column(rows, place)).collect()
}

fn column(rows: &[Vec<Value>], place: usize) -> Option<(String, &'static str)> {
    let kind = cast(rows.first()?.get(place)?)?;
    let mut text = String::with_capacity(rows.len() * 24);
    text.push('{');
    for (number, row) in rows.iter().enumerate() {
        let value = row.get(place)?;
        if cast(value)? != kind {
            return None;
        }
        text.push_str(if number > 0 { "," } else { "" });
        write(&mut text, value);
    }
    text.push('}');
    Some((text, kind))
}

const fn cast(value: &Value) -> Option<&'static str> {
    match value {
        Value::BigInt(_) => Some("::bigint[]"),
        Value::String(_) => Some("::text[]"),
        Value::Bytes(_) => Some("::bytea[]"),
        Value::Uuid(_) => Some("::uuid[]"),
        _ => None,
    }
}

fn write(text: &mut String, value: &Value) {
    match value {
        // Writing to a String cannot fail, here and below.
        Value::BigInt(Some(number)) => {
            let _ = write!(text, "{number}");
        }
        Value::Uuid(Some(id)) => text.push_str(id.simple().encode_lower(&mut [0; 32])),
        Value::Bytes(Some(bytes)) => {
            text.push_str("\"\\\\x");
            data_encoding::HEXLOWER.encode_append(bytes, text);
            text.push('"');
        }
        Value::String(Some(word)) => quoted(text, word),
        _ => text.push_str("NULL"),
    }
}

fn quoted(text: &mut String, word: &str) {
    text.push('"');
    let mut rest = word;
    while let Some(at) = rest.find(['"', '\\']) {
        let (plain, special) = rest.split_at(at);
        text.push_str(plain);
        text.push('\\');
        let (one, behind) = special.split_at(1);
        text.push_str(one);
        rest = behind;
    }
    text.push_str(rest);
    text.push('"');
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::side::sql::vals;

    #[test]
    fn every_type_is_written_as_an_array_and_null_is_no_word() {
        let rows = [
            vals![Uuid::from_u128(1), i64::MIN, vec![0_u8, 255], "plain"],
            vals![Uuid::nil(), 7_i64, Vec::<u8>::new(), "NULL"],
            vals![None::<Uuid>, None::<i64>, None::<Vec<u8>>, None::<String>],
        ];
        let columns = columns(DbBackend::Postgres, &rows).unwrap();
        let zero = "0".repeat(31);
        assert_eq!(columns[0], (format!("{{{zero}1,{zero}0,NULL}}"), "::uuid[]"));
        assert_eq!(columns[1].0, "{-9223372036854775808,7,NULL}");
        assert_eq!(columns[2].0, r#"{"\\x00ff","\\x",NULL}"#);
        assert_eq!(columns[3].0, r#"{"plain","NULL",NULL}"#);
    }

    #[test]
    fn quotes_and_backslashes_in_text_are_escaped() {
        let mut text = String::new();
        quoted(&mut text, r#"{"a":"\u00e9, \"x\""}é"#);
        assert_eq!(text, r#""{\"a\":\"\\u00e9, \\\"x\\\"\"}é""#);
    }

    #[test]
    fn other_types_and_other_databases_have_their_rows_written_out() {
        assert!(columns(DbBackend::Sqlite, &[vals![1_i64]]).is_none());
        assert!(columns(DbBackend::Postgres, &[vals![true]]).is_none());
        assert!(columns(DbBackend::Postgres, &[vals![1_i64], vals!["x"]]).is_none());
    }
}
