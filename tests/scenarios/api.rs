//! A plain HTTP client of a running server, and a brand to work with.

use std::{path::Path, sync::Once};

use parcours_tests::Server;
use serde_json::Value;

/// One key's view of the server. Panics tell what the server said.
pub struct Api {
    url: String,
    key: String,
    http: reqwest::Client,
    runtime: tokio::runtime::Runtime,
}

impl Api {
    /// With a key.
    pub fn new(server: &Server, key: &str) -> Self {
        Self::at(&server.url, key)
    }

    /// With a key, of a server at this URL.
    pub fn at(url: &str, key: &str) -> Self {
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| {
            // A second scenario of this process may have been quicker; either is fine.
            let _ = rustls::crypto::ring::default_provider().install_default();
        });
        Self {
            url: url.to_owned(),
            key: key.to_owned(),
            http: reqwest::Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .build()
                .unwrap(),
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(),
        }
    }

    /// Any request; the status and the body as text.
    pub fn send(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, String) {
        self.send_with(&[], method, path, body)
    }

    /// Any request with these headers; the status and the body as text.
    pub fn send_with(
        &self,
        headers: &[(&str, &str)],
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> (u16, String) {
        let method = method.parse().expect("a method");
        let mut request =
            self.http.request(method, format!("{}{path}", self.url)).bearer_auth(&self.key);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        self.runtime.block_on(async {
            let answer = request.send().await.expect("the server answers");
            (answer.status().as_u16(), answer.text().await.unwrap_or_default())
        })
    }

    /// A request without a key, not following redirects.
    pub fn visit(&self, method: &str, path: &str, body: Option<(&str, &str)>) -> Visit {
        let method = method.parse().expect("a method");
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if let Some((content_type, body)) = body {
            request = request.header("content-type", content_type).body(body.to_owned());
        }
        self.runtime.block_on(async {
            let answer = request.send().await.expect("the server answers");
            let location = answer.headers().get("location");
            let location = location.and_then(|l| l.to_str().ok()).map(str::to_owned);
            let status = answer.status().as_u16();
            Visit { status, location, body: answer.text().await.unwrap_or_default() }
        })
    }

    /// GET that must answer 2xx.
    pub fn get(&self, path: &str) -> Value {
        let (status, body) = self.send("GET", path, None);
        assert!((200..300).contains(&status), "GET {path}: {status} {body}");
        serde_json::from_str(&body).expect("JSON")
    }

    /// POST that must answer 2xx.
    pub fn post(&self, path: &str, json: &Value) -> Value {
        let (status, body) = self.send("POST", path, Some(json));
        assert!((200..300).contains(&status), "POST {path}: {status} {body}");
        serde_json::from_str(&body).unwrap_or(Value::Null)
    }

    /// POST under an `Idempotency-Key`; the status and the body as JSON.
    pub fn post_once(&self, path: &str, key: &str, json: &Value) -> (u16, Value) {
        let (status, body) = self.send_with(&[("Idempotency-Key", key)], "POST", path, Some(json));
        (status, serde_json::from_str(&body).unwrap_or(Value::Null))
    }

    /// Every item of a list, through all its pages.
    pub fn all(&self, path: &str) -> Vec<Value> {
        let mut items = Vec::new();
        let mut cursor = None::<String>;
        loop {
            let joint = if path.contains('?') { '&' } else { '?' };
            let page = self.get(&match &cursor {
                Some(cursor) => format!("{path}{joint}limit=500&cursor={cursor}"),
                None => format!("{path}{joint}limit=500"),
            });
            items.extend(page["items"].as_array().expect("a page has items").iter().cloned());
            match page["next"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => return items,
            }
        }
    }
}

/// `List-Unsubscribe=One-Click` as a form (RFC 8058).
pub const URLENCODED: (&str, &str) =
    ("application/x-www-form-urlencoded", "List-Unsubscribe=One-Click");

/// The same as multipart.
pub const MULTIPART: (&str, &str) = (
    "multipart/form-data; boundary=b7",
    "--b7\r\nContent-Disposition: form-data; name=\"List-Unsubscribe\"\r\n\r\nOne-Click\r\n--b7--\r\n",
);

/// What a browser, a scanner or a mailbox provider gets.
pub struct Visit {
    pub status: u16,
    pub location: Option<String>,
    pub body: String,
}

/// Asks again and again, without sleeping in between, until there is an answer.
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = std::time::Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed().as_secs() < 60, "waited a minute: {what}");
        std::thread::yield_now();
    }
}

/// Waits until nothing is queued or due.
pub fn until_quiet(api: &Api) {
    until("the server is quiet", || {
        let messages = api.get("/v1/messages?status=queued");
        messages["items"].as_array().expect("a page").is_empty().then_some(())
    });
}

/// Keys of a freshly published brand.
pub struct Brand {
    /// May only ingest.
    pub ingest_key: String,
    /// May do everything in this brand.
    pub admin_key: String,
}

/// Publishes the demo's documents and makes keys for its brand.
pub fn brand(server: &Server, data: &Path) -> Brand {
    let documents = Path::new(env!("CARGO_MANIFEST_DIR")).join("../services/node/demo/brand");
    brand_of(server, data, &documents, "sillon")
}

/// Publishes documents and makes keys for their brand.
pub fn brand_of(server: &Server, data: &Path, documents: &Path, name: &str) -> Brand {
    let documents = documents.to_str().expect("a path in UTF-8");
    server.command(data, &["apply", documents]).unwrap();
    let key = |scopes: &str| {
        let said =
            server.command(data, &["key", "create", "--brand", name, "--scopes", scopes]).unwrap();
        said.lines().last().expect("the key is the last line").trim().to_owned()
    };
    Brand { ingest_key: key("ingest"), admin_key: key("ingest,read,manage,admin") }
}
