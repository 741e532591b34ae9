//! Conversations with a server that behaves, and with one that does not.

use std::time::Duration;

use parcours_domain::EmailAddress;
use parcours_testkit::smtp_sink::{At, Gate, Rule, SinkOptions, SmtpSink};
use proptest::prelude::*;

use super::{anna, parts};
use crate::mail::{
    classify::{Verdict, classify},
    mime::{build, canonicalise_crlf},
    smtp::{
        Accepted, Connection, FailureKind, SmtpCredentials, SmtpFailure, SmtpSecurity, SmtpTarget,
        SmtpTimeouts, Stage, TlsTrust,
    },
};

const FROM: &str = "b-token@shop.example";

fn target(sink: &SmtpSink) -> SmtpTarget {
    SmtpTarget {
        host: "127.0.0.1".into(),
        port: sink.port(),
        security: SmtpSecurity::None,
        credentials: None,
        hello: "mail.shop.example".into(),
        timeouts: SmtpTimeouts::default(),
        trust: TlsTrust::only([SmtpSink::certificate().unwrap()]).unwrap(),
    }
}

async fn send(connection: &mut Connection, bytes: &[u8]) -> Result<Accepted, SmtpFailure> {
    connection.envelope(FROM, &anna()).await?;
    connection.data(bytes).await
}

async fn sent_to(sink: &SmtpSink) -> Result<Accepted, SmtpFailure> {
    let mut connection = Connection::connect(&target(sink)).await?;
    send(&mut connection, b"A: b\r\n\r\nx\r\n").await
}

#[tokio::test]
async fn a_message_arrives_as_it_was_made_and_the_connection_serves_another() {
    let sink = SmtpSink::start().await.unwrap();
    let mut connection = Connection::connect(&target(&sink)).await.unwrap();
    let to = anna();
    let bytes = build(&parts(&to)).unwrap();
    for _ in 0..2 {
        let accepted = send(&mut connection, &bytes).await.unwrap();
        assert_eq!((accepted.code, accepted.text.as_str()), (250, "2.0.0 queued as SINK"));
    }
    connection.quit().await;
    let received = sink.received();
    assert_eq!((received.len(), sink.connections()), (2, 1));
    assert_eq!(received[0].mail_from, FROM);
    assert_eq!(received[0].rcpt, ["anna@example.org"]);
    assert_eq!(received[0].raw, bytes);
}

#[tokio::test]
async fn a_refused_recipient_leaves_the_connection_to_the_next() {
    let sink = SmtpSink::start().await.unwrap();
    let no = "550-5.1.1 <anna@example.org>\r\n550 5.1.1 no such user anna@example.org";
    sink.rule(Rule::reply(At::Rcpt, no).to("anna@example.org").times(1));
    let mut connection = Connection::connect(&target(&sink)).await.unwrap();
    let failure = connection.envelope(FROM, &anna()).await.unwrap_err();
    assert_eq!(classify(&failure), Verdict::Suppress);
    assert_eq!((failure.code, failure.enhanced), (Some(550), Some((5, 1, 1))));
    assert!(!failure.text.contains("anna") && !format!("{failure} {failure:?}").contains("anna"));
    assert!(connection.is_usable());
    connection.rset().await.unwrap();
    send(&mut connection, b"A: b\r\n\r\nx\r\n").await.unwrap();
}

#[tokio::test]
async fn every_stage_says_where_it_failed_and_whether_mail_can_have_arrived() {
    use FailureKind::{Io, Permanent, Transient};
    for (rule, stage, kind, maybe, usable) in [
        (Rule::reply(At::MailFrom, "451 4.3.0 later"), Stage::MailFrom, Transient, false, true),
        (Rule::reply(At::MailFrom, "550 5.7.1 no"), Stage::MailFrom, Permanent, false, true),
        (Rule::reply(At::Rcpt, "450 4.2.1 grey"), Stage::Rcpt, Transient, false, true),
        (Rule::reply(At::Rcpt, "421 4.3.2 bye"), Stage::Rcpt, Transient, false, false),
        (Rule::reply(At::Data, "554 5.7.1 no"), Stage::Data, Permanent, false, true),
        (Rule::reply(At::Dot, "554 5.7.1 spam"), Stage::Dot, Permanent, false, true),
        (Rule::reply(At::Dot, "451 4.3.0 later"), Stage::Dot, Transient, false, true),
        (Rule::reply(At::Dot, "421 4.3.2 bye"), Stage::Dot, Transient, false, false),
        (Rule::hang_up(At::MailFrom), Stage::MailFrom, Io, false, false),
        (Rule::hang_up(At::Rcpt), Stage::Rcpt, Io, false, false),
        (Rule::hang_up(At::Data), Stage::Data, Io, false, false),
        (Rule::hang_up(At::Dot), Stage::Dot, Io, true, false),
        (Rule::accept_and_hang_up(), Stage::Dot, Io, true, false),
        (Rule::reply(At::Dot, "gibberish"), Stage::Dot, FailureKind::Protocol, true, false),
        (Rule::reply(At::Data, "250 what"), Stage::Data, FailureKind::Protocol, false, false),
    ] {
        let sink = SmtpSink::start().await.unwrap();
        sink.rule(rule.clone());
        let mut connection = Connection::connect(&target(&sink)).await.unwrap();
        let failure = send(&mut connection, b"A: b\r\n\r\nx\r\n").await.unwrap_err();
        let found = (failure.stage, failure.kind, failure.maybe_delivered);
        assert_eq!(found, (stage, kind, maybe), "{rule:?}");
        assert_eq!(connection.is_usable(), usable, "{rule:?}");
    }
}

#[tokio::test]
async fn a_line_that_breaks_inside_the_message_means_not_delivered() {
    let sink = SmtpSink::start().await.unwrap();
    sink.rule(Rule::hang_up(At::Body));
    let mut connection = Connection::connect(&target(&sink)).await.unwrap();
    // More than any socket buffers, so that writing cannot finish before the server is gone.
    let bytes =
        b"x: 0123456789012345678901234567890123456789012345678901234567\r\n".repeat(300_000);
    let failure = send(&mut connection, &bytes).await.unwrap_err();
    assert_eq!((failure.stage, failure.maybe_delivered), (Stage::Data, false));
    assert!(sink.received().is_empty());
}

#[tokio::test]
async fn silence_after_the_dot_is_unknown_and_silence_before_it_is_not() {
    for (at, stage, maybe) in [
        (At::Dot, Stage::Dot, true),
        (At::Data, Stage::Data, false),
        (At::Rcpt, Stage::Rcpt, false),
    ] {
        let sink = SmtpSink::start().await.unwrap();
        let gate = Gate::default();
        sink.rule(Rule::hold(at, &gate));
        let quick = Duration::from_millis(100);
        let timeouts = SmtpTimeouts {
            command: quick,
            data_start: quick,
            dot: quick,
            ..SmtpTimeouts::default()
        };
        // A slow machine may time out earlier in the conversation, never later: so the connection is
        // made with the usual limits.
        let mut connection = Connection::connect(&target(&sink)).await.unwrap();
        connection.set_timeouts(timeouts);
        let failure = send(&mut connection, b"A: b\r\n\r\nx\r\n").await.unwrap_err();
        assert_eq!((failure.stage, failure.kind), (stage, FailureKind::Timeout));
        assert_eq!(failure.maybe_delivered, maybe);
        assert!(!connection.is_usable());
    }
}

#[tokio::test]
async fn a_server_that_does_not_let_us_in_is_a_matter_of_the_connection() {
    for rule in [
        Rule::reply(At::Connect, "554 no"),
        Rule::reply(At::Hello, "421 busy"),
        Rule::hang_up(At::Connect),
    ] {
        let sink = SmtpSink::start().await.unwrap();
        sink.rule(rule);
        let failure = sent_to(&sink).await.unwrap_err();
        assert_eq!((failure.stage, classify(&failure)), (Stage::Connect, Verdict::ConnectionRetry));
    }
    let sink = SmtpSink::start().await.unwrap();
    let mut evil = target(&sink);
    evil.hello = "x\r\nMAIL FROM:<a@b>".into();
    assert_eq!(Connection::connect(&evil).await.unwrap_err().kind, FailureKind::Permanent);
    assert_eq!(sink.connections(), 0);
}

#[tokio::test]
async fn tls_is_verified_and_starttls_is_required_and_clean() {
    let tls = SinkOptions { tls: true, ..SinkOptions::default() };
    let start_tls = SinkOptions { start_tls: true, ..SinkOptions::default() };
    let injects = SinkOptions { injects: true, ..start_tls };
    for (options, security) in [(tls, SmtpSecurity::Tls), (start_tls, SmtpSecurity::StartTls)] {
        let sink = SmtpSink::with(options).await.unwrap();
        let good = SmtpTarget { security, ..target(&sink) };
        let mut connection = Connection::connect(&good).await.unwrap();
        send(&mut connection, b"A: b\r\n\r\nx\r\n").await.unwrap();
        assert!(sink.received()[0].tls);
        let stranger = SmtpTarget { trust: TlsTrust::only([]).unwrap(), ..good.clone() };
        assert_eq!(Connection::connect(&stranger).await.unwrap_err().stage, Stage::Tls);
        let renamed = SmtpTarget { host: "127.0.0.2".into(), ..good };
        assert!(Connection::connect(&renamed).await.is_err());
    }
    for options in [SinkOptions::default(), injects] {
        let sink = SmtpSink::with(options).await.unwrap();
        let target = SmtpTarget { security: SmtpSecurity::StartTls, ..target(&sink) };
        let failure = Connection::connect(&target).await.unwrap_err();
        assert_eq!(failure.stage, Stage::Tls, "{options:?}");
        assert_eq!(failure.kind, FailureKind::Protocol, "{options:?}");
    }
}

#[tokio::test]
async fn credentials_are_given_as_the_server_asks() {
    let sink = SmtpSink::with(SinkOptions { auth: true, ..SinkOptions::default() }).await.unwrap();
    let credentials = SmtpCredentials { username: "u".into(), password: "p".into() };
    let target = SmtpTarget { credentials: Some(credentials), ..target(&sink) };
    let mut connection = Connection::connect(&target).await.unwrap();
    send(&mut connection, b"A: b\r\n\r\nx\r\n").await.unwrap();
    assert_eq!(sink.received()[0].auth, ["AUTH PLAIN AHUAcA=="]);
    sink.rule(Rule::reply(At::Auth, "535 5.7.8 no"));
    let failure = Connection::connect(&target).await.unwrap_err();
    assert_eq!((failure.stage, failure.code), (Stage::Auth, Some(535)));
    assert!(!format!("{target:?} {failure:?}").contains("AHUAcA"));
}

#[tokio::test]
async fn a_server_that_knows_only_auth_login_is_told_name_and_password_one_by_one() {
    let options = SinkOptions { auth_login: true, ..SinkOptions::default() };
    let sink = SmtpSink::with(options).await.unwrap();
    let credentials = SmtpCredentials { username: "u".into(), password: "p".into() };
    let target = SmtpTarget { credentials: Some(credentials), ..target(&sink) };
    let mut connection = Connection::connect(&target).await.unwrap();
    send(&mut connection, b"A: b\r\n\r\nx\r\n").await.unwrap();
    assert_eq!(sink.received()[0].auth, ["AUTH LOGIN", "dQ==", "cA=="]);
}

#[tokio::test]
async fn an_internationalised_address_goes_where_it_is_taken_and_nowhere_else() {
    let zoe: EmailAddress = "zoé@exemple.example".parse().unwrap();
    let sink = SmtpSink::start().await.unwrap();
    let mut connection = Connection::connect(&target(&sink)).await.unwrap();
    connection.envelope(FROM, &zoe).await.unwrap();
    let bytes = build(&parts(&zoe)).unwrap();
    connection.data(&bytes).await.unwrap();
    let received = sink.received().remove(0);
    assert_eq!(received.rcpt, [zoe.expose()]);
    assert_eq!(received.parameters, "SMTPUTF8");
    assert_eq!(received.raw, bytes);
    // A plain address asks for nothing special on the same connection.
    send(&mut connection, b"A: b\r\n\r\nx\r\n").await.unwrap();
    assert_eq!(sink.received()[1].parameters, "");

    let ascii = SmtpSink::with(SinkOptions { ascii_only: true, ..SinkOptions::default() });
    let ascii = ascii.await.unwrap();
    let mut connection = Connection::connect(&target(&ascii)).await.unwrap();
    let failure = connection.envelope(FROM, &zoe).await.unwrap_err();
    assert_eq!(classify(&failure), Verdict::FailMessage, "the address is not at fault");
    assert!(connection.is_usable());
    send(&mut connection, b"A: b\r\n\r\nx\r\n").await.unwrap();
    assert_eq!(ascii.received().len(), 1);
}

#[tokio::test]
async fn no_command_carries_a_second_one() {
    let sink = SmtpSink::start().await.unwrap();
    let mut connection = Connection::connect(&target(&sink)).await.unwrap();
    for evil in ["a@b>\r\nRCPT TO:<c@d", "a@b\nX", "a b@c", "", "a@b>", "a@b\0"] {
        let failure = connection.envelope(evil, &anna()).await.unwrap_err();
        assert_eq!(
            (failure.stage, failure.kind),
            (Stage::MailFrom, FailureKind::Permanent),
            "{evil:?}"
        );
    }
    let failure = connection.data(b"a\nb\r\n").await.unwrap_err();
    assert_eq!((failure.stage, failure.kind), (Stage::Data, FailureKind::Permanent));
    send(&mut connection, b"A: b\r\n\r\nx\r\n").await.unwrap();
    assert_eq!(sink.received().len(), 1);
}

/// What came in is what was handed over, once, whichever way the server ends its lines.
async fn arrives_whole(lenient: bool, bodies: &[Vec<u8>]) {
    let sink = SmtpSink::with(SinkOptions { lenient, ..SinkOptions::default() }).await.unwrap();
    let mut connection = Connection::connect(&target(&sink)).await.unwrap();
    for (at, body) in bodies.iter().enumerate() {
        let mut wanted = canonicalise_crlf(body);
        send(&mut connection, &wanted).await.unwrap();
        if !wanted.ends_with(b"\r\n") && !wanted.is_empty() {
            wanted.extend_from_slice(b"\r\n");
        }
        let received = sink.received();
        assert_eq!(received.len(), at + 1, "{body:?}");
        assert_eq!(received[at].raw, wanted, "{body:?}");
    }
}

#[tokio::test]
async fn no_body_becomes_two_messages() {
    let smuggled = "MAIL FROM:<e@evil.example>\r\nRCPT TO:<v@example.org>\r\nDATA\r\nX\r\n.\r\n";
    let bodies: Vec<Vec<u8>> =
        ["\n.\n", "\r.\r", "\r\n.\r\n", "\n.\r\n", "\r\n.\n", "\r.\n", ".", "..", ".\r\n", "\r\n."]
            .iter()
            .flat_map(|end| [format!("A: b\r\n\r\nx{end}{smuggled}"), (*end).to_owned()])
            .map(String::into_bytes)
            .collect();
    for lenient in [false, true] {
        arrives_whole(lenient, &bodies).await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn no_bytes_become_two_messages(bodies in proptest::collection::vec(proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'.'), Just(b'x'), any::<u8>()], 0..60), 30)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            arrives_whole(false, &bodies).await;
            arrives_whole(true, &bodies).await;
        });
    }
}
