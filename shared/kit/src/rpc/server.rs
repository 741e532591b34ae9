//! The port on which a process answers the others of its install.

use std::{io, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use parcours_wire::{DeliveryApi, WorkerApi};
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{
    Request, Response, Status, Streaming,
    service::interceptor::InterceptedService,
    transport::{Server, server::TcpIncoming},
};

use super::{
    RpcLimits, RpcSecret,
    proto::{self, peer_server},
    secret::Door,
    session::{Callee, Session},
};
use crate::{Shutdown, ShutdownTrigger};

/// Streams that one connection may have; a caller needs one.
const STREAMS_MAX: u32 = 8;

/// Bytes that a caller may send before they are read.
pub(super) const STREAM_WINDOW: u32 = 1024 * 1024;

/// The same over all streams of a connection.
pub(super) const CONNECTION_WINDOW: u32 = 2 * STREAM_WINDOW;

/// After the streams had their time to end, how long the connections have.
const CLOSE_MAX: Duration = Duration::from_secs(1);

/// A port that is taken and not answered yet. It comes first, because the directory names it before
/// there is anything to answer for; callers wait meanwhile.
#[derive(Debug)]
pub struct RpcPort {
    listener: TcpListener,
    address: SocketAddr,
}

impl RpcPort {
    /// Takes a port; 0 takes a free one.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub async fn take(listen: SocketAddr) -> Result<Self, RpcError> {
        let failed = |error| RpcError::Listen(listen, error);
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// Where it is.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Why nobody is answered.
#[derive(Debug, thiserror::Error)]
pub enum RpcError {
    /// The address is taken, or not this machine's.
    #[error("cannot listen on {0} for the other processes of this install: {1}")]
    Listen(SocketAddr, #[source] io::Error),
}

/// A port that answers. Dropping it stops it as [`RpcServer::stop`] does, without waiting.
#[derive(Debug)]
pub struct RpcServer {
    address: SocketAddr,
    trigger: ShutdownTrigger,
    task: JoinHandle<()>,
    patience: Duration,
}

/// Answers other processes for this one's worker and delivery; both are this process's own, never
/// what routes to others.
///
/// # Panics
/// Outside of a tokio runtime, which should have several threads.
#[must_use]
pub fn serve(
    port: RpcPort,
    worker: Arc<dyn WorkerApi>,
    delivery: Arc<dyn DeliveryApi>,
    secret: RpcSecret,
    limits: RpcLimits,
) -> RpcServer {
    let RpcPort { listener, address } = port;
    let (trigger, shutdown) = Shutdown::new();
    let callee = Arc::new(Callee { worker, delivery, limits });
    let desk = peer_server::PeerServer::new(Desk { callee, shutdown: shutdown.clone() })
        .max_decoding_message_size(limits.message_bytes_max)
        .max_encoding_message_size(limits.message_bytes_max);
    let serving = Server::builder()
        .http2_keepalive_interval(Some(limits.ping_every))
        .http2_keepalive_timeout(Some(limits.ping_answer_max))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(STREAMS_MAX)
        .serve_with_incoming_shutdown(
            InterceptedService::new(desk, Door(secret)),
            TcpIncoming::from(listener).with_nodelay(Some(true)),
            stop_asked(shutdown),
        );
    let task = tokio::spawn(async move {
        if let Err(error) = serving.await {
            tracing::error!(%error, "other processes of this install are not answered any more");
        }
    });
    RpcServer { address, trigger, task, patience: limits.drain_max + CLOSE_MAX }
}

async fn stop_asked(mut shutdown: Shutdown) {
    shutdown.requested().await;
}

impl RpcServer {
    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Tells the callers that nothing more is taken, answers what was taken (within
    /// [`RpcLimits::drain_max`]), and closes the port.
    pub async fn stop(self) {
        self.trigger.stop();
        let mut task = self.task;
        if tokio::time::timeout(self.patience, &mut task).await.is_err() {
            tracing::warn!("connections of other processes did not end in time");
            task.abort();
        }
    }
}

/// Opens a session for each stream.
struct Desk {
    callee: Arc<Callee>,
    shutdown: Shutdown,
}

#[async_trait]
impl peer_server::Peer for Desk {
    type ExchangeStream = Pin<Box<dyn Stream<Item = Result<proto::Answer, Status>> + Send>>;

    async fn exchange(
        &self,
        request: Request<Streaming<proto::Ask>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        let (answers, outgoing) = mpsc::channel(self.callee.limits.asks_max + 1);
        let session = Session::new(Arc::clone(&self.callee), request.into_inner(), answers);
        tokio::spawn(session.run(self.shutdown.clone()));
        Ok(Response::new(Box::pin(ReceiverStream::new(outgoing))))
    }
}
