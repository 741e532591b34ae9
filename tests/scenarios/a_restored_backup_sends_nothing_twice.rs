//! A backup is taken while messages wait and delays run; then they leave; then the store is lost.
//! Restored, nothing leaves until it is released; then nobody gets anything a second time, and
//! what had not come due yet comes when it should.

use parcours_testkit::smtp_sink::{At, Gate, Received, Rule, SmtpSink};
use parcours_tests::{Server, scaled};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::{
    api::{self, Api},
    keep_stage::{Place, doubles, got, happens, names, people, said, shop, unsubscribe_path},
};

#[test]
fn on_sqlite() {
    lost_and_restored(&Runtime::new().unwrap(), |_| Place::sqlite());
}

#[test]
fn on_postgres() {
    lost_and_restored(&Runtime::new().unwrap(), Place::postgres);
}

/// Sums of one member over the groups of the queue.
fn sum(sending: &Value, member: &str) -> usize {
    let groups = sending["queued"].as_array().expect("groups");
    let sum: u64 = groups.iter().filter_map(|group| group[member].as_u64()).sum();
    usize::try_from(sum).unwrap()
}

/// A store that is gone, and what is left of it.
struct Lost {
    sink: SmtpSink,
    kept: tempfile::TempDir,
    admin_key: String,
    /// Messages that left after the backup was taken.
    sent: usize,
    /// Delays that may still have been running when the store was lost.
    running: usize,
}

/// The backup in a folder.
fn backup_in(kept: &tempfile::TempDir) -> String {
    kept.path().join("backup.ndjson").to_str().unwrap().to_owned()
}

/// Messages wait and delays run; a backup; then the messages leave, and the store is lost.
fn lose(runtime: &Runtime, place: &Place, many: usize) -> Lost {
    let sink = runtime.block_on(SmtpSink::start()).unwrap();
    let server = place.serve();
    let brand = shop(&server, place.data.path(), &sink);
    let (now, soon) = (names("now", many / 4), names("soon", many / 4));
    let (chain, later) = (names("chain", many / 4), names("later", 5));
    people(&brand, &[&now[..], &soon, &chain, &later, &names("extra", 1)].concat());
    // The next hop stalls: what is asked for now is claimed or waits.
    let gate = Gate::default();
    sink.rule(Rule::hold(At::Connect, &gate));
    for (event, who) in [("Later", &later), ("Soon", &soon), ("Chain", &chain), ("Now", &now)] {
        happens(&brand, event, who);
    }
    let kept = tempfile::tempdir().unwrap();
    let told = place.run(&["backup", &backup_in(&kept)]);
    assert!(told.contains("of 1 brands"), "{told}");
    gate.open();
    let sent = now.len() + soon.len() + 2 * chain.len();
    runtime.block_on(sink.wait_for(sent));
    let admin_key = server.admin_key.clone();
    server.kill().unwrap();
    assert_eq!(doubles(&sink.received()), []);
    Lost { sink, kept, admin_key, sent, running: later.len() }
}

fn lost_and_restored(runtime: &Runtime, place: impl Fn(&Runtime) -> Place) {
    let many = scaled(40, 1_000);
    let Lost { sink, kept, admin_key, sent, running } = lose(runtime, &place(runtime), many);
    let before = sink.received();
    let place = place(runtime);
    let told = place.run(&["restore", &backup_in(&kept)]);
    assert!(told.contains("Nothing leaves until"), "{told}");
    let to_come = place.count(runtime, "timer WHERE held = 0");
    let mut server = place.serve();
    server.admin_key = admin_key;
    let sending = Api::new(&server, &server.admin_key).get("/v1/sending");
    let may_have_left = sent + running - to_come;
    assert_eq!(sum(&sending, "may_have_left"), may_have_left, "{sending:#}");

    held(&place, &server);
    stops(&server, &before, many / 4);
    let stopped = "consent_fact WHERE kind = 'withdrawn'";
    assert_eq!(place.count(runtime, stopped), many / 4, "links of mails that left since");
    assert_eq!(sink.received().len(), before.len(), "something left before the release");

    let told = server.command(place.data.path(), &["sending", "release"]).unwrap();
    assert!(told.contains(&format!("{may_have_left} messages that may have left")), "{told}");
    let all = before.len() + 1 + to_come;
    runtime.block_on(sink.wait_for(all));
    let install = Api::new(&server, &server.admin_key);
    api::until("the queue is empty", || {
        install.get("/v1/sending")["queued"].as_array()?.is_empty().then_some(())
    });
    let mails = sink.received();
    assert_eq!(doubles(&mails), [], "somebody got something twice");
    assert_eq!(mails.len(), all);
    let unknown = place.count(runtime, "message WHERE reason = 'may_have_left'");
    assert_eq!(unknown, may_have_left);
    // Nobody is forgotten: each got it, or it is listed as unknown.
    let late = got(&mails).keys().filter(|(_, template)| template == "later").count();
    assert!(late >= to_come);
    println!(
        "{sent} sends after the backup; restored: {may_have_left} may have left, 0 left before \
         the release, then {} and 0 doubles",
        all - before.len()
    );
}

/// Some who got a message after the backup was taken use its one-click link now.
fn stops(server: &Server, mails: &[Received], count: usize) {
    let web = Api::new(server, "");
    let late = mails.iter().filter(|mail| mail.rcpt.concat().contains("soon"));
    for mail in late.take(count) {
        let answer = web.visit("POST", &unsubscribe_path(mail), Some(api::URLENCODED));
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
}

/// A message asked for after the restore waits like the others, whatever is tried.
fn held(place: &Place, server: &Server) {
    let extra = &names("extra", 1);
    let install = Api::new(server, &server.admin_key);
    let told = server.command(place.data.path(), &["key", "create", "--brand", "shop"]).unwrap();
    let brand = Api::new(server, told.lines().last().unwrap());
    happens(&brand, "Now", extra);
    api::until("the new message is queued", || {
        (sum(&install.get("/v1/sending"), "would_leave") >= 1).then_some(())
    });
    let (status, body) = install.send("POST", "/v1/install/unhalt", None);
    assert_eq!((status, body.contains("held_by_restore")), (409, true), "{body}");
    brand.send("POST", "/v1/unhalt", None);
    // Another event's way through the worker and back, for delivery to have had its turn.
    happens(&brand, "Hours", extra);
    let again = place.command(&["restore", "--resume"]).output().unwrap();
    assert!(!said(&again).0, "a served store is not restored again");
}

#[test]
fn a_backup_goes_nowhere_but_into_an_empty_store() {
    let source = Place::sqlite();
    let server = source.serve();
    let file = source.file("backup.ndjson");
    let file = file.to_str().unwrap();
    source.run(&["backup", file]);
    let (well, told) = said(&source.command(&["backup", file]).output().unwrap());
    assert!(!well && told.contains("exists already"), "{told}");
    server.kill().unwrap();
    let (well, told) = said(&source.command(&["restore", file]).output().unwrap());
    assert!(!well && told.contains("not empty"), "{told}");
    let empty = Place::sqlite();
    let mut command = empty.command(&["restore", file]);
    let (well, told) =
        said(&command.env("PARCOURS_PASSPHRASE", "a wrong passphrase").output().unwrap());
    assert!(!well && told.contains("passphrase is not the one"), "{told}");
    assert!(!empty.file("parcours.sqlite").exists(), "nothing was made");
    let mut command = empty.command(&["restore", file]);
    let (well, told) = said(&command.env_remove("PARCOURS_PASSPHRASE").output().unwrap());
    assert!(!well && told.contains("PARCOURS_PASSPHRASE"), "{told}");
    empty.run(&["restore", file]);
    let text = std::fs::read_to_string(file).unwrap();
    let key = std::fs::read_to_string(source.file("root.key")).unwrap();
    assert!(!text.contains(key.trim()) && text.ends_with("}\n"));
    assert_eq!(json!(text.lines().count() > 30), json!(true));
}
