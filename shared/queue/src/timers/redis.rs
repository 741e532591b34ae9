//! The timer index in Redis: one sorted set for each shard.
//!
//! Keys of a shard, with a hash tag so that a cluster keeps them together: `{p:INSTALL:SHARD}:1:mark`
//! (owner's epoch, the server's run id when it was begun, whether it is whole), `:timers` and
//! `:eras` (see `code`). Only the shard's owner writes them, so this process knows without asking
//! when the first entry of each shard is due at the earliest.
//!
//! What always holds: each script looks at the epoch in the mark before it does anything else; an
//! entry that may not have arrived makes its shard's index unbuilt.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use futures::future::join_all;
use parcours_domain::{ContactId, RunId, TenantId, Timestamp, shard_of};
use redis::{Pipeline, Script, ScriptInvocation, Value};

use super::{
    TimerEntry, TimerIndex, code,
    held::{Hand, Turn},
    scripts::Scripts,
};
use crate::{QueueError, RedisLink};

/// Entries in one script: what Redis does at a stretch is felt by everybody else.
const ADD_MAX: usize = 250;
/// Shards that one round of popping asks.
const POP_SHARDS: usize = 16;
/// The member that a set has as long as it was neither evicted nor emptied.
const LAST: &str = "end";
/// Rounds of one pop.
const POP_ROUNDS: usize = 32;

/// The index in Redis, as one process sees it.
pub struct RedisTimers {
    link: Arc<RedisLink>,
    install: String,
    shards: u16,
    scripts: Scripts,
    hand: Hand,
}

/// Next score, members with scores, eras.
type Popped = Option<(Vec<u8>, Vec<Vec<u8>>, Vec<u32>)>;

impl RedisTimers {
    /// The index of an install with so many shards, none of which is in hand.
    #[must_use]
    pub fn new(link: Arc<RedisLink>, install: &str, shards: u16) -> Self {
        let install = install.to_owned();
        Self { link, install, shards, scripts: Scripts::new(), hand: Hand::default() }
    }

    fn key(&self, shard: u16, part: &str) -> String {
        format!("{{p:{}:{shard}}}:1:{part}", self.install)
    }

    fn call<'a>(&self, script: &'a Script, shard: u16, epoch: i64) -> ScriptInvocation<'a> {
        let mut call = script.key(self.key(shard, "mark"));
        call.key(self.key(shard, "timers")).key(self.key(shard, "eras")).arg(epoch);
        call
    }

    /// What a script says: whether the shard was this process's.
    async fn told(&self, call: ScriptInvocation<'_>) -> Result<bool, QueueError> {
        self.link.ask(|mut redis| async move { call.invoke_async(&mut redis).await }).await
    }

    /// Which life of which server answers: another one has other data, or the same of long ago.
    async fn run_id(&self) -> Result<String, QueueError> {
        let ask = |mut redis| async move {
            redis::cmd("INFO").arg("server").query_async::<String>(&mut redis).await
        };
        self.link.ask(ask).await.map(|info| run_id_of(&info))
    }

    /// The entries by shard, in portions.
    fn portions(&self, entries: &[TimerEntry]) -> Vec<(u16, Vec<TimerEntry>)> {
        let mut shards: HashMap<u16, Vec<TimerEntry>> = HashMap::new();
        for entry in entries {
            shards.entry(shard_of(entry.contact, self.shards)).or_default().push(*entry);
        }
        let portions = |(shard, entries): (u16, Vec<TimerEntry>)| {
            entries.chunks(ADD_MAX).map(|part| (shard, part.to_vec())).collect::<Vec<_>>()
        };
        shards.into_iter().flat_map(portions).collect()
    }

    async fn add_portion(&self, shard: u16, entries: &[TimerEntry]) -> Result<(), QueueError> {
        let epoch = self.hand.epoch(shard).ok_or(QueueError::NotInHand)?;
        let mut call = self.call(&self.scripts.add, shard, epoch);
        for TimerEntry { tenant, contact, run, seq, due_at } in entries {
            let member = code::member(*tenant, *contact, *run);
            call.arg(code::score(*due_at, *seq)).arg(&member[..]).arg(code::era(*seq));
        }
        let told = self.told(call).await;
        let first = entries.iter().map(|entry| entry.due_at).min();
        self.hand.added(shard, epoch, (first, told == Ok(true)));
        if told? { Ok(()) } else { Err(QueueError::NotInHand) }
    }

    async fn pop_shard(&self, turn: Turn, highest: u64) -> Result<Vec<TimerEntry>, QueueError> {
        let mut call = self.call(&self.scripts.pop, turn.shard, turn.epoch);
        call.arg(highest).arg(turn.most);
        let popped: Popped =
            self.link.ask(|mut redis| async move { call.invoke_async(&mut redis).await }).await?;
        let Some((next, due, eras)) = popped else {
            self.hand.emptied(turn.shard, turn.epoch);
            return Ok(Vec::new());
        };
        self.hand.popped(turn, code::due_at(&next));
        let mut eras = eras.into_iter();
        let entry = |pair: &[Vec<u8>]| {
            let era = eras.next().unwrap_or(0);
            code::entry(pair.first()?, pair.get(1)?, era)
        };
        Ok(due.chunks_exact(2).filter_map(entry).collect())
    }

    /// Asks for one number of each of these shards.
    async fn sum(
        &self,
        shards: Vec<u16>,
        ask: impl Fn(&mut Pipeline, String),
    ) -> Result<usize, QueueError> {
        if shards.is_empty() {
            return Ok(0);
        }
        let mut all = redis::pipe();
        for shard in shards {
            ask(&mut all, self.key(shard, "timers"));
        }
        let ask = |mut redis| async move { all.query_async::<Vec<usize>>(&mut redis).await };
        Ok(self.link.ask(ask).await?.into_iter().sum())
    }
}

fn run_id_of(info: &str) -> String {
    let line = info.lines().find_map(|line| line.strip_prefix("run_id:"));
    line.unwrap_or_default().trim().to_owned()
}

#[async_trait]
impl TimerIndex for RedisTimers {
    async fn begin(&self, shard: u16, epoch: i64) -> Result<bool, QueueError> {
        let run_id = self.run_id().await?;
        let mut call = self.call(&self.scripts.begin, shard, epoch);
        call.arg(run_id);
        let begun = self.told(call).await?;
        if begun {
            self.hand.take(shard, epoch);
        } else {
            self.hand.let_go(shard);
        }
        Ok(begun)
    }

    async fn finish(&self, shard: u16, epoch: i64) -> Result<bool, QueueError> {
        if !self.hand.is_whole(shard, epoch) {
            return Ok(false);
        }
        let run_id = self.run_id().await?;
        let mut call = self.call(&self.scripts.finish, shard, epoch);
        call.arg(run_id);
        Ok(self.told(call).await? && self.hand.is_whole(shard, epoch))
    }

    async fn unbuilt(&self, shards: &[(u16, i64)]) -> Result<Vec<(u16, i64)>, QueueError> {
        let mut ask = redis::pipe();
        ask.cmd("INFO").arg("server");
        for (shard, _) in shards {
            ask.cmd("HMGET").arg(self.key(*shard, "mark")).arg("epoch").arg("run_id").arg("whole");
            ask.cmd("ZSCORE").arg(self.key(*shard, "timers")).arg(LAST);
        }
        let ask = |mut redis| async move { ask.query_async::<Vec<Value>>(&mut redis).await };
        let mut answers = self.link.ask(ask).await?.into_iter();
        let info = answers.next().and_then(|info| redis::from_redis_value::<String>(info).ok());
        let run_id = run_id_of(&info.unwrap_or_default());
        let mut unbuilt = Vec::new();
        for (shard, epoch) in shards {
            let mark = answers.next().and_then(|mark| redis::from_redis_value(mark).ok());
            let expected = [Some(epoch.to_string()), Some(run_id.clone()), Some("1".to_owned())];
            let same = mark.is_some_and(|mark: Vec<Option<String>>| mark == expected);
            let there = answers.next().is_some_and(|score| score != Value::Nil);
            if !(same && there && self.hand.is_whole(*shard, *epoch)) {
                unbuilt.push((*shard, *epoch));
            }
        }
        Ok(unbuilt)
    }

    async fn drop_shard(&self, shard: u16) {
        self.hand.let_go(shard);
    }

    async fn add(&self, entries: &[TimerEntry]) -> Result<(), QueueError> {
        let portions = self.portions(entries);
        let adding = portions.iter().map(|(shard, part)| self.add_portion(*shard, part));
        join_all(adding).await.into_iter().collect()
    }

    async fn pop_due(&self, now: Timestamp, max: usize) -> Result<Vec<TimerEntry>, QueueError> {
        let highest = code::score_at(now);
        let mut popped = Vec::new();
        for _ in 0..POP_ROUNDS {
            let turns = self.hand.turns(now, POP_SHARDS, max - popped.len());
            if turns.is_empty() {
                break;
            }
            let answers = join_all(turns.into_iter().map(|turn| self.pop_shard(turn, highest)));
            let mut failed = None;
            for answer in answers.await {
                match answer {
                    Ok(entries) => popped.extend(entries),
                    Err(error) => failed = Some(error),
                }
            }
            match failed {
                // What came out is out: it must be fired.
                Some(error) if popped.is_empty() => return Err(error),
                Some(_) => break,
                None => {}
            }
        }
        popped.sort_unstable_by_key(|entry| (entry.due_at, entry.run));
        Ok(popped)
    }

    async fn remove(
        &self,
        tenant: TenantId,
        contact: ContactId,
        runs: &[RunId],
    ) -> Result<(), QueueError> {
        let shard = shard_of(contact, self.shards);
        let Some(epoch) = self.hand.epoch(shard) else { return Ok(()) };
        let mut call = self.call(&self.scripts.remove, shard, epoch);
        for run in runs {
            call.arg(&code::member(tenant, contact, *run)[..]);
        }
        self.told(call).await.map(|_| ())
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, QueueError> {
        Ok(self.hand.next())
    }

    async fn pending(&self) -> Result<usize, QueueError> {
        let shards = self.hand.numbers(None);
        let ends = shards.len();
        let count = |all: &mut Pipeline, key| {
            all.cmd("ZCARD").arg(key);
        };
        Ok(self.sum(shards, count).await?.saturating_sub(ends))
    }

    async fn pending_due(&self, now: Timestamp) -> Result<usize, QueueError> {
        let highest = code::score_at(now);
        let count = |all: &mut Pipeline, key| {
            all.cmd("ZCOUNT").arg(key).arg("-inf").arg(highest);
        };
        self.sum(self.hand.numbers(Some(now)), count).await
    }
}
