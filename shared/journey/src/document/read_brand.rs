//! Reading Brand documents.

use parcours_domain::{EmailAddress, Name};

use super::{
    brand::{
        BrandDefaults, BrandDocument, Controller, Expiry, Switch, UnknownPolicies, UnknownPolicy,
        event_window_days_default,
    },
    fields::{At, Fields, Report},
    read::is_zone,
};

/// The words of [`Switch`]; truth values are read as well, since other YAML versions write them.
pub(super) const SWITCH: [(&str, Switch); 4] =
    [("on", Switch::On), ("off", Switch::Off), ("true", Switch::On), ("false", Switch::Off)];

/// A list of those who try mails out, not a way round consent.
const TEST_ADDRESSES_MAX: usize = 50;

pub(super) fn brand(
    fields: &mut Fields<'_>,
    name: Option<Name>,
    report: &mut Report,
) -> Option<BrandDocument> {
    let organisation = fields.required("organisation", report, At::name);
    let display_name = fields.required("display_name", report, At::line);
    let controller = fields.required("controller", report, controller);
    let postal_address = fields.required("postal_address", report, At::text);
    let public_url = fields.required("public_url", report, public_url);
    let time_zone = fields.required("time_zone", report, zone);
    let locale = fields.required("locale", report, language);
    let defaults = fields.optional("defaults", report, defaults);
    let clicks = fields.optional("clicks", report, |at, report| at.word(&SWITCH, report));
    let rate = fields.optional("rate", report, At::parsed);
    let unknown_policy = fields.optional("unknown_policy", report, unknown_policy);
    let expiry = fields.optional("expiry", report, expiry);
    let window =
        fields.optional("event_window_days", report, |at, report| at.whole(1, 365, report));
    let identify_by_email = fields.optional("identify_by_email", report, At::boolean);
    let test_addresses = fields.optional("test_addresses", report, test_addresses);
    Some(BrandDocument {
        name: name?,
        organisation: organisation?,
        display_name: display_name?,
        controller: controller?,
        postal_address: postal_address?,
        public_url: public_url?,
        time_zone: time_zone?,
        locale: locale?,
        defaults: defaults.unwrap_or_default(),
        clicks: clicks.unwrap_or_default(),
        rate,
        unknown_policy: unknown_policy.unwrap_or_default(),
        expiry: expiry.unwrap_or_default(),
        event_window_days: window.unwrap_or_else(event_window_days_default),
        identify_by_email: identify_by_email.unwrap_or(false),
        test_addresses: test_addresses.unwrap_or_default(),
    })
}

fn controller(at: &At<'_>, report: &mut Report) -> Option<Controller> {
    let mut fields = at.fields(report)?;
    let name = fields.required("name", report, At::line);
    let contact = fields.required("contact", report, contact);
    fields.done(report);
    Some(Controller { name: name?, contact: contact? })
}

/// An e-mail address or a web address.
fn contact(at: &At<'_>, report: &mut Report) -> Option<String> {
    let text = at.line(report)?;
    let web = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let is_web = web.is_some_and(|rest| rest.contains('.') && !rest.contains(char::is_whitespace));
    if is_web || text.parse::<EmailAddress>().is_ok() {
        return Some(text);
    }
    let help = "write privacy@example.org or https://example.org/privacy";
    report.add("invalid_value", &at.path, "neither an e-mail nor a web address", help);
    None
}

/// `https://host…`, or `http://` on this machine; without query, fragment or final slash.
fn public_url(at: &At<'_>, report: &mut Report) -> Option<String> {
    let text = at.line(report)?;
    let url = text.trim_end_matches('/');
    let (rest, secure) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => (rest, true),
        (None, Some(rest)) => (rest, false),
        (None, None) => ("", false),
    };
    let host = rest.split(['/', ':']).next().unwrap_or("");
    let plain = |c: char| c.is_ascii_graphic() && !"?#\\\"<>@".contains(c);
    let host_fits = !host.is_empty()
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-');
    let local = matches!(host, "localhost" | "127.0.0.1");
    if host_fits && rest.chars().all(plain) && (secure || local) {
        return Some(url.to_owned());
    }
    let help = "write https://mail.example.org (or http://localhost:8080 on this machine)";
    report.add("invalid_value", &at.path, format!("`{text}` is not a public web address"), help);
    None
}

fn zone(at: &At<'_>, report: &mut Report) -> Option<String> {
    let text = at.line(report)?;
    if is_zone(&text) {
        return Some(text);
    }
    let help = "write an IANA name such as Europe/Paris";
    report.add("unknown_time_zone", &at.path, format!("`{text}` is not a time zone"), help);
    None
}

/// A language tag: `fr`, `fr-FR`, `zh-Hant-TW`.
pub(super) fn language(at: &At<'_>, report: &mut Report) -> Option<String> {
    let text = at.line(report)?;
    let mut parts = text.split('-');
    let first = parts.next().unwrap_or("");
    let first_fits =
        (2..=3).contains(&first.len()) && first.bytes().all(|b| b.is_ascii_lowercase());
    let part_fits = |part: &str| {
        (2..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    if first_fits && parts.all(part_fits) {
        return Some(text);
    }
    let message = format!("`{text}` is not a language tag");
    report.add("invalid_value", &at.path, message, "write fr or fr-FR");
    None
}

fn defaults(at: &At<'_>, report: &mut Report) -> Option<BrandDefaults> {
    let mut fields = at.fields(report)?;
    let sender = fields.optional("sender", report, At::name);
    fields.done(report);
    Some(BrandDefaults { sender })
}

/// Mail addresses, in canonical form.
fn test_addresses(at: &At<'_>, report: &mut Report) -> Option<Vec<String>> {
    let addresses = at.list(report, |at, report| {
        let text = at.line(report)?;
        match text.parse::<EmailAddress>() {
            Ok(address) => Some(address.expose().to_owned()),
            Err(error) => {
                let help = "write an address of somebody who tries mails out for the brand";
                report.add("invalid_address", &at.path, error.to_string(), help);
                None
            }
        }
    })?;
    if addresses.len() > TEST_ADDRESSES_MAX {
        let message = format!("more than {TEST_ADDRESSES_MAX} test addresses");
        report.add("out_of_range", &at.path, message, "list those of few people");
        return None;
    }
    Some(addresses)
}

fn unknown_policy(at: &At<'_>, report: &mut Report) -> Option<UnknownPolicies> {
    const POLICIES: [(&str, UnknownPolicy); 2] =
        [("never_again", UnknownPolicy::NeverAgain), ("again", UnknownPolicy::Again)];
    let otherwise = UnknownPolicies::default();
    let mut fields = at.fields(report)?;
    let marketing = fields.optional("marketing", report, |at, r| at.word(&POLICIES, r));
    let transactional = fields.optional("transactional", report, |at, r| at.word(&POLICIES, r));
    fields.done(report);
    Some(UnknownPolicies {
        marketing: marketing.unwrap_or(otherwise.marketing),
        transactional: transactional.unwrap_or(otherwise.transactional),
    })
}

fn expiry(at: &At<'_>, report: &mut Report) -> Option<Expiry> {
    let otherwise = Expiry::default();
    let mut fields = at.fields(report)?;
    let marketing = fields.optional("marketing", report, At::parsed);
    let transactional = fields.optional("transactional", report, At::parsed);
    fields.done(report);
    Some(Expiry {
        marketing: marketing.unwrap_or(otherwise.marketing),
        transactional: transactional.unwrap_or(otherwise.transactional),
    })
}
