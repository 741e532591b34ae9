//! A brand moves from SQLite to PostgreSQL while delays run: same wake-ups, nothing sent twice
//! over both installs, links sent before keep working. A load that dies leaves nothing.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
};

use parcours_testkit::smtp_sink::SmtpSink;
use parcours_tests::{Server, scaled};
use tokio::runtime::Runtime;

use crate::{
    api::{self, Api},
    keep_stage::{Place, doubles, happens, names, people, said, shop, unsubscribe_path},
};

/// Journey, run, number and due time of every timer of a journey, and the runs they wake.
fn wake_ups(place: &Place, runtime: &Runtime, journey: &str) -> Vec<String> {
    let run = place.hex("t.run_id");
    let contact = place.hex("r.contact_id");
    let sql = format!(
        "SELECT {run} || ' ' || {contact} || ' ' || t.journey || ' ' || r.status || ' ' || r.step \
         || ' ' || t.seq || ' ' || t.due_at || ' ' || r.wakes_at || ' ' || r.entered_at \
         FROM timer t JOIN run r ON r.tenant_id = t.tenant_id AND r.id = t.run_id \
         WHERE t.journey = '{journey}' ORDER BY 1"
    );
    place.column(runtime, &sql)
}

/// Dumps the shop beside the server that has it, halting it first.
fn dump(place: &Place, server: &Server, file: &str) -> String {
    let mut command = place.command(&["tenant", "dump", file, "--brand", "shop", "--halt"]);
    command.env("PARCOURS_URL", &server.url).env("PARCOURS_KEY", &server.admin_key);
    let (well, told) = said(&command.output().unwrap());
    assert!(well, "{told}");
    told
}

#[test]
fn from_sqlite_to_postgres_with_delays_running() {
    let runtime = Runtime::new().unwrap();
    let many = scaled(20, 1_000);
    let sink = runtime.block_on(SmtpSink::start()).unwrap();
    let (old, new) = (Place::sqlite(), Place::postgres(&runtime));
    let source = old.serve();
    let brand = shop(&source, old.data.path(), &sink);
    let (now, soon, hours) = (names("now", many), names("soon", many), names("hours", many));
    people(&brand, &[&now[..], &soon, &hours].concat());
    happens(&brand, "Now", &now);
    happens(&brand, "Hours", &hours);
    let sent_before = runtime.block_on(sink.wait_for(now.len()));
    happens(&brand, "Moving", &soon);

    let file = old.file("shop.ndjson");
    let file = file.to_str().unwrap();
    dump(&old, &source, file);
    let told = new.run(&["tenant", "load", file]);
    assert!(told.contains("its sending goes on here"), "{told}");
    let wakes = wake_ups(&old, &runtime, "hours");
    assert_eq!(wakes.len(), hours.len());
    assert_eq!(wake_ups(&new, &runtime, "hours"), wakes, "same runs, same due times");
    let pending = new.count(&runtime, "timer WHERE journey = 'moving'");
    assert!(pending > 0, "the dump took so long that every delay had ended before it");

    // Both installs live on: the old one's timers fire too, and its messages wait for ever.
    let target = new.serve();
    let all = now.len() + soon.len();
    runtime.block_on(sink.wait_for(all));
    api::until("the old install has asked for the same messages", || {
        (old.count(&runtime, "send_queue") == pending).then_some(())
    });
    api::until("the new install has nothing left to send", || {
        (new.count(&runtime, "send_queue") == 0).then_some(())
    });
    let mails = sink.received();
    assert_eq!(doubles(&mails), []);
    assert_eq!(mails.len(), all);
    assert_eq!(new.count(&runtime, "message WHERE status = 'sent'"), all);

    // Links of before the move.
    let web = Api::new(&target, "");
    for (n, mail) in sent_before.iter().enumerate() {
        let body = if n % 2 == 0 { api::URLENCODED } else { api::MULTIPART };
        let answer = web.visit("POST", &unsubscribe_path(mail), Some(body));
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    assert_eq!(new.count(&runtime, "consent_fact WHERE kind = 'withdrawn'"), now.len());

    let (well, told) = said(&new.command(&["tenant", "load", file]).output().unwrap());
    assert!(!well && told.contains("in this store already"), "{told}");
    println!(
        "{} wake-ups the same; {all} mails over both installs, 0 doubles; {} links of before work",
        wakes.len(),
        sent_before.len()
    );
}

#[test]
fn a_load_that_is_killed_leaves_nothing() {
    let runtime = Runtime::new().unwrap();
    let sink = runtime.block_on(SmtpSink::start()).unwrap();
    let old = Place::sqlite();
    let source = old.serve();
    let brand = shop(&source, old.data.path(), &sink);
    let hours = names("hours", 50);
    people(&brand, &hours);
    happens(&brand, "Hours", &hours);
    let file = old.file("shop.ndjson");
    dump(&old, &source, file.to_str().unwrap());
    let bytes = std::fs::read(&file).unwrap();
    for new in [Place::sqlite(), Place::postgres(&runtime)] {
        // All but the end comes through a pipe, so the load is in its middle when it dies.
        let pipe = new.file("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let mut load = new.command(&["tenant", "load", pipe.to_str().unwrap()]);
        let mut load = load.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut writer = std::fs::OpenOptions::new().write(true).open(&pipe).unwrap();
        let most = bytes.len() - 200;
        let part = bytes[..most].to_vec();
        let feeder = std::thread::spawn(move || writer.write_all(&part).map(|()| writer));
        let mut lines = BufReader::new(load.stderr.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().starts_with("timer: ")), "it comes so far");
        load.kill().unwrap();
        load.wait().unwrap();
        // It may have died before it read all that was written.
        drop(feeder.join());
        for table in ["brand", "contact", "timer", "tenant_key", "organisation"] {
            assert_eq!(new.count(&runtime, table), 0, "{table}");
        }
        let told = new.run(&["tenant", "load", file.to_str().unwrap()]);
        assert!(told.contains("test/shop"), "{told}");
        assert_eq!(new.count(&runtime, "timer"), hours.len());
    }
}
