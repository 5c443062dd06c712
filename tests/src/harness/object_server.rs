//! An S3 server in the test's own process: what the protocol asks for, and whatever goes wrong that a test wants.
//!
//! The rule: it keeps what it is told to keep and checks no signatures; a real peer does (tests/PEERS.md). A fault is
//! armed for requests whose method and target it names, so many times.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    response::Response,
};
use sha2::{Digest, Sha256};
use tokio::task::JoinHandle;

/// The bucket that there is.
pub const BUCKET: &str = "anneal-tests";
/// Keys of one page of a listing, fewer than stores have, so that tests meet a second page.
const PAGE: usize = 3;
/// Bytes of one request at most.
const REQUEST: usize = 64 << 20;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This status, with a document that repeats what it was sent.
    Status(u16),
    /// It is done, and this status is answered all the same: the answer is lost.
    Lost(u16),
    /// No answer comes.
    Silence,
    /// The answer comes late by so much.
    Late(Duration),
    /// The answer ends in the middle.
    Cut,
    /// A size that is larger than the truth by so much is told; by a GET, by a HEAD or by a listing.
    Size(u64),
    /// Bytes that are not those that were stored.
    Garbage,
}

#[derive(Debug)]
struct Armed {
    method: Method,
    /// A part of path and query.
    target: String,
    fault: Fault,
    times: usize,
}

#[derive(Clone, Debug)]
struct Object {
    bytes: Bytes,
    etag: String,
}

#[derive(Debug, Default)]
struct Upload {
    key: String,
    parts: BTreeMap<u32, Bytes>,
}

#[derive(Debug, Default)]
struct Kept {
    objects: BTreeMap<String, Object>,
    uploads: BTreeMap<String, Upload>,
    begun: u64,
    armed: Vec<Armed>,
    requests: Vec<String>,
}

/// The server; it ends when it is dropped.
pub struct ObjectServer {
    address: SocketAddr,
    kept: Arc<Mutex<Kept>>,
    task: JoinHandle<()>,
}

impl Drop for ObjectServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ObjectServer {
    /// Starts one.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn start() -> Self {
        let kept = Arc::new(Mutex::new(Kept::default()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let address = listener.local_addr().expect("an address");
        let router = Router::new().fallback(answer).with_state(Arc::clone(&kept));
        let task = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("served");
        });
        Self { address, kept, task }
    }

    /// `http://127.0.0.1:port`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Arms a fault for the next `times` requests of `method` whose path and query contain `target`.
    pub fn arm(&self, method: Method, target: &str, fault: Fault, times: usize) {
        let target = target.to_owned();
        self.kept().armed.push(Armed {
            method,
            target,
            fault,
            times,
        });
    }

    /// No fault is armed any more.
    pub fn disarm(&self) {
        self.kept().armed.clear();
    }

    /// The keys that there are.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        self.kept().objects.keys().cloned().collect()
    }

    /// Uploads in parts that were neither completed nor given up.
    #[must_use]
    pub fn open_uploads(&self) -> usize {
        self.kept().uploads.len()
    }

    /// Method, path and query of each request so far, in order.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        self.kept().requests.clone()
    }

    /// Puts bytes there that no client sent.
    pub fn put(&self, key: &str, bytes: &[u8]) {
        let object = object(Bytes::copy_from_slice(bytes));
        self.kept().objects.insert(key.to_owned(), object);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn object(bytes: Bytes) -> Object {
    let etag = format!("\"{}\"", hex::encode(&Sha256::digest(&bytes)[..16]));
    Object { bytes, etag }
}

impl Kept {
    /// The fault that is armed for a request.
    fn fault(&mut self, method: &Method, target: &str) -> Option<Fault> {
        let mut armed = self.armed.iter_mut();
        let armed =
            armed.find(|one| one.times > 0 && one.method == *method && target.contains(&one.target))?;
        armed.times -= 1;
        Some(armed.fault)
    }
}

type Answer = (StatusCode, Vec<(header::HeaderName, String)>, Bytes);

fn plain(status: u16, body: impl Into<Bytes>) -> Answer {
    (
        StatusCode::from_u16(status).expect("a status"),
        Vec::new(),
        body.into(),
    )
}

fn refused(status: u16, code: &str) -> Answer {
    plain(
        status,
        format!("<Error><Code>{code}</Code><Message>no</Message></Error>"),
    )
}

/// A request, parted.
struct Received {
    method: Method,
    key: String,
    query: BTreeMap<String, String>,
    headers: HeaderMap,
    body: Bytes,
}

async fn answer(State(kept): State<Arc<Mutex<Kept>>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let target = parts
        .uri
        .path_and_query()
        .map(ToString::to_string)
        .unwrap_or_default();
    let body = axum::body::to_bytes(body, REQUEST)
        .await
        .expect("a body of a test");
    let fault = {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.requests.push(format!("{} {target}", parts.method));
        kept.fault(&parts.method, &target)
    };
    match fault {
        Some(Fault::Silence) => std::future::pending().await,
        Some(Fault::Late(late)) => tokio::time::sleep(late).await,
        Some(Fault::Status(status)) => {
            let sent = parts
                .headers
                .get("authorization")
                .map(|value| format!("{value:?}"));
            let text = format!(
                "<Error><Code>Armed</Code><Sent>{}</Sent></Error>",
                sent.unwrap_or_default()
            );
            return respond(plain(status, text), None);
        }
        _ => {}
    }
    let query = parts.uri.query().unwrap_or_default();
    let asked = Received {
        key: decoded(parts.uri.path()),
        query: url::form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect(),
        method: parts.method,
        headers: parts.headers,
        body,
    };
    let done = {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        handle(&mut kept, &asked)
    };
    match fault {
        Some(Fault::Lost(status)) => respond(refused(status, "InternalFault"), None),
        fault => respond(done, fault),
    }
}

/// The key in a path: what follows the bucket.
fn decoded(path: &str) -> String {
    let whole: String = url::form_urlencoded::parse(format!("k={}", path.replace('+', "%2B")).as_bytes())
        .map(|(_, value)| value.into_owned())
        .collect();
    let bucket = format!("/{BUCKET}");
    whole
        .strip_prefix(&bucket)
        .unwrap_or(&whole)
        .trim_start_matches('/')
        .to_owned()
}

fn respond((status, headers, body): Answer, fault: Option<Fault>) -> Response {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        // What was asked by HEAD is told by its header; its body is empty.
        response = match (name == header::CONTENT_LENGTH, fault) {
            (true, Some(Fault::Size(more))) => response.header(
                name,
                (value.parse::<u64>().unwrap_or_default() + more).to_string(),
            ),
            _ => response.header(name, value),
        };
    }
    let body = match fault {
        Some(Fault::Garbage) => Body::from(vec![b'x'; body.len()]),
        Some(Fault::Cut) => {
            let half = body.slice(..body.len() / 2);
            let broken = std::io::Error::other("cut");
            Body::from_stream(futures::stream::iter([Ok(half), Err(broken)]))
        }
        Some(Fault::Size(_)) if !body.is_empty() => Body::from_stream(futures::stream::iter([
            Ok(body),
            Err(std::io::Error::other("there is no more")),
        ])),
        _ => Body::from(body),
    };
    response.body(body).expect("a response")
}

fn handle(kept: &mut Kept, asked: &Received) -> Answer {
    let has = |name: &str| asked.query.contains_key(name);
    if asked.headers.get("authorization").is_none() {
        return refused(403, "AccessDenied");
    }
    match asked.method {
        Method::GET if has("list-type") => list(kept, &asked.query),
        Method::GET | Method::HEAD => get(kept, asked),
        Method::PUT if has("uploadId") => part(kept, asked),
        Method::PUT if asked.headers.contains_key("x-amz-copy-source") => copy(kept, asked),
        Method::PUT => put(kept, asked),
        Method::POST if has("uploads") => begin(kept, asked),
        Method::POST if has("uploadId") => complete(kept, asked),
        Method::DELETE if has("uploadId") => {
            kept.uploads.remove(&asked.query["uploadId"]);
            plain(204, "")
        }
        Method::DELETE => {
            kept.objects.remove(&asked.key);
            plain(204, "")
        }
        _ => refused(405, "MethodNotAllowed"),
    }
}

fn get(kept: &Kept, asked: &Received) -> Answer {
    let Some(object) = kept.objects.get(&asked.key) else {
        return refused(404, "NoSuchKey");
    };
    let size = object.bytes.len();
    let wanted = asked
        .headers
        .get(header::RANGE)
        .and_then(|range| range.to_str().ok());
    let range = wanted.and_then(|range| {
        let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
        let first: usize = first.parse().ok()?;
        let end = last.parse::<usize>().map_or(size, |last| size.min(last + 1));
        (first < end).then_some(first..end)
    });
    let (status, bytes) = match &range {
        Some(range) => (206, object.bytes.slice(range.clone())),
        None => (200, object.bytes.clone()),
    };
    let mut headers = vec![
        (header::ETAG, object.etag.clone()),
        (header::LAST_MODIFIED, "Mon, 30 Nov 2026 00:00:00 GMT".to_owned()),
        (header::CONTENT_LENGTH, bytes.len().to_string()),
    ];
    if let Some(range) = range {
        let told = format!("bytes {}-{}/{size}", range.start, range.end - 1);
        headers.push((header::CONTENT_RANGE, told));
    }
    let body = if asked.method == Method::HEAD {
        Bytes::new()
    } else {
        bytes
    };
    (StatusCode::from_u16(status).expect("a status"), headers, body)
}

fn stored(kept: &mut Kept, key: &str, bytes: Bytes) -> String {
    let object = object(bytes);
    let etag = object.etag.clone();
    kept.objects.insert(key.to_owned(), object);
    etag
}

fn put(kept: &mut Kept, asked: &Received) -> Answer {
    let create = asked.headers.get(header::IF_NONE_MATCH).is_some();
    if create && kept.objects.contains_key(&asked.key) {
        return refused(412, "PreconditionFailed");
    }
    let etag = stored(kept, &asked.key, asked.body.clone());
    (StatusCode::OK, vec![(header::ETAG, etag)], Bytes::new())
}

fn copy(kept: &mut Kept, asked: &Received) -> Answer {
    let from = asked.headers["x-amz-copy-source"].to_str().unwrap_or_default();
    let from = decoded(&format!("/{}", from.trim_start_matches('/')));
    let Some(source) = kept.objects.get(&from).cloned() else {
        return refused(404, "NoSuchKey");
    };
    let etag = stored(kept, &asked.key, source.bytes);
    plain(
        200,
        format!("<CopyObjectResult><ETag>{etag}</ETag></CopyObjectResult>"),
    )
}

fn begin(kept: &mut Kept, asked: &Received) -> Answer {
    kept.begun += 1;
    let id = format!("upload-{}", kept.begun);
    let key = asked.key.clone();
    let parts = BTreeMap::new();
    kept.uploads.insert(id.clone(), Upload { key, parts });
    let text =
        format!("<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>");
    plain(200, text)
}

fn part(kept: &mut Kept, asked: &Received) -> Answer {
    let number = asked
        .query
        .get("partNumber")
        .and_then(|number| number.parse().ok());
    let (Some(upload), Some(number)) = (kept.uploads.get_mut(&asked.query["uploadId"]), number) else {
        return refused(404, "NoSuchUpload");
    };
    let etag = object(asked.body.clone()).etag;
    upload.parts.insert(number, asked.body.clone());
    (StatusCode::OK, vec![(header::ETAG, etag)], Bytes::new())
}

fn complete(kept: &mut Kept, asked: &Received) -> Answer {
    let Some(upload) = kept.uploads.remove(&asked.query["uploadId"]) else {
        return refused(404, "NoSuchUpload");
    };
    let last = upload.parts.len();
    let small = |(place, part): (usize, &Bytes)| place + 1 < last && part.len() < 5 << 20;
    if upload.parts.values().enumerate().any(small) {
        return refused(400, "EntityTooSmall");
    }
    let bytes: Vec<u8> = upload.parts.into_values().flatten().collect();
    let etag = stored(kept, &upload.key, bytes.into());
    let text = format!("<CompleteMultipartUploadResult><ETag>{etag}</ETag></CompleteMultipartUploadResult>");
    plain(200, text)
}

fn list(kept: &Kept, query: &BTreeMap<String, String>) -> Answer {
    let prefix = query.get("prefix").cloned().unwrap_or_default();
    let after = query.get("continuation-token").cloned().unwrap_or_default();
    let mut matching = kept
        .objects
        .iter()
        .filter(|(key, _)| key.starts_with(&prefix) && **key > after);
    let page: Vec<_> = matching.by_ref().take(PAGE).collect();
    let more = matching.next().is_some();
    let mut text = String::from("<ListBucketResult>");
    for (key, object) in &page {
        text += &format!(
            "<Contents><Key>{key}</Key><Size>{}</Size><LastModified>2026-11-30T00:00:00.000Z</LastModified></Contents>",
            object.bytes.len()
        );
    }
    if let (true, Some((last, _))) = (more, page.last()) {
        text += &format!("<NextContinuationToken>{last}</NextContinuationToken>");
    }
    plain(200, text + "</ListBucketResult>")
}
