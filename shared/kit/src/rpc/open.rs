//! Opening a connection and its stream, and what goes out and comes in on it.

use std::{error::Error, sync::Arc};

use tokio::sync::{mpsc, oneshot};
use tokio_stream::Stream;
use tonic::{Request, Streaming, transport::Endpoint};

use super::{
    HintBox, LinkSettings,
    pending::{Pending, Reply},
    proto::{self, answer, ask, peer_client::PeerClient, refusal::Reason},
    server::{CONNECTION_WINDOW, STREAM_WINDOW},
};
use crate::{Shutdown, ShutdownTrigger};

/// Asks that wait to be sent.
const QUEUED_MAX: usize = 64;

/// Why a peer cannot be asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    /// No such address, or nobody there.
    #[error("no connection: {}", cause(.0))]
    Connect(#[from] tonic::transport::Error),
    /// The peer does not answer us.
    #[error("refused: {0}")]
    Refused(Box<tonic::Status>),
}

/// The innermost error: the outer ones only say that there is one.
fn cause<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut innermost = error;
    while let Some(inner) = innermost.source() {
        innermost = inner;
    }
    innermost
}

/// An ask that is to be sent. Dropping it unsent tells the asker so.
pub(super) struct Queued {
    pub accept: proto::Accept,
    pub reply: oneshot::Sender<Reply>,
}

/// An open stream. When the last user drops it, the stream ends.
pub(super) struct Session {
    pub asks: mpsc::Sender<Queued>,
    pub pending: Arc<Pending>,
}

/// Connects and opens the stream. Nothing is sent on it before the peer has let us in, so a
/// failure here means that nothing was done.
pub(super) async fn open(
    address: Arc<str>,
    settings: LinkSettings,
    hints: Arc<HintBox>,
) -> Result<Session, OpenError> {
    let limits = settings.limits;
    let channel = Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(limits.open_max)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(limits.ping_every)
        .keep_alive_timeout(limits.ping_answer_max)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .connect()
        .await?;
    let (asks, queued) = mpsc::channel(QUEUED_MAX);
    let pending = Arc::new(Pending::default());
    let (end, ended) = Shutdown::new();
    let outgoing = Outgoing { queued, hints, pending: Arc::clone(&pending), ended };
    let mut request = Request::new(outgoing.stream());
    settings.secret.put_on(request.metadata_mut());
    let mut client = PeerClient::new(channel)
        .max_decoding_message_size(limits.message_bytes_max)
        .max_encoding_message_size(limits.message_bytes_max);
    let answers = client.exchange(request).await.map_err(|s| OpenError::Refused(Box::new(s)))?;
    tokio::spawn(listen(answers.into_inner(), Arc::clone(&pending), end));
    Ok(Session { asks, pending })
}

/// What goes out: asks first, hints when there are none.
struct Outgoing {
    queued: mpsc::Receiver<Queued>,
    hints: Arc<HintBox>,
    pending: Arc<Pending>,
    ended: Shutdown,
}

impl Outgoing {
    fn stream(self) -> impl Stream<Item = proto::Ask> + Send + 'static {
        futures::stream::unfold(self, |mut outgoing| async move {
            let what = outgoing.next().await?;
            Some((proto::Ask { what: Some(what) }, outgoing))
        })
    }

    async fn next(&mut self) -> Option<ask::What> {
        loop {
            tokio::select! {
                biased;
                () = self.ended.requested() => return None,
                queued = self.queued.recv() => {
                    let Queued { mut accept, reply } = queued?;
                    if !reply.is_closed() {
                        accept.number = self.pending.send(reply)?;
                        return Some(ask::What::Accept(accept));
                    }
                }
                () = self.hints.filled.notified() => {
                    if let Some(hints) = self.hints.message() {
                        return Some(ask::What::Hints(hints));
                    }
                }
            }
        }
    }
}

/// What comes in, until the stream ends.
async fn listen(
    mut answers: Streaming<proto::Answer>,
    pending: Arc<Pending>,
    end: ShutdownTrigger,
) {
    loop {
        let answer = match answers.message().await {
            Ok(Some(answer)) => answer,
            Ok(None) => break,
            Err(status) => {
                tracing::debug!(%status, "a stream to another process ended");
                break;
            }
        };
        match answer.what {
            Some(answer::What::Outcomes(of)) => {
                pending.answer(of.number, Reply::Outcomes(of.contacts));
            }
            Some(answer::What::Refusal(of)) => {
                let reason = Reason::try_from(of.reason).unwrap_or(Reason::Unspecified);
                pending.answer(of.number, Reply::Refused(reason));
            }
            Some(answer::What::Closing(of)) => {
                pending.close_after(of.taken);
                end.stop();
            }
            None => tracing::warn!("another process answered what is not known here"),
        }
    }
    pending.end();
    end.stop();
}
