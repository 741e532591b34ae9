//! Commits: exactly once, in order, each contact's misfortune its own.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod common;

use parcours_testkit::on_both_backends;

on_both_backends!(
    a_commit_can_be_read_back,
    a_message_id_counts_once_within_and_across_batches,
    who_brings_a_repeat_leaves_the_batch_and_takes_every_key_along,
    a_set_aside_event_is_in_the_way_of_all_but_itself,
    a_moved_revision_is_stale_and_changes_nothing,
    an_inbox_row_is_applied_once,
    the_inbox_sweep_goes_on_from_its_mark_and_around_the_end,
    what_the_database_refuses_costs_its_own_contact_only,
    a_send_key_is_used_once,
    a_run_has_one_live_timer,
    a_timer_held_after_its_journeys_resume_is_released,
    nothing_is_acknowledged_before_its_commit,
    an_unknown_outcome_is_told_as_unknown_and_found_by_its_key,
    a_former_owner_is_refused,
    an_absorbed_contact_ends_and_hands_over,
    an_absorption_moves_the_head_of_the_contact_that_goes_on,
    a_thousand_contacts_commit_at_once,
);

mod checks {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use parcours_domain::{AddressHash, Channel, EventKey, QuarantineId, Timestamp};
    use parcours_store::{
        Backend, CommitOutcome, Fault, FaultPoint, Faults, InboxFound, InboxMarks, NewAddress,
        NewDocument, NewInbox, NewQuarantine, Store, StoreConfig, TimerChange,
    };
    use parcours_testkit::store::{TempPlace, temp_brand, temp_contact, temp_store};

    use super::common::*;

    pub async fn a_commit_can_be_read_back(backend: Backend) {
        let store = temp_store(backend).await.unwrap();
        let tenant = temp_brand(&store, "one").await.unwrap();
        let contact = temp_contact(&store.for_tenant(tenant), "anna").await.unwrap();
        let before = load(&store, tenant, contact).await;
        assert!(before.exists && before.state.is_none() && before.revision == 0);

        let mut commit = event_commit(&store, (tenant, contact), 0, "m1");
        commit.trace = Some(("event:m1".to_owned(), "[]".to_owned()));
        commit.counters = vec![("events", 2), ("events", 3)];
        assert_eq!(store.committer().commit(commit).await, CommitOutcome::Done);

        let after = load(&store, tenant, contact).await;
        assert_eq!((after.revision, after.seq), (1, 1));
        assert_eq!(after.state.as_deref(), Some(&b"state after 0"[..]));
        assert_eq!(after.handle, before.handle);
        for table in ["event", "event_key", "trace"] {
            assert_eq!(count(&store.place, &format!("SELECT count(*) FROM {table}")).await, 1);
        }
        let sum = "SELECT CAST(sum(delta) AS BIGINT) FROM counter_delta";
        assert_eq!(count(&store.place, sum).await, 5);
    }

    pub async fn a_message_id_counts_once_within_and_across_batches(backend: Backend) {
        let store = temp_store(backend).await.unwrap();
        let tenant = temp_brand(&store, "one").await.unwrap();
        let brand = store.for_tenant(tenant);
        let mut commits = Vec::new();
        for user in ["anna", "bert", "carl", "dora"] {
            let contact = temp_contact(&brand, user).await.unwrap();
            // anna and bert come with the same messageId; the others with their own.
            let id = if user < "c" { "same" } else { user };
            commits.push(event_commit(&store, (tenant, contact), 0, id));
        }
        let again = commits.clone();
        let outcomes = commit_all(&store, commits).await;
        let done = outcomes.iter().filter(|one| **one == CommitOutcome::Done).count();
        let conflicts = outcomes.iter().filter(|one| **one == CommitOutcome::KeyConflict).count();
        assert_eq!((done, conflicts), (3, 1), "{outcomes:?}");
        assert!(outcomes[2..].iter().all(|one| *one == CommitOutcome::Done));

        // Again, with the revisions that a fresh load would give: the keys alone must refuse.
        let mut replay = Vec::new();
        for mut one in again {
            one.read_revision = load(&store, tenant, one.contact).await.revision;
            replay.push(one);
        }
        let outcomes = commit_all(&store, replay).await;
        assert!(outcomes.iter().all(|one| *one == CommitOutcome::KeyConflict), "{outcomes:?}");
        assert_eq!(count(&store.place, "SELECT count(*) FROM event").await, 3);

        // One contact that brings the same messageId twice in one chain.
        let contact = temp_contact(&brand, "emil").await.unwrap();
        let mut twice = event_commit(&store, (tenant, contact), 0, "twice");
        twice.events.push(event("twice", 2));
        assert_eq!(store.committer().commit(twice).await, CommitOutcome::KeyConflict);
        // Another brand may use the same messageId.
        let other = temp_brand(&store, "two").await.unwrap();
        let contact = temp_contact(&store.for_tenant(other), "anna").await.unwrap();
        let commit = event_commit(&store, (other, contact), 0, "same");
        assert_eq!(store.committer().commit(commit).await, CommitOutcome::Done);
        let question = vec![
            (tenant, EventKey::of("same"), NOW.utc_day()),
            (tenant, EventKey::of("same"), NOW.utc_day() + 1),
            (other, EventKey::of("same"), NOW.utc_day()),
            (other, EventKey::of("never"), NOW.utc_day()),
        ];
        let known = store.loader().known_keys(question).await.unwrap();
        let known: Vec<bool> = known.iter().map(Option::is_some).collect();
        assert_eq!(known, [true, false, true, false]);
    }

    pub async fn who_brings_a_repeat_leaves_the_batch_and_takes_every_key_along(backend: Backend) {
        let store = temp_store(backend).await.unwrap();
        let tenant = temp_brand(&store, "one").await.unwrap();
        let brand = store.for_tenant(tenant);
        let anna = temp_contact(&brand, "anna").await.unwrap();
        let bert = temp_contact(&brand, "bert").await.unwrap();
        let first = event_commit(&store, (tenant, anna), 0, "old");
        assert_eq!(store.committer().commit(first).await, CommitOutcome::Done);
        let mut mixed = event_commit(&store, (tenant, anna), 1, "new");
        mixed.events.push(event("old", 3));
        let other = event_commit(&store, (tenant, bert), 0, "other");
        let outcomes = commit_all(&store, vec![mixed.clone(), other]).await;
        assert_eq!(outcomes, [CommitOutcome::KeyConflict, CommitOutcome::Done]);
        let question = vec![(tenant, EventKey::of("new"), NOW.utc_day())];
        assert_eq!(store.loader().known_keys(question).await.unwrap(), [None]);
        assert_eq!(count(&store.place, "SELECT count(*) FROM event_key").await, 2);
        mixed.events.pop();
        assert_eq!(store.committer().commit(mixed).await, CommitOutcome::Done);
    }

    pub async fn a_set_aside_event_is_in_the_way_of_all_but_itself(backend: Backend) {
        let store = temp_store(backend).await.unwrap();
        let tenant = temp_brand(&store, "one").await.unwrap();
        let brand = store.for_tenant(tenant);
        let anna = temp_contact(&brand, "anna").await.unwrap();
        let bert = temp_contact(&brand, "bert").await.unwrap();
        let mut aside = state_commit(&store, (tenant, anna), 0);
        aside.quarantine = vec![NewQuarantine {
            id: QuarantineId::v7(NOW, [1; 10]),
            origin: "event",
            code: "panic".to_owned(),
            detail: String::new(),
            payload: Vec::new(),
            key: Some(EventKey::of("late")),
            body_hash: Some([1; 32]),
        }];
        assert_eq!(store.committer().commit(aside).await, CommitOutcome::Done);
        let repeat = event_commit(&store, (tenant, bert), 0, "late");
        assert_eq!(store.committer().commit(repeat).await, CommitOutcome::KeyConflict);
        let mut back = event_commit(&store, (tenant, anna), 1, "late");
        back.events[0].requeued = true;
        assert_eq!(store.committer().commit(back.clone()).await, CommitOutcome::Done);
        back.read_revision = 2;
        assert_eq!(store.committer().commit(back).await, CommitOutcome::KeyConflict);
    }

    pub async fn a_moved_revision_is_stale_and_changes_nothing(backend: Backend) {
        let store = temp_store(backend).await.unwrap();
        let tenant = temp_brand(&store, "one").await.unwrap();
        let brand = store.for_tenant(tenant);
        let anna = temp_contact(&brand, "anna").await.unwrap();
        let bert = temp_contact(&brand, "bert").await.unwrap();
        let first = event_commit(&store, (tenant, anna), 0, "m1");
        assert_eq!(store.committer().commit(first).await, CommitOutcome::Done);
        let outcomes = commit_all(
            &store,
            vec![
                event_commit(&store, (tenant, anna), 0, "m2"),
                event_commit(&store, (tenant, bert), 0, "m3"),
            ],
        )
        .await;
        assert_eq!(outcomes, [CommitOutcome::Stale, CommitOutcome::Done]);
        assert_eq!(load(&store, tenant, anna).await.revision, 1);
        assert_eq!(count(&store.place, "SELECT count(*) FROM event").await, 2);
        // The messageId of the stale one is free still.
        let second = event_commit(&store, (tenant, anna), 1, "m2");
        assert_eq!(store.committer().commit(second).await, CommitOutcome::Done);
    }

    pub async fn an_inbox_row_is_applied_once(backend: Backend) {
        let store = temp_store(backend).await.unwrap();
        let tenant = temp_brand(&store, "one").await.unwrap();
        let brand = store.for_tenant(tenant);
        let anna = temp_contact(&brand, "anna").await.unwrap();
        let bert = temp_contact(&brand, "bert").await.unwrap();
        let mut commit = state_commit(&store, (tenant, anna), 0);
        let row = NewInbox {
            tenant,
            contact: bert,
            source: [9; 16],
            kind: "click",
            ref_json: "{}".to_owned(),
            body: None,
        };
        // The same cause twice is one row.
        commit.inbox_new = vec![row.clone(), row];
        assert_eq!(store.committer().commit(commit).await, CommitOutcome::Done);
        let waiting = load(&store, tenant, bert).await.inbox;
        assert_eq!(waiting.len(), 1);
        let marks = InboxMarks::default();
        let (swept, marks) = store.sweep().inbox_contacts(marks, (10, 10)).await.unwrap();
        assert_eq!(swept, [InboxFound { tenant, contact: bert, bulk: false }]);

        let mut apply = state_commit(&store, (tenant, bert), 0);
        apply.inbox_done = vec![waiting[0].id];
        let mut late = apply.clone();
        assert_eq!(store.committer().commit(apply).await, CommitOutcome::Done);
        late.read_revision = 1;
        assert_eq!(store.committer().commit(late).await, CommitOutcome::Stale);
        assert!(store.sweep().inbox_contacts(marks, (10, 10)).await.unwrap().0.is_empty());
    }

    pub async fn the_inbox_sweep_goes_on_from_its_mark_and_around_the_end(backend: Backend) {
        let store = temp_store(backend).await.unwrap();
        let tenant = temp_brand(&store, "one").await.unwrap();
        let brand = store.for_tenant(tenant);
        let writer = temp_contact(&brand, "writer").await.unwrap();
        let mut commit = state_commit(&store, (tenant, writer), 0);
        for (n, user) in (1_u8..).zip(["anna", "bert", "carl"]) {
            let contact = temp_contact(&brand, user).await.unwrap();
            commit.inbox_new.push(NewInbox {
                tenant,
                contact,
                source: [n; 16],
                kind: "click",
                ref_json: "{}".to_owned(),
                body: None,
            });
        }
        assert_eq!(store.committer().commit(commit).await, CommitOutcome::Done);
        // Nobody takes the first rows away, and still each contact has its turn.
        let (mut marks, mut turns) = (InboxMarks::default(), Vec::new());
        for _ in 0..3 {
            let (swept, next) = store.sweep().inbox_contacts(marks, (2, 2)).await.unwrap();
            assert_eq!(swept.len(), 2);
            turns.extend(swept.into_iter().map(|found| found.contact));
            marks = next;
        }
        assert_eq!(turns[..3], turns[3..], "round and round");
        turns.truncate(3);
        turns.sort();
        turns.dedup();
        assert_eq!(turns.len(), 3);
        let rest = store.sweep().inbox_contacts(marks, (10, 10)).await.unwrap();
        assert_eq!((rest.0.len(), rest.1), (3, InboxMarks::default()));
    }

    pub async fn what_the_database_refuses_costs_its_own_contact_only(backend: Backend) {
        let store = temp_store(backend).await.unwrap();
        let mut commits = Vec::new();
        for number in 0..20 {
            let tenant = temp_brand(&store, &format!("brand {number}")).await.unwrap();
            let contact = temp_contact(&store.for_tenant(tenant), "anna").await.unwrap();
            commits.push(event_commit(&store, (tenant, contact), 0, "m"));
        }
        // Two live runs under one key: the unique index refuses them on either database.
        let poisoned = &mut commits[13];
        poisoned.runs = vec![run_row(run_id(), "waiting"), run_row(run_id(), "waiting")];
        if backend == Backend::Postgres {
            // A value that only PostgreSQL refuses.
            commits[13].runs.clear();
            commits[13].events[0].name = "a\u{0}b".to_owned();
        }
        let outcomes = commit_all(&store, commits).await;
        for (number, outcome) in outcomes.iter().enumerate() {
            match outcome {
                CommitOutcome::Refused { .. } => assert_eq!(number, 13),
                other => assert_eq!((number, other), (number, &CommitOutcome::Done)),
            }
        }
        assert_eq!(count(&store.place, "SELECT count(*) FROM contact_state").await, 19);
        assert_eq!(count(&store.place, "SELECT count(*) FROM event_key").await, 19);
    }

    pub async fn a_send_key_is_used_once(backend: Backend) {
        let store = temp_store(backend).await.unwrap();
        let tenant = temp_brand(&store, "one").await.unwrap();
        let contact = temp_contact(&store.for_tenant(tenant), "anna").await.unwrap();
        let run = run_id();
        let mut first = state_commit(&store, (tenant, contact), 0);
        let address = AddressHash([5; 32]);
        first.address = Some(NewAddress {
            channel: Channel::Email,
            hmac: address,
            key_version: 1,
            ciphertext: vec![1],
        });
        first.sends = vec![message(1, run)];
        assert_eq!(store.committer().commit(first).await, CommitOutcome::Done);
        let mut second = state_commit(&store, (tenant, contact), 1);
        let mut early = message(2, run);
        early.not_before = Timestamp::from_millis(NOW.as_millis() - 5);
        second.sends = vec![message(1, run), early];
        assert_eq!(store.committer().commit(second).await, CommitOutcome::Done);
        for table in ["message", "send_queue", "send_key"] {
            assert_eq!(count(&store.place, &format!("SELECT count(*) FROM {table}")).await, 2);
        }
        let addressed = "SELECT count(*) FROM message WHERE address_hmac IS NOT NULL";
        assert_eq!(count(&store.place, addressed).await, 2);
        let head = count(&store.place, "SELECT ready_at FROM send_head WHERE lane = 7").await;
        assert_eq!(head, NOW.as_millis() - 5);
        assert_eq!(count(&store.place, "SELECT version FROM consent_head").await, 0);
        assert_eq!(store.sweep().counts(NOW).await.unwrap().queue_ready, 2);
    }

    pub async fn a_run_has_one_live_timer(backend: Backend) {
        let store = temp_store(backend).await.unwrap();
        let tenant = temp_brand(&store, "one").await.unwrap();
        let contact = temp_contact(&store.for_tenant(tenant), "anna").await.unwrap();
        let (one, two) = (run_id(), run_id());
        let at = |ms: i64| Timestamp::from_millis(NOW.as_millis() + ms);
        let mut commit = state_commit(&store, (tenant, contact), 0);
        commit.timers = vec![timer(one, 1, at(10)), timer(two, 1, at(30)), timer(one, 2, at(20))];
        assert_eq!(store.committer().commit(commit).await, CommitOutcome::Done);
        let sweep = store.sweep();
        assert_eq!(sweep.next_due().await.unwrap(), Some(at(20)));
        let due = sweep.due_timers(at(25), None, 10).await.unwrap();
        assert_eq!(due.len(), 1);
        assert_eq!((due[0].run, due[0].seq, due[0].due_at), (one, 2, at(20)));
        let all = sweep.due_timers(at(30), Some((at(20), one)), 10).await.unwrap();
        assert_eq!(all.iter().map(|timer| timer.run).collect::<Vec<_>>(), [two]);

        let mut commit = state_commit(&store, (tenant, contact), 1);
        commit.timers = vec![TimerChange::Hold { run: one }, TimerChange::Cancel { run: two }];
        assert_eq!(store.committer().commit(commit).await, CommitOutcome::Done);
        assert_eq!(sweep.next_due().await.unwrap(), None);
        let journey = "welcome".parse().unwrap();
        let resumed = sweep.resume_journey(tenant, &journey, at(100), parcours_domain::Millis(50));
        assert_eq!(resumed.await.unwrap(), 1);
        let shard = parcours_domain::shard_of(contact, store.shards());
        let (page, next) = sweep.shard_timers_page(shard, None, 1).await.unwrap();
        assert!(page[0].due_at >= at(100) && page[0].due_at < at(150), "{page:?}");
        let (rest, end) = sweep.shard_timers_page(shard, next, 1).await.unwrap();
        assert!(rest.is_empty() && end.is_none());
    }

    /// Fails at one point, as often as told.
    struct FailAt(FaultPoint, Fault, AtomicUsize);

    impl Faults for FailAt {
        fn at(&self, point: FaultPoint) -> Option<Fault> {
            let left = |left: usize| left.checked_sub(1);
            (point == self.0
                && self.2.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left).is_ok())
            .then_some(self.1)
        }
    }

    async fn faulty(place: &TempPlace, faults: Arc<dyn Faults>) -> Store {
        let config = StoreConfig { faults: Some(faults), ..place.config() };
        Store::open(config).await.unwrap()
    }

    pub async fn a_timer_held_after_its_journeys_resume_is_released(backend: Backend) {
        let store = temp_store(backend).await.unwrap();
        let tenant = temp_brand(&store, "one").await.unwrap();
        let brand = store.for_tenant(tenant);
        let journey = NewDocument {
            kind: "Journey".to_owned(),
            name: "welcome".parse().unwrap(),
            body_json: "{}".to_owned(),
            compiled: None,
            version: None,
        };
        brand.publish(vec![journey], None, NOW).await.unwrap();
        for user in ["anna", "bert"] {
            let contact = temp_contact(&brand, user).await.unwrap();
            let run = run_id();
            let mut commit = state_commit(&store, (tenant, contact), 0);
            commit.timers = vec![timer(run, 1, NOW)];
            assert_eq!(store.committer().commit(commit).await, CommitOutcome::Done);
            let mut commit = state_commit(&store, (tenant, contact), 1);
            commit.timers = vec![TimerChange::Hold { run }];
            if user == "bert" {
                commit.quarantine = vec![NewQuarantine {
                    id: QuarantineId::v7(NOW, [1; 10]),
                    origin: "timer",
                    code: "failed".to_owned(),
                    detail: String::new(),
                    payload: Vec::new(),
                    key: None,
                    body_hash: None,
                }];
            }
            assert_eq!(store.committer().commit(commit).await, CommitOutcome::Done);
        }
        let sweep = store.sweep();
        execute(&store.place, "UPDATE document_head SET status = 'paused'").await;
        assert_eq!(sweep.release_held(10).await.unwrap(), 0);
        execute(&store.place, "UPDATE document_head SET status = 'live'").await;
        // What was set aside waits for people.
        assert_eq!(sweep.release_held(10).await.unwrap(), 1);
        assert_eq!(sweep.due_timers(NOW, None, 10).await.unwrap().len(), 1);
        execute(&store.place, "UPDATE quarantine SET requeued_at = 1").await;
        assert_eq!(sweep.release_held(10).await.unwrap(), 1);
    }

    pub async fn nothing_is_acknowledged_before_its_commit(backend: Backend) {
        let place = TempPlace::new(backend).await.unwrap();
        let store = Store::open(place.config()).await.unwrap();
        let tenant = temp_brand(&store, "one").await.unwrap();
        let contact = temp_contact(&store.for_tenant(tenant), "anna").await.unwrap();
        let committer = store.committer();
        let first = event_commit(&store, (tenant, contact), 0, "m1");
        assert_eq!(committer.commit(first).await, CommitOutcome::Done);
        store.close().await;

        // The commit fails after everything was written: nobody hears `Done`, nothing is there.
        let fail = FailAt(FaultPoint::BeforeCommit, Fault::Fail, AtomicUsize::new(1));
        let store = faulty(&place, Arc::new(fail)).await;
        let commit = event_commit(&store, (tenant, contact), 1, "m2");
        assert_eq!(store.committer().commit(commit.clone()).await, CommitOutcome::Unknown);
        assert_eq!(load(&store, tenant, contact).await.revision, 1);
        assert_eq!(store.committer().commit(commit).await, CommitOutcome::Done);
        assert_eq!(count(&place, "SELECT count(*) FROM event").await, 2);
    }

    pub async fn an_unknown_outcome_is_told_as_unknown_and_found_by_its_key(backend: Backend) {
        let place = TempPlace::new(backend).await.unwrap();
        let store = Store::open(place.config()).await.unwrap();
        let tenant = temp_brand(&store, "one").await.unwrap();
        let contact = temp_contact(&store.for_tenant(tenant), "anna").await.unwrap();
        store.close().await;
        // The backend dies during COMMIT: nothing is there, and the store goes on.
        let lost = FailAt(FaultPoint::DuringCommit, Fault::DropConnection, AtomicUsize::new(1));
        let store = faulty(&place, Arc::new(lost)).await;
        let commit = event_commit(&store, (tenant, contact), 0, "m1");
        assert_eq!(store.committer().commit(commit.clone()).await, CommitOutcome::Unknown);
        assert_eq!(load(&store, tenant, contact).await.revision, 0);
        assert_eq!(store.committer().commit(commit).await, CommitOutcome::Done);
        store.close().await;
        // The answer is lost after COMMIT: a retry finds it by its key.
        let fail = FailAt(FaultPoint::AfterCommitBeforeAck, Fault::Fail, AtomicUsize::new(1));
        let store = faulty(&place, Arc::new(fail)).await;
        let commit = event_commit(&store, (tenant, contact), 1, "m2");
        let id = commit.events[0].id;
        assert_eq!(store.committer().commit(commit).await, CommitOutcome::Unknown);
        let question = vec![(tenant, EventKey::of("m2"), NOW.utc_day())];
        let known = store.loader().known_keys(question).await.unwrap();
        assert_eq!(known[0].unwrap().event, id);
    }

    pub async fn a_former_owner_is_refused(backend: Backend) {
        let store = temp_store(backend).await.unwrap();
        let tenant = temp_brand(&store, "one").await.unwrap();
        let contact = temp_contact(&store.for_tenant(tenant), "anna").await.unwrap();
        let commit = event_commit(&store, (tenant, contact), 0, "m1");
        // Another worker takes the shards over: each with a higher epoch.
        execute(&store.place, "UPDATE shard SET epoch = epoch + 1").await;
        assert_eq!(store.committer().commit(commit.clone()).await, CommitOutcome::Moved);
        assert_eq!(count(&store.place, "SELECT count(*) FROM event").await, 0);
        // The same epoch under another owner does not help.
        execute(&store.place, "UPDATE shard SET epoch = epoch - 1").await;
        let owner = "UPDATE shard SET owner = (SELECT install_id FROM install)";
        execute(&store.place, owner).await;
        assert_eq!(store.committer().commit(commit).await, CommitOutcome::Moved);
    }

    pub async fn an_absorbed_contact_ends_and_hands_over(backend: Backend) {
        let store = temp_store(backend).await.unwrap();
        let tenant = temp_brand(&store, "one").await.unwrap();
        let brand = store.for_tenant(tenant);
        let from = temp_contact(&brand, "visitor").await.unwrap();
        let into = temp_contact(&brand, "anna").await.unwrap();
        let (live, ended) = (run_id(), run_id());
        let mut commit = state_commit(&store, (tenant, from), 0);
        commit.runs = vec![run_row(live, "waiting"), run_row(ended, "finished")];
        commit.timers = vec![timer(live, 1, NOW)];
        let waiting = |source: u8, contact| NewInbox {
            tenant,
            contact,
            source: [source; 16],
            kind: "click",
            ref_json: "{}".to_owned(),
            body: None,
        };
        commit.inbox_new = vec![waiting(1, from)];
        commit.address = Some(NewAddress {
            channel: Channel::Email,
            hmac: AddressHash([7; 32]),
            key_version: 1,
            ciphertext: vec![1],
        });
        assert_eq!(store.committer().commit(commit).await, CommitOutcome::Done);

        let mut absorb = state_commit(&store, (tenant, from), 1);
        absorb.absorbed_into = Some(into);
        absorb.inbox_new = vec![waiting(2, into)];
        assert_eq!(store.committer().commit(absorb).await, CommitOutcome::Done);

        assert_eq!(load(&store, tenant, from).await.merged_into, Some(into));
        assert!(load(&store, tenant, from).await.inbox.is_empty());
        assert_eq!(load(&store, tenant, into).await.inbox.len(), 2);
        assert_eq!(temp_contact(&brand, "visitor").await.unwrap(), into);
        assert_eq!(count(&store.place, "SELECT count(*) FROM timer").await, 0);
        assert_eq!(count(&store.place, "SELECT count(*) FROM run").await, 1);
        let door = store.consent();
        let now = door.standing(tenant, into, Channel::Email).await.unwrap();
        assert_eq!(now.address.map(|(hash, _)| hash), Some(AddressHash([7; 32])));
        assert!(now.head_version.is_some(), "a message under way finds its address");
        // The target takes the run over under its id.
        let mut take = state_commit(&store, (tenant, into), 0);
        take.runs = vec![run_row(live, "waiting")];
        take.timers = vec![timer(live, 2, NOW)];
        let late = event_commit(&store, (tenant, from), 2, "late");
        let outcomes = commit_all(&store, vec![take, late]).await;
        assert_eq!(outcomes, [CommitOutcome::Done, CommitOutcome::Merged(into)]);
        assert!(store.sweep().stuck_runs(10).await.unwrap().is_empty());
    }

    pub async fn an_absorption_moves_the_head_of_the_contact_that_goes_on(backend: Backend) {
        let store = temp_store(backend).await.unwrap();
        let tenant = temp_brand(&store, "one").await.unwrap();
        let brand = store.for_tenant(tenant);
        let from = temp_contact(&brand, "visitor").await.unwrap();
        let into = temp_contact(&brand, "anna").await.unwrap();
        for (contact, hash) in [(from, 7), (into, 8)] {
            let mut commit = state_commit(&store, (tenant, contact), 0);
            commit.address = Some(NewAddress {
                channel: Channel::Email,
                hmac: AddressHash([hash; 32]),
                key_version: 1,
                ciphertext: vec![1],
            });
            assert_eq!(store.committer().commit(commit).await, CommitOutcome::Done);
        }
        let door = store.consent();
        let before = door.standing(tenant, into, Channel::Email).await.unwrap();
        let mut absorb = state_commit(&store, (tenant, from), 1);
        absorb.absorbed_into = Some(into);
        assert_eq!(store.committer().commit(absorb).await, CommitOutcome::Done);
        let after = door.standing(tenant, into, Channel::Email).await.unwrap();
        assert!(after.head_version > before.head_version, "what was judged before is judged again");
        assert_eq!(after.address, before.address, "its own address stays");
    }

    pub async fn a_thousand_contacts_commit_at_once(backend: Backend) {
        let store = temp_store(backend).await.unwrap();
        let tenant = temp_brand(&store, "one").await.unwrap();
        let brand = store.for_tenant(tenant);
        let names: Vec<String> = (0..1_000).map(|n| format!("user {n}")).collect();
        let queries: Vec<_> = names
            .iter()
            .map(|name| parcours_store::IdentityQuery {
                user_id: Some(name.clone()),
                ..Default::default()
            })
            .collect();
        let resolved =
            brand.resolve(&queries, &parcours_testkit::store::derived, NOW).await.unwrap();
        let mut commits = Vec::new();
        for (name, one) in names.iter().zip(resolved) {
            let parcours_store::Resolution::Contact(contact) = one.contact else {
                panic!("{name}: {one:?}")
            };
            let mut commit = event_commit(&store, (tenant, contact), 0, name);
            let run = run_id();
            commit.runs = vec![run_row(run, "waiting")];
            commit.timers = vec![timer(run, 1, NOW)];
            commits.push(commit);
        }
        let outcomes = commit_all(&store, commits).await;
        assert!(outcomes.iter().all(|one| *one == CommitOutcome::Done));
        assert_eq!(store.sweep().counts(NOW).await.unwrap().timers_due, 1_000);
        assert_eq!(store.sweep().due_timers(NOW, None, 300).await.unwrap().len(), 300);
    }
}
