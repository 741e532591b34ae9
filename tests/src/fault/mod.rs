//! Planned faults from outside the process: what stands between the product and its world.

pub mod proxy;
