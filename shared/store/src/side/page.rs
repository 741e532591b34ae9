//! Pages of a listing: opaque cursors, written limits.
//!
//! What always holds: a listing has one total order; a cursor names the last row given; following
//! cursors to the end gives every row that was there from the start exactly once.

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Rows in a page unless asked otherwise.
pub const PAGE_DEFAULT: u32 = 50;
/// The most rows in a page.
pub const PAGE_MAX: u32 = 500;

/// Which page is wanted.
#[derive(Clone, Debug, Default)]
pub struct PageRequest {
    /// Rows wanted; none means [`PAGE_DEFAULT`]; at most [`PAGE_MAX`] are given.
    pub limit: Option<u32>,
    /// The `next` of the page before; none starts at the beginning.
    pub cursor: Option<Cursor>,
}

impl PageRequest {
    /// The first page with this many rows.
    #[must_use]
    pub const fn first(limit: u32) -> Self {
        Self { limit: Some(limit), cursor: None }
    }
    pub(crate) fn size(&self) -> usize {
        let limit = self.limit.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX);
        usize::try_from(limit).unwrap_or(1)
    }
    /// One row more than the page holds tells whether there is a next page.
    pub(crate) fn fetch(&self) -> i64 {
        i64::try_from(self.size()).unwrap_or(1) + 1
    }
    pub(crate) fn position<T: DeserializeOwned>(&self) -> Result<Option<T>, crate::StoreError> {
        self.cursor.as_ref().map(Cursor::read).transpose()
    }
}

/// A place in a listing; opaque outside this crate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cursor(String);

impl Cursor {
    /// A cursor as it came from outside; a foreign one is refused when it is used.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        Self(text.to_owned())
    }
    /// The text to hand out.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
    pub(crate) fn write<T: Serialize>(position: &T) -> Self {
        Self(BASE64URL_NOPAD.encode(&postcard::to_stdvec(position).unwrap_or_default()))
    }
    fn read<T: DeserializeOwned>(&self) -> Result<T, crate::StoreError> {
        let bytes = BASE64URL_NOPAD.decode(self.0.as_bytes()).ok();
        bytes
            .and_then(|bytes| postcard::from_bytes(&bytes).ok())
            .ok_or(crate::StoreError::BadCursor)
    }
}

/// One page.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Page<T> {
    /// The rows, in the listing's order.
    pub items: Vec<T>,
    /// Where to go on; none at the end.
    pub next: Option<Cursor>,
}

impl<T> Page<T> {
    /// Cuts rows fetched with [`PageRequest::fetch`] to the page and points at the last.
    pub(crate) fn cut<P: Serialize>(
        mut items: Vec<T>,
        request: &PageRequest,
        position: impl Fn(&T) -> P,
    ) -> Self {
        let more = items.len() > request.size();
        items.truncate(request.size());
        let next = items.last().filter(|_| more).map(|last| Cursor::write(&position(last)));
        Self { items, next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_round_trips_and_a_foreign_one_is_refused() {
        let cursor = Cursor::write(&(7_i64, uuid::Uuid::from_u128(9)));
        let back: (i64, uuid::Uuid) = Cursor::from_text(cursor.as_str()).read().unwrap();
        assert_eq!(back, (7, uuid::Uuid::from_u128(9)));
        for foreign in ["", "!!", "AA", "zzzzzzzz"] {
            assert!(Cursor::from_text(foreign).read::<(i64, uuid::Uuid)>().is_err(), "{foreign}");
        }
    }

    #[test]
    fn a_page_never_exceeds_its_limit() {
        assert_eq!(PageRequest::first(9_999).size(), 500);
        assert_eq!(PageRequest::first(0).size(), 1);
        assert_eq!(PageRequest::default().size(), 50);
    }
}
