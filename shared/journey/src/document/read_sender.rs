//! Reading Sender documents. Nothing that could break a header or a command passes.

use parcours_domain::{EmailAddress, Name, WarmUp};

use super::{
    fields::{At, Fields, Report},
    node::NodeKind,
    read::canonical_domain,
    read_brand::SWITCH,
    sender::{
        DkimAlgorithm, DkimSignature, DomainLimit, Mailbox, SecretRef, SenderDocument,
        SmtpSecurity, SmtpTransport, Transport, connections_default,
    },
};

/// Lines about domains in one document.
const DOMAINS_MOST: usize = 200;
/// Days of a warm-up, and messages on one of them.
const WARM_UP_DAYS_MOST: usize = 366;
const WARM_UP_MOST: u32 = 100_000_000;

pub(super) fn sender(
    fields: &mut Fields<'_>,
    name: Option<Name>,
    report: &mut Report,
) -> Option<SenderDocument> {
    let from = fields.required("from", report, mailbox);
    let reply_to = fields.optional("reply_to", report, address);
    let transport = fields.required("transport", report, transport);
    let dkim = fields.optional("dkim", report, |at, report| at.list(report, signature));
    let envelope_domain = fields.optional("envelope_domain", report, domain);
    let rate = fields.optional("rate", report, At::parsed);
    let domains = fields.optional("domains", report, domains);
    let shape = fields.optional("shape", report, |at, report| at.word(&SWITCH, report));
    let warm_up = fields.optional("warm_up", report, warm_up);
    Some(SenderDocument {
        name: name?,
        from: from?,
        reply_to,
        transport: transport?,
        dkim: dkim.unwrap_or_default(),
        envelope_domain,
        rate,
        domains: domains.unwrap_or_default(),
        shape,
        warm_up,
    })
}

fn domains(at: &At<'_>, report: &mut Report) -> Option<Vec<DomainLimit>> {
    let lines = at.list(report, |at, report| Some((at.path.clone(), domain_limit(at, report)?)))?;
    if lines.len() > DOMAINS_MOST {
        let message = format!("{} lines are more than {DOMAINS_MOST}", lines.len());
        report.add("out_of_range", &at.path, message, "say it of providers, or of `other`");
    }
    for (place, (path, line)) in lines.iter().enumerate() {
        let before = lines.get(..place).unwrap_or_default();
        if before.iter().any(|(_, other)| other.recipients == line.recipients) {
            let message = format!("`{}` has a line already", line.recipients);
            report.add("duplicate_match", &format!("{path}.match"), message, "make it one line");
        }
    }
    Some(lines.into_iter().map(|(_, line)| line).collect())
}

fn domain_limit(at: &At<'_>, report: &mut Report) -> Option<DomainLimit> {
    let mut fields = at.fields(report)?;
    let recipients = fields.required("match", report, At::parsed);
    let limits = fields.present(&["rate", "connections"]);
    if limits.is_empty() {
        let help = "add `rate:`, such as 100/min burst 20, or `connections:`, or both";
        report.add("missing_field", &at.path, "this line limits nothing", help);
    }
    let rate = fields.optional("rate", report, At::parsed);
    let connections = fields.optional("connections", report, |at, r| at.whole(1, 100, r));
    fields.done(report);
    Some(DomainLimit { recipients: recipients?, rate, connections })
}

fn warm_up(at: &At<'_>, report: &mut Report) -> Option<WarmUp> {
    let mut fields = at.fields(report)?;
    let from = fields.required("from", report, At::parsed);
    let days = fields.required("days", report, |at, report| {
        let days = at.list(report, |at, report| at.whole(1, WARM_UP_MOST, report))?;
        let found = match &at.node.kind {
            NodeKind::List(items) => items.len(),
            NodeKind::Scalar { .. } | NodeKind::Map(_) => 0,
        };
        if (1..=WARM_UP_DAYS_MOST).contains(&found) {
            return Some(days);
        }
        let help = format!("write from 1 to {WARM_UP_DAYS_MOST} numbers, such as [50, 100, 200]");
        report.add("out_of_range", &at.path, format!("{found} days are out of range"), help);
        None
    });
    fields.done(report);
    Some(WarmUp { from: from?, days: days? })
}

fn mailbox(at: &At<'_>, report: &mut Report) -> Option<Mailbox> {
    let mut fields = at.fields(report)?;
    let name = fields.required("name", report, At::line);
    let address = fields.required("address", report, address);
    fields.done(report);
    Some(Mailbox { name: name?, address: address? })
}

fn address(at: &At<'_>, report: &mut Report) -> Option<String> {
    let text = at.line(report)?;
    match text.parse::<EmailAddress>() {
        Ok(address) => Some(address.expose().to_owned()),
        Err(error) => {
            report.add("invalid_address", &at.path, error.to_string(), "");
            None
        }
    }
}

fn domain(at: &At<'_>, report: &mut Report) -> Option<String> {
    let text = at.line(report)?;
    let domain = canonical_domain(&text);
    if domain.is_none() {
        let message = format!("`{text}` is not a domain");
        report.add("invalid_value", &at.path, message, "write one such as mail.example.org");
    }
    domain
}

fn transport(at: &At<'_>, report: &mut Report) -> Option<Transport> {
    const KINDS: [(&str, bool); 2] = [("mailbox", false), ("smtp", true)];
    let mut fields = at.fields(report)?;
    let is_smtp = fields.required("kind", report, |at, report| at.word(&KINDS, report))?;
    let transport = if is_smtp {
        smtp(&mut fields, report).map(Transport::Smtp)
    } else {
        Some(Transport::Mailbox)
    };
    fields.done(report);
    transport
}

fn smtp(fields: &mut Fields<'_>, report: &mut Report) -> Option<SmtpTransport> {
    const SECURITY: [(&str, SmtpSecurity); 3] = [
        ("tls", SmtpSecurity::Tls),
        ("starttls", SmtpSecurity::Starttls),
        ("none", SmtpSecurity::None),
    ];
    let host = fields.required("host", report, host);
    let port = fields.required("port", report, |at, report| at.whole(1, 65_535, report));
    let security = fields.required("security", report, |at, r| at.word(&SECURITY, r));
    let username = fields.optional("username", report, At::line);
    let password = fields.optional("password", report, secret);
    let connections = fields.optional("connections", report, |at, r| at.whole(1, 100, r));
    if username.is_some() != password.is_some() {
        let message = "username and password go together";
        report.add("missing_field", &fields.path_of("password"), message, "give both or neither");
    }
    let local = matches!(host.as_deref(), Some("localhost" | "127.0.0.1" | "::1"));
    if password.is_some() && security == Some(SmtpSecurity::None) && !local {
        let message = "a password would travel unprotected";
        report.add(
            "unprotected_password",
            &fields.path_of("security"),
            message,
            "use tls or starttls",
        );
    }
    Some(SmtpTransport {
        host: host?,
        port: u16::try_from(port?).ok()?,
        security: security?,
        username,
        password,
        connections: connections.unwrap_or_else(connections_default),
    })
}

fn host(at: &At<'_>, report: &mut Report) -> Option<String> {
    let text = at.line(report)?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':');
    if text.len() <= 253 && text.bytes().all(plain) {
        return Some(text);
    }
    let message = format!("`{text}` is not a host name or IP address");
    report.add("invalid_value", &at.path, message, "write one such as smtp.example.org");
    None
}

fn secret(at: &At<'_>, report: &mut Report) -> Option<SecretRef> {
    if matches!(at.node.kind, NodeKind::Scalar { .. }) {
        let message = "secrets never stand in documents";
        let help = "write {secret: NAME} and set the secret through the API";
        report.add("secret_in_document", &at.path, message, help);
        return None;
    }
    let mut fields = at.fields(report)?;
    let secret = fields.required("secret", report, At::name);
    fields.done(report);
    Some(SecretRef { secret: secret? })
}

fn signature(at: &At<'_>, report: &mut Report) -> Option<DkimSignature> {
    const ALGORITHMS: [(&str, DkimAlgorithm); 2] =
        [("rsa", DkimAlgorithm::Rsa), ("ed25519", DkimAlgorithm::Ed25519)];
    let mut fields = at.fields(report)?;
    let selector = fields.required("selector", report, selector);
    let domain = fields.required("domain", report, domain);
    let algorithm = fields.required("algorithm", report, |at, r| at.word(&ALGORITHMS, r));
    let key = fields.required("key", report, secret);
    fields.done(report);
    Some(DkimSignature { selector: selector?, domain: domain?, algorithm: algorithm?, key: key? })
}

/// One or more labels (RFC 6376, section 3.1).
fn selector(at: &At<'_>, report: &mut Report) -> Option<String> {
    let text = at.line(report)?;
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    if text.split('.').all(label) {
        return Some(text);
    }
    let message = format!("`{text}` is not a selector");
    report.add("invalid_value", &at.path, message, "write one such as s2026");
    None
}
