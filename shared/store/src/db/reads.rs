//! Reads that belong to no transaction of the caller.
//!
//! On PostgreSQL each is a short transaction all the same, because only a transaction can say for
//! whom it is; on SQLite it goes to the readers, which never wait for the one who writes.
//!
//! What always holds: nothing is written here, and no transaction is open between two calls of
//! [`Reads`].

use async_trait::async_trait;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbBackend, DbErr, ExecResult, QueryResult, Statement,
};

use super::{Backend, Db, Tx};
use crate::{error::StoreError, wall::Door};

/// Each statement by itself.
pub(crate) struct Reads<'a> {
    db: &'a Db,
    door: Door,
}

impl<'a> Reads<'a> {
    pub(super) const fn new(db: &'a Db, door: Door) -> Self {
        Self { db, door }
    }
}

fn only_reads() -> DbErr {
    DbErr::Custom("only reads come this way".to_owned())
}

#[async_trait]
impl ConnectionTrait for Reads<'_> {
    fn get_database_backend(&self) -> DbBackend {
        self.db.reader.get_database_backend()
    }
    async fn execute_raw(&self, _: Statement) -> Result<ExecResult, DbErr> {
        Err(only_reads())
    }
    async fn execute_unprepared(&self, _: &str) -> Result<ExecResult, DbErr> {
        Err(only_reads())
    }
    async fn query_one_raw(&self, stmt: Statement) -> Result<Option<QueryResult>, DbErr> {
        if self.db.backend == Backend::Sqlite {
            return self.db.reader.query_one_raw(stmt).await;
        }
        let tx = self.db.open(&self.door).await?;
        // The transaction ends as it is dropped: what goes back to the pool asks the server once
        // more anyhow, and the end travels with that question.
        tx.query_one_raw(stmt).await
    }
    async fn query_all_raw(&self, stmt: Statement) -> Result<Vec<QueryResult>, DbErr> {
        if self.db.backend == Backend::Sqlite {
            return self.db.reader.query_all_raw(stmt).await;
        }
        let tx = self.db.open(&self.door).await?;
        tx.query_all_raw(stmt).await
    }
}

/// Several statements one after the other. Nothing but the database may be waited for meanwhile.
pub(crate) enum Look {
    /// The readers.
    Sqlite(DatabaseConnection),
    /// A transaction, each statement of which sees what was committed before it.
    Postgres(Tx),
}

impl Look {
    pub(super) async fn open(db: &Db, door: &Door) -> Result<Self, StoreError> {
        match db.backend {
            Backend::Sqlite => Ok(Self::Sqlite(db.reader.clone())),
            Backend::Postgres => Ok(Self::Postgres(db.open(door).await?)),
        }
    }

    /// Ends it; dropping it does so too, a little later.
    pub(crate) async fn end(self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(tx) => Ok(tx.inner.commit().await?),
        }
    }
}

#[async_trait]
impl ConnectionTrait for Look {
    fn get_database_backend(&self) -> DbBackend {
        match self {
            Self::Sqlite(on) => on.get_database_backend(),
            Self::Postgres(tx) => tx.get_database_backend(),
        }
    }
    async fn execute_raw(&self, _: Statement) -> Result<ExecResult, DbErr> {
        Err(only_reads())
    }
    async fn execute_unprepared(&self, _: &str) -> Result<ExecResult, DbErr> {
        Err(only_reads())
    }
    async fn query_one_raw(&self, stmt: Statement) -> Result<Option<QueryResult>, DbErr> {
        match self {
            Self::Sqlite(on) => on.query_one_raw(stmt).await,
            Self::Postgres(tx) => tx.query_one_raw(stmt).await,
        }
    }
    async fn query_all_raw(&self, stmt: Statement) -> Result<Vec<QueryResult>, DbErr> {
        match self {
            Self::Sqlite(on) => on.query_all_raw(stmt).await,
            Self::Postgres(tx) => tx.query_all_raw(stmt).await,
        }
    }
}
