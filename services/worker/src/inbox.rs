//! The sweep of the inbox: wakes contacts that have rows, page by page, and goes on as soon as
//! half of those it woke are done.
//!
//! What always holds: it wakes no more at a time than there is room for, however many rows wait;
//! beside live work, mass work has a stated share of what is under way and no more.

use std::{pin::pin, sync::Arc, time::Duration};

use parcours_store::InboxMarks;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::{
    config::{BATCH_CONTACTS, BULK_LEAST, BULK_SHARE_PERCENT, SWEEP_ROWS_MAX},
    loops::Loops,
    registry::{Lanes, Woken},
    work::Gauge,
};

/// How long live work that has come keeps mass work to its share: gaps between requests are no rest.
const LIVE_FOR: Duration = Duration::from_millis(500);

/// Whether a lane has more rows than the last pass took, and some of its contacts are under way.
#[derive(Clone, Copy, Debug, Default)]
struct Behind {
    live: bool,
    bulk: bool,
}

impl Loops {
    /// Wakes contacts with inbox rows; ends when told.
    pub(crate) async fn run_inbox(self: Arc<Self>) {
        let mut stop = self.stop.clone();
        let mut marks = InboxMarks::default();
        let mut behind = Behind::default();
        let mut share = Share::default();
        let mut tick = interval(self.config.sweep_period);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (gauge, lanes) = (&self.registry.gauge, &self.registry.lanes);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = self.sweep_inbox.notified() => {}
                () = half_free(&lanes.live, || SWEEP_ROWS_MAX), if behind.live => {}
                () = half_free(&lanes.bulk, || share.of(gauge, lanes)), if behind.bulk => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            let limits = (
                SWEEP_ROWS_MAX.saturating_sub(lanes.live.used()),
                share.of(gauge, lanes).saturating_sub(lanes.bulk.used()),
            );
            behind = self.sweep_inbox_now(&mut marks, limits).await;
        }
    }

    /// One page of either lane.
    async fn sweep_inbox_now(&self, marks: &mut InboxMarks, limits: (usize, usize)) -> Behind {
        let _busy = self.registry.gauge.hold();
        let mut woken = Behind::default();
        match self.deps.durable.inbox_contacts(*marks, limits).await {
            Ok((contacts, next)) => {
                *marks = next;
                for found in contacts {
                    let answer = self.registry.wake((found.tenant, found.contact), found.bulk);
                    let lane = if found.bulk { &mut woken.bulk } else { &mut woken.live };
                    *lane |= answer == Woken::Now;
                }
            }
            Err(error) => tracing::warn!(%error, "the inbox sweep failed; it comes again"),
        }
        // Rows that nobody new was woken for are looked at again after the period, not at once.
        let (live, bulk) = marks.more();
        Behind { live: woken.live && live, bulk: woken.bulk && bulk }
    }
}

/// How much mass work there may be.
#[derive(Debug, Default)]
struct Share {
    /// Live work that had come at the last look.
    taken: usize,
    /// Until when live work counts as being there.
    live_until: Option<Instant>,
}

impl Share {
    /// How many contacts with mass work may be under way now.
    fn of(&mut self, all: &Gauge, lanes: &Lanes) -> usize {
        let taken = all.taken().wrapping_sub(lanes.bulk.taken());
        let live = all.used().saturating_sub(lanes.bulk.used());
        let now = Instant::now();
        if taken != self.taken || live > 0 {
            self.live_until = Some(now + LIVE_FOR);
        }
        self.taken = taken;
        let there = self.live_until.is_some_and(|until| now < until);
        bulk_most(there.then_some(live))
    }
}

/// Returns when half of a lane's room is free.
async fn half_free(lane: &Gauge, mut most: impl FnMut() -> usize) {
    loop {
        let mut given_back = pin!(lane.given_back.notified());
        given_back.as_mut().enable();
        if lane.used() <= most() / 2 {
            return;
        }
        given_back.await;
    }
}

/// How many contacts with mass work may be under way: all of a batch while nothing else comes; beside
/// so much live work, a stated share of the whole, but a few always.
fn bulk_most(live: Option<usize>) -> usize {
    let Some(live) = live else { return BATCH_CONTACTS };
    let share = live * BULK_SHARE_PERCENT / (100 - BULK_SHARE_PERCENT);
    share.clamp(BULK_LEAST, BATCH_CONTACTS * BULK_SHARE_PERCENT / 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mass_work_takes_at_most_its_share_beside_live_work() {
        let beside = [None, Some(0), Some(100), Some(1_000_000)].map(bulk_most);
        assert_eq!(beside, [512, 4, 42, 153]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_gap_between_requests_is_no_rest() {
        let (all, lanes) = (Gauge::new(100), Lanes { live: Gauge::new(9), bulk: Gauge::new(9) });
        let mut share = Share::default();
        assert_eq!(share.of(&all, &lanes), BATCH_CONTACTS, "nothing has come yet");
        // It came and went between two looks.
        drop(all.take(3));
        assert_eq!(share.of(&all, &lanes), BULK_LEAST);
        tokio::time::advance(LIVE_FOR / 2).await;
        assert_eq!(share.of(&all, &lanes), BULK_LEAST);
        tokio::time::advance(LIVE_FOR).await;
        assert_eq!(share.of(&all, &lanes), BATCH_CONTACTS);
        // Mass work itself is not live.
        let _own = (all.take(5), lanes.bulk.take(5));
        assert_eq!(share.of(&all, &lanes), BATCH_CONTACTS);
    }

    #[tokio::test]
    async fn a_lane_goes_on_once_half_of_it_is_free() {
        let gauge = Gauge::new(10);
        let mut permits: Vec<_> = (0..6).filter_map(|_| gauge.take(1)).collect();
        let mut waiting = pin!(half_free(&gauge, || 10));
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        permits.pop();
        assert!(futures::poll!(waiting).is_ready());
    }
}
