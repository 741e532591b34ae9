//! What is between worker-1, sender-1 and the others.

use std::sync::{Arc, Mutex, PoisonError, mpsc};

use parcours_tests::fault::proxy::{
    Direction, Proxy, Way,
    postgres::{Commit, OnCommit},
};

/// Asked once, at a COMMIT whose transaction ran certain words.
type Act = Box<dyn FnOnce(&Commit) -> OnCommit + Send>;

/// A way to PostgreSQL that can stop at a COMMIT.
pub struct ToDatabase {
    pub proxy: Proxy,
    /// The database through it.
    pub url: String,
    armed: Arc<Mutex<Option<(&'static str, Act)>>>,
}

impl ToDatabase {
    fn new(url: &str) -> Self {
        let armed = Arc::<Mutex<Option<(&'static str, Act)>>>::default();
        let asked = Arc::clone(&armed);
        let hook = move |commit: &Commit| {
            let act = {
                let mut armed = asked.lock().unwrap_or_else(PoisonError::into_inner);
                armed.take_if(|(words, _)| commit.ran(words))
            };
            act.map_or(OnCommit::Pass, |(_, act)| act(commit))
        };
        let (proxy, url) = Proxy::postgres(url, hook).unwrap();
        Self { proxy, url, armed }
    }

    /// The next COMMIT after these words stands still before the server sees it: says so, and
    /// passes when told.
    pub fn hold_commit(&self, words: &'static str) -> (mpsc::Receiver<()>, mpsc::Sender<()>) {
        let (tell, told) = mpsc::channel();
        let (go, gone) = mpsc::channel::<()>();
        let act: Act = Box::new(move |_| {
            tell.send(()).unwrap();
            // A dropped sender lets it go too.
            let _ = gone.recv();
            OnCommit::Pass
        });
        *self.armed.lock().unwrap_or_else(PoisonError::into_inner) = Some((words, act));
        (told, go)
    }
}

/// The proxies.
pub struct Ways {
    /// From worker-1 to PostgreSQL.
    pub worker_database: ToDatabase,
    /// From sender-1 to PostgreSQL.
    pub sender_database: ToDatabase,
    /// From worker-1 to Redis.
    pub redis: Proxy,
    /// From everybody to worker-1.
    pub rpc: Proxy,
}

impl Ways {
    pub fn new(database: &str, redis: &str, rpc_port: u16) -> Self {
        Self {
            worker_database: ToDatabase::new(database),
            sender_database: ToDatabase::new(database),
            redis: Proxy::to(redis).unwrap(),
            rpc: Proxy::to(format!("127.0.0.1:{rpc_port}")).unwrap(),
        }
    }

    pub fn redis_url(&self) -> String {
        format!("redis://{}", self.redis.address())
    }
}

/// What is lost of what passes a proxy.
pub const CUTS: [(&str, &[Direction]); 3] = [
    ("both ways", &[Direction::ToServer, Direction::ToClient]),
    ("questions lost", &[Direction::ToServer]),
    ("answers lost", &[Direction::ToClient]),
];

/// From now on these directions lose what they are given, in silence.
pub fn lose(proxy: &Proxy, directions: &[Direction]) {
    directions.iter().for_each(|direction| proxy.set(*direction, Way::Lost));
}

/// Everything passes again; what was lost in the middle cannot go on, so it is cut.
pub fn mend(proxy: &Proxy) {
    proxy.thaw();
    proxy.cut();
}
