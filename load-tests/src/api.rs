//! The few calls of the API that a run makes beside its load.

use std::time::Duration;

use anyhow::{Context as _, bail};
use parcours_wire::http::{
    brand::{BrandRequest, BrandView},
    document::{AppliedAnswer, DocumentsRequest, SourceFile},
    ingest::IngestAnswer,
    key::{KeyAnswer, KeyRequest},
    page::PageOf,
    run::RunView,
};
use reqwest::{Client, RequestBuilder, Response};

/// How long an answer may take before the call counts as failed.
const ANSWER: Duration = Duration::from_secs(60);

/// Connections that rest so long are not used again: the server closes them after 5 s, and a request
/// that leaves at that moment would be lost.
const IDLE: Duration = Duration::from_secs(3);

/// A client with a key.
#[derive(Clone, Debug)]
pub struct Api {
    client: Client,
    url: String,
    key: String,
}

impl Api {
    /// Speaks to this server with this key.
    pub fn new(url: &str, key: &str) -> Self {
        let client = Client::builder().timeout(ANSWER).pool_idle_timeout(IDLE);
        let client = client.build().unwrap_or_default();
        Self { client, url: url.to_owned(), key: key.to_owned() }
    }

    /// The same key at another address.
    pub fn at(&self, url: &str) -> Self {
        Self::new(url, &self.key)
    }

    /// The same server with another key.
    pub fn with_key(&self, key: &str) -> Self {
        Self { key: key.to_owned(), ..self.clone() }
    }

    /// Makes a brand, publishes its documents, and makes it a key for ingest.
    pub async fn make_brand(&self, name: &str, documents: &str) -> anyhow::Result<String> {
        let brand = BrandRequest { organisation: Some("load".to_owned()), name: name.to_owned() };
        let _made: BrandView = self.post("/v1/brands", None).json(&brand).send_for().await?;
        let files = vec![SourceFile { name: format!("{name}.yaml"), source: documents.to_owned() }];
        let documents = DocumentsRequest { files };
        let _applied: AppliedAnswer =
            self.post("/v1/documents", Some(name)).json(&documents).send_for().await?;
        let key = KeyRequest {
            kind: None,
            scopes: vec!["ingest".to_owned()],
            label: "load".to_owned(),
            expires_at: None,
            reach: None,
        };
        let made: KeyAnswer = self.post("/v1/keys", Some(name)).json(&key).send_for().await?;
        made.secret.context("the key's secret was not shown")
    }

    /// Sends a batch; every item must be taken as new.
    pub async fn batch(&self, body: String, items: usize) -> anyhow::Result<()> {
        let request = self.post("/v1/batch", None).header("content-type", "application/json");
        let answer: IngestAnswer = request.body(body).send_for().await?;
        check(&answer, items)
    }

    /// All runs of a journey of this brand, page by page.
    pub async fn runs(&self, brand: &str, journey: &str) -> anyhow::Result<Vec<RunView>> {
        let (mut runs, mut cursor) = (Vec::new(), String::new());
        loop {
            let address = format!("{}/v1/runs?limit=500&journey={journey}{cursor}", self.url);
            let asked = self.client.get(address).bearer_auth(&self.key);
            let page: PageOf<RunView> = asked.header("parcours-brand", brand).send_for().await?;
            runs.extend(page.items);
            match page.next {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(runs),
            }
        }
    }

    /// The value of a metric, summed over its labels.
    pub async fn metric(&self, name: &str) -> anyhow::Result<u64> {
        let text = self.metrics().await?;
        Ok(sum(&text, name))
    }

    /// The metrics page.
    pub async fn metrics(&self) -> anyhow::Result<String> {
        let response = self.client.get(format!("{}/metrics", self.url)).send().await?;
        Ok(response.error_for_status()?.text().await?)
    }

    fn post(&self, path: &str, brand: Option<&str>) -> RequestBuilder {
        let request = self.client.post(format!("{}{path}", self.url)).bearer_auth(&self.key);
        match brand {
            Some(brand) => request.header("parcours-brand", brand),
            None => request,
        }
    }
}

/// What was sent must have been taken, new, all of it.
pub fn check(answer: &IngestAnswer, items: usize) -> anyhow::Result<()> {
    if usize::try_from(answer.accepted) != Ok(items) {
        let first = answer.set_aside.first();
        bail!(
            "{} of {items} items were accepted, {} were repeats; first set aside: {first:?}",
            answer.accepted,
            answer.duplicates
        );
    }
    Ok(())
}

/// A metric's value, summed over its labels; 0 when it is not shown.
pub fn sum(page: &str, name: &str) -> u64 {
    let values = page.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let value = match rest.strip_prefix('{') {
            Some(labelled) => labelled.split_once('}')?.1,
            None => rest,
        };
        value.starts_with(' ').then(|| value.trim().parse::<u64>().ok())?
    });
    values.sum()
}

/// Sends a request and reads the body of a 2xx; anything else is an error that shows the body.
trait SendFor {
    async fn send_for<T: serde::de::DeserializeOwned>(self) -> anyhow::Result<T>;
}

impl SendFor for RequestBuilder {
    async fn send_for<T: serde::de::DeserializeOwned>(self) -> anyhow::Result<T> {
        let response: Response = self.send().await?;
        let (status, address) = (response.status(), response.url().path().to_owned());
        let text = response.text().await?;
        if !status.is_success() {
            bail!("{address} answered {status}: {text}");
        }
        serde_json::from_str(&text).with_context(|| format!("{address} answered {text}"))
    }
}

#[cfg(test)]
mod tests {
    use super::sum;

    #[test]
    fn a_metric_is_summed_over_its_labels_and_nothing_else_counts() {
        let page = "# HELP a_total x\n# TYPE a_total counter\na_total{x=\"1\"} 3\na_total{x=\"2\"} 4\n\
                    a_total_other 9\nb_live 7\n";
        assert_eq!(sum(page, "a_total"), 7);
        assert_eq!(sum(page, "b_live"), 7);
        assert_eq!(sum(page, "c"), 0);
    }
}
