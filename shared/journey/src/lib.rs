//! The journey language and its interpreter: document -> plan, `(plan, state, input, now) -> step`.
//!
//! Pure: the same state and input give the same step, whatever the machine, the hour or the
//! luck. Storage, transport and clocks live elsewhere; this crate never waits and never panics.
//!
//! Cast: a [`document`] is what an author writes; a [`plan::Plan`] is what publishing makes of
//! it; a [`plan::PlanBook`] holds a brand's plans; [`state::ContactState`] is where one contact
//! stands; [`interpret::step`] moves it.

pub mod condition;
mod deep;
pub mod document;
pub mod effect;
pub mod input;
pub mod interpret;
pub mod plan;
pub mod state;

pub use document::{Document, Kind, Problem, parse_documents};
pub use effect::{Effect, RunRow, SendRequest, Step, TraceEntry};
pub use input::{Absorbed, EventInput, EventKind, Input};
pub use interpret::{StepContext, step};
pub use plan::{Catalogue, Plan, PlanBook, PlanStatus, compile};
pub use state::{ContactState, EntryRecord, RunState, RunStatus, Waiting};
