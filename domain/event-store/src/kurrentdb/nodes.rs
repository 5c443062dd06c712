//! The nodes of the cluster, and which of them leads.
//!
//! The rule: calls go to the node that leads as far as we know; a node that does not says who does, and one
//! that is gone gives way to the next of the address. Whether a call is repeated is its caller's decision.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use base64::Engine as _;
use tonic::{
    Request, Streaming,
    client::Grpc,
    codec::ProstCodec,
    codegen::http::uri::PathAndQuery,
    metadata::{Ascii, MetadataValue},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

use tokio::time::Instant;

use super::{
    address::{Address, AddressError, Node, Options},
    failure::Failure,
    wire::{
        APPEND_RECORDS, AppendRecordsRequest, AppendRecordsResponse, Empty, READ, ReadReq, ReadResp,
        SUPPORTED_METHODS, SupportedMethods,
    },
};

/// How long making a connection may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// A time-out that is never reached.
const ENDLESS: Duration = Duration::from_secs(365 * 24 * 3_600);
/// Longest message: a page of a subscription is one event a message, so this is far away.
const MAX_MESSAGE: usize = 64 << 20;

/// Longest trailers: a refused append of the largest size names each of its streams and receipts there.
const MAX_TRAILERS: u32 = 8 << 20;

/// Channels to the nodes, made when needed.
pub(super) struct Nodes {
    named: Vec<Node>,
    options: Options,
    tls: Option<ClientTlsConfig>,
    authorization: Option<MetadataValue<Ascii>>,
    connection_name: Option<MetadataValue<Ascii>>,
    known: Mutex<Known>,
}

struct Known {
    leader: Node,
    /// Which of the address's nodes is asked next when the leader is gone.
    next: usize,
    channels: HashMap<Node, Channel>,
}

/// A node and the way to it.
pub(super) struct NodeChannel {
    pub(super) node: Node,
    channel: Channel,
}

impl Nodes {
    /// # Errors
    /// When a certificate or key cannot be read.
    pub(super) fn new(address: &Address) -> Result<Self, AddressError> {
        let named = address.nodes();
        let leader = named.first().cloned().ok_or(AddressError::Form)?;
        let authorization = match &address.login {
            Some(login) => {
                let pair = format!("{}:{}", login.name, login.password.as_str());
                let basic = base64::engine::general_purpose::STANDARD.encode(pair);
                let mut value: MetadataValue<Ascii> =
                    format!("Basic {basic}").parse().map_err(|_| AddressError::Form)?;
                value.set_sensitive(true);
                Some(value)
            }
            None => None,
        };
        let connection_name = address
            .options
            .connection_name
            .as_deref()
            .map(str::parse)
            .transpose();
        Ok(Self {
            named,
            options: address.options.clone(),
            tls: tls(&address.options)?,
            authorization,
            connection_name: connection_name.map_err(|_| AddressError::Form)?,
            known: Mutex::new(Known {
                leader,
                next: 1,
                channels: HashMap::new(),
            }),
        })
    }

    /// The way to the node that leads, as far as we know.
    fn way(&self) -> Result<NodeChannel, Failure> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let node = known.leader.clone();
        let channel = match known.channels.get(&node) {
            Some(channel) => channel.clone(),
            None => {
                let channel = self.open(&node)?;
                known.channels.insert(node.clone(), channel.clone());
                channel
            }
        };
        Ok(NodeChannel { node, channel })
    }

    fn open(&self, node: &Node) -> Result<Channel, Failure> {
        let scheme = if self.options.secure { "https" } else { "http" };
        let unusable = |error: tonic::transport::Error| Failure::Passing(format!("node {node}: {error}"));
        let mut endpoint = Endpoint::from_shared(format!("{scheme}://{node}"))
            .map_err(unusable)?
            .connect_timeout(CONNECT_WITHIN)
            .http2_max_header_list_size(MAX_TRAILERS);
        if let Some(interval) = self.options.keep_alive_interval {
            endpoint = endpoint
                .http2_keep_alive_interval(interval)
                .keep_alive_timeout(self.options.keep_alive_timeout.unwrap_or(ENDLESS))
                .keep_alive_while_idle(true);
        }
        if let Some(tls) = &self.tls {
            endpoint = endpoint.tls_config(tls.clone()).map_err(unusable)?;
        }
        Ok(endpoint.connect_lazy())
    }

    /// Takes in what a failed call says about who leads.
    fn learn(&self, asked: &Node, failure: &Failure) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.leader != *asked {
            return;
        }
        match failure {
            Failure::NotLeader(Some(leader)) => known.leader = leader.clone(),
            Failure::NotLeader(None) | Failure::Passing(_) => {
                known.channels.remove(asked);
                known.leader = self.named[known.next % self.named.len()].clone();
                known.next = (known.next + 1) % self.named.len();
            }
            _ => {}
        }
    }

    fn request<T>(&self, message: T, limit: Option<Duration>) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(authorization) = &self.authorization {
            request
                .metadata_mut()
                .insert("authorization", authorization.clone());
        }
        if let Some(name) = &self.connection_name {
            request.metadata_mut().insert("connection-name", name.clone());
        }
        request
            .metadata_mut()
            .insert("requires-leader", MetadataValue::from_static("true"));
        if let Some(limit) = limit {
            request.set_timeout(limit);
        }
        request
    }

    async fn unary<M, A>(&self, path: &'static str, message: M, limit: Duration) -> Result<A, Failure>
    where
        M: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        let NodeChannel { node, channel } = self.way()?;
        let request = self.request(message, Some(limit));
        let call = async {
            let mut grpc = ready(channel).await?;
            let path = PathAndQuery::from_static(path);
            let answer = grpc.unary(request, path, ProstCodec::<M, A>::default()).await?;
            Ok(answer.into_inner())
        };
        let outcome = super::failure::within(limit, call).await;
        if let Err(failure) = &outcome {
            self.learn(&node, failure);
        }
        outcome
    }

    /// Appends, once.
    pub(super) async fn append(
        &self,
        request: AppendRecordsRequest,
        limit: Duration,
    ) -> Result<AppendRecordsResponse, Failure> {
        self.unary(APPEND_RECORDS, request, limit).await
    }

    /// What the server can do.
    pub(super) async fn features(&self, limit: Duration) -> Result<SupportedMethods, Failure> {
        self.unary(SUPPORTED_METHODS, Empty {}, limit).await
    }

    /// Begins to follow; the call itself has no end.
    pub(super) async fn follow(&self, request: ReadReq, limit: Duration) -> Result<Followed, Failure> {
        self.stream(self.request(request, None), limit).await
    }

    /// Begins a read that ends, before `deadline`.
    pub(super) async fn read(&self, request: ReadReq, deadline: Instant) -> Result<Followed, Failure> {
        let left = deadline.saturating_duration_since(Instant::now());
        self.stream(self.request(request, Some(left)), left).await
    }

    /// The next message of a read; none when it is over. A node that stays silent until `deadline` is given up.
    pub(super) async fn answer(
        &self,
        read: &mut Followed,
        deadline: Instant,
    ) -> Result<Option<ReadResp>, Failure> {
        let failure = match tokio::time::timeout_at(deadline, read.messages.message()).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(status)) => status.into(),
            Err(_) => Failure::Passing("the answer did not come to its end".to_owned()),
        };
        self.lost(read, &failure);
        Err(failure)
    }

    async fn stream(&self, request: Request<ReadReq>, limit: Duration) -> Result<Followed, Failure> {
        let NodeChannel { node, channel } = self.way()?;
        let call = async {
            let mut grpc = ready(channel).await?;
            let path = PathAndQuery::from_static(READ);
            let codec = ProstCodec::<ReadReq, ReadResp>::default();
            Ok(grpc.server_streaming(request, path, codec).await?.into_inner())
        };
        match super::failure::within(limit, call).await {
            Ok(messages) => Ok(Followed { node, messages }),
            Err(failure) => {
                self.learn(&node, &failure);
                Err(failure)
            }
        }
    }

    /// Takes in that a read or a subscription ended.
    pub(super) fn lost(&self, followed: &Followed, failure: &Failure) {
        self.learn(&followed.node, failure);
    }
}

/// A read or a subscription under way.
pub(super) struct Followed {
    node: Node,
    pub(super) messages: Streaming<ReadResp>,
}

async fn ready(channel: Channel) -> Result<Grpc<Channel>, Failure> {
    let mut grpc = Grpc::new(channel)
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE);
    let connected = grpc.ready().await;
    connected.map_err(|error| Failure::Passing(chain(&error)))?;
    Ok(grpc)
}

/// An error with its causes: "transport error" alone helps nobody.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// No file of certificates or keys is longer, in bytes.
const LARGEST_FILE: u64 = 4 << 20;

fn tls(options: &Options) -> Result<Option<ClientTlsConfig>, AddressError> {
    if !options.secure {
        return Ok(None);
    }
    let read = |option, path: &Path| {
        small_files::read_bounded(path, LARGEST_FILE).map_err(|error| AddressError::File {
            option,
            why: error.to_string(),
        })
    };
    let mut tls = match &options.ca_file {
        Some(path) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read("tlsCaFile", path)?)),
        None => ClientTlsConfig::new().with_native_roots(),
    };
    if let Some((certificate, key)) = &options.identity {
        tls = tls.identity(Identity::from_pem(
            read("userCertFile", certificate)?,
            read("userKeyFile", key)?,
        ));
    }
    Ok(Some(tls))
}
