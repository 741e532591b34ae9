//! Letters for a batch: on a blocking thread, one after the other, each with its own time limit.
//!
//! A message whose template stalls or panics fails alone; those behind it go on on another thread.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use parcours_content::Renderer;
use parcours_domain::MessageClass;
use parcours_kit::CpuMeter;
use parcours_store::StoreError;
use tokio::sync::{Semaphore, oneshot};

use crate::{
    batch::{Desk, Fit, Ready},
    catalogue::Unready,
    ending::{Ending, Ticket},
    gate,
    letter::{self, House, Order, Unfit},
};

/// Writes the letters; what cannot be written ends here.
pub(crate) async fn letters(
    desk: &Desk,
    house: &Arc<House>,
    fit: Vec<Fit>,
) -> Result<Vec<Ready>, StoreError> {
    let (mut orders, mut waiting, mut records) = (Vec::new(), Vec::new(), Vec::new());
    let now = desk.core.clock.now();
    for one in fit {
        let receipt = Some(one.judged.receipt_json().to_owned());
        let ticket = Ticket { receipt, ..Ticket::of(&one.claimed, now) };
        match order(desk, &one).await {
            Ok(order) => {
                orders.push(order);
                waiting.push((ticket, one.judged, one.pass.permit()));
            }
            Err(Unready::Store(error)) => return Err(error),
            Err(Unready::Missing(what)) => {
                records.extend(desk.record(&ticket, Ending::Unfit(Unfit::failed(what))));
            }
            Err(Unready::Secret(_)) => {
                records.extend(desk.record(&ticket, Ending::Back(now)));
            }
        }
    }
    let most = desk.core.config.render_most;
    let (tenant, house) = (house.tenant, Arc::clone(house));
    let cpu = Arc::new(CpuMeter::default());
    let meter = Arc::clone(&cpu);
    let compose = move |order: &Order| letter::compose(&house, order, &meter);
    let written = write_all(&desk.core.renders, most, orders, compose).await;
    desk.core.templates.charge(tenant, cpu.used()).await?;
    let mut ready = Vec::with_capacity(written.len());
    for ((ticket, judged, permit), letter) in waiting.into_iter().zip(written) {
        match letter {
            Ok(mut letter) => {
                let judged = judged.with_links(std::mem::take(&mut letter.links));
                ready.push(Ready { ticket, judged, letter, permit });
            }
            Err(unfit) => records.extend(desk.record(&ticket, Ending::Unfit(unfit))),
        }
    }
    desk.core.recorder.all(records).await;
    Ok(ready)
}

async fn order(desk: &Desk, fit: &Fit) -> Result<Order, Unready> {
    let claimed = &fit.claimed;
    let row = &claimed.row;
    let Some((_, to, _, _)) = &claimed.address else {
        return Err(Unready::Missing("no_address"));
    };
    let renderer: Arc<Renderer> =
        desk.core.catalogue.renderer(claimed.tenant, &row.template, row.template_version).await?;
    let class = gate::class_of(claimed);
    // A test looks like what it tries out.
    let shown = match class {
        MessageClass::Test => claimed.topic.as_ref().map_or(MessageClass::Marketing, |t| t.class),
        MessageClass::Marketing | MessageClass::Transactional => class,
    };
    Ok(Order {
        message: claimed.message,
        handle: claimed.handle,
        to: to.clone(),
        class,
        listed: shown == MessageClass::Marketing,
        topic: row.topic.clone(),
        template: row.template.clone(),
        journey: row.journey.clone(),
        renderer,
        contact: claimed.contact_attributes.clone(),
        run: row.properties().map_err(|_| Unready::Missing("data_unreadable"))?,
        now: desk.core.clock.now(),
    })
}

/// One answer for each order, in order. Each is given `most`, and less than twice that; at most as many at once as there
/// are permits. The writer hands over all of its letters at once: whoever waits for them is woken
/// once, and looks at the writer's progress only when that takes long.
async fn write_all<O, L, W>(
    permits: &Semaphore,
    most: Duration,
    orders: Vec<O>,
    write: W,
) -> Vec<Result<L, Unfit>>
where
    O: Send + Sync + 'static,
    L: Send + 'static,
    W: Fn(&O) -> Result<L, Unfit> + Send + Sync + 'static,
{
    let (orders, write) = (Arc::new(orders), Arc::new(write));
    let mut written = Vec::with_capacity(orders.len());
    while written.len() < orders.len() {
        let Ok(_permit) = permits.acquire().await else { break };
        let pile: Arc<Mutex<Pile<L>>> = Arc::default();
        let (write, shared, from) = (Arc::clone(&write), Arc::clone(&orders), written.len());
        let (out, (began, begins)) = (Arc::clone(&pile), oneshot::channel());
        let mut writing = tokio::task::spawn_blocking(move || {
            // Whoever asked may have gone.
            let _gone = began.send(());
            for order in shared.iter().skip(from) {
                let letter = write(order);
                let mut pile = lock(&out);
                if pile.is_left {
                    break;
                }
                pile.letters.push(letter);
            }
        });
        // The time of a template begins with its work, not while others keep every thread busy.
        let _ended = begins.await;
        let unfit = loop {
            let before = lock(&pile).letters.len();
            match tokio::time::timeout(most, &mut writing).await {
                Ok(Ok(())) => break None,
                Ok(Err(_)) => break Some(Unfit::failed("template_panicked")),
                Err(_) if lock(&pile).letters.len() > before => {}
                Err(_) => {
                    tracing::error!("a template stalled; its message fails");
                    break Some(Unfit::failed("template_stalled"));
                }
            }
        };
        let mut pile = lock(&pile);
        pile.is_left = true;
        written.append(&mut pile.letters);
        if written.len() < orders.len() {
            written.extend(unfit.map(Err));
        }
    }
    written
}

/// What one writer has written so far.
struct Pile<L> {
    letters: Vec<Result<L, Unfit>>,
    /// Nobody takes any more of it.
    is_left: bool,
}

impl<L> Default for Pile<L> {
    fn default() -> Self {
        Self { letters: Vec::new(), is_left: false }
    }
}

/// No code runs under this lock that can panic half-way.
fn lock<L>(pile: &Mutex<Pile<L>>) -> MutexGuard<'_, Pile<L>> {
    pile.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn reason(unfit: Unfit) -> String {
        unfit.reason
    }

    #[tokio::test]
    async fn a_letter_that_stalls_or_panics_fails_alone_and_the_others_are_written_in_order() {
        let (free, stalls) = mpsc::channel::<()>();
        let stalls = Mutex::new(stalls);
        let write = move |order: &u32| match order {
            2 => {
                let _ = stalls.lock().unwrap_or_else(PoisonError::into_inner).recv();
                Ok(2)
            }
            // Panics without a word: a backtrace can take longer than a letter may.
            4 => std::panic::resume_unwind(Box::new("poison")),
            _ => Ok(*order),
        };
        let most = Duration::from_secs(1);
        let written = write_all(&Semaphore::new(1), most, (0..7).collect(), write).await;
        drop(free);
        let written: Vec<_> = written.into_iter().map(|one| one.map_err(reason)).collect();
        let (stalled, panicked) =
            (Err("template_stalled".to_owned()), Err("template_panicked".to_owned()));
        assert_eq!(written, [Ok(0), Ok(1), stalled, Ok(3), panicked, Ok(5), Ok(6)]);
    }
}
