//! What one event led to, over a gateway, a worker and a sender, and over timers, is one tree of
//! spans at an OTLP receiver.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use futures::{StreamExt as _, stream};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{AnyValue, KeyValue, any_value::Value},
    trace::v1::Span,
};
use tokio::net::TcpListener;
use tonic::{Request, Response, Status, transport::Server};

use crate::witness::{Ground, Spans, Stage, order};

const SPANS: Spans = Spans { pause: 1, listen: 1 };
const PARTS: [&str; 3] = ["gateway", "worker", "delivery"];

/// A span and the roles of the process that sent it.
type Seen = (String, Span);

/// Keeps what it is sent.
#[derive(Clone, Default)]
struct Receiver(Arc<Mutex<Vec<Seen>>>);

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for resource in request.into_inner().resource_spans {
            let attributes = resource.resource.map(|one| one.attributes).unwrap_or_default();
            let roles = text(&attributes, "parcours.roles");
            let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            self.0.lock().unwrap().extend(spans.map(|span| (roles.clone(), span)));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Receiver {
    async fn listen(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let incoming = stream::unfold(listener, |listener| async {
            let accepted = listener.accept().await.map(|(stream, _)| stream);
            Some((accepted, listener))
        });
        let service = TraceServiceServer::new(self.clone());
        tokio::spawn(Server::builder().serve_with_incoming(service, incoming.boxed()));
        address
    }
}

fn text(attributes: &[KeyValue], key: &str) -> String {
    let found = attributes.iter().find(|one| one.key == key).and_then(|one| one.value.clone());
    match found {
        Some(AnyValue { value: Some(Value::StringValue(text)) }) => text,
        _ => String::new(),
    }
}

/// An install in three processes whose traces go to the receiver; one user orders, and everything
/// runs to its end.
fn traced(share: &str) -> Vec<Seen> {
    let receiver = Receiver::default();
    let mut stage = Stage::bare(&Ground::Postgres);
    let address = stage.runtime.block_on(receiver.listen());
    let (secret, otlp) = ("5e".repeat(16), format!("http://{address}"));
    stage.supervisor = stage
        .supervisor
        .with("PARCOURS_RPC_SECRET", &secret)
        .with("PARCOURS_OTLP", &otlp)
        .with("PARCOURS_TRACE_SHARE", share);
    for part in PARTS {
        let own = || ("PARCOURS_RPC_LISTEN".to_owned(), "127.0.0.1:0".to_owned());
        let settings = (part == "worker").then(own).into_iter().collect();
        stage.supervisor.begin((part, part), settings).unwrap();
    }
    stage.open("gateway", SPANS);
    stage.welcome(1);
    let (client, items) = (stage.client(), [order("u0", "first-order")]);
    assert_eq!(stage.runtime.block_on(client.batch(&items)), Some(200));
    assert!(stage.is_quiet());
    for part in PARTS {
        assert!(stage.supervisor.stop(part).unwrap().success(), "{part}");
    }
    let run = "SELECT count(*) FROM run WHERE journey = 'order' AND live = 0";
    assert_eq!(stage.number(run), 1);
    receiver.0.lock().unwrap().clone()
}

/// The tree below a span, by the time at which spans began.
fn tree(spans: &[&Seen], parent: &[u8], depth: usize, text: &mut String) {
    let mut children: Vec<_> =
        spans.iter().filter(|(_, span)| span.parent_span_id == parent).collect();
    children.sort_by_key(|(_, span)| span.start_time_unix_nano);
    for (roles, span) in children {
        writeln!(text, "{}{} [{roles}]", "  ".repeat(depth), span.name).unwrap();
        tree(spans, &span.span_id, depth + 1, text);
    }
}

#[test]
fn over_three_processes_and_two_timers() {
    let spans = traced("1");
    let traces: BTreeSet<_> = spans.iter().map(|(_, span)| span.trace_id.clone()).collect();
    assert_eq!(traces.len(), 2, "the visitor's identify, and the order with all that it led to");
    let sent = spans.iter().find(|(_, span)| span.name == "send first").expect("a sent message");
    let spans: Vec<&Seen> =
        spans.iter().filter(|(_, span)| span.trace_id == sent.1.trace_id).collect();
    let mut shown = String::new();
    tree(&spans, &[], 0, &mut shown);
    println!("{shown}");
    let wanted = "\
take event [gateway]
  apply event [worker]
    run order [worker]
      timer pause [worker]
      send first [delivery]
        envelope [delivery]
        final commit [delivery]
        data [delivery]
      outcome first [worker]
      timer listen [worker]
      send second [delivery]
        envelope [delivery]
        final commit [delivery]
        data [delivery]
      outcome second [worker]
";
    assert_eq!(shown, wanted);
    assert_eq!(spans.len(), wanted.lines().count(), "each span has its parent");
    // Ids and authors' names only.
    for (_, span) in &spans {
        let said = format!("{span:?}");
        for personal in ["u0", "customers.example", "first-order"] {
            assert!(!said.contains(personal), "{personal}: {said}");
        }
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano, "{said}");
    }
    let of = |name: &str| spans.iter().find(|(_, span)| span.name == name).map(|(_, span)| span);
    let message: BTreeMap<_, _> = ["send first", "outcome first"]
        .map(|name| (name, text(&of(name).expect(name).attributes, "parcours.message")))
        .into();
    assert_eq!(message["send first"], message["outcome first"]);
    assert_eq!(text(&of("send first").expect("it").attributes, "parcours.ended"), "sent");
}

#[test]
fn what_is_not_kept_is_not_sent() {
    assert_eq!(traced("0").len(), 0);
}
