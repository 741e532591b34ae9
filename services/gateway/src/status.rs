//! From numbers to what a person should look at. Pure: the endpoint, the command and the metrics
//! say the same.

use parcours_domain::{Timestamp, breaker::Cause};
use parcours_store::{Backlog, BrandRow, BrandStatus, StatusNumbers, Stopped};
use parcours_wire::http::status::{Attention, BrandNumbers, Numbers, OldestWaiting, StatusAnswer};

use crate::endpoint::breaker::stopped_view;

/// A timer or an inbox row that waits longer than this is late, in seconds.
pub const LATE_S: u64 = 60;

/// A message that may leave and has not for longer than this is late, in seconds: rates and
/// deferrals make minutes of waiting ordinary.
pub const QUEUE_LATE_S: u64 = 15 * 60;

/// What holds for the whole install.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Install {
    /// When all sending was halted, if it is.
    pub halted_at: Option<Timestamp>,
    /// Why, if the reader may know.
    pub halt_reason: Option<String>,
}

/// Everything, for the API and the command.
#[must_use]
pub fn answer(install: &Install, brands: &[BrandStatus], now: Timestamp) -> StatusAnswer {
    let mut attention = Vec::new();
    if install.halted_at.is_some() {
        let why = install.halt_reason.as_deref().map(|why| format!(": {why}"));
        let detail = format!("all sending is halted{}", why.unwrap_or_default());
        attention.push(Attention { code: "install_halted".to_owned(), brand: None, detail });
    }
    for status in brands {
        attention.extend(of_brand(status, now));
    }
    StatusAnswer {
        at: now,
        install_halted_at: install.halted_at,
        install_halt_reason: install.halt_reason.clone(),
        attention,
        oldest: oldest(brands, now),
        total: numbers(&total(brands), now),
        brands: brands.iter().map(|status| brand(status, now)).collect(),
    }
}

/// All brands together.
#[must_use]
pub fn total(brands: &[BrandStatus]) -> StatusNumbers {
    let mut total = StatusNumbers::default();
    brands.iter().for_each(|one| total.add(&one.numbers));
    total
}

/// How long the oldest waits, in seconds; 0 when nothing waits.
#[must_use]
pub fn seconds(backlog: Backlog, now: Timestamp) -> u64 {
    let waits = backlog.oldest.map_or(0, |oldest| (now - oldest).0);
    u64::try_from(waits / 1_000).unwrap_or(0)
}

/// What a person should look at in one brand.
#[must_use]
pub fn of_brand(status: &BrandStatus, now: Timestamp) -> Vec<Attention> {
    let numbers = numbers(&status.numbers, now);
    let mut found = Vec::new();
    let mut add = |code: &str, detail: String| {
        let brand = Some(full_name(&status.brand));
        found.push(Attention { code: code.to_owned(), brand, detail });
    };
    if status.brand.halted_at.is_some() {
        let why = status.brand.halt_reason.as_deref().unwrap_or("no reason given");
        add("brand_halted", format!("sending is halted: {why}"));
    }
    if let Some(Stopped { stops, cause, tally, .. }) = &status.stopped {
        let (bad, of) = match cause {
            Cause::Complaints => (tally.complained, tally.sent),
            Cause::Bounces => (tally.bounced, tally.ended()),
            Cause::Refusals => (tally.refused, tally.ended()),
        };
        let (stops, cause) = (stops.as_str(), cause.as_str());
        add("breaker", format!("{stops} is stopped: {bad} {cause} of {of} messages"));
    }
    let late = numbers.timers_late_seconds;
    if late > LATE_S {
        add("timers_late", format!("{} timers due, the first {late} s ago", numbers.timers_due));
    }
    let late = numbers.inbox_late_seconds;
    if late > LATE_S {
        let rows = numbers.inbox_live + numbers.inbox_bulk;
        add("inbox_late", format!("{rows} inbox rows, the oldest waits {late} s"));
    }
    let late = numbers.queue_late_seconds;
    if late > QUEUE_LATE_S {
        let ready = numbers.queue_ready;
        add("queue_late", format!("{ready} messages may leave, the first since {late} s"));
    }
    if numbers.runs_stuck > 0 {
        add("stuck", format!("{} live runs have no timer", numbers.runs_stuck));
    }
    if numbers.quarantine_open > 0 {
        let codes: Vec<String> =
            numbers.quarantine_codes.iter().map(|(code, n)| format!("{n} {code}")).collect();
        add("quarantine", format!("inputs set aside: {}", codes.join(", ")));
    }
    if numbers.messages_unknown_recent > 0 {
        let recent = numbers.messages_unknown_recent;
        add("unknown", format!("{recent} messages of the last 24 hours have no known outcome"));
    }
    found
}

fn oldest(brands: &[BrandStatus], now: Timestamp) -> Option<OldestWaiting> {
    let of = |status: &BrandStatus| {
        let numbers = &status.numbers;
        let brand = full_name(&status.brand);
        [
            ("timer", numbers.timers_due),
            ("inbox", numbers.inbox_live),
            ("inbox", numbers.inbox_bulk),
            ("message", numbers.queue_ready),
            ("quarantine", numbers.quarantined()),
        ]
        .map(|(what, backlog)| Some((backlog.oldest?, what, brand.clone(), seconds(backlog, now))))
    };
    let all = brands.iter().flat_map(of).flatten();
    let (since, what, brand, seconds) = all.min_by_key(|(since, ..)| *since)?;
    Some(OldestWaiting { what: what.to_owned(), brand, since, seconds })
}

fn full_name(brand: &BrandRow) -> String {
    format!("{}/{}", brand.organisation_name, brand.name)
}

fn brand(status: &BrandStatus, now: Timestamp) -> BrandNumbers {
    let row = &status.brand;
    BrandNumbers {
        id: row.tenant.0,
        organisation: row.organisation_name.clone(),
        name: row.name.clone(),
        halted_at: row.halted_at,
        halt_reason: row.halt_reason.clone(),
        stopped: status.stopped.as_ref().map(stopped_view),
        numbers: numbers(&status.numbers, now),
    }
}

fn numbers(of: &StatusNumbers, now: Timestamp) -> Numbers {
    let quarantine = of.quarantined();
    Numbers {
        timers_due: of.timers_due.count,
        timers_late_seconds: seconds(of.timers_due, now),
        timers_held: of.timers_held,
        inbox_live: of.inbox_live.count,
        inbox_bulk: of.inbox_bulk.count,
        inbox_late_seconds: seconds(of.inbox_live, now).max(seconds(of.inbox_bulk, now)),
        queue_ready: of.queue_ready.count,
        queue_late_seconds: seconds(of.queue_ready, now),
        queue_later: of.queue_later,
        queue_claimed: of.queue_claimed,
        queue_leaving: of.queue_leaving,
        quarantine_open: quarantine.count,
        quarantine_codes: of.quarantine.iter().map(|(code, n)| (code.clone(), n.count)).collect(),
        quarantine_oldest_seconds: seconds(quarantine, now),
        messages_unknown: of.messages_unknown,
        messages_unknown_recent: of.messages_unknown_recent,
        runs_stuck: of.runs_stuck,
        journeys_paused: of.journeys_paused,
    }
}

#[cfg(test)]
mod tests {
    use parcours_domain::{Millis, OrganisationId, TenantId};

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn waiting(count: u64, seconds: i64) -> Backlog {
        Backlog { count, oldest: Some(NOW - Millis::seconds(seconds)) }
    }

    fn brand_with(change: impl Fn(&mut BrandStatus)) -> BrandStatus {
        let brand = BrandRow {
            tenant: TenantId(uuid::Uuid::nil()),
            organisation: OrganisationId(uuid::Uuid::nil()),
            organisation_name: "maison".into(),
            name: "sillon".into(),
            created_at: NOW,
            halted_at: None,
            halt_reason: None,
            consent_version: 1,
        };
        let mut status = BrandStatus { brand, stopped: None, numbers: StatusNumbers::default() };
        change(&mut status);
        status
    }

    fn codes(status: &BrandStatus) -> Vec<String> {
        of_brand(status, NOW).into_iter().map(|one| one.code).collect()
    }

    #[test]
    fn each_limit_is_kept_to_the_second() {
        type Case = (fn(&mut BrandStatus), &'static [&'static str]);
        let table: &[Case] = &[
            (|_| {}, &[]),
            (|one| one.numbers.timers_due = waiting(3, 60), &[]),
            (|one| one.numbers.timers_due = waiting(3, 61), &["timers_late"]),
            (|one| one.numbers.timers_held = 9, &[]),
            (|one| one.numbers.inbox_bulk = waiting(3, 61), &["inbox_late"]),
            (|one| one.numbers.queue_ready = waiting(3, 900), &[]),
            (|one| one.numbers.queue_ready = waiting(3, 901), &["queue_late"]),
            (|one| one.numbers.runs_stuck = 1, &["stuck"]),
            (|one| one.numbers.messages_unknown = 1, &[]),
            (|one| one.numbers.messages_unknown_recent = 1, &["unknown"]),
            (|one| one.numbers.journeys_paused = 1, &[]),
            (
                |one| {
                    one.numbers.quarantine.insert("x".into(), waiting(1, 1));
                },
                &["quarantine"],
            ),
            (|one| one.brand.halted_at = Some(NOW), &["brand_halted"]),
            (
                |one| {
                    one.stopped = Some(Stopped {
                        stops: parcours_domain::breaker::Stops::Marketing,
                        cause: Cause::Bounces,
                        at: NOW,
                        tally: Default::default(),
                    });
                },
                &["breaker"],
            ),
        ];
        for (number, (change, expected)) in table.iter().enumerate() {
            assert_eq!(codes(&brand_with(change)), *expected, "case {number}");
        }
    }

    #[test]
    fn totals_add_up_and_the_oldest_is_named() {
        let one = brand_with(|one| {
            one.numbers.timers_due = waiting(2, 10);
            one.numbers.quarantine.insert("too_old".into(), waiting(1, 5));
        });
        let mut two = brand_with(|two| {
            two.numbers.queue_ready = waiting(5, 40);
            two.numbers.timers_due = waiting(1, 20);
            two.numbers.quarantine.insert("too_old".into(), waiting(2, 7));
        });
        two.brand.name = "face-b".into();
        let answer = answer(&Install::default(), &[one, two], NOW);
        assert_eq!((answer.total.timers_due, answer.total.timers_late_seconds), (3, 20));
        assert_eq!(answer.total.quarantine_codes["too_old"], 3);
        let oldest = answer.oldest.unwrap();
        assert_eq!((oldest.what.as_str(), oldest.brand.as_str()), ("message", "maison/face-b"));
        assert_eq!(oldest.seconds, 40);
    }
}
