//! What each process needs and no rule should own: the two clocks, chance, problems over HTTP,
//! telemetry, orderly stopping and readiness; and how processes reach one another.
//!
//! Time and chance are values of traits defined here, so that rules and tests get them as
//! arguments and only the binary decides which ones are real.

pub mod chance;
pub mod clock;
pub mod cpu;
pub mod health;
pub mod problem;
pub mod route;
pub mod rpc;
pub mod shutdown;
pub mod telemetry;
pub mod traces;

pub use chance::{Chance, OsChance, SeededChance};
pub use clock::{Clock, ProductClock, machine_now, since_boot};
pub use cpu::CpuMeter;
pub use health::Readiness;
pub use problem::Problem;
pub use shutdown::{Shutdown, ShutdownTrigger};
