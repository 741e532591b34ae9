//! Ingest that Segment's clients already speak.
//!
//! Cast: [`body`] reads and unpacks the request within its bounds; [`envelope`] parts it into
//! items without parsing them; [`item`] turns one item into an accepted event or a fault;
//! [`apply`] resolves identities, hands contacts to their owner and collects what became of each
//! item; `keep` keeps what was not applied; [`canonical`] is the one text of a body; [`answer`]
//! counts; [`settings`] are the brand's.
//!
//! What always holds: the answer is 200, or 401, 413, 429 or 503; nothing else. A 200 means that
//! every item was applied, was there before, or is in quarantine with its cause. A faulty item
//! costs only itself.

pub mod answer;
pub mod apply;
pub mod body;
pub mod canonical;
pub mod envelope;
pub mod item;
mod keep;
pub mod settings;
