//! The nodes of the cluster, and which of them leads.
//!
//! The rule: calls go to the node that leads as far as we know; a node that does not says who does, and one
//! that is gone gives way to the next of the address. Whether a call is repeated is its caller's decision.

use std::{
    collections::HashMap,
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

use super::{
    address::{Address, AddressError, Node},
    failure::Failure,
    wire::{
        APPEND_RECORDS, AppendRecordsRequest, AppendRecordsResponse, Empty, READ, ReadReq, ReadResp,
        SUPPORTED_METHODS, SupportedMethods,
    },
};

/// How long making a connection may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How often a silent connection is asked whether it lives, and how long it may take to say so.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Longest message: a page of a subscription is one event a message, so this is far away.
const MAX_MESSAGE: usize = 64 << 20;

/// Longest trailers: a refused append of the largest size names each of its streams and receipts there.
const MAX_TRAILERS: u32 = 8 << 20;

/// Channels to the nodes, made when needed.
pub(super) struct Nodes {
    named: Vec<Node>,
    secure: bool,
    tls: Option<ClientTlsConfig>,
    authorization: Option<MetadataValue<Ascii>>,
    known: Mutex<Known>,
}

struct Known {
    leader: Node,
    /// Which of the address's nodes is asked next when the leader is gone.
    next: usize,
    channels: HashMap<Node, Channel>,
}

/// A node and the way to it.
pub(super) struct Way {
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
        Ok(Self {
            named,
            secure: address.secure(),
            tls: tls(address)?,
            authorization,
            known: Mutex::new(Known {
                leader,
                next: 1,
                channels: HashMap::new(),
            }),
        })
    }

    /// The way to the node that leads, as far as we know.
    fn way(&self) -> Result<Way, Failure> {
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
        Ok(Way { node, channel })
    }

    fn open(&self, node: &Node) -> Result<Channel, Failure> {
        let scheme = if self.secure { "https" } else { "http" };
        let unusable = |error: tonic::transport::Error| Failure::Passing(format!("node {node}: {error}"));
        let mut endpoint = Endpoint::from_shared(format!("{scheme}://{node}"))
            .map_err(unusable)?
            .connect_timeout(CONNECT_WITHIN)
            .http2_max_header_list_size(MAX_TRAILERS)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true);
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
        let Way { node, channel } = self.way()?;
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
        let Way { node, channel } = self.way()?;
        let request = self.request(request, None);
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

    /// Takes in that a subscription ended.
    pub(super) fn lost(&self, followed: &Followed, failure: &Failure) {
        self.learn(&followed.node, failure);
    }
}

/// A subscription under way.
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

fn tls(address: &Address) -> Result<Option<ClientTlsConfig>, AddressError> {
    if !address.secure() {
        return Ok(None);
    }
    let read = |option, path: &str| {
        std::fs::read(path).map_err(|error| AddressError::File {
            option,
            why: error.to_string(),
        })
    };
    let mut tls = match address.settings.tls_ca_file() {
        Some(path) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read("tlsCaFile", path)?)),
        None => ClientTlsConfig::new().with_native_roots(),
    };
    if let Some((certificate, key)) = address.settings.user_certificate() {
        tls = tls.identity(Identity::from_pem(
            read("userCertFile", certificate)?,
            read("userKeyFile", key)?,
        ));
    }
    Ok(Some(tls))
}
