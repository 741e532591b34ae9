//! `roundtrip`: shows that an install works from end to end, from outside, by its API.
//!
//! What always holds: it ends within its time; what it waits for is said while nothing comes; no mail
//! leaves, because the brand's only transport is the built-in mailbox; and it ends with the person of
//! its brand unsubscribed, whatever happened.

mod letter;
mod step;

use std::{cell::RefCell, future::Future, time::Duration};

use anyhow::{Context as _, bail};
use parcours_wire::http::{
    PageOf,
    brand::BrandView,
    consent::{ConsentAnswer, ConsentFactRequest, ConsentRequest, StandingView},
    document::SourceFile,
    ingest::EventAnswer,
    message::{MessageView, WhyView},
    run::RunView,
    status::StatusAnswer,
};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use uuid::Uuid;

use letter::one_click;

use super::client::Client;
use crate::cli::RoundtripArgs;

const BRAND: &str = "parcours-roundtrip";
const DOCUMENTS: &str = include_str!("roundtrip/brand.yaml");
const USER: &str = "roundtrip";
const TOPIC: &str = "roundtrip";

/// How often is looked whether something has come.
const LOOK: Duration = Duration::from_millis(200);

/// How long tidying up after a failure may take.
const TIDY: Duration = Duration::from_secs(3);

/// Goes all the way; prints a line for each step.
///
/// # Errors
/// The step that failed, why, and what to do.
pub async fn roundtrip(args: &RoundtripArgs) -> anyhow::Result<()> {
    let (Some(url), Some(key)) = (&args.remote.url, &args.remote.key) else {
        bail!(
            "name a running server and an admin key: PARCOURS_URL and PARCOURS_KEY, or --url and --key"
        );
    };
    let links = args.links.as_ref().unwrap_or(url).trim_end_matches('/').to_owned();
    let begun = Instant::now();
    let deadline = begun + Duration::from_secs(args.within.into());
    let client = Client::new(url, key)?;
    let mut way = Way { client, links, begun, deadline, seen: RefCell::default(), contact: None };
    let gone = way.go(&args.organisation).await;
    if gone.is_err() {
        way.tidy().await;
    }
    gone?;
    println!("works, in {:.3} s", begun.elapsed().as_secs_f64());
    Ok(())
}

struct Way {
    client: Client,
    /// Where links are answered, without a slash at the end.
    links: String,
    begun: Instant,
    deadline: Instant,
    /// What was seen last by the step that is waiting.
    seen: RefCell<String>,
    contact: Option<Uuid>,
}

impl Way {
    async fn go(&mut self, organisation: &str) -> anyhow::Result<()> {
        let brand = self.step(&step::KEY, self.brand(organisation)).await?;
        self.client.choose_brand(&format!("{}/{BRAND}", brand.organisation));
        self.step(&step::DOCUMENTS, self.publish(&brand.organisation)).await?;
        let contact = self.step(&step::EVENT, self.person()).await?;
        self.contact = Some(contact);
        let first = self.step(&step::JOURNEY, self.message(contact)).await?;
        let link = self.step(&step::MAIL, self.mail(first)).await?;
        self.step(&step::UNSUBSCRIBE, self.unsubscribe(contact, &link)).await?;
        let second = self.step(&step::REFUSAL, self.refused(contact)).await?;
        self.step(&step::EVIDENCE, self.evidence(second)).await
    }

    /// Does a step within what is left of the time, and says so.
    async fn step<T>(
        &self,
        step: &step::Step,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        self.seen.borrow_mut().clear();
        let at = Instant::now();
        let why = match timeout_at(self.deadline, work).await {
            Ok(Ok(done)) => {
                println!("{:<12} {:>8.3} s", step.name, at.elapsed().as_secs_f64());
                return Ok(done);
            }
            Ok(Err(error)) => format!("{error:#}"),
            Err(_) => {
                let seen = self.seen.borrow();
                let seen = if seen.is_empty() { "no answer" } else { seen.as_str() };
                format!("the time is over (--within): {seen}")
            }
        };
        let halted = timeout(TIDY, self.halted()).await.ok().flatten().unwrap_or_default();
        let (name, mend, after) = (step.name, step.mend, self.begun.elapsed().as_secs_f64());
        bail!("failed at {name} after {after:.1} s: {why}\n{halted}  what to do: {mend}")
    }

    /// Looks again and again until there is something; an answer that failed counts as nothing yet.
    async fn until<T, F>(&self, look: impl Fn() -> F) -> T
    where
        F: Future<Output = anyhow::Result<Option<T>>>,
    {
        loop {
            match look().await {
                Ok(Some(found)) => return found,
                Ok(None) => {}
                Err(error) => self.see(format!("{error:#}")),
            }
            sleep(LOOK).await;
        }
    }

    fn see(&self, what: String) {
        *self.seen.borrow_mut() = what;
    }

    /// The brand, in the key's own organisation when it has one.
    async fn brand(&self, organisation: &str) -> anyhow::Result<BrandView> {
        match self.client.post("/v1/brands", &json!({ "name": BRAND })).await {
            Ok(brand) => Ok(brand),
            Err(_) => self.client.make_brand(organisation, BRAND).await,
        }
    }

    async fn publish(&self, organisation: &str) -> anyhow::Result<()> {
        let source = DOCUMENTS.replace("{organisation}", organisation);
        let files = vec![SourceFile { name: "roundtrip".to_owned(), source }];
        self.client.apply(files).await?;
        Ok(())
    }

    /// The person, in no run, who has said yes.
    async fn person(&self) -> anyhow::Result<Uuid> {
        let traits = json!({ "email": "somebody@roundtrip.invalid" });
        let known = json!({ "type": "identify", "user_id": USER, "traits": traits });
        let contact = self.until(|| self.event(&known)).await.contact;
        let left = json!({ "type": "track", "user_id": USER, "event": "Roundtrip Left" });
        self.until(|| self.event(&left)).await;
        self.say(contact, "given").await?;
        Ok(contact)
    }

    async fn event(&self, event: &serde_json::Value) -> anyhow::Result<Option<EventAnswer>> {
        self.client.post("/v1/events", event).await.map(Some)
    }

    async fn say(&self, contact: Uuid, kind: &str) -> anyhow::Result<()> {
        let fact = ConsentFactRequest {
            kind: kind.to_owned(),
            topic: Some(TOPIC.to_owned()),
            channel: None,
            source: "parcours roundtrip".to_owned(),
            wording: None,
            email: None,
        };
        let path = format!("/v1/contacts/{contact}/consents");
        let facts = ConsentRequest { facts: vec![fact] };
        self.client.post::<ConsentAnswer>(&path, &facts).await?;
        Ok(())
    }

    async fn newest(&self, contact: Uuid) -> anyhow::Result<Option<Uuid>> {
        let path = format!("/v1/messages?contact={contact}&limit=1");
        let page: PageOf<MessageView> = self.client.get(&path).await?;
        Ok(page.items.first().map(|message| message.id))
    }

    /// An event starts a run, which waits a second and asks for a message.
    async fn message(&self, contact: Uuid) -> anyhow::Result<Uuid> {
        let before = self.newest(contact).await?;
        let new = || async { Ok(self.newest(contact).await?.filter(|new| Some(*new) != before)) };
        let begun = json!({ "type": "track", "user_id": USER, "event": "Roundtrip Begun" });
        let runs = format!("/v1/runs?contact={contact}&status=waiting");
        // A worker may not know the journey yet; then the event went by, and comes again.
        self.see("the event was taken, and no run began".to_owned());
        self.until(|| async {
            self.event(&begun).await?;
            let waiting: PageOf<RunView> = self.client.get(&runs).await?;
            let began = !waiting.items.is_empty() || new().await?.is_some();
            Ok(began.then_some(()))
        })
        .await;
        self.see("the run still waits".to_owned());
        Ok(self.until(new).await)
    }

    /// Waits until the message is no longer on its way.
    async fn ended(&self, message: Uuid) -> MessageView {
        let path = format!("/v1/messages/{message}");
        self.until(|| async {
            let view: MessageView = self.client.get(&path).await?;
            self.see(format!("message {message} is still {}", view.status));
            Ok((view.status != "queued").then_some(view))
        })
        .await
    }

    /// The message in the mailbox; the path of its link to unsubscribe with one click.
    async fn mail(&self, message: Uuid) -> anyhow::Result<String> {
        let ended = self.ended(message).await;
        if ended.status != "sent" {
            let reason = ended.reason.unwrap_or_default();
            bail!("message {message} ended as {} {reason}", ended.status);
        }
        one_click(&self.client.text(&format!("/v1/mailbox/{message}")).await?)
    }

    /// As a mailbox provider does it (RFC 8058): no cookies, no redirect, the form in the body.
    async fn unsubscribe(&self, contact: Uuid, link: &str) -> anyhow::Result<()> {
        let http =
            reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
        let url = format!("{}{link}", self.links);
        let request = http.post(&url).header("Content-Type", "application/x-www-form-urlencoded");
        let request = request.body("List-Unsubscribe=One-Click");
        // The link is the person's: it stands in no log.
        let sent = request.send().await.map_err(reqwest::Error::without_url);
        let answer = sent.with_context(|| format!("no answer from {}", self.links))?.status();
        if !answer.is_success() {
            bail!("{} answered {answer} to the link in the message", self.links);
        }
        let path = format!("/v1/contacts/{contact}/consents");
        let standing: StandingView = self.client.get(&path).await?;
        let word = standing.topics.iter().find(|one| one.topic == TOPIC);
        match word.map(|word| word.latest.kind.as_str()) {
            Some("withdrawn") => Ok(()),
            other => bail!("the link was answered, but the newest word is {other:?}"),
        }
    }

    /// The same event again; its message, which is not sent.
    async fn refused(&self, contact: Uuid) -> anyhow::Result<Uuid> {
        let message = self.message(contact).await?;
        let ended = self.ended(message).await;
        if ended.status != "refused" {
            bail!("after unsubscribing message {message} ended as {}", ended.status);
        }
        Ok(message)
    }

    /// Why it was not sent stands with the message.
    async fn evidence(&self, message: Uuid) -> anyhow::Result<()> {
        let why: WhyView = self.client.get(&format!("/v1/messages/{message}/why")).await?;
        let receipt = why.receipt.unwrap_or_default();
        if receipt["verdict"] != "refused" || receipt["refusal"].is_null() {
            bail!("the receipt of message {message} does not say why it was refused: {receipt}");
        }
        Ok(())
    }

    /// What stands in the way of every message, if something does.
    async fn halted(&self) -> Option<String> {
        let status: StatusAnswer = self.client.get("/v1/status").await.ok()?;
        let halted = status.attention.iter().filter(|one| one.code.ends_with("_halted"));
        Some(halted.map(|one| format!("  {}: {}\n", one.code, one.detail)).collect())
    }

    /// Nothing more is sent to the person, whatever is still on its way.
    async fn tidy(&self) {
        if let Some(contact) = self.contact
            && !matches!(timeout(TIDY, self.say(contact, "withdrawn")).await, Ok(Ok(())))
        {
            eprintln!(
                "what was begun in brand {BRAND} could not be tidied up; the next roundtrip does it"
            );
        }
    }
}
