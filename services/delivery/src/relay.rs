//! SMTP: one message on one connection, with the gate's final commit between the last RCPT reply
//! and DATA.
//!
//! Everything up to the RCPT reply can be repeated. After the final commit there is one way on:
//! DATA within the grace, and whatever reply comes; when the grace is over, nothing is handed over
//! and the message is judged again. A connection or process that is lost after the
//! final dot leaves an outcome that nobody knows; it is recorded as such and resolved by policy.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Instant, SystemTime},
};

use futures::FutureExt as _;
use parcours_kit::telemetry;
use tokio::task::JoinSet;

use crate::{
    batch::{Desk, Ready},
    core::Core,
    doors::Entrance,
    ending::{Ending, Reply},
    gate::{Clearance, Cleared},
    letter::Letter,
    mail::{
        classify::{Verdict, classify},
        smtp::{Connection, SmtpFailure},
    },
    pool::{NoConnection, Place, Pool},
    told,
    transport::Session,
};

/// Delivers a batch over the sender's connections, each message through its recipients' door if they
/// have one; returns when each has its record.
pub(crate) async fn deliver(
    desk: &Desk,
    pool: &Arc<Pool>,
    ready: impl Iterator<Item = (Ready, Option<Entrance>)>,
) {
    let mut tasks = JoinSet::new();
    for (one, entrance) in ready {
        let line = Line {
            core: Arc::clone(&desk.core),
            pool: Arc::clone(pool),
            entrance,
            claimed_at: desk.claimed_at,
            may_have_left: Arc::new(AtomicBool::new(false)),
        };
        let ticket = one.ticket.clone();
        tasks.spawn(async move {
            let left = Arc::clone(&line.may_have_left);
            let ending = AssertUnwindSafe(line.transmit(one)).catch_unwind().await;
            let ending = ending.unwrap_or_else(|_| {
                tracing::error!(message = %ticket.message, "a transmission panicked");
                if left.load(Ordering::SeqCst) {
                    Ending::Unknown(Reply::at("dot"))
                } else {
                    Ending::Again(Reply::at("envelope"), "panicked")
                }
            });
            (ticket, ending)
        });
    }
    // Recording is grouped over all connections, and none waits for another's record.
    let mut records = futures::stream::FuturesUnordered::new();
    loop {
        tokio::select! {
            Some(done) = tasks.join_next() => {
                let Ok((ticket, ending)) = done else { continue };
                if let Some(record) = desk.record(&ticket, ending) {
                    records.push(desk.core.recorder.one(record));
                }
            }
            Some(()) = futures::StreamExt::next(&mut records) => {}
            else => return,
        }
    }
}

/// One message's way.
struct Line {
    core: Arc<Core>,
    pool: Arc<Pool>,
    entrance: Option<Entrance>,
    claimed_at: Instant,
    /// Set before the first byte of data: from then on a loss is not a failure but unknown.
    may_have_left: Arc<AtomicBool>,
}

impl Line {
    async fn transmit(&self, ready: Ready) -> Ending {
        tokio::time::sleep_until(ready.permit.opens_at().into()).await;
        // First, so that nobody holds a connection while he waits for his turn with a slow provider.
        let _inside = match &self.entrance {
            Some(entrance) => Some(entrance.enter(&self.core).await),
            None => None,
        };
        let Some(mut place) = self.pool.place().await else { return self.back() };
        let stale = self.claimed_at.elapsed() > self.core.config.stale_after;
        if ready.permit.is_late(Instant::now()) || stale || self.core.is_stopping() {
            return self.back();
        }
        let (begun, moment) = (Instant::now(), SystemTime::now());
        let envelope = self.envelope(&mut place, &ready).await;
        told::phase(&ready.ticket, "envelope", moment);
        let ending = match envelope {
            Ok(()) => self.clear_and_send(place, ready).await,
            Err(ending) => ending,
        };
        telemetry::metrics().observe("parcours_send_seconds", begun.elapsed().as_secs_f64(), &[]);
        ending
    }

    fn back(&self) -> Ending {
        Ending::Back(self.core.clock.now())
    }

    /// Connection and envelope. A connection that was kept may have been closed by the server
    /// meanwhile; then a new one is tried once.
    async fn envelope(&self, place: &mut Place, ready: &Ready) -> Result<(), Ending> {
        let idle = self.core.config.idle_connection;
        for fresh in [false, true] {
            let (connection, reused) = match place.connection(idle, fresh).await {
                Ok(found) => found,
                Err(NoConnection::Resting) => {
                    return Err(Ending::Again(Reply::at("connect"), "server_resting"));
                }
                Err(NoConnection::Failed(failure)) => return Err(before_data("connect", &failure)),
            };
            match Session::envelope(connection, &ready.letter.envelope).await {
                Ok(()) => return Ok(()),
                Err(failure) if reused && classify(&failure) == Verdict::ConnectionRetry => {}
                Err(failure) => {
                    let usable = classify(&failure) != Verdict::ConnectionRetry
                        && connection.reset().await.is_ok();
                    place.keep_if(usable);
                    return Err(before_data("envelope", &failure));
                }
            }
        }
        Err(Ending::Again(Reply::at("connect"), "connection_lost"))
    }

    async fn clear_and_send(&self, mut place: Place, ready: Ready) -> Ending {
        let Ready { ticket, judged, letter, .. } = ready;
        let moment = SystemTime::now();
        let answer = self.core.gate.clear(judged, letter).await;
        told::phase(&ticket, "final commit", moment);
        let Some(connection) = place.held() else { return self.back() };
        match answer {
            Clearance::Go(letter) if letter.age() > self.core.config.dot_grace => {
                // The place is dropped, and with it the connection: nothing was handed over.
                Ending::Late(Reply::at("dot"))
            }
            Clearance::Go(letter) => {
                let moment = SystemTime::now();
                let ending = self.data(connection, letter).await;
                told::phase(&ticket, "data", moment);
                place.keep_if(matches!(ending, Ending::Sent(_)));
                ending
            }
            Clearance::Rejudge(_) | Clearance::Halted | Clearance::Unanswered => {
                let usable = connection.reset().await.is_ok();
                place.keep_if(usable);
                self.back()
            }
            Clearance::Lost => {
                tracing::warn!(tenant = %ticket.tenant, message = %ticket.message, "claim lost");
                let usable = connection.reset().await.is_ok();
                place.keep_if(usable);
                Ending::Lost
            }
        }
    }

    async fn data(&self, connection: &mut Connection, letter: Cleared<Letter>) -> Ending {
        self.may_have_left.store(true, Ordering::SeqCst);
        match Session::data(connection, letter).await {
            Ok(accepted) => {
                Ending::Sent(Reply { stage: "reply", code: Some(accepted.code), enhanced: None })
            }
            Err(failure) => after_data(&failure),
        }
    }
}

fn reply(stage: &'static str, failure: &SmtpFailure) -> Reply {
    let enhanced =
        failure.enhanced.map(|(class, subject, detail)| format!("{class}.{subject}.{detail}"));
    Reply { stage, code: failure.code, enhanced }
}

/// Nothing has left: the message fails, or comes again.
fn before_data(stage: &'static str, failure: &SmtpFailure) -> Ending {
    let reply = reply(stage, failure);
    match classify(failure) {
        Verdict::Suppress => Ending::Bounced(reply),
        Verdict::FailMessage => Ending::Failed(reply, "rejected"),
        Verdict::Retry => Ending::Again(reply, "deferred"),
        Verdict::ConnectionRetry | Verdict::MaybeDelivered => {
            Ending::Again(reply, "connection_failed")
        }
    }
}

/// The data was begun. What the classifier calls certain is taken as such; the recipient is never
/// suppressed for what happens here.
fn after_data(failure: &SmtpFailure) -> Ending {
    let reply = reply("reply", failure);
    match classify(failure) {
        Verdict::Suppress | Verdict::FailMessage => Ending::Failed(reply, "rejected"),
        Verdict::Retry => Ending::Again(reply, "deferred"),
        Verdict::ConnectionRetry => Ending::Again(reply, "connection_failed"),
        Verdict::MaybeDelivered => Ending::Unknown(reply),
    }
}
