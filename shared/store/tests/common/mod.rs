//! What the tests of the store share: commits in few words, and a look into the tables from
//! outside.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use parcours_domain::{
    Channel, ContactId, EventId, EventKey, EventKind, MessageClass, MessageId, Name, RunId, StepId,
    TenantId, Timestamp, shard_of,
};
use parcours_journey::RunRow;
use parcours_store::{
    CommitOutcome, ContactCommit, LoadKey, LoadWhat, Loaded, NewEvent, NewMessage, Store,
    TimerChange,
};
use parcours_testkit::store::TempPlace;
use sqlx::{Connection as _, Row as _};
use uuid::Uuid;

pub const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// A number from a look into the tables by a connection of one's own.
pub async fn count(place: &TempPlace, sql: &str) -> i64 {
    let sql = sqlx::AssertSqlSafe(sql.to_owned());
    if let Some(database) = place.database() {
        let mut connection = database.connect().await.unwrap();
        return sqlx::query(sql).fetch_one(&mut connection).await.unwrap().get(0);
    }
    let url = place.url();
    let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
    sqlx::query(sql).fetch_one(&mut connection).await.unwrap().get(0)
}

/// Runs one statement by a connection of one's own.
pub async fn execute(place: &TempPlace, sql: &str) {
    let sql = sqlx::AssertSqlSafe(sql.to_owned());
    if let Some(database) = place.database() {
        let mut connection = database.connect().await.unwrap();
        sqlx::query(sql).execute(&mut connection).await.unwrap();
        return;
    }
    let mut connection = sqlx::SqliteConnection::connect(&place.url()).await.unwrap();
    sqlx::query(sql).execute(&mut connection).await.unwrap();
}

pub async fn load(store: &Store, tenant: TenantId, contact: ContactId) -> Loaded {
    let key = LoadKey { tenant, contact };
    store.loader().load(vec![key], LoadWhat::StateAndInbox).await.unwrap().remove(0)
}

/// A commit of one track event with this messageId.
pub fn event_commit(
    store: &Store,
    (tenant, contact): (TenantId, ContactId),
    read_revision: i64,
    message_id: &str,
) -> ContactCommit {
    let mut commit = state_commit(store, (tenant, contact), read_revision);
    commit.seq = read_revision + 1;
    commit.events.push(event(message_id, read_revision + 1));
    commit
}

pub fn state_commit(
    store: &Store,
    (tenant, contact): (TenantId, ContactId),
    read_revision: i64,
) -> ContactCommit {
    let shard = shard_of(contact, store.shards());
    let state = format!("state after {read_revision}").into_bytes();
    ContactCommit::of_state((tenant, contact, shard), (read_revision, 0), state, NOW)
}

pub fn event(message_id: &str, seq: i64) -> NewEvent {
    NewEvent {
        id: EventId::v7(NOW, parcours_domain::hash::sha256_head(&[Uuid::new_v4().as_bytes()])),
        seq,
        kind: EventKind::Track,
        name: "Order Completed".to_owned(),
        message_id: message_id.to_owned(),
        key: EventKey::of(message_id),
        day: NOW.utc_day(),
        body_hash: [1; 32],
        occurred_at: Some(NOW),
        received_at: NOW,
        body: "{}".to_owned(),
        requeued: false,
    }
}

pub fn run_row(id: RunId, status: &'static str) -> RunRow {
    RunRow {
        id,
        journey: "welcome".parse().unwrap(),
        version: 1,
        key: String::new(),
        status,
        step: "wait".parse().unwrap(),
        entered_at: NOW,
        wakes_at: (status == "waiting").then_some(NOW),
        ended_at: None,
        ended_by: None,
    }
}

pub fn timer(run: RunId, seq: u32, due_at: Timestamp) -> TimerChange {
    TimerChange::Set { run, journey: "welcome".parse().unwrap(), seq, due_at }
}

pub fn run_id() -> RunId {
    RunId(Uuid::new_v4())
}

pub fn message(send_key: u8, run: RunId) -> NewMessage {
    let name = |text: &str| text.parse::<Name>().unwrap();
    NewMessage {
        id: MessageId::v7(NOW, [send_key; 10]),
        send_key: [send_key; 16],
        run: Some(run),
        journey: Some(name("welcome")),
        journey_version: Some(1),
        step: Some("thanks".parse::<StepId>().unwrap()),
        occurrence: Some(1),
        origin: "journey",
        template: name("thanks"),
        template_version: 1,
        sender: name("shop"),
        topic: name("news"),
        class: MessageClass::Marketing,
        channel: Channel::Email,
        data: Vec::new(),
        not_before: NOW,
        expires_at: Timestamp::from_millis(NOW.as_millis() + 86_400_000),
        lane: 7,
    }
}

/// Hands all over at once, so that they can share a batch; outcomes in order.
pub async fn commit_all(store: &Store, commits: Vec<ContactCommit>) -> Vec<CommitOutcome> {
    let committer = store.committer();
    futures::future::join_all(commits.into_iter().map(|one| committer.commit(one))).await
}
