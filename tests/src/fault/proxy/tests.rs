//! The proxy does what it says, shown with an echo and with a real PostgreSQL.
#![allow(clippy::unwrap_used, reason = "a failure is a failed test")]

use std::{
    io::{ErrorKind, Read as _, Write as _},
    sync::mpsc,
};

use parcours_testkit::pg::TempDatabase;
use sqlx::{Connection as _, PgConnection};

use super::{postgres::OnCommit, *};

/// How long nothing must arrive before we believe that nothing does.
const SILENCE: Duration = Duration::from_millis(150);
/// How long something may take that must happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server that says back what it hears, and tells each end of a connection.
struct Echo {
    at: SocketAddr,
    ended: mpsc::Receiver<std::io::Result<()>>,
}

impl Echo {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let (tell, ended) = mpsc::channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, tell) = (stream.unwrap(), tell.clone());
                thread::spawn(move || {
                    let mut piece = [0; 1024];
                    let end = loop {
                        match stream.read(&mut piece) {
                            Ok(0) => break Ok(()),
                            Ok(n) => stream.write_all(&piece[..n]).unwrap_or_default(),
                            Err(error) => break Err(error),
                        }
                    };
                    // The test may have seen enough.
                    let _ = tell.send(end);
                });
            }
        });
        Self { at, ended }
    }
}

fn stage() -> (Echo, Proxy, TcpStream) {
    let echo = Echo::start();
    let proxy = Proxy::to(echo.at.to_string()).unwrap();
    let client = TcpStream::connect(proxy.address()).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    (echo, proxy, client)
}

fn hears(client: &mut TcpStream, words: &str) {
    let mut heard = vec![0; words.len()];
    client.read_exact(&mut heard).unwrap();
    assert_eq!(heard, words.as_bytes());
}

fn hears_nothing(client: &mut TcpStream) {
    client.set_read_timeout(Some(SILENCE)).unwrap();
    let read = client.read(&mut [0; 8]).map_err(|error| error.kind());
    assert!(matches!(read, Err(ErrorKind::WouldBlock | ErrorKind::TimedOut)), "{read:?}");
    client.set_read_timeout(Some(PATIENCE)).unwrap();
}

#[test]
fn bytes_and_ends_pass_both_ways() {
    let (echo, proxy, mut client) = stage();
    client.write_all(b"hello").unwrap();
    hears(&mut client, "hello");
    assert_eq!((proxy.open(), proxy.accepted()), (1, 1));
    client.shutdown(std::net::Shutdown::Write).unwrap();
    echo.ended.recv_timeout(PATIENCE).unwrap().unwrap();
    assert_eq!(client.read(&mut [0; 8]).unwrap(), 0, "the echo has closed too");
}

#[test]
fn a_frozen_way_holds_bytes_and_the_end_back_until_it_thaws() {
    let (echo, proxy, mut client) = stage();
    client.write_all(b"a").unwrap();
    hears(&mut client, "a");
    proxy.freeze();
    client.write_all(b"b").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    hears_nothing(&mut client);
    assert!(echo.ended.try_recv().is_err(), "the end waits behind the bytes");
    proxy.thaw();
    hears(&mut client, "b");
    echo.ended.recv_timeout(PATIENCE).unwrap().unwrap();
}

#[test]
fn a_lost_way_swallows_and_the_other_way_still_passes() {
    let (echo, proxy, mut client) = stage();
    client.write_all(b"a").unwrap();
    hears(&mut client, "a");
    proxy.set(Direction::ToServer, Way::Lost);
    client.write_all(b"lost").unwrap();
    hears_nothing(&mut client);
    proxy.set(Direction::ToServer, Way::Open);
    client.write_all(b"b").unwrap();
    hears(&mut client, "b");
    proxy.set(Direction::ToServer, Way::Lost);
    drop(client);
    assert!(echo.ended.recv_timeout(SILENCE).is_err(), "the server is not told");
    proxy.cut();
    assert!(echo.ended.recv_timeout(PATIENCE).is_ok());
}

#[test]
fn a_delay_is_waited_and_can_be_for_new_connections_only() {
    let (_echo, proxy, mut old) = stage();
    old.write_all(b"x").unwrap();
    hears(&mut old, "x");
    proxy.set_new(Direction::ToServer, Way::Delayed(SILENCE * 2));
    let mut new = TcpStream::connect(proxy.address()).unwrap();
    let begun = std::time::Instant::now();
    new.write_all(b"y").unwrap();
    hears(&mut new, "y");
    assert!(begun.elapsed() >= SILENCE * 2, "{:?}", begun.elapsed());
    proxy.set_new(Direction::ToServer, Way::Frozen);
    old.write_all(b"z").unwrap();
    hears(&mut old, "z");
}

#[test]
fn cut_ends_in_order_and_reset_does_not() {
    let (echo, proxy, mut client) = stage();
    client.write_all(b"a").unwrap();
    hears(&mut client, "a");
    proxy.cut();
    assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
    echo.ended.recv_timeout(PATIENCE).unwrap().unwrap();

    let mut client = TcpStream::connect(proxy.address()).unwrap();
    client.write_all(b"a").unwrap();
    hears(&mut client, "a");
    proxy.reset();
    let read = client.read(&mut [0; 8]).map_err(|error| error.kind());
    assert_eq!(read, Err(ErrorKind::ConnectionReset));
    let end = echo.ended.recv_timeout(PATIENCE).unwrap().map_err(|error| error.kind());
    assert_eq!(end, Err(ErrorKind::ConnectionReset));
}

#[test]
fn new_connections_are_turned_away_while_it_refuses() {
    let (_echo, proxy, mut old) = stage();
    old.write_all(b"a").unwrap();
    hears(&mut old, "a");
    proxy.refuse(true);
    let mut new = TcpStream::connect(proxy.address()).unwrap();
    assert!(new.read(&mut [0; 8]).is_err());
    old.write_all(b"b").unwrap();
    hears(&mut old, "b");
    proxy.refuse(false);
    let mut new = TcpStream::connect(proxy.address()).unwrap();
    new.write_all(b"c").unwrap();
    hears(&mut new, "c");
}

/// What becomes of a row when this happens to its COMMIT: what the client heard, and whether the
/// row is there.
async fn commit_under(
    database: &TempDatabase,
    hook: impl Fn(&postgres::Commit) -> OnCommit + Send + Sync + 'static,
) -> (Result<(), sqlx::Error>, i64) {
    let (_proxy, through) = Proxy::postgres(database.url(), hook).unwrap();
    let mut outside = database.connect().await.unwrap();
    sqlx::raw_sql("DROP TABLE IF EXISTS t; CREATE TABLE t (n BIGINT)")
        .execute(&mut outside)
        .await
        .unwrap();
    let mut client = PgConnection::connect(&through).await.unwrap();
    let mut tx = client.begin().await.unwrap();
    sqlx::query("INSERT INTO t VALUES ($1)").bind(7_i64).execute(&mut *tx).await.unwrap();
    let heard = tx.commit().await;
    // A backend that is being ended holds its lock on the row's table until it is gone.
    let sql = "LOCK TABLE t IN ACCESS EXCLUSIVE MODE; ";
    let mut look = outside.begin().await.unwrap();
    sqlx::raw_sql(sql).execute(&mut *look).await.unwrap();
    let rows = sqlx::query_scalar("SELECT count(*) FROM t").fetch_one(&mut *look).await.unwrap();
    (heard, rows)
}

/// Ends a backend and waits until it is gone.
fn terminate(url: &str, backend: i32) {
    let url = url.to_owned();
    let done = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut admin = PgConnection::connect(&url).await.unwrap();
            let sql = "SELECT pg_terminate_backend($1, 20000)";
            sqlx::query_scalar::<_, bool>(sql).bind(backend).fetch_one(&mut admin).await.unwrap()
        })
    });
    assert!(done.join().unwrap(), "the backend was there");
}

#[tokio::test]
async fn a_commit_is_seen_before_the_server_sees_it_and_can_be_lost_or_lose_its_answer() {
    let database = TempDatabase::new().await.unwrap();
    let (heard, rows) = commit_under(&database, |commit| {
        assert!(commit.ran("INSERT INTO t"), "{commit:?}");
        OnCommit::Pass
    })
    .await;
    assert!(heard.is_ok() && rows == 1, "{heard:?} {rows}");
    let (heard, rows) = commit_under(&database, |_| OnCommit::Lose).await;
    assert!(heard.is_err() && rows == 0, "{heard:?} {rows}");
    let (heard, rows) = commit_under(&database, |_| OnCommit::LoseAnswer).await;
    assert!(heard.is_err() && rows == 1, "{heard:?} {rows}");
}

#[tokio::test]
async fn a_backend_can_be_ended_at_its_commit_before_it_and_after_it() {
    let database = TempDatabase::new().await.unwrap();
    let url = database.url().to_owned();
    let (heard, rows) = commit_under(&database, move |commit| {
        terminate(&url, commit.backend);
        OnCommit::Pass
    })
    .await;
    assert!(heard.is_err() && rows == 0, "{heard:?} {rows}");
    let url = database.url().to_owned();
    let (heard, rows) = commit_under(&database, move |commit| {
        let (url, backend) = (url.clone(), commit.backend);
        OnCommit::Withhold(Box::new(move || terminate(&url, backend)))
    })
    .await;
    let code = heard.unwrap_err().as_database_error().and_then(|e| Some(e.code()?.into_owned()));
    assert_eq!((code.as_deref(), rows), (Some("57P01"), 1), "committed, and nobody was told");
}
