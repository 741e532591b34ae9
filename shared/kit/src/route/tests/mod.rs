//! The router among processes that are played, on a clock that is moved.

mod hints;
mod moving;
mod world;
