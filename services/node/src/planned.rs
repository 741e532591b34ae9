//! A fault that is planned by a test: the interpreter panics at events of one name. No input is known
//! that makes it do so by itself. Only in builds with debug assertions; what is released has none of it.

use std::sync::Arc;

use parcours_journey::Input;
use parcours_worker::WorkerParts;

/// The name of the events.
const VARIABLE: &str = "PARCOURS_PANICS_AT";

/// The worker's interpreter panics at the events that [`VARIABLE`] names, when it is there.
pub(crate) fn panics(parts: &mut WorkerParts) {
    let Ok(name) = std::env::var(VARIABLE) else { return };
    tracing::warn!(event = name, "panics at these events, because a test wants it ({VARIABLE})");
    let sound = Arc::clone(&parts.step);
    parts.step = Arc::new(move |state, input, context| match input {
        Input::Event(event) if event.name == name => panic!("planned, by {VARIABLE}"),
        _ => sound(state, input, context),
    });
}
