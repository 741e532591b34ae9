//! Rows as one array for each column.
//!
//! A statement over `unnest` has the same text for any number of rows: it is parsed and planned
//! once for a connection, where a list of thousands of placeholders is parsed for each number of
//! rows, and planned and bound value by value each time, which costs more than carrying it out.
//! A column without NULL travels in the binary form. The library's binary arrays know no NULL, so
//! a column with one travels in PostgreSQL's text form (its manual, section 8.15.6).

use std::fmt::Write as _;

use sea_orm::{DbBackend, Value, sea_query::ArrayType};

/// A parameter for each column and the cast that reads it; the rows again where they must be
/// written out: not on PostgreSQL, or a value of another type than these.
pub(super) fn columns(
    backend: DbBackend,
    rows: Vec<Vec<Value>>,
) -> Result<Vec<(Value, &'static str)>, Vec<Vec<Value>>> {
    let Some(kinds) = kinds(backend, &rows) else { return Err(rows) };
    let mut columns: Vec<Vec<Value>> =
        kinds.iter().map(|_| Vec::with_capacity(rows.len())).collect();
    for row in rows {
        for (column, value) in columns.iter_mut().zip(row) {
            column.push(value);
        }
    }
    let parameter = |(column, kind): (Vec<Value>, Kind)| match kind.has_null {
        false => (Value::Array(kind.of, Some(Box::new(column))), kind.binary),
        true => (text_array(&column).into(), kind.text),
    };
    Ok(columns.into_iter().zip(kinds).map(parameter).collect())
}

/// What a column holds. The casts differ, because a statement is prepared for one form.
#[derive(Clone, PartialEq)]
struct Kind {
    of: ArrayType,
    binary: &'static str,
    text: &'static str,
    has_null: bool,
}

fn kinds(backend: DbBackend, rows: &[Vec<Value>]) -> Option<Vec<Kind>> {
    if backend != DbBackend::Postgres {
        return None;
    }
    let (first, rest) = rows.split_first()?;
    let mut kinds = first.iter().map(kind).collect::<Option<Vec<Kind>>>()?;
    for row in rest {
        for (known, value) in kinds.iter_mut().zip(row) {
            let found = kind(value)?;
            if found.of != known.of {
                return None;
            }
            known.has_null |= found.has_null;
        }
    }
    Some(kinds)
}

fn kind(value: &Value) -> Option<Kind> {
    let (of, binary, text, has_null) = match value {
        Value::BigInt(one) => (ArrayType::BigInt, "::bigint[]", "::text::bigint[]", one.is_none()),
        Value::String(one) => (ArrayType::String, "::text[]", "::text::text[]", one.is_none()),
        Value::Bytes(one) => (ArrayType::Bytes, "::bytea[]", "::text::bytea[]", one.is_none()),
        Value::Uuid(one) => (ArrayType::Uuid, "::uuid[]", "::text::uuid[]", one.is_none()),
        _ => return None,
    };
    Some(Kind { of, binary, text, has_null })
}

fn text_array(column: &[Value]) -> String {
    let mut text = String::with_capacity(column.len() * 24);
    text.push('{');
    for (number, value) in column.iter().enumerate() {
        text.push_str(if number > 0 { "," } else { "" });
        write(&mut text, value);
    }
    text.push('}');
    text
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
    fn a_column_without_null_is_binary_and_null_is_no_word() {
        let rows = vec![
            vals![Uuid::from_u128(1), i64::MIN, vec![0_u8, 255], "plain"],
            vals![Uuid::nil(), 7_i64, Vec::<u8>::new(), "NULL"],
        ];
        let whole = columns(DbBackend::Postgres, rows.clone()).unwrap();
        let numbers = Value::Array(ArrayType::BigInt, Some(Box::new(vals![i64::MIN, 7_i64])));
        assert_eq!(whole[1], (numbers, "::bigint[]"));
        assert_eq!(whole[3].1, "::text[]");

        let mut rows = rows;
        rows.push(vals![None::<Uuid>, None::<i64>, None::<Vec<u8>>, None::<String>]);
        let columns = columns(DbBackend::Postgres, rows).unwrap();
        let zero = "0".repeat(31);
        let text = |of: &str| Value::from(of.to_owned());
        assert_eq!(columns[0], (text(&format!("{{{zero}1,{zero}0,NULL}}")), "::text::uuid[]"));
        assert_eq!(columns[1].0, text("{-9223372036854775808,7,NULL}"));
        assert_eq!(columns[2].0, text(r#"{"\\x00ff","\\x",NULL}"#));
        assert_eq!(columns[3].0, text(r#"{"plain","NULL",NULL}"#));
    }

    #[test]
    fn quotes_and_backslashes_in_text_are_escaped() {
        let mut text = String::new();
        quoted(&mut text, r#"{"a":"\u00e9, \"x\""}é"#);
        assert_eq!(text, r#""{\"a\":\"\\u00e9, \\\"x\\\"\"}é""#);
    }

    #[test]
    fn other_types_and_other_databases_have_their_rows_written_out() {
        for (backend, rows) in [
            (DbBackend::Sqlite, vec![vals![1_i64]]),
            (DbBackend::Postgres, vec![vals![true]]),
            (DbBackend::Postgres, vec![vals![1_i64], vals!["x"]]),
        ] {
            assert_eq!(columns(backend, rows.clone()), Err(rows));
        }
    }
}
