//! Mail: from a rendered message to bytes, signatures and a conversation with the next hop.
//!
//! Three parties, none of which knows the others: [`mime`] builds the message, [`dkim`] signs its
//! bytes, [`smtp`] hands them over, command by command, so that a commit fits between the last RCPT
//! and DATA. [`classify`] says what a failure means for message and recipient. Nothing here logs:
//! all of it handles addresses and bodies.

pub mod classify;
pub mod dkim;
pub mod mime;
mod reply;
pub mod smtp;
pub mod tls;

#[cfg(test)]
mod tests;
