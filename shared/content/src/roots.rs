//! What `brand.*` and `message.*` stand for in templates: the same words in a preview and in what is
//! sent.

use parcours_domain::{Value, value::Properties};

/// `brand.*`
#[derive(Clone, Copy, Debug, Default)]
pub struct BrandRoot<'a> {
    /// `brand.name`: what recipients read.
    pub name: &'a str,
    /// `brand.postal_address`
    pub postal_address: &'a str,
    /// `brand.public_url`, without a slash at the end.
    pub public_url: &'a str,
    /// `brand.locale`
    pub locale: &'a str,
    /// `brand.controller.name` and `brand.controller.contact`
    pub controller: (&'a str, &'a str),
}

/// `message.*`
#[derive(Clone, Copy, Debug, Default)]
pub struct MessageRoot<'a> {
    /// `message.id`
    pub id: &'a str,
    /// `message.topic`
    pub topic: &'a str,
    /// `message.template`
    pub template: &'a str,
    /// `message.sent_at`, RFC 3339.
    pub sent_at: &'a str,
    /// `message.journey`, when one asked.
    pub journey: Option<&'a str>,
}

fn fields<const N: usize>(fields: [(&str, &str); N]) -> Properties {
    let field = |(name, text): (&str, &str)| (name.to_owned(), Value::Text(text.to_owned()));
    fields.into_iter().map(field).collect()
}

impl BrandRoot<'_> {
    /// The values.
    #[must_use]
    pub fn fields(&self) -> Properties {
        let (name, contact) = self.controller;
        let mut all = fields([
            ("name", self.name),
            ("postal_address", self.postal_address),
            ("public_url", self.public_url),
            ("locale", self.locale),
        ]);
        let controller = fields([("name", name), ("contact", contact)]);
        all.insert("controller".to_owned(), Value::Map(controller));
        all
    }
}

impl MessageRoot<'_> {
    /// The values.
    #[must_use]
    pub fn fields(&self) -> Properties {
        let mut all = fields([
            ("id", self.id),
            ("topic", self.topic),
            ("template", self.template),
            ("sent_at", self.sent_at),
        ]);
        if let Some(journey) = self.journey {
            all.insert("journey".to_owned(), Value::Text(journey.to_owned()));
        }
        all
    }
}
