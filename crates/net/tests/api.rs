//! The API port and its client over real sockets.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use moneta_core::api::{ApiError, ApiRequest};
use moneta_net::api::{
    ApiConnector, ApiHandler, ApiServer, BUSY_CODE, CallError, ConnectorOptions, Limits, to_result,
};
use serde_json::{Value, json, value::RawValue};
use support::websocket::RawWebSocket;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
};

/// Answers a few methods; `hang` never ends.
#[derive(Default)]
struct TestHandler {
    hanging: Notify,
    dropped: Arc<Notify>,
    open: AtomicUsize,
    most_open: AtomicUsize,
}

struct TellDrop(Arc<Notify>);
impl Drop for TellDrop {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[async_trait]
impl ApiHandler for TestHandler {
    fn knows(&self, method: &str) -> bool {
        ["echo", "hang", "panic", "refuse", "long"].contains(&method)
    }

    async fn call(&self, method: &str, request: ApiRequest) -> Result<Arc<RawValue>, ApiError> {
        match method {
            "echo" => to_result(&request.params),
            "hang" => {
                let _tell = TellDrop(self.dropped.clone());
                self.hanging.notify_one();
                std::future::pending().await
            }
            "panic" => panic!("on purpose"),
            "refuse" => Err(ApiError::unauthorized()),
            "long" => {
                let open = self.open.fetch_add(1, Ordering::SeqCst) + 1;
                self.most_open.fetch_max(open, Ordering::SeqCst);
                tokio::task::yield_now().await;
                self.open.fetch_sub(1, Ordering::SeqCst);
                to_result(&"x".repeat(request.params.as_u64().unwrap() as usize))
            }
            _ => unreachable!("only known methods are called"),
        }
    }
}

async fn serve(limits: Limits, secrets: &[&str]) -> (ApiServer, Arc<TestHandler>) {
    let handler = Arc::new(TestHandler::default());
    let secrets = secrets.iter().map(|s| (*s).to_owned()).collect();
    let server = ApiServer::bind("127.0.0.1:0".parse().unwrap(), limits, secrets, handler.clone())
        .await
        .unwrap();
    (server, handler)
}

fn url(server: &ApiServer) -> moneta_core::ApiUrl {
    format!("ws://{}/ws/", server.local_addr()).parse().unwrap()
}

fn request(params: Value) -> ApiRequest {
    ApiRequest::new(params)
}

/// The code of a refusal.
fn code(result: Result<Value, CallError>) -> i32 {
    match result {
        Err(CallError::Rejected(error)) => error.code,
        other => panic!("not a refusal: {other:?}"),
    }
}

/// Sends raw bytes, reads until the server closes the connection.
async fn raw_http(server: &ApiServer, text: &str) -> String {
    let mut socket = TcpStream::connect(server.local_addr()).await.unwrap();
    socket.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn post(server: &ApiServer, headers: &str, body: &str) -> String {
    let text = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n\
         {headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    raw_http(server, &text).await
}

#[tokio::test]
async fn call_is_answered_over_websocket_and_post() {
    let (server, _) = serve(Limits::operation(), &[]).await;
    let connector = ApiConnector::default();
    let params = json!({"amount": 17, "text": "a\"b"});
    let answer = connector.call(&url(&server), None, "echo", request(params.clone())).await;
    assert_eq!(answer.unwrap(), params);

    let body = r#"{"jsonrpc":"2.0","id":3,"method":"echo","params":[{"auth":null,"params":7}]}"#;
    let answer = post(&server, "", body).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.ends_with(r#"{"jsonrpc":"2.0","id":3,"result":7}"#), "{answer}");
    server.shutdown().await;
}

#[tokio::test]
async fn errors_of_the_handler_reach_the_caller() {
    let (server, _) = serve(Limits::operation(), &[]).await;
    let (connector, url) = (ApiConnector::default(), url(&server));
    let refused = connector.call(&url, None, "refuse", request(Value::Null)).await;
    let Err(CallError::Rejected(error)) = refused else { panic!("{refused:?}") };
    assert_eq!(error, ApiError::unauthorized());
    assert_eq!(code(connector.call(&url, None, "nosuch", request(Value::Null)).await), -32601);
    let panicked = connector.call(&url, None, "panic", request(Value::Null)).await;
    let Err(CallError::Rejected(error)) = panicked else { panic!("{panicked:?}") };
    assert_eq!(error, ApiError::internal("API handler panicked"));
    server.shutdown().await;
}

#[tokio::test]
async fn parameters_other_than_one_envelope_are_refused() {
    let (server, _) = serve(Limits::operation(), &[]).await;
    let mut socket = RawWebSocket::connect(server.local_addr()).await;
    for params in [
        r#"{"auth":null,"params":1}"#,
        "[]",
        "7",
        r#"[{"auth":null,"params":1},{"auth":null,"params":1}]"#,
        r#"[{"auth":null}]"#,
        r#"[{"auth":7,"params":1}]"#,
    ] {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"echo","params":{params}}}"#);
        socket.send(&text).await;
        assert_eq!(socket.receive_json().await["error"]["code"], -32602, "{params}");
    }
    socket.send(r#"{"jsonrpc":"2.0","id":2,"method":"echo"}"#).await;
    assert_eq!(socket.receive_json().await["error"]["code"], -32602);
    let with_more = r#"[{"params":1,"later":true}]"#;
    socket
        .send(&format!(r#"{{"jsonrpc":"2.0","id":3,"method":"echo","params":{with_more}}}"#))
        .await;
    assert_eq!(socket.receive_json().await["result"], 1, "unknown fields are ignored");
    server.shutdown().await;
}

/// A liar had a wallet build a value of some hundred megabytes from every call.
#[tokio::test]
async fn answer_above_what_the_caller_expects_is_refused_and_the_connection_stays() {
    let (server, _) = serve(Limits::operation(), &[]).await;
    let (connector, url) = (ApiConnector::default(), url(&server));
    let long = |bytes: u64, limit| {
        connector.call_bounded(&url, None, "long", request(json!(bytes)), limit)
    };
    // The quotes count.
    assert_eq!(long(998, 1000).await.unwrap().as_str().unwrap().len(), 998);
    let refused = long(999, 1000).await;
    assert!(matches!(refused, Err(CallError::Invalid { .. })), "{refused:?}");
    assert!(connector.is_connected(&url, None));
    assert!(long(10, 1000).await.is_ok());
    server.shutdown().await;
}

#[tokio::test]
async fn oversized_request_and_answer_are_refused() {
    let limits = Limits { request_bytes: 2000, response_bytes: 5000, ..Limits::operation() };
    let (server, _) = serve(limits, &[]).await;
    let (connector, url) = (ApiConnector::default(), url(&server));
    let long = |bytes: u64| connector.call(&url, None, "long", request(json!(bytes)));
    assert_eq!(long(4000).await.unwrap().as_str().unwrap().len(), 4000);
    assert_eq!(code(long(6000).await), -32008);

    let text = "x".repeat(3000);
    let call =
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"echo","params":[{{"params":"{text}"}}]}}"#);
    let mut socket = RawWebSocket::connect(server.local_addr()).await;
    socket.send(&call).await;
    assert_eq!(socket.receive_json().await["error"]["code"], -32007);
    assert!(post(&server, "", &call).await.starts_with("HTTP/1.1 413"));

    let small = ConnectorOptions { request_bytes: 2000, ..ConnectorOptions::default() };
    let refused = ApiConnector::new(small).call(&url, None, "echo", request(json!(text))).await;
    assert!(matches!(refused, Err(CallError::Invalid { .. })), "{refused:?}");
    server.shutdown().await;
}

#[tokio::test]
async fn handler_is_cut_off_at_the_time_limit() {
    let limits = Limits { call_timeout: Duration::from_millis(20), ..Limits::operation() };
    let (server, handler) = serve(limits, &[]).await;
    let answer =
        ApiConnector::default().call(&url(&server), None, "hang", request(Value::Null)).await;
    let Err(CallError::Rejected(error)) = answer else { panic!("{answer:?}") };
    assert_eq!(error, ApiError::timeout());
    handler.dropped.notified().await;
    server.shutdown().await;
}

#[tokio::test]
async fn long_poll_blocks_nobody_and_ends_with_its_client() {
    let (server, handler) = serve(Limits::operation(), &[]).await;
    let (connector, url) = (ApiConnector::default(), url(&server));
    let polling = {
        let (connector, url) = (connector.clone(), url.clone());
        tokio::spawn(async move { connector.call(&url, None, "hang", request(Value::Null)).await })
    };
    handler.hanging.notified().await;
    assert_eq!(connector.call(&url, None, "echo", request(json!(1))).await.unwrap(), 1);
    polling.abort();
    drop(connector);
    handler.dropped.notified().await;
    server.shutdown().await;
}

/// A server that pings often, and is patient with calls.
fn pinging(silence: Duration) -> Limits {
    let often = Duration::from_millis(50);
    let patient = Duration::from_secs(3600);
    Limits { ping_interval: often, silence, call_timeout: patient, ..Limits::operation() }
}

#[tokio::test]
async fn client_that_answers_no_pings_is_dropped() {
    let (server, handler) = serve(pinging(Duration::from_secs(1)), &[]).await;
    let mut deaf = RawWebSocket::connect(server.local_addr()).await;
    deaf.send(r#"{"jsonrpc":"2.0","id":1,"method":"hang","params":[{"params":null}]}"#).await;
    handler.hanging.notified().await;
    handler.dropped.notified().await;
    server.shutdown().await;
}

#[tokio::test]
async fn waiting_client_stays_because_it_answers_pings() {
    let call_timeout = Duration::from_secs(2);
    let limits = Limits { call_timeout, ..pinging(Duration::from_secs(1)) };
    let (server, _) = serve(limits, &[]).await;
    let answer =
        ApiConnector::default().call(&url(&server), None, "hang", request(Value::Null)).await;
    // A connection dropped after a second would not have brought this.
    let Err(CallError::Rejected(error)) = answer else { panic!("{answer:?}") };
    assert_eq!(error, ApiError::timeout());
    server.shutdown().await;
}

/// A connector that gives up a silent server after a second, and a call after two.
fn impatient(in_flight: usize) -> ApiConnector {
    ApiConnector::new(ConnectorOptions {
        request_timeout: Duration::from_secs(2),
        silence: Duration::from_secs(1),
        in_flight,
        ..ConnectorOptions::default()
    })
}

#[tokio::test]
async fn silent_guardian_is_dialled_anew() {
    // Nothing but answers would come from it for an hour.
    let ping_interval = Duration::from_secs(3600);
    let limits = Limits { connections: 1, ping_interval, ..pinging(ping_interval) };
    let (server, handler) = serve(limits, &[]).await;
    let (connector, url) = (impatient(512), url(&server));
    let unanswered = connector.call(&url, None, "hang", request(Value::Null)).await;
    assert!(matches!(unanswered, Err(CallError::Timeout)), "{unanswered:?}");
    assert!(!connector.is_connected(&url, None));
    // The old connection is let go of, which ends the call there; then there is room for a new one.
    let answered = async {
        while connector.call(&url, None, "echo", request(json!(2))).await.is_err() {}
        handler.dropped.notified().await;
    };
    tokio::time::timeout(Duration::from_secs(30), answered).await.expect("a new connection");
    server.shutdown().await;
}

#[tokio::test]
async fn call_that_waited_for_its_turn_goes_out_on_a_new_connection() {
    let ping_interval = Duration::from_secs(3600);
    let limits = Limits { ping_interval, ..pinging(ping_interval) };
    let (server, handler) = serve(limits, &[]).await;
    let (connector, url) = (impatient(1), url(&server));
    let (unanswered, answered) = tokio::join!(
        connector.call(&url, None, "hang", request(Value::Null)),
        connector.call(&url, None, "echo", request(json!(2))),
    );
    assert!(matches!(unanswered, Err(CallError::Timeout)), "{unanswered:?}");
    assert_eq!(answered.unwrap(), 2);
    // Only the end of the old connection ends the call there.
    let dropped = handler.dropped.notified();
    tokio::time::timeout(Duration::from_secs(30), dropped).await.expect("the old one is let go of");
    server.shutdown().await;
}

#[tokio::test]
async fn guardian_that_pings_is_heard_though_a_call_takes_long() {
    let (server, _) = serve(pinging(Duration::from_secs(3600)), &[]).await;
    let (connector, url) = (impatient(512), url(&server));
    let unanswered = connector.call(&url, None, "hang", request(Value::Null)).await;
    assert!(matches!(unanswered, Err(CallError::Timeout)), "{unanswered:?}");
    assert!(connector.is_connected(&url, None));
    server.shutdown().await;
}

#[tokio::test]
async fn calls_above_the_bound_are_refused_and_the_bound_frees_itself() {
    let limits = Limits { in_flight_per_connection: 1, ..Limits::operation() };
    let (server, handler) = serve(limits, &[]).await;
    let mut socket = RawWebSocket::connect(server.local_addr()).await;
    let call = |id: u32, method: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":[{{"params":1}}]}}"#)
    };
    socket.send(&call(1, "hang")).await;
    handler.hanging.notified().await;
    socket.send(&call(2, "echo")).await;
    let refused = socket.receive_json().await;
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!(2), &json!(BUSY_CODE)));

    let mut other = RawWebSocket::connect(server.local_addr()).await;
    for id in 0..20 {
        other.send(&call(id, "echo")).await;
        assert_eq!(other.receive_json().await["result"], 1, "the answered call must not count");
    }
    server.shutdown().await;
}

/// Ten megabytes of `[0,0,0` became 160 in memory, for as long as a call may wait, and seven such calls
/// took all a guardian has. The first two refusals come before anything is parsed.
#[tokio::test]
async fn large_parameters_of_waiting_calls_are_bounded_together() {
    let limits = Limits { held_bytes: 1_000_000, ..Limits::operation() };
    let (server, handler) = serve(limits, &[]).await;
    let mut socket = RawWebSocket::connect(server.local_addr()).await;
    let call = |id: u32, method: &str, extra: &str| {
        let params = format!(r#"[{{"params":1,"extra":{extra}}}]"#);
        format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#)
    };
    let text = |bytes: usize| format!("\"{}\"", "x".repeat(bytes));
    let zeros = format!("[0{}]", ",0".repeat(3000));
    socket.send(&call(1, "echo", &zeros)).await;
    let refused = socket.receive_json().await;
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!(1), &json!(-32602)));
    // 60 kB take 112 kB beyond what is free, so eight of them fit.
    for id in 0..8 {
        socket.send(&call(id, "hang", &text(60_000))).await;
        handler.hanging.notified().await;
    }
    socket.send(&call(9, "echo", &text(60_000))).await;
    let refused = socket.receive_json().await;
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!(9), &json!(BUSY_CODE)));
    socket.send(&call(10, "echo", &text(3000))).await;
    assert_eq!(socket.receive_json().await["result"], 1, "a payment is not refused for that");

    drop(socket);
    handler.dropped.notified().await;
    let mut other = RawWebSocket::connect(server.local_addr()).await;
    let mut id = 11;
    loop {
        // Polls what frees itself when the server has noticed that the other client is gone.
        other.send(&call(id, "echo", &text(60_000))).await;
        match &other.receive_json().await {
            answer if answer["result"] == 1 => break,
            _ => tokio::task::yield_now().await,
        }
        id += 1;
    }
    server.shutdown().await;
}

#[tokio::test]
async fn client_that_does_not_read_holds_few_answers() {
    let limits = Limits { in_flight_per_connection: 4, ..Limits::operation() };
    let (server, handler) = serve(limits, &[]).await;
    let (mut reader, mut writer) = RawWebSocket::connect(server.local_addr()).await.split();
    const CALLS: usize = 300;
    let writing = tokio::spawn(async move {
        for id in 0..CALLS {
            let params = r#"[{"params":1000000}]"#;
            let call =
                format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"long","params":{params}}}"#);
            writer.send(&call).await;
        }
        writer
    });
    for _ in 0..CALLS {
        let answer = reader.receive_json().await;
        let is_busy = answer["error"]["code"] == BUSY_CODE;
        assert!(is_busy || answer["result"].is_string());
    }
    writing.await.unwrap();
    assert!(handler.most_open.load(Ordering::SeqCst) <= 4);
    server.shutdown().await;
}

#[tokio::test]
async fn connections_above_the_limit_get_429() {
    let limits = Limits { connections: 1, ..Limits::setup() };
    let (server, _) = serve(limits, &[]).await;
    let first = RawWebSocket::connect(server.local_addr()).await;
    let body = r#"{"jsonrpc":"2.0","id":3,"method":"echo","params":[{"params":7}]}"#;
    assert!(post(&server, "", body).await.starts_with("HTTP/1.1 429"));
    let refused =
        ApiConnector::default().call(&url(&server), None, "echo", request(Value::Null)).await;
    let Err(CallError::Unreachable { reason, sent: false }) = refused else {
        panic!("{refused:?}")
    };
    assert!(reason.contains("limit"), "{reason}");
    drop(first);
    server.shutdown().await;
}

#[tokio::test]
async fn private_federation_answers_only_with_a_secret() {
    let (server, _) = serve(Limits::operation(), &["first", "second"]).await;
    let body = r#"{"jsonrpc":"2.0","id":3,"method":"echo","params":[{"params":7}]}"#;
    for header in ["", "Authorization: Basic ZmVkaW1pbnQ6d3Jvbmc=\r\n", "Authorization: Basic\r\n"]
    {
        let answer = post(&server, header, body).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 401 Unauthorized"), "{head}");
        assert!(
            head.to_ascii_lowercase()
                .contains("www-authenticate: basic realm=\"authentication needed\""),
            "{head}"
        );
        assert_eq!(body, "Unauthorized");
    }
    // base64("fedimint:first")
    let right = "Authorization: Basic ZmVkaW1pbnQ6Zmlyc3Q=\r\n";
    assert!(post(&server, right, body).await.starts_with("HTTP/1.1 200"));

    let (connector, url) = (ApiConnector::default(), url(&server));
    let call = |secret| connector.call(&url, secret, "echo", request(json!(5)));
    assert_eq!(call(Some("first")).await.unwrap(), 5);
    assert_eq!(call(Some("second")).await.unwrap(), 5);
    assert_eq!(code(call(None).await), 401);
    assert_eq!(code(call(Some("third")).await), 401);
    server.shutdown().await;
}

#[tokio::test]
async fn shutdown_answers_open_calls_and_frees_the_port() {
    let (server, handler) = serve(Limits::operation(), &[]).await;
    let (connector, address) = (ApiConnector::default(), server.local_addr());
    let target = url(&server);
    let polling = {
        let (connector, url) = (connector.clone(), target.clone());
        tokio::spawn(async move { connector.call(&url, None, "hang", request(Value::Null)).await })
    };
    handler.hanging.notified().await;
    // An idle connection must not hold the port either.
    let _idle = TcpStream::connect(address).await.unwrap();
    server.shutdown().await;
    assert!(polling.await.unwrap().is_err());
    let refused = connector.call(&target, None, "echo", request(Value::Null)).await;
    assert!(matches!(refused, Err(CallError::Unreachable { .. })), "{refused:?}");

    let handler = Arc::new(TestHandler::default());
    let again = ApiServer::bind(address, Limits::operation(), vec![], handler).await.unwrap();
    let answer = loop {
        match connector.call(&target, None, "echo", request(json!(9))).await {
            Err(CallError::Unreachable { .. }) => {}
            other => break other,
        }
    };
    assert_eq!(answer.unwrap(), 9, "the connector connects anew by itself");
    again.shutdown().await;
}

#[tokio::test]
async fn dead_guardian_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let connector = ApiConnector::default();
    let url = format!("ws://{address}").parse().unwrap();
    for _ in 0..3 {
        let answer = connector.call(&url, None, "echo", request(Value::Null)).await;
        assert!(matches!(answer, Err(CallError::Unreachable { sent: false, .. })), "{answer:?}");
    }
    assert!(!connector.is_connected(&url, None));
}

#[tokio::test]
async fn guardian_that_accepts_and_says_nothing_times_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap()).parse().unwrap();
    let options =
        ConnectorOptions { connect_timeout: Duration::from_millis(50), ..Default::default() };
    let answer = ApiConnector::new(options).call(&url, None, "echo", request(Value::Null)).await;
    assert!(matches!(answer, Err(CallError::Unreachable { sent: false, .. })), "{answer:?}");
}

#[tokio::test]
async fn unsupported_scheme_is_named() {
    let url =
        "iroh://d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a".parse().unwrap();
    let answer = ApiConnector::default().call(&url, None, "echo", request(Value::Null)).await;
    let Err(CallError::Invalid { reason }) = answer else { panic!("{answer:?}") };
    assert!(reason.contains("iroh") && reason.contains("not supported"), "{reason}");
}

#[tokio::test]
async fn callers_share_one_connection() {
    let limits = Limits { connections: 1, ..Limits::operation() };
    let (server, _) = serve(limits, &[]).await;
    let (connector, url) = (ApiConnector::default(), url(&server));
    let calls = (0..50).map(|i| connector.call(&url, None, "echo", request(json!(i))));
    for (i, answer) in futures::future::join_all(calls).await.into_iter().enumerate() {
        assert_eq!(answer.unwrap(), i);
    }
    server.shutdown().await;
}
