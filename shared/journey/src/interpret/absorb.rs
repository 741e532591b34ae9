//! An anonymous contact became this one: attributes fill gaps, runs and entry records move here.
//!
//! Applied twice, it changes nothing the second time.

use parcours_domain::Value;

use super::{entry, row::End, walk::Walk};
use crate::input::Absorbed;

pub(super) fn apply(walk: &mut Walk<'_>, absorbed: &Absorbed) {
    for (name, value) in &absorbed.attributes {
        if *value != Value::Null && !walk.state.attributes.contains_key(name) {
            walk.set_attribute(name, value.clone());
        }
    }
    for record in &absorbed.entries {
        entry::merge(walk, record.clone());
    }
    for run in &absorbed.runs {
        if walk.state.run(run.id).is_some() {
            continue;
        }
        if walk.live(&run.journey, &run.key).is_some() {
            walk.mark_new(run.id);
            walk.close(run, End { status: "exited", by: "absorbed_duplicate".to_owned() });
            continue;
        }
        walk.trace(run, "absorbed", "");
        walk.adopt(run.clone());
        // Its old timer went with the old contact. A held run gets a timer that is due and will be
        // held again if its journey is still paused.
        walk.set_timer(run.id, run.wakes_at);
        walk.unsettled.insert(run.id);
    }
}
