//! `parcours status` for people and for scripts: 0 when nothing needs a person, 1 when something
//! does, 2 when nobody answers; and what the store does is counted in the metrics.

use std::process::Output;

use parcours_tests::{Server, parcours};
use serde_json::{Value, json};

use crate::api::{self, Api};

fn words(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_script_can_tell_fine_from_attention_from_silence() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).unwrap();
    let brand = api::brand(&server, data.path());
    let ask = |url: &str, key: &str, arguments: &[&str]| {
        let mut command = parcours(data.path());
        command.arg("status").args(arguments).env("PARCOURS_URL", url).env("PARCOURS_KEY", key);
        words(&command.output().expect("the binary starts"))
    };
    let (code, said, _) = ask(&server.url, &server.admin_key, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("nothing needs a person"), "{said}");

    let order = json!({"userId": "u1", "event": "Order Completed", "properties": {"quantity": 1}});
    Api::new(&server, &brand.ingest_key).post("/v1/track", &order);
    let api = Api::new(&server, &brand.admin_key);
    // A body that is no JSON is set aside; a halt is a halt.
    assert_eq!(api.post("/v1/batch", &json!({}))["set_aside"].as_array().map(Vec::len), Some(1));
    api.post("/v1/halt", &json!({"reason": "a wave of complaints"}));
    let (code, said, _) = ask(&server.url, &server.admin_key, &["--brand", "sillon"]);
    assert_eq!(code, Some(1), "{said}");
    for word in ["(halted)", "! brand_halted", "a wave of complaints", "! quarantine", "1 no_batch"]
    {
        assert!(said.contains(word), "{word} is not in:\n{said}");
    }
    let (code, said, _) = ask(&server.url, &brand.admin_key, &["--json"]);
    let said: Value = serde_json::from_str(&said).expect("JSON and nothing else");
    assert_eq!((code, &said["total"]["quarantine_open"]), (Some(1), &json!(1)));
    let codes = |status: &Value| {
        let all = status["attention"].as_array().expect("a list").iter();
        all.map(|one| one["code"].as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    assert_eq!(codes(&said), codes(&api.get("/v1/status")), "the command says what the API says");

    let (code, _, said) = ask(&server.url, "sk_wrong", &[]);
    assert_eq!(code, Some(2), "{said}");
    let (_, metrics) = Api::new(&server, "").send("GET", "/metrics", None);
    let committed = metrics.lines().find(|line| {
        line.starts_with("parcours_commits_total{") && line.contains("end=\"committed\"")
    });
    let counted = |line: &str| line.rsplit(' ').next().and_then(|n| n.parse::<f64>().ok());
    assert!(committed.and_then(counted).is_some_and(|n| n >= 1.0), "{metrics}");
    server.kill().unwrap();
    let (code, _, said) = ask("http://127.0.0.1:9", "sk_any", &[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("is the server running"), "{said}");

    // Without a server the command opens the store itself.
    let alone = parcours(data.path()).arg("status").output().expect("the binary starts");
    let (code, said, _) = words(&alone);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("! brand_halted"), "{said}");
}
