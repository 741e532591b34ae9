//! Small pieces for writing each statement once for both databases.
//!
//! What always holds: values travel as parameters, never in the text; placeholders are `$N` on
//! both databases; row locks are written on PostgreSQL only, because SQLite has one writer.

use parcours_domain::Timestamp;
use sea_orm::{
    ConnectionTrait, DbBackend, QueryResult, Statement, TryGetable, Value, sea_query::ArrayType,
};
use uuid::Uuid;

use super::array;
use crate::error::StoreError;

/// Rows in one multi-row statement; far below both databases' bind limits.
pub(crate) const ROWS_MAX: usize = 1_000;

/// A statement being written: text and parameters in the order in which they stand.
#[derive(Default)]
pub(crate) struct Sql {
    parts: Vec<Part>,
}

const VALUES: &str = "VALUES ";

enum Part {
    Text(String),
    /// Text whose placeholders are numbered by hand, and their values; the first part.
    Numbered(String, Vec<Value>),
    Arg(Value),
    /// One parenthesis a row.
    Rows(Vec<Vec<Value>>),
    /// The rows as a query.
    Values(Vec<Vec<Value>>),
}

/// A list of parameters of several types.
macro_rules! vals {
    ($($value:expr),* $(,)?) => { vec![$(sea_orm::Value::from($value)),*] };
}
pub(crate) use vals;

impl Sql {
    /// Text whose placeholders are numbered by hand, and their values in that order.
    pub(crate) fn new(text: &str, values: Vec<Value>) -> Self {
        Self { parts: vec![Part::Numbered(text.to_owned(), values)] }
    }

    /// Appends text.
    pub(crate) fn text(mut self, text: &str) -> Self {
        match self.parts.last_mut() {
            Some(Part::Text(last) | Part::Numbered(last, _)) => last.push_str(text),
            _ => self.parts.push(Part::Text(text.to_owned())),
        }
        self
    }

    /// Appends one placeholder for the value.
    pub(crate) fn arg(mut self, value: impl Into<Value>) -> Self {
        self.parts.push(Part::Arg(value.into()));
        self
    }

    /// Appends `($1, $2), ($3, $4)`: one parenthesis a row. `rows` must not be empty. After
    /// `VALUES ` the two are one query that yields the rows: on PostgreSQL it is the same text
    /// however many rows there are, with one parameter a column.
    pub(crate) fn rows(mut self, rows: impl IntoIterator<Item = Vec<Value>>) -> Self {
        let rows = rows.into_iter().collect();
        let query = match self.parts.last_mut() {
            Some(Part::Text(text)) if text.ends_with(VALUES) => {
                text.truncate(text.len() - VALUES.len());
                true
            }
            _ => false,
        };
        self.parts.push(if query { Part::Values(rows) } else { Part::Rows(rows) });
        self
    }

    /// Appends `($1, $2, $3)`. `items` must not be empty.
    pub(crate) fn list(self, items: impl IntoIterator<Item = Value>) -> Self {
        self.rows([items.into_iter().collect::<Vec<_>>()])
    }

    /// Appends ` = ANY($1)` with one array on PostgreSQL, ` IN ($1, $2, $3)` on SQLite. Where few rows
    /// are looked for in a small table an array is compared in a loop of its own, a joined list row by
    /// row. `numbers` must not be empty.
    pub(crate) fn among(
        self,
        on: &impl ConnectionTrait,
        numbers: impl IntoIterator<Item = i64>,
    ) -> Self {
        let numbers = numbers.into_iter().map(Value::from);
        match on.get_database_backend() {
            DbBackend::Postgres => {
                let array = Value::Array(ArrayType::BigInt, Some(Box::new(numbers.collect())));
                self.text(" = ANY(").arg(array).text(")")
            }
            _ => self.text(" IN ").list(numbers),
        }
    }

    /// Appends a row lock such as `FOR SHARE` on PostgreSQL, nothing on SQLite.
    pub(crate) fn lock(self, on: &impl ConnectionTrait, lock: &str) -> Self {
        match on.get_database_backend() {
            DbBackend::Postgres => self.text(" ").text(lock),
            _ => self,
        }
    }

    fn statement(self, on: &impl ConnectionTrait) -> Statement {
        let backend = on.get_database_backend();
        let (mut text, mut values) = (String::new(), Vec::new());
        for part in self.parts {
            match part {
                Part::Text(more) => text.push_str(&more),
                Part::Numbered(more, given) => {
                    text.push_str(&more);
                    values.extend(given);
                }
                Part::Arg(value) => push(&mut text, &mut values, value),
                Part::Rows(rows) => push_rows(&mut text, &mut values, rows),
                Part::Values(rows) => match array::columns(backend, rows) {
                    Ok(columns) => {
                        text.push_str("SELECT * FROM unnest(");
                        for (number, (column, kind)) in columns.into_iter().enumerate() {
                            text.push_str(if number > 0 { ", " } else { "" });
                            push(&mut text, &mut values, column);
                            text.push_str(kind);
                        }
                        text.push(')');
                    }
                    Err(rows) => {
                        text.push_str(VALUES);
                        push_rows(&mut text, &mut values, rows);
                    }
                },
            }
        }
        Statement::from_sql_and_values(backend, text, values)
    }

    /// Runs it and reads all rows.
    pub(crate) async fn all(self, on: &impl ConnectionTrait) -> Result<Vec<Row>, StoreError> {
        let rows = on.query_all_raw(self.statement(on)).await?;
        Ok(rows.into_iter().map(Row).collect())
    }

    /// Runs it and reads the first row, if any.
    pub(crate) async fn one(self, on: &impl ConnectionTrait) -> Result<Option<Row>, StoreError> {
        Ok(on.query_one_raw(self.statement(on)).await?.map(Row))
    }

    /// Runs it; how many rows it touched.
    pub(crate) async fn run(self, on: &impl ConnectionTrait) -> Result<u64, StoreError> {
        Ok(on.execute_raw(self.statement(on)).await?.rows_affected())
    }
}

fn push(text: &mut String, values: &mut Vec<Value>, value: Value) {
    values.push(value);
    text.push('$');
    text.push_str(&values.len().to_string());
}

fn push_rows(text: &mut String, values: &mut Vec<Value>, rows: Vec<Vec<Value>>) {
    for (row_number, row) in rows.into_iter().enumerate() {
        text.push_str(if row_number == 0 { "(" } else { ", (" });
        for (number, value) in row.into_iter().enumerate() {
            text.push_str(if number > 0 { ", " } else { "" });
            push(text, values, value);
        }
        text.push(')');
    }
}

/// One row of an answer, read by column name.
pub(crate) struct Row(QueryResult);

impl Row {
    /// A column of any plain type.
    pub(crate) fn get<T: TryGetable>(&self, column: &str) -> Result<T, StoreError> {
        Ok(self.0.try_get("", column)?)
    }
    /// An id column.
    pub(crate) fn id<T: From<Uuid>>(&self, column: &str) -> Result<T, StoreError> {
        self.get::<Uuid>(column).map(T::from)
    }
    /// A nullable id column.
    pub(crate) fn id_opt<T: From<Uuid>>(&self, column: &str) -> Result<Option<T>, StoreError> {
        Ok(self.get::<Option<Uuid>>(column)?.map(T::from))
    }
    /// A moment.
    pub(crate) fn time(&self, column: &str) -> Result<Timestamp, StoreError> {
        self.get::<i64>(column).map(Timestamp::from_millis)
    }
    /// A nullable moment.
    pub(crate) fn time_opt(&self, column: &str) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.get::<Option<i64>>(column)?.map(Timestamp::from_millis))
    }
    /// A counter or version that fits 32 bits.
    pub(crate) fn small(&self, column: &'static str) -> Result<u32, StoreError> {
        u32::try_from(self.get::<i64>(column)?).map_err(|_| damaged(column))
    }
    /// Bytes of a fixed length.
    pub(crate) fn bytes<const N: usize>(
        &self,
        column: &'static str,
    ) -> Result<[u8; N], StoreError> {
        self.get::<Vec<u8>>(column)?.try_into().map_err(|_| damaged(column))
    }
    /// Nullable bytes of a fixed length.
    pub(crate) fn bytes_opt<const N: usize>(
        &self,
        column: &'static str,
    ) -> Result<Option<[u8; N]>, StoreError> {
        match self.get::<Option<Vec<u8>>>(column)? {
            Some(bytes) => bytes.try_into().map(Some).map_err(|_| damaged(column)),
            None => Ok(None),
        }
    }
    /// A stored word of a closed set, or a name: whatever `parse` understands.
    pub(crate) fn word<T>(
        &self,
        column: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<T, StoreError> {
        parse(&self.get::<String>(column)?).ok_or_else(|| damaged(column))
    }
}

/// The stored value in this column cannot have been written by us.
pub(crate) fn damaged(column: &'static str) -> StoreError {
    StoreError::Damaged(column)
}

/// A moment as a parameter.
pub(crate) fn ms(at: Timestamp) -> Value {
    Value::from(at.as_millis())
}

/// A nullable moment as a parameter.
pub(crate) fn ms_opt(at: Option<Timestamp>) -> Value {
    Value::from(at.map(Timestamp::as_millis))
}

/// Bytes as a parameter.
pub(crate) fn bytes(data: &[u8]) -> Value {
    Value::from(data.to_vec())
}

/// Ten random bytes for the tail of a v7 id.
pub(crate) fn tail() -> Result<[u8; 10], StoreError> {
    random()
}

/// `N` bytes from the operating system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], StoreError> {
    let mut buffer = [0; N];
    getrandom::fill(&mut buffer).map_err(|_| StoreError::Damaged("the machine's random source"))?;
    Ok(buffer)
}
