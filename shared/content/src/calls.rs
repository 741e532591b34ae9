//! What a template calls where a link stands: notes the target and gives its number between marks,
//! which are exchanged for a URL when the render is done.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use minijinja::{Error, ErrorKind, State, Value as Merged, value::Object};

use crate::{
    engine::MARKS,
    link,
    render::RenderError,
    template::{Link, LinkTarget},
};

const LINKS_MAX: usize = 1_000;

/// A word between marks.
pub(crate) fn marked(mark: &str) -> String {
    format!("{}{mark}{}", MARKS[0], MARKS[1])
}

/// What templates call where a link stands: notes the target, gives its number between marks.
#[derive(Debug)]
pub(crate) struct LinkCalls {
    links: Arc<[Link]>,
    notes: Mutex<LinkNotes>,
}

#[derive(Debug, Default)]
struct LinkNotes {
    used: BTreeMap<u16, String>,
    numbers: BTreeMap<String, u16>,
    refused: Option<RenderError>,
}

impl LinkCalls {
    pub(crate) fn new(links: &Arc<[Link]>) -> Self {
        Self { links: links.clone(), notes: Mutex::default() }
    }
    pub(crate) fn used(&self) -> BTreeMap<u16, String> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).used.clone()
    }
    pub(crate) fn refused(&self) -> Option<RenderError> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).refused.clone()
    }

    /// The number of a link whose target was evaluated: the template's own for its first target,
    /// then numbers after all of the template's, in order of appearance.
    fn number(&self, index: u16, given: Option<&str>) -> Option<u16> {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        let link = self.links.get(usize::from(index))?;
        let target = match (&link.target, given) {
            (LinkTarget::Static(target), _) => {
                notes.used.insert(index, target.clone());
                return Some(index);
            }
            (LinkTarget::Dynamic(_), given) => given.unwrap_or(""),
        };
        if link::classify(target).is_none() {
            notes.refused = Some(RenderError::UnsafeLink { link: index });
            return None;
        }
        if let Some(number) = notes.numbers.get(target) {
            return Some(*number);
        }
        let number = if notes.used.contains_key(&index) {
            let above = notes.used.last_key_value().map_or(0, |(last, _)| usize::from(*last) + 1);
            u16::try_from(above.max(self.links.len())).ok()?
        } else {
            index
        };
        if notes.used.len() >= LINKS_MAX {
            notes.refused = Some(RenderError::TooLarge);
            return None;
        }
        notes.used.insert(number, target.to_owned());
        notes.numbers.insert(target.to_owned(), number);
        Some(number)
    }
}

impl Object for LinkCalls {
    fn call(
        self: &Arc<Self>,
        _state: &mut State<'_, '_>,
        args: &[Merged],
    ) -> Result<Merged, Error> {
        let refused = || Error::new(ErrorKind::InvalidOperation, "link refused");
        let mut args = args.iter();
        let index =
            args.next().and_then(|arg| u16::try_from(arg.clone()).ok()).ok_or_else(refused)?;
        let given = args.next();
        if let Some(given) = given
            && given.is_undefined()
        {
            return Err(Error::from(ErrorKind::UndefinedError));
        }
        let target = given.map(ToString::to_string);
        let number = self.number(index, target.as_deref()).ok_or_else(refused)?;
        Ok(Merged::from(marked(&number.to_string())))
    }
}
