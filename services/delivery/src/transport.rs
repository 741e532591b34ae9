//! What a transport is: a session that takes an envelope from anybody and data only from the gate.
//!
//! The data stage takes [`Cleared`] and nothing else, so code that has not been through the gate's
//! final commit has nothing to hand over.

use async_trait::async_trait;

use crate::{
    gate::Cleared,
    letter::{Envelope, Letter},
    mail::smtp::{Accepted, Connection, SmtpFailure},
};

/// One session with a next hop, used for one message at a time.
#[async_trait]
pub(crate) trait Session: Send {
    /// Says from whom to whom. Can be repeated after [`Session::reset`].
    async fn envelope(&mut self, envelope: &Envelope) -> Result<(), SmtpFailure>;
    /// Hands over the message itself.
    async fn data(&mut self, letter: Cleared<Letter>) -> Result<Accepted, SmtpFailure>;
    /// Forgets the envelope.
    async fn reset(&mut self) -> Result<(), SmtpFailure>;
}

#[async_trait]
impl Session for Connection {
    async fn envelope(&mut self, envelope: &Envelope) -> Result<(), SmtpFailure> {
        Self::envelope(self, &envelope.from, &envelope.to).await
    }
    async fn data(&mut self, letter: Cleared<Letter>) -> Result<Accepted, SmtpFailure> {
        Self::data(self, &letter.into_inner().raw).await
    }
    async fn reset(&mut self) -> Result<(), SmtpFailure> {
        self.rset().await
    }
}
