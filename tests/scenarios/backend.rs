//! Ends PostgreSQL backends from outside, at the moment that a proxy's hook chooses.

use std::sync::Mutex;

use sqlx::{Connection as _, PgConnection};

/// An administrator's connection that can be used from any thread.
pub struct Admin(Mutex<(tokio::runtime::Runtime, PgConnection)>);

impl Admin {
    pub fn connect(url: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let connection = runtime.block_on(PgConnection::connect(url)).unwrap();
        Self(Mutex::new((runtime, connection)))
    }

    /// Ends a backend and returns when it is gone; false when it was gone before.
    pub fn terminate(&self, backend: i32) -> bool {
        self.ask("SELECT pg_terminate_backend($1, 20000)", backend)
    }

    /// Asks a backend to end and does not wait.
    pub fn terminate_soon(&self, backend: i32) -> bool {
        self.ask("SELECT pg_terminate_backend($1)", backend)
    }

    fn ask(&self, sql: &'static str, backend: i32) -> bool {
        let mut guard = self.0.lock().unwrap();
        let (runtime, connection) = &mut *guard;
        let asked = sqlx::query_scalar(sql).bind(backend).fetch_one(connection);
        runtime.block_on(asked).unwrap()
    }

    /// Runs a statement; how many rows it touched.
    pub fn execute(&self, sql: &'static str) -> u64 {
        let mut guard = self.0.lock().unwrap();
        let (runtime, connection) = &mut *guard;
        runtime.block_on(sqlx::query(sql).execute(connection)).unwrap().rows_affected()
    }
}
