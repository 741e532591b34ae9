//! `deploy/cluster` starts every role, brings back what is killed, and ends all that it started.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Lines},
    net::TcpStream,
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

use parcours_tests::parcours;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::json;

use crate::{
    api::{Api, URLENCODED, until},
    ground::Ground,
    the_chart_keeps_its_word::repository,
};

/// The script, and what it said when everything was there.
struct Cluster {
    script: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// Name -> process id and URL.
    processes: BTreeMap<String, (i32, String)>,
    key: String,
}

impl Cluster {
    fn start(ground: &Ground, logs: &Path) -> Self {
        let mut command = Command::new(repository().join("deploy/cluster"));
        command.args(["--no-redis", "--postgres", ground.url()]);
        let binary = parcours(ground.data.path()).get_program().to_owned();
        command.env("PARCOURS_BIN", binary).env("PARCOURS_CLUSTER_LOGS", logs);
        // Settings from outside must not reach the processes.
        command.env("PARCOURS_ROLES", "worker").env("PARCOURS_LISTEN", "127.0.0.1:1");
        let mut script = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(script.stdout.take().unwrap()).lines();
        let mut this = Self { script, lines, processes: BTreeMap::new(), key: String::new() };
        this.read_until(|line| line.contains("Ctrl-C ends everything"));
        this
    }

    /// Reads on, taking up what is said of processes and the key.
    fn read_until(&mut self, enough: impl Fn(&str) -> bool) -> String {
        loop {
            let line = self.lines.next().expect("the script goes on").unwrap();
            let words: Vec<_> = line.split_whitespace().collect();
            if let [name, id, url] = words[..]
                && url.starts_with("http://")
            {
                self.processes.insert(name.to_owned(), (id.parse().unwrap(), url.to_owned()));
            }
            if let Some((_, key)) = line.split_once("PARCOURS_KEY=") {
                self.key = key.trim().to_owned();
            }
            if enough(&line) {
                return line;
            }
        }
    }

    fn url(&self, name: &str) -> &str {
        &self.processes[name].1
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // It may have ended already, with all that it started.
        if matches!(self.script.try_wait(), Ok(None)) {
            let _ = kill_process(Pid::from_child(&self.script), Signal::TERM);
            let _ = self.script.wait();
        }
    }
}

#[test]
fn everything_starts_comes_back_and_ends() {
    let ground = Ground::postgres();
    let logs = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start(&ground, logs.path());
    let names: Vec<_> = cluster.processes.keys().map(String::as_str).collect();
    let expected = "consent-1 delivery-1 delivery-2 gateway-1 gateway-2 worker-1 worker-2 worker-3";
    assert_eq!(names.join(" "), expected);
    for (name, (_, url)) in &cluster.processes {
        let visit = |path: &str| Api::at(url, "none").visit("GET", path, None);
        assert_eq!(visit("/readyz").status, 200, "{name}");
        assert!(visit("/metrics").body.contains("parcours_attention"), "{name}");
    }

    goes_round(&ground, &cluster);
    let gateway = takes_the_demo(&ground, &cluster);

    // Killed, a worker is started again where it was; the others go on meanwhile.
    let (killed, url) = cluster.processes["worker-1"].clone();
    kill_process(Pid::from_raw(killed).unwrap(), Signal::KILL).unwrap();
    until("every contact has a worker", || takes_events(&gateway).then_some(()));
    let said = cluster.read_until(|line| line.starts_with("worker-1 is process"));
    let next: i32 = said.split(' ').nth(3).unwrap().parse().unwrap();
    assert_ne!(next, killed);
    let address = url.trim_start_matches("http://").to_owned();
    until("it listens again", || TcpStream::connect(&address).ok());
    assert_eq!(Api::at(&url, "none").visit("GET", "/livez", None).status, 200);

    // Told to end, it leaves nothing behind.
    kill_process(Pid::from_child(&cluster.script), Signal::TERM).unwrap();
    assert_eq!(cluster.script.wait().unwrap().code(), Some(130));
    for id in cluster.processes.values().map(|(id, _)| *id).chain([next]) {
        assert!(test_kill_process(Pid::from_raw(id).unwrap()).is_err(), "{id} is still there");
    }
}

/// The check that operators run works here as on one process; with every sender frozen it ends in its
/// time and says so, and works again when they go on.
fn goes_round(ground: &Ground, cluster: &Cluster) {
    let check = |within: &str| {
        let mut command = parcours(ground.data.path());
        command.env("PARCOURS_URL", cluster.url("gateway-1")).env("PARCOURS_KEY", &cluster.key);
        command.args(["roundtrip", "--links", cluster.url("consent-1"), "--within", within]);
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    };
    let (well, said) = check("60");
    assert!(well && said.contains("evidence"), "{said}");
    let senders = ["delivery-1", "delivery-2"].map(|name| cluster.processes[name].0);
    let tell = |signal| {
        for id in senders {
            kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
        }
    };
    tell(Signal::STOP);
    let (well, said) = check("6");
    tell(Signal::CONT);
    assert!(!well && said.contains("failed at mail") && said.contains("delivery role"), "{said}");
    let (well, said) = check("60");
    assert!(well, "{said}");
}

/// Forty people's events, wherever their contacts are.
fn takes_events(gateway: &Api) -> bool {
    let event = |n| {
        let (user, id) = (format!("u{n}"), format!("l{n}"));
        json!({"type": "track", "event": "Looked", "userId": user, "messageId": id})
    };
    let batch: Vec<_> = (0..40).map(event).collect();
    gateway.send("POST", "/v1/batch", Some(&json!({"batch": batch}))).0 == 200
}

/// The brand of the demo, unchanged, by one gateway; an order, by the other; the message that a
/// journey sends; its link, by the consent pages; what was said then. Returns the second gateway.
fn takes_the_demo(ground: &Ground, cluster: &Cluster) -> Api {
    let command = |arguments: &[&str]| {
        let mut command = parcours(ground.data.path());
        command.env("PARCOURS_URL", cluster.url("gateway-1")).env("PARCOURS_KEY", &cluster.key);
        let output = command.args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    };
    let brand = repository().join("services/node/demo/brand");
    command(&["apply", brand.to_str().unwrap()]);
    let key = command(&["key", "create", "--brand", "sillon"]);
    let key = key.lines().last().unwrap();
    let gateway = Api::at(cluster.url("gateway-2"), key);
    let traits = json!({"email": "ada@example.org"});
    gateway.post("/v1/identify", &json!({"userId": "u1", "messageId": "m1", "traits": traits}));
    let found = gateway.get("/v1/contacts?user_id=u1");
    let contact = found["items"][0]["id"].as_str().unwrap().to_owned();
    let consents = format!("/v1/contacts/{contact}/consents");
    let fact = json!({"kind": "given", "topic": "conseils", "source": "checkout"});
    gateway.post_once(&consents, "c1", &json!({"facts": [fact]}));
    let order = json!({"quantity": 2});
    let order =
        json!({"userId": "u1", "messageId": "m2", "event": "Order Completed", "properties": order});
    gateway.post("/v1/track", &order);

    let message = until("the message is in the mailbox", || {
        gateway.get("/v1/mailbox")["items"][0]["message"].as_str().map(str::to_owned)
    });
    let (_, letter) = gateway.send("GET", &format!("/v1/mailbox/{message}"), None);
    let link = letter.split("List-Unsubscribe:").nth(1).unwrap().split(['<', '>']).nth(1).unwrap();
    let path: String = link.split_whitespace().collect();
    let path = &path[path.find("/u/").unwrap()..];
    let pages = Api::at(cluster.url("consent-1"), "none");
    assert_eq!(pages.visit("POST", path, Some(URLENCODED)).status, 200);
    let standing = gateway.get(&consents).to_string();
    assert!(standing.contains("withdrawn"), "{standing}");
    gateway
}
