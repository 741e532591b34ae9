//! Reads a request's body within its bounds and unpacks gzip (RFC 1952) within the same bounds.

use std::io::Read as _;

use actix_web::{HttpRequest, http::header, web};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub enum Body {
    /// Plain bytes, unpacked if they were packed.
    Plain(Bytes),
    /// Bytes that could not be unpacked, as they came.
    Packed {
        /// Stable word for why not.
        code: &'static str,
        /// How to mend it.
        message: &'static str,
        /// As they came.
        raw: Bytes,
    },
}

/// Why nothing was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// More bytes than allowed, as sent or unpacked.
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    /// The connection broke off.
    #[error("the body broke off")]
    BrokenOff,
}

/// Reads the whole body, at most `limit` bytes as sent and unpacked.
///
/// # Errors
/// Too large or broken off.
pub async fn read(
    request: &HttpRequest,
    mut payload: web::Payload,
    limit: usize,
) -> Result<Body, BodyError> {
    let mut raw = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| BodyError::BrokenOff)?;
        if raw.len() + chunk.len() > limit {
            return Err(BodyError::TooLarge(limit));
        }
        raw.extend_from_slice(&chunk);
    }
    let encoding = request
        .headers()
        .get(header::CONTENT_ENCODING)
        .map_or("identity", |value| value.to_str().unwrap_or("unreadable"));
    unpack(encoding.trim(), raw.freeze(), limit)
}

fn unpack(encoding: &str, raw: Bytes, limit: usize) -> Result<Body, BodyError> {
    if encoding.is_empty() || encoding.eq_ignore_ascii_case("identity") {
        return Ok(Body::Plain(raw));
    }
    if !encoding.eq_ignore_ascii_case("gzip") && !encoding.eq_ignore_ascii_case("x-gzip") {
        return Ok(Body::Packed {
            code: "unsupported_encoding",
            message: "Content-Encoding may be gzip or absent",
            raw,
        });
    }
    let bound = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let mut plain = Vec::new();
    match flate2::read::MultiGzDecoder::new(raw.as_ref()).take(bound).read_to_end(&mut plain) {
        Ok(_) if plain.len() > limit => Err(BodyError::TooLarge(limit)),
        Ok(_) => Ok(Body::Plain(plain.into())),
        Err(_) => Ok(Body::Packed {
            code: "damaged_gzip",
            message: "the body says it is gzip but cannot be unpacked",
            raw,
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn gzip(plain: &[u8]) -> Bytes {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap().into()
    }

    #[test]
    fn gzip_is_unpacked_and_bounded() {
        assert_eq!(unpack("gzip", gzip(b"{}"), 10), Ok(Body::Plain(Bytes::from_static(b"{}"))));
        let bomb = gzip(&vec![b' '; 50_000_000]);
        assert!(bomb.len() < 1_000_000);
        assert_eq!(unpack("gzip", bomb, 1_000_000), Err(BodyError::TooLarge(1_000_000)));
    }

    #[test]
    fn what_cannot_be_unpacked_is_kept_as_it_came() {
        for (encoding, code) in [("gzip", "damaged_gzip"), ("br", "unsupported_encoding")] {
            let raw = Bytes::from_static(b"not packed");
            let Ok(Body::Packed { code: got, raw: kept, .. }) = unpack(encoding, raw.clone(), 99)
            else {
                panic!("{encoding}")
            };
            assert_eq!((got, kept), (code, raw));
        }
    }
}
