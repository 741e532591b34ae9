//! Who owns which shard, as the database last said. Only a hint: the owner itself says `Moved`.

use async_trait::async_trait;
use uuid::Uuid;

/// A shard's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardPlace {
    /// The shard.
    pub shard: u16,
    /// Grows with each change of owner.
    pub epoch: i64,
    /// The process that owns it, by its incarnation; none while it is handed over.
    pub owner: Option<Uuid>,
    /// `HOST:PORT` at which the owner answers others; none when it answers nobody.
    pub address: Option<String>,
}

/// The directory could not be read.
#[derive(Debug, thiserror::Error)]
#[error("the owners of shards cannot be read: {0}")]
pub struct DirectoryError(#[from] pub Box<dyn std::error::Error + Send + Sync>);

/// Where the owners of shards are written.
#[async_trait]
pub trait ShardDirectory: Send + Sync {
    /// All shards.
    ///
    /// # Errors
    /// The database did not answer.
    async fn owners(&self) -> Result<Vec<ShardPlace>, DirectoryError>;
}
