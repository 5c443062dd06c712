//! Servers that do what a test says, and names that stand for what a test says.
//!
//! One rule: everything is on loopback, at ports that the system chose.

use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use outbound::{
    Allowed, BreakerOptions, Call, Limits, Lookup, Method, Outbound, OutboundOptions, Policy, Retry,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// Longer than anything here takes on a busy machine.
pub const SOON: Duration = Duration::from_secs(30);

/// Names and their answers; the last of a name's answers is repeated.
#[derive(Default)]
pub struct Names {
    answers: Mutex<HashMap<String, Vec<Vec<IpAddr>>>>,
    asked: AtomicUsize,
}

impl Names {
    pub fn new(entries: &[(&str, &[&[&str]])]) -> Arc<Self> {
        let parse = |text: &&str| text.parse::<IpAddr>().expect("an address");
        let answers = entries.iter().map(|(name, answers)| {
            let answers = answers.iter().map(|answer| answer.iter().map(parse).collect());
            ((*name).to_owned(), answers.collect())
        });
        Arc::new(Self {
            answers: Mutex::new(answers.collect()),
            asked: AtomicUsize::new(0),
        })
    }

    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Lookup for Names {
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut answers = self.answers.lock().expect("nobody panicked");
        let of_host = answers.get_mut(host).ok_or(io::ErrorKind::NotFound)?;
        match of_host.len() {
            1 => Ok(of_host[0].clone()),
            _ => Ok(of_host.remove(0)),
        }
    }
}

/// A server that counts its connections and hands each request to a script.
pub struct Server {
    pub port: u16,
    accepted: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<String>>>,
    serving: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Listens on every address of this machine, so that no spelling of loopback escapes it. `script` gets the number of
    /// the request (from 0) and the connection.
    pub async fn start<S, F>(script: S) -> Self
    where
        S: Fn(usize, TcpStream) -> F + Send + Sync + 'static,
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let listener = match TcpListener::bind("[::]:0").await {
            Ok(both) => both,
            Err(_) => TcpListener::bind("0.0.0.0:0").await.expect("a port"),
        };
        let port = listener.local_addr().expect("bound").port();
        let (accepted, requests) = (
            Arc::new(AtomicUsize::new(0)),
            Arc::<Mutex<Vec<String>>>::default(),
        );
        let (counter, kept, script) = (Arc::clone(&accepted), Arc::clone(&requests), Arc::new(script));
        let serving = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                let number = counter.fetch_add(1, Ordering::SeqCst);
                let (kept, script) = (Arc::clone(&kept), Arc::clone(&script));
                tokio::spawn(async move {
                    let Ok(text) = request(&mut stream).await else {
                        return;
                    };
                    kept.lock().expect("nobody panicked").push(text);
                    // A client that has gone is no failure of the server.
                    let _gone = script(number, stream).await;
                });
            }
        });
        Self {
            port,
            accepted,
            requests,
            serving,
        }
    }

    /// One that gives each connection the next of these answers, the last one again and again, and closes it.
    pub async fn answering(answers: Vec<String>) -> Self {
        let answers = Arc::new(answers);
        Self::start(move |number, mut stream| {
            let answers = Arc::clone(&answers);
            async move {
                let answer = &answers[number.min(answers.len() - 1)];
                stream.write_all(answer.as_bytes()).await?;
                stream.shutdown().await
            }
        })
        .await
    }

    /// One that keeps its connections open and says nothing.
    pub async fn silent() -> Self {
        Self::start(|_, stream| async move {
            tokio::time::sleep(SOON * 2).await;
            drop(stream);
            Ok(())
        })
        .await
    }

    pub async fn ok() -> Self {
        Self::answering(vec![answer("200 OK", "", "hello")]).await
    }

    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("nobody panicked").clone()
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The head of a request; a body stays in the connection, but for what came with it.
async fn request(stream: &mut TcpStream) -> io::Result<String> {
    let mut read = Vec::new();
    while !read.windows(4).any(|end| end == b"\r\n\r\n") {
        if stream.read_buf(&mut read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(String::from_utf8_lossy(&read).into_owned())
}

/// A whole answer that ends its connection. `headers` are lines with their ends.
pub fn answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}")
}

pub fn allowed(text: &str) -> Allowed {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Options with short deadlines and a breaker that never opens.
pub fn options(policy: Policy) -> OutboundOptions {
    OutboundOptions {
        policy,
        connect_within: Duration::from_secs(10),
        breaker: BreakerOptions {
            failures: u32::MAX,
            ..BreakerOptions::default()
        },
        ..OutboundOptions::default()
    }
}

pub fn client(options: OutboundOptions) -> Outbound {
    Outbound::new(options).expect("no authorities, so none is wrong")
}

/// A client that may call loopback.
pub fn local() -> Outbound {
    client(options(Policy::development()))
}

/// A call without retries and with a generous deadline.
pub fn get(url: &str) -> Call {
    call(Method::GET, url)
}

/// As [`get`].
pub fn post(url: &str) -> Call {
    call(Method::POST, url)
}

fn call(method: Method, url: &str) -> Call {
    let target = url.parse().unwrap_or_else(|error| panic!("{url}: {error}"));
    Call::new("test", method, target)
        .retry(Retry::none())
        .limits(limits())
}

pub fn limits() -> Limits {
    Limits {
        total: SOON,
        first_byte: SOON,
        idle: SOON,
        ..Limits::default()
    }
}

/// Waits until something is so.
pub async fn until(is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, waiting).await.expect("it comes about");
}

/// Makes a call that nobody answers, and drops it when something is so.
pub async fn given_up<T: std::fmt::Debug>(call: impl Future<Output = T>, is_so: impl Fn() -> bool) {
    tokio::select! {
        answered = call => panic!("nobody answers, but {answered:?} came"),
        () = until(is_so) => {}
    }
}

/// Retries without noticeable waits.
pub fn quickly(tries: u32) -> Retry {
    Retry {
        tries,
        first: Duration::from_millis(5),
        longest: Duration::from_millis(10),
        ..Retry::default()
    }
}
