//! What runs inside Redis: short scripts that first look whose index it is. Time is an argument.

use redis::Script;

/// All take the shard's keys: mark, timers, eras; and the epoch first.
pub(super) struct Scripts {
    /// And the server's run id. 0: a later owner has begun it. The set gets a last member that is
    /// never due: a set without it was evicted, not emptied.
    pub begin: Script,
    /// And the server's run id. 0: begun by another, or on another server.
    pub finish: Script,
    /// And score, member and era of each entry. 0: not begun under this epoch.
    pub add: Script,
    /// And the highest score, and how many. Nil: not begun under this epoch.
    pub pop: Script,
    /// And members. 0: not begun under this epoch.
    pub remove: Script,
}

impl Scripts {
    pub fn new() -> Self {
        Self {
            begin: Script::new(BEGIN),
            finish: Script::new(FINISH),
            add: Script::new(ADD),
            pop: Script::new(POP),
            remove: Script::new(REMOVE),
        }
    }
}

const BEGIN: &str = r"
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if epoch and tonumber(epoch) > tonumber(ARGV[1]) then return 0 end
redis.call('UNLINK', KEYS[2], KEYS[3])
redis.call('ZADD', KEYS[2], '+inf', 'end')
redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'run_id', ARGV[2], 'whole', '0')
return 1
";

const FINISH: &str = r"
local mark = redis.call('HMGET', KEYS[1], 'epoch', 'run_id')
if mark[1] ~= ARGV[1] or mark[2] ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], 'whole', '1')
return 1
";

const ADD: &str = r"
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return 0 end
local eras = redis.call('EXISTS', KEYS[3]) == 1
for i = 2, #ARGV, 3 do
  local score, member, era = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local old = redis.call('ZSCORE', KEYS[2], member)
  local newer = true
  if old then
    local old_era = eras and tonumber(redis.call('HGET', KEYS[3], member) or 0) or 0
    local new_era = tonumber(era)
    newer = new_era > old_era
      or (new_era == old_era and tonumber(score) % 2048 >= tonumber(old) % 2048)
  end
  if newer then
    redis.call('ZADD', KEYS[2], score, member)
    if era ~= '0' then
      redis.call('HSET', KEYS[3], member, era)
      eras = true
    elseif eras then
      redis.call('HDEL', KEYS[3], member)
    end
  end
end
return 1
";

const POP: &str = r"
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return false end
local due = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ARGV[2], 'WITHSCORES', 'LIMIT', 0, ARGV[3])
local eras = {}
if #due > 0 then
  redis.call('ZREMRANGEBYRANK', KEYS[2], 0, #due / 2 - 1)
  if redis.call('EXISTS', KEYS[3]) == 1 then
    for i = 1, #due, 2 do
      eras[#eras + 1] = redis.call('HGET', KEYS[3], due[i]) or '0'
      redis.call('HDEL', KEYS[3], due[i])
    end
  end
end
local next = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
return { next[2] or '', due, eras }
";

const REMOVE: &str = r"
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return 0 end
for i = 2, #ARGV do
  redis.call('ZREM', KEYS[2], ARGV[i])
  redis.call('HDEL', KEYS[3], ARGV[i])
end
return 1
";
