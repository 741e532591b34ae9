//! Which shards are whose, for those who ask.

use uuid::Uuid;

/// The shards that this process owns and takes work for, each with its epoch. Those that it is
/// handing over are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeldShards {
    /// By shard; none: not held.
    epochs: Vec<Option<i64>>,
    held: usize,
}

impl HeldShards {
    /// The epoch under which a shard is held; none: it is not.
    #[must_use]
    pub fn epoch(&self, shard: u16) -> Option<i64> {
        self.epochs.get(usize::from(shard)).copied().flatten()
    }

    /// Whether a shard is held.
    #[must_use]
    pub fn contains(&self, shard: u16) -> bool {
        self.epoch(shard).is_some()
    }

    /// Shard and epoch, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (u16, i64)> + '_ {
        (0_u16..).zip(&self.epochs).filter_map(|(shard, epoch)| Some((shard, (*epoch)?)))
    }

    /// How many are held.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.held
    }

    /// Whether none is held.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.held == 0
    }
}

impl FromIterator<(u16, i64)> for HeldShards {
    fn from_iter<I: IntoIterator<Item = (u16, i64)>>(shards: I) -> Self {
        let mut held = Self::default();
        for (shard, epoch) in shards {
            let place = usize::from(shard);
            if held.epochs.len() <= place {
                held.epochs.resize(place + 1, None);
            }
            if let Some(slot) = held.epochs.get_mut(place) {
                held.held += usize::from(slot.is_none());
                *slot = Some(epoch);
            }
        }
        held
    }
}

/// A shard and who has it, as the database says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardOwner {
    /// The shard.
    pub shard: u16,
    /// Grows each time that it is taken.
    pub epoch: i64,
    /// The worker that has it; none: nobody alive does.
    pub owner: Option<Uuid>,
    /// Where that worker can be reached, if it says so.
    pub address: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::HeldShards;

    #[test]
    fn only_what_is_held_is_in_it() {
        let held: HeldShards = [(3, 7), (0, 1), (3, 8)].into_iter().collect();
        assert_eq!(held.iter().collect::<Vec<_>>(), [(0, 1), (3, 8)]);
        assert_eq!(
            (held.len(), held.epoch(3), held.contains(1), held.contains(9)),
            (2, Some(8), false, false)
        );
        assert!(HeldShards::default().is_empty());
    }
}
