//! Letters for a batch: on a blocking thread, one after the other, each with its own time limit.
//!
//! A message whose template stalls or panics fails alone; those behind it go on on another thread.

use std::sync::Arc;

use parcours_content::Renderer;
use parcours_domain::MessageClass;
use parcours_store::StoreError;
use tokio::sync::mpsc;

use crate::{
    batch::{Desk, Fit, Ready},
    catalogue::Unready,
    ending::{Ending, Ticket},
    gate,
    letter::{self, House, Letter, Order, Unfit},
};

/// Letters that may wait to be taken.
const AHEAD: usize = 16;

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
                waiting.push((ticket, one.judged, one.permit));
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
    let written = write_all(desk, house, orders).await;
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

/// One answer for each order, in order.
async fn write_all(
    desk: &Desk,
    house: &Arc<House>,
    orders: Vec<Order>,
) -> Vec<Result<Letter, Unfit>> {
    let orders = Arc::new(orders);
    let mut written = Vec::with_capacity(orders.len());
    while written.len() < orders.len() {
        let Ok(_permit) = desk.core.renders.acquire().await else { break };
        let (out, mut letters) = mpsc::channel(AHEAD);
        let (house, shared, from) = (Arc::clone(house), Arc::clone(&orders), written.len());
        tokio::task::spawn_blocking(move || {
            for order in shared.iter().skip(from) {
                if out.blocking_send(letter::compose(&house, order)).is_err() {
                    break;
                }
            }
        });
        while written.len() < orders.len() {
            match tokio::time::timeout(desk.core.config.render_most, letters.recv()).await {
                Ok(Some(letter)) => written.push(letter),
                Ok(None) => {
                    written.push(Err(Unfit::failed("template_panicked")));
                    break;
                }
                Err(_) => {
                    let template = orders.get(written.len()).map(|order| order.template.as_str());
                    tracing::error!(template, "a template stalled; its message fails");
                    written.push(Err(Unfit::failed("template_stalled")));
                    break;
                }
            }
        }
    }
    written
}
