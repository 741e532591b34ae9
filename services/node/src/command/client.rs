//! The API as the commands use it: one server, one key, perhaps one brand.

use anyhow::{Context as _, bail};
use parcours_wire::http::{
    ProblemBody,
    brand::{BrandRequest, BrandView},
    document::{AppliedAnswer, DiffAnswer, DocumentsRequest, ExportAnswer, SourceFile},
    key::{KeyAnswer, KeyRequest},
};
use reqwest::Method;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::problems;

/// A client of a server.
pub struct Client {
    http: reqwest::Client,
    url: String,
    key: String,
    brand: Option<String>,
}

impl Client {
    /// For the server at `url`.
    ///
    /// # Errors
    /// The HTTP client cannot be made.
    pub fn new(url: &str, key: &str) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().build()?;
        let url = url.trim_end_matches('/').to_owned();
        Ok(Self { http, url, key: key.to_owned(), brand: None })
    }

    /// From now on for this brand.
    pub fn choose_brand(&mut self, brand: &str) {
        self.brand = Some(brand.to_owned());
    }

    async fn ask<A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&(impl Serialize + Sync)>,
    ) -> anyhow::Result<A> {
        let answer = self.answer(method, path, body).await?;
        answer.json().await.context("the server's answer was not understood")
    }

    /// What the server answers when it does as asked.
    async fn answer(
        &self,
        method: Method,
        path: &str,
        body: Option<&(impl Serialize + Sync)>,
    ) -> anyhow::Result<reqwest::Response> {
        let mut request = self.http.request(method.clone(), format!("{}{path}", self.url));
        request = request.bearer_auth(&self.key);
        if method != Method::GET {
            request = request.header("Idempotency-Key", fresh()?);
        }
        if let Some(brand) = &self.brand {
            request = request.header("Parcours-Brand", brand);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.with_context(|| {
            format!(
                "no answer from {}; is the server running, and is PARCOURS_URL right?",
                self.url
            )
        })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        match answer.json::<ProblemBody>().await {
            Ok(problem) if !problem.errors.is_empty() => bail!(problems::text(&problem.errors)),
            Ok(problem) => bail!("{} ({})", problem.detail, problem.code),
            Err(_) => bail!("the server answered {status}"),
        }
    }

    /// Makes the brand unless it exists.
    ///
    /// # Errors
    /// What the server says.
    pub async fn make_brand(&self, organisation: &str, name: &str) -> anyhow::Result<BrandView> {
        let body =
            BrandRequest { organisation: Some(organisation.to_owned()), name: name.to_owned() };
        self.ask(Method::POST, "/v1/brands", Some(&body)).await
    }

    /// Publishes a set.
    ///
    /// # Errors
    /// Every problem of the set, or what the server says.
    pub async fn apply(&self, files: Vec<SourceFile>) -> anyhow::Result<AppliedAnswer> {
        self.ask(Method::POST, "/v1/documents", Some(&DocumentsRequest { files })).await
    }

    /// What publishing a set would change.
    ///
    /// # Errors
    /// As there.
    pub async fn diff(&self, files: Vec<SourceFile>) -> anyhow::Result<DiffAnswer> {
        self.ask(Method::POST, "/v1/documents/diff", Some(&DocumentsRequest { files })).await
    }

    /// Everything published.
    ///
    /// # Errors
    /// What the server says.
    pub async fn export(&self) -> anyhow::Result<ExportAnswer> {
        self.get("/v1/documents/export").await
    }

    /// Makes a key.
    ///
    /// # Errors
    /// What the server says.
    pub async fn make_key(&self, request: &KeyRequest) -> anyhow::Result<KeyAnswer> {
        self.ask(Method::POST, "/v1/keys", Some(request)).await
    }

    /// Any POST.
    ///
    /// # Errors
    /// What the server says.
    pub async fn post<A: DeserializeOwned>(
        &self,
        path: &str,
        body: &(impl Serialize + Sync),
    ) -> anyhow::Result<A> {
        self.ask(Method::POST, path, Some(body)).await
    }

    /// Any PUT.
    ///
    /// # Errors
    /// What the server says.
    pub async fn put<A: DeserializeOwned>(
        &self,
        path: &str,
        body: &(impl Serialize + Sync),
    ) -> anyhow::Result<A> {
        self.ask(Method::PUT, path, Some(body)).await
    }

    /// Any GET whose answer is text.
    ///
    /// # Errors
    /// What the server says.
    pub async fn text(&self, path: &str) -> anyhow::Result<String> {
        let answer = self.answer(Method::GET, path, None::<&Value>).await?;
        answer.text().await.context("the server's answer broke off")
    }

    /// Any GET.
    ///
    /// # Errors
    /// What the server says.
    pub async fn get<A: DeserializeOwned>(&self, path: &str) -> anyhow::Result<A> {
        self.ask(Method::GET, path, None::<&Value>).await
    }
}

/// A key under which a repeated write is recognised.
fn fresh() -> anyhow::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).context("no randomness")?;
    Ok(data_encoding::HEXLOWER.encode(&bytes))
}
