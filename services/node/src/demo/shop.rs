//! The demo's shop and its customers as the outside world: they speak to the server over HTTP like
//! anybody else, with an ingest key, one-click posts and link clicks.

use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::{Client, StatusCode, redirect};
use serde_json::{Value, json};

use super::{data::Purchase, story};

/// A client of the running server.
pub struct Shop {
    http: Client,
    url: String,
    write_key: String,
}

impl Shop {
    /// For the server at `url`, with an ingest key.
    ///
    /// # Errors
    /// The HTTP client cannot be made.
    pub fn new(url: String, write_key: String) -> anyhow::Result<Self> {
        let http = Client::builder().redirect(redirect::Policy::none()).build()?;
        Ok(Self { http, url, write_key })
    }

    /// Sends items through the tracking API; waits and repeats when told to come back later.
    ///
    /// # Errors
    /// Any other answer than 200 without items set aside.
    pub async fn batch(&self, items: Vec<Value>) -> anyhow::Result<()> {
        let body = json!({ "batch": items });
        loop {
            let answer = self
                .http
                .post(format!("{}/v1/batch", self.url))
                .basic_auth(&self.write_key, Some(""))
                .json(&body)
                .send()
                .await
                .context("the server does not answer")?;
            match answer.status() {
                StatusCode::OK => {
                    let answer: Value = answer.json().await?;
                    let set_aside = answer["set_aside"].as_array().map_or(0, Vec::len);
                    if set_aside > 0 {
                        bail!("the server set {set_aside} items aside: {answer}");
                    }
                    return Ok(());
                }
                StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                other => bail!("the server answered {other} to a batch"),
            }
        }
    }

    /// Follows a link of a message.
    ///
    /// # Errors
    /// The server does not redirect.
    pub async fn click(&self, path: &str) -> anyhow::Result<()> {
        let answer = self.http.get(format!("{}{path}", self.url)).send().await?;
        if !answer.status().is_redirection() {
            bail!("a click link answered {}", answer.status());
        }
        Ok(())
    }

    /// Unsubscribes by one click, as a mailbox provider does (RFC 8058).
    ///
    /// # Errors
    /// The server does not answer 200.
    pub async fn one_click(&self, path: &str) -> anyhow::Result<()> {
        let answer = self
            .http
            .post(format!("{}{path}", self.url))
            .header("content-type", "application/x-www-form-urlencoded")
            .body("List-Unsubscribe=One-Click")
            .send()
            .await?;
        if answer.status() != StatusCode::OK {
            bail!("a one-click unsubscribe answered {}", answer.status());
        }
        Ok(())
    }
}

/// The first thing the shop says of a customer.
#[must_use]
pub fn identify(purchase: &Purchase) -> Value {
    let customer = purchase.customer;
    let mut traits = json!({ "email": story::email(customer) });
    if let Some(name) = story::first_name(customer) {
        traits["first_name"] = name.into();
    }
    json!({
        "type": "identify",
        "userId": story::user_id(customer),
        "messageId": format!("cdnow-customer-{customer}"),
        "timestamp": purchase.at,
        "traits": traits,
    })
}

/// A purchase as the tracking API takes it.
#[must_use]
pub fn order(purchase: &Purchase) -> Value {
    json!({
        "type": "track",
        "event": "Order Completed",
        "userId": story::user_id(purchase.customer),
        "messageId": format!("cdnow-row-{}", purchase.row),
        "timestamp": purchase.at,
        "properties": {
            "order_id": format!("row-{}", purchase.row),
            "quantity": purchase.quantity,
            "total": f64::from(purchase.cents) / 100.0,
            "currency": "USD",
        },
    })
}
