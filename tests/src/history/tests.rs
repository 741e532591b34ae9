//! The checker is fed a good history, then bad ones: each breaks one thing, and the checker says
//! which.

use super::*;

const EVENT_AT: i64 = 1_000_000;

/// One user, three events in two requests; the first starts a run that waits a second, sends,
/// listens, and sends again.
fn good() -> History {
    let event = |id: &str, request, place, at, starts: Option<&str>| SentEvent {
        brand: "shop".into(),
        user: "u1".into(),
        message_id: id.into(),
        request,
        place,
        at,
        answered_at: Some(at + 50),
        answer: Answer::Acknowledged,
        starts: starts.map(|key| ("greet".to_owned(), key.to_owned())),
    };
    let held = |id: &str, seq| HeldEvent {
        brand: "shop".into(),
        contact: "c1".into(),
        seq,
        message_id: id.into(),
    };
    let fact = SentFact {
        brand: "shop".into(),
        user: "u1".into(),
        word: Word::Given,
        at: EVENT_AT - 500,
        answered_at: Some(EVENT_AT - 400),
        answer: Answer::Acknowledged,
    };
    History {
        events: vec![
            event("m0", 1, 0, EVENT_AT - 1_000, None),
            event("m1", 2, 0, EVENT_AT, Some("k1")),
            event("m2", 2, 1, EVENT_AT, None),
        ],
        facts: vec![fact],
        people: vec![Person { brand: "shop".into(), user: "u1".into(), address: "u1@x".into() }],
        held: Held {
            asked_at: EVENT_AT + 60_000,
            events: vec![held("m0", 1), held("m1", 2), held("m2", 3)],
            contacts: vec![HeldContact { id: "c1".into(), seq: 3 }],
            runs: vec![HeldRun {
                brand: "shop".into(),
                id: "r1".into(),
                contact: "c1".into(),
                journey: "greet".into(),
                key: "k1".into(),
                live: false,
                status: "finished".into(),
                step: "second".into(),
            }],
            trace: trace(),
            messages: vec![message("a1", "first"), message("a2", "second")],
            facts: vec![HeldFact { contact: "c1".into(), kind: "given".into() }],
            ..Held::default()
        },
        arrivals: vec![arrival("a1", 1_100), arrival("a2", 2_300)],
        promises: Promises { journeys: vec![journey()], late_ms: 5_000, leaving_most: 1 },
    }
}

fn journey() -> Journey {
    let wait = |step: &str, until_event| Wait { step: step.into(), span_ms: 1_000, until_event };
    let send = |step: &str| Send { step: step.into(), least_ms: 1_000, awaited: true };
    Journey {
        name: "greet".into(),
        waits: vec![wait("pause", false), wait("listen", true)],
        sends: vec![send("first"), send("second")],
    }
}

fn message(id: &str, step: &str) -> HeldMessage {
    HeldMessage {
        id: id.into(),
        contact: "c1".into(),
        run: Some("r1".into()),
        step: step.into(),
        occurrence: 1,
        marketing: true,
        status: "sent".into(),
        sent_again: 0,
    }
}

fn arrival(id: &str, after: i64) -> Arrival {
    Arrival { message: Some(id.into()), recipient: "u1@x".into(), at: EVENT_AT + after }
}

fn line(after: i64, step: &str, what: &str, detail: &str) -> TraceLine {
    TraceLine {
        at: EVENT_AT + after,
        cause: String::new(),
        run: "r1".into(),
        step: step.into(),
        what: what.into(),
        detail: detail.into(),
    }
}

fn trace() -> Vec<TraceLine> {
    vec![
        line(10, "pause", "waits", "time"),
        line(1_010, "pause", "woke", ""),
        line(1_150, "first", "outcome", "sent"),
        line(1_150, "listen", "waits", "events"),
        line(2_200, "listen", "woke", ""),
        line(2_200, "listen", "branched", "timeout"),
        line(2_400, "second", "outcome", "sent"),
    ]
}

/// Breaks the good history, and expects exactly these findings: kind, and what it is about.
fn check(breaks: impl FnOnce(&mut History), expected: &[(Kind, &str)]) {
    let mut history = good();
    breaks(&mut history);
    let findings = history.check();
    let said: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert_eq!(findings.len(), expected.len(), "{said:#?}");
    for ((kind, about), finding) in expected.iter().zip(&findings) {
        assert!(
            finding.kind == *kind && finding.about.contains(about),
            "{kind:?} {about}: {said:#?}"
        );
    }
}

#[test]
fn a_good_history_has_no_findings() {
    check(|_| {}, &[]);
    let figures = good().figures();
    assert_eq!((figures.sent, figures.applied, figures.batches), (3, 3, 2));
    assert_eq!((figures.fired, figures.heard, figures.arrived), (2, 2, 2));
}

#[test]
fn an_acknowledged_event_that_is_not_held_is_lost() {
    check(
        |h| {
            h.held.events.pop();
            h.held.contacts[0].seq = 2;
        },
        &[(Kind::Lost, "event m2 of u1 (shop) applied: 0 instead of 1")],
    );
    // Without an answer nothing was promised.
    check(
        |h| {
            h.held.events.pop();
            h.held.contacts[0].seq = 2;
            h.events[2].answer = Answer::Unknown;
        },
        &[],
    );
}

#[test]
fn a_state_without_its_last_event_contradicts_it() {
    check(|h| h.held.contacts[0].seq = 2, &[(Kind::Unresolved, "its state knows event Some(2)")]);
    check(
        |h| {
            h.held.events[2].seq = 4;
            h.held.contacts[0].seq = 4;
        },
        &[(Kind::Lost, "are not 1 to 3")],
    );
}

#[test]
fn an_event_applied_twice_is_doubled() {
    check(
        |h| {
            let mut twice = h.held.events[2].clone();
            twice.seq = 4;
            h.held.events.push(twice);
            h.held.contacts[0].seq = 4;
        },
        &[(Kind::Doubled, "event m2 of u1 (shop) applied: 2 instead of 1")],
    );
    check(
        |h| h.events[2].answer = Answer::Refused,
        &[(Kind::Doubled, "event m2 of u1 (shop) applied: 1 instead of 0")],
    );
}

#[test]
fn an_event_that_nobody_sent_and_one_that_was_not_set_aside_are_seen() {
    check(|h| drop(h.events.remove(2)), &[(Kind::Unresolved, "event m2 (shop): nobody sent it")]);
    check(
        |h| {
            h.events[2].answer = Answer::SetAside;
            h.held.events.pop();
            h.held.contacts[0].seq = 2;
        },
        &[(Kind::Lost, "event m2 of u1 (shop) set aside: 0 instead of 1")],
    );
}

#[test]
fn a_user_that_became_two_contacts_is_doubled() {
    check(
        |h| {
            h.held.events[2].contact = "c2".into();
            h.held.events[2].seq = 1;
            h.held.contacts[0].seq = 2;
            h.held.contacts.push(HeldContact { id: "c2".into(), seq: 1 });
        },
        &[(Kind::Doubled, "user u1 (shop) is more than one contact")],
    );
}

#[test]
fn events_out_of_order_are_seen() {
    // Over two requests: the first was answered before the second was sent.
    check(
        |h| {
            (h.held.events[0].seq, h.held.events[1].seq, h.held.events[2].seq) = (3, 1, 2);
        },
        &[(Kind::OutOfOrder, "m2 stands before m0")],
    );
    // Within one request.
    check(
        |h| (h.held.events[1].seq, h.held.events[2].seq) = (3, 2),
        &[(Kind::OutOfOrder, "m2 stands before m1")],
    );
    check(
        |h| h.held.events[2].seq = 2,
        &[
            (Kind::Doubled, "a number in its order"),
            (Kind::Unresolved, "its state knows event Some(3)"),
        ],
    );
}

#[test]
fn a_run_that_never_started_or_started_twice_is_seen() {
    check(
        |h| h.held.runs[0].key = "k9".into(),
        &[(Kind::Lost, "run of greet for event m1 of u1: 0 instead of 1")],
    );
    check(
        |h| {
            let second =
                HeldRun { id: "r2".into(), status: "exited".into(), ..h.held.runs[0].clone() };
            h.held.runs.push(second);
        },
        &[(Kind::Doubled, "run of greet for event m1 of u1: 2 instead of 1")],
    );
}

#[test]
fn a_timer_that_never_fired_or_fired_twice_is_seen() {
    check(
        |h| drop(h.held.trace.remove(1)),
        &[(Kind::Lost, "run r1 at pause: timer fired: 0 instead of 1")],
    );
    check(
        |h| h.held.trace.push(line(1_020, "pause", "woke", "")),
        &[(Kind::Doubled, "run r1 at pause: timer fired: 2 instead of 1")],
    );
    check(
        |h| h.held.trace.retain(|line| line.step != "pause"),
        &[(Kind::Lost, "run r1 at pause: timer set: 0 instead of 1")],
    );
    // An event may end a wait that listens.
    check(|h| drop(h.held.trace.remove(4)), &[]);
    check(
        |h| h.held.trace.push(line(1_900, "listen", "branched", "replied")),
        &[(Kind::Doubled, "run r1 at listen: went on: 2 instead of 1")],
    );
}

#[test]
fn a_timer_out_of_its_time_is_early_or_late() {
    check(|h| h.held.trace[1].at -= 100, &[(Kind::Early, "woke after 900 of 1000 ms")]);
    check(|h| h.held.trace[1].at += 5_001, &[(Kind::Late, "woke after 6001 of 1000 ms")]);
    // By the clocks of client and sink, whatever the database says.
    check(|h| h.arrivals[0].at -= 200, &[(Kind::Early, "message a1 came 900 ms after its event")]);
}

/// The run still stands at its first wait.
fn standing(h: &mut History) {
    let run = &mut h.held.runs[0];
    (run.live, run.status, run.step) = (true, "waiting".into(), "pause".into());
    h.held.trace.truncate(1);
    h.held.messages.clear();
    h.arrivals.clear();
    let due_at = h.held.asked_at + 1_000;
    h.held.timers.push(HeldTimer { run: "r1".into(), due_at, on_hold: false });
}

#[test]
fn a_live_run_without_a_timer_is_lost_and_an_overdue_one_late() {
    check(standing, &[]);
    check(
        |h| {
            standing(h);
            h.held.timers.clear();
        },
        &[(Kind::Lost, "timer of run r1, which waits at pause")],
    );
    check(
        |h| {
            standing(h);
            h.held.timers[0].due_at = EVENT_AT;
        },
        &[(Kind::Late, "timer of run r1, due at 1000000")],
    );
    check(
        |h| h.held.timers.push(HeldTimer { run: "r1".into(), due_at: i64::MAX, on_hold: false }),
        &[(Kind::Unresolved, "timer of run r1, which is not under way")],
    );
}

#[test]
fn midway_only_what_always_holds_is_asked() {
    let mut history = good();
    history.held.inbox.push(HeldInput { about: "outcome i1".into(), since: EVENT_AT });
    history.arrivals.clear();
    standing(&mut history);
    assert_eq!(history.check_midway(), []);
    history.held.timers.clear();
    let findings = history.check_midway();
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].kind, Kind::Lost);
}

#[test]
fn rows_that_nobody_works_on_are_late() {
    let row = |about: &str| HeldInput { about: about.into(), since: EVENT_AT };
    check(|h| h.held.inbox.push(row("outcome i1")), &[(Kind::Late, "inbox row outcome i1")]);
    check(|h| h.held.queue.push(row("a9")), &[(Kind::Late, "queued message a9")]);
}

#[test]
fn a_message_asked_for_twice_or_never_is_seen() {
    check(
        |h| {
            h.held.messages[1].step = "first".into();
            h.held.trace.retain(|line| line.step != "second" && line.what != "outcome");
            h.promises.journeys[0].sends[0].awaited = false;
        },
        &[
            (Kind::Doubled, "message 1 of run r1 at first"),
            (Kind::Doubled, "messages of run r1 at first"),
            (Kind::Lost, "messages of run r1 at second: 0 instead of 1"),
        ],
    );
}

#[test]
fn an_outcome_that_its_run_never_heard_or_heard_twice_is_seen() {
    check(
        |h| drop(h.held.trace.remove(2)),
        &[(Kind::Lost, "outcome of message a1 at run r1: 0 instead of 1")],
    );
    check(
        |h| h.held.trace.push(line(1_160, "first", "outcome", "sent")),
        &[(Kind::Doubled, "outcome of message a1 at run r1: 2 instead of 1")],
    );
    check(
        |h| h.held.trace[2].detail = "failed".into(),
        &[(Kind::Unresolved, "outcome of message a1 at run r1: failed, recorded sent")],
    );
}

#[test]
fn a_message_twice_at_the_sink_is_doubled_unless_its_reply_was_lost() {
    let twice = |h: &mut History| h.arrivals.push(arrival("a1", 1_200));
    check(twice, &[(Kind::Doubled, "message a1 (sent) at the sink: 2 instead of 0 to 1")]);
    check(
        |h| {
            twice(h);
            (h.held.messages[0].marketing, h.held.messages[0].sent_again) = (false, 1);
        },
        &[],
    );
}

#[test]
fn the_sink_and_the_record_must_agree_but_for_unknowns() {
    check(
        |h| drop(h.arrivals.remove(0)),
        &[(Kind::Unresolved, "message a1 is recorded as sent and not at the sink")],
    );
    let unknown = |h: &mut History| {
        h.held.messages[0].status = "unknown".into();
        h.held.trace[2].detail = "unknown".into();
    };
    check(unknown, &[]);
    check(
        |h| {
            unknown(h);
            h.arrivals.remove(0);
        },
        &[],
    );
    check(
        |h| h.arrivals.push(arrival("a9", 1_200)),
        &[(Kind::Unresolved, "message Some(\"a9\") at the sink is recorded nowhere")],
    );
}

#[test]
fn what_reaches_the_wrong_people_is_unlawful() {
    check(
        |h| {
            h.held.messages[0].status = "refused".into();
            h.held.trace[2].detail = "refused".into();
        },
        &[(Kind::Unlawful, "message a1 is recorded as refused and at the sink")],
    );
    check(
        |h| h.arrivals[0].recipient = "u2@x".into(),
        &[(Kind::Unlawful, "message a1 for u1 went to another address")],
    );
    check(
        |h| h.facts[0].at = EVENT_AT + 2_000,
        &[(Kind::Unlawful, "message a1 reached u1 (shop) without a yes")],
    );
}

#[test]
fn only_so_many_may_be_leaving_when_a_no_is_acknowledged() {
    let no = |at: i64| {
        move |h: &mut History| {
            let given = h.facts[0].clone();
            h.facts.push(SentFact {
                word: Word::Withdrawn,
                at: EVENT_AT + at,
                answered_at: Some(EVENT_AT + at + 10),
                ..given
            });
            h.held.facts.push(HeldFact { contact: "c1".into(), kind: "withdrawn".into() });
        }
    };
    check(no(1_500), &[]);
    check(
        no(500),
        &[(Kind::Unlawful, "message a1 reached u1"), (Kind::Unlawful, "message a2 reached u1")],
    );
}

#[test]
fn an_acknowledged_fact_that_is_not_held_is_lost() {
    check(|h| h.held.facts.clear(), &[(Kind::Lost, "fact `given` of u1 (shop): 0 instead of 1")]);
    check(
        |h| h.held.facts.push(HeldFact { contact: "c1".into(), kind: "given".into() }),
        &[(Kind::Doubled, "fact `given` of u1 (shop): 2 instead of 1")],
    );
}
