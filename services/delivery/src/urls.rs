//! The URLs of one message: unsubscribe and clicks, under the brand's link key.
//!
//! A URL holds a token and nothing else: no address, no target. The target of a click lies in the
//! store, written in the message's final commit.

use parcours_content::{LinkKind, LinkToken, LinkUrls};
use parcours_domain::{Handle, MessageId, TenantId, hash::MacKey};

/// Makes the URLs of one message.
#[derive(Debug)]
pub struct MessageUrls<'a> {
    /// The brand's public URL without a slash at the end.
    pub base_url: &'a str,
    /// The link key's version and the key.
    pub key: (u8, &'a MacKey),
    /// The brand.
    pub tenant: TenantId,
    /// The message.
    pub message: MessageId,
    /// The recipient's handle.
    pub handle: Handle,
    /// Whether links are rewritten.
    pub clicks: bool,
}

impl MessageUrls<'_> {
    fn token(&self, kind: LinkKind, link: u16) -> String {
        let (key_version, key) = self.key;
        let Self { tenant, message, handle, .. } = *self;
        LinkToken { kind, key_version, tenant, message, handle, link }.sign(key)
    }
}

impl LinkUrls for MessageUrls<'_> {
    fn unsubscribe(&self) -> String {
        format!("{}/u/{}", self.base_url, self.token(LinkKind::Unsubscribe, 0))
    }
    fn click(&self, link: u16, target: &str) -> String {
        let web = ["https://", "http://"]
            .iter()
            .any(|s| target.get(..s.len()).is_some_and(|head| head.eq_ignore_ascii_case(s)));
        if self.clicks && web {
            format!("{}/c/{}", self.base_url, self.token(LinkKind::Click, link))
        } else {
            target.to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parcours_domain::Timestamp;

    #[test]
    fn a_click_url_holds_no_target_and_is_made_only_when_the_brand_counts_clicks() {
        let key = MacKey([1; 32]);
        let mut urls = MessageUrls {
            base_url: "https://m.example",
            key: (1, &key),
            tenant: TenantId::v7(Timestamp::EPOCH, [1; 10]),
            message: MessageId::v7(Timestamp::EPOCH, [2; 10]),
            handle: Handle([3; 16]),
            clicks: true,
        };
        let url = urls.click(4, "https://shop.example/sale");
        let token = url.strip_prefix("https://m.example/c/").unwrap();
        let token = LinkToken::parse(token).unwrap().verify(&key).unwrap();
        assert_eq!((token.kind, token.link), (LinkKind::Click, 4));
        assert_eq!(urls.click(5, "mailto:shop@shop.example"), "mailto:shop@shop.example");
        urls.clicks = false;
        assert_eq!(urls.click(4, "https://shop.example/sale"), "https://shop.example/sale");
        assert!(urls.unsubscribe().starts_with("https://m.example/u/"));
    }
}
