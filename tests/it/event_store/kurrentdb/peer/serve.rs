//! gRPC around the peer: which call goes where.
//!
//! The rule: nothing is decided here but who may call.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use event_store::kurrentdb::wire::{
    APPEND_RECORDS, AppendRecordsRequest, AppendRecordsResponse, Empty, READ, ReadReq, ReadResp,
    SUPPORTED_METHODS, SupportedMethod, SupportedMethods, Uuid,
};
use futures::future::BoxFuture;
use tokio::{net::TcpListener, task::JoinHandle};
use tonic::{
    Request, Response, Status,
    body::Body,
    codec::ProstCodec,
    codegen::{Service, http},
    server::{Grpc, NamedService},
    transport::{Identity, Server, ServerTlsConfig, server::TcpIncoming},
};

use super::{Shared, append::append, held, read};

const GOSSIP: &str = "/event_store.client.gossip.Gossip/Read";
const MAX_MESSAGE: usize = 64 << 20;

#[derive(Clone, PartialEq, prost::Message)]
struct ClusterInfo {
    #[prost(message, repeated, tag = "1")]
    members: Vec<Member>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Member {
    #[prost(message, optional, tag = "1")]
    instance_id: Option<Uuid>,
    /// 8 leads, 6 follows.
    #[prost(int32, tag = "3")]
    state: i32,
    #[prost(bool, tag = "4")]
    is_alive: bool,
    #[prost(message, optional, tag = "5")]
    http_end_point: Option<EndPoint>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct EndPoint {
    #[prost(string, tag = "1")]
    address: String,
    #[prost(uint32, tag = "2")]
    port: u32,
}

/// Starts a node on a port of its own, with TLS where it has an identity.
pub(super) async fn node(shared: Arc<Shared>, number: usize, identity: Option<Identity>) -> JoinHandle<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    held(&shared.ports).push(port);
    let node = Node { shared, number };
    let mut server = Server::builder();
    if let Some(identity) = identity {
        let tls = ServerTlsConfig::new().identity(identity);
        server = server.tls_config(tls).expect("a certificate and its key");
    }
    let server = server
        .add_service(Streams(node.clone()))
        .add_service(Features(node.clone()))
        .add_service(Gossip(node.clone()))
        .add_service(StreamsService(node));
    tokio::spawn(async move {
        let served = server.serve_with_incoming(TcpIncoming::from(listener)).await;
        served.expect("the peer serves");
    })
}

#[derive(Clone)]
struct Node {
    shared: Arc<Shared>,
    number: usize,
}

/// A function as a service.
struct Call<F>(F);

impl<F, M, A, T> Service<Request<M>> for Call<F>
where
    F: FnMut(Request<M>) -> T,
    T: Future<Output = Result<Response<A>, Status>>,
{
    type Response = Response<A>;
    type Error = Status;
    type Future = T;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<M>) -> T {
        (self.0)(request)
    }
}

fn grpc<A: prost::Message + 'static, M: prost::Message + Default + 'static>() -> Grpc<ProstCodec<A, M>> {
    Grpc::new(ProstCodec::default())
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE)
}

impl Node {
    fn let_in<M>(&self, request: &Request<M>) -> Result<(), Status> {
        let Some(wanted) = self.shared.mode().authorization else {
            return Ok(());
        };
        match request.metadata().get("authorization") {
            Some(given) if given == wanted => Ok(()),
            _ => Err(Status::unauthenticated("authentication failed")),
        }
    }

    async fn append(
        self,
        request: Request<AppendRecordsRequest>,
    ) -> Result<Response<AppendRecordsResponse>, Status> {
        self.let_in(&request)?;
        let answer = append(&self.shared, self.number, request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn read(self, request: Request<ReadReq>) -> Result<Response<read::Answers>, Status> {
        self.let_in(&request)?;
        let (metadata, _, message) = request.into_parts();
        let answers = read::read(self.shared, self.number, &metadata, message).await?;
        Ok(Response::new(answers))
    }

    async fn serve(self, request: http::Request<Body>) -> http::Response<Body> {
        match request.uri().path() {
            APPEND_RECORDS => {
                let call = Call(move |request| self.clone().append(request));
                grpc::<AppendRecordsResponse, AppendRecordsRequest>()
                    .unary(call, request)
                    .await
            }
            READ => {
                let call = Call(move |request| self.clone().read(request));
                grpc::<ReadResp, ReadReq>().server_streaming(call, request).await
            }
            SUPPORTED_METHODS => {
                let features = self.features();
                let call =
                    Call(move |_: Request<Empty>| std::future::ready(Ok(Response::new(features.clone()))));
                grpc::<SupportedMethods, Empty>().unary(call, request).await
            }
            GOSSIP => {
                let gossip = self.gossip();
                let call =
                    Call(move |_: Request<Empty>| std::future::ready(Ok(Response::new(gossip.clone()))));
                grpc::<ClusterInfo, Empty>().unary(call, request).await
            }
            _ => Status::unimplemented("the peer does not know this call").into_http(),
        }
    }

    fn features(&self) -> SupportedMethods {
        let mode = self.shared.mode();
        let append = SupportedMethod {
            method_name: "appendrecords".to_owned(),
            service_name: "kurrentdb.protocol.v2.streams.streamsservice".to_owned(),
        };
        SupportedMethods {
            methods: mode.appends.then_some(append).into_iter().collect(),
            event_store_server_version: mode.version.to_owned(),
        }
    }

    fn gossip(&self) -> ClusterInfo {
        let leader = self.shared.mode().leader;
        let ports = held(&self.shared.ports).clone();
        let member = |(number, port): (usize, u16)| Member {
            instance_id: Some(Uuid {
                string: "0193c5a0-0000-7000-8000-000000000001".to_owned(),
            }),
            state: if number == leader { 8 } else { 6 },
            is_alive: true,
            http_end_point: Some(EndPoint {
                address: "127.0.0.1".to_owned(),
                port: port.into(),
            }),
        };
        ClusterInfo {
            members: ports.into_iter().enumerate().map(member).collect(),
        }
    }
}

macro_rules! named {
    ($($service:ident = $name:literal),+ $(,)?) => {
        $(
            #[derive(Clone)]
            struct $service(Node);

            impl NamedService for $service {
                const NAME: &'static str = $name;
            }

            impl Service<http::Request<Body>> for $service {
                type Response = http::Response<Body>;
                type Error = Infallible;
                type Future = BoxFuture<'static, Result<http::Response<Body>, Infallible>>;

                fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
                    Poll::Ready(Ok(()))
                }

                fn call(&mut self, request: http::Request<Body>) -> Self::Future {
                    let node = self.0.clone();
                    Box::pin(async move { Ok(node.serve(request).await) })
                }
            }
        )+
    };
}

named! {
    Streams = "event_store.client.streams.Streams",
    Features = "event_store.client.server_features.ServerFeatures",
    Gossip = "event_store.client.gossip.Gossip",
    StreamsService = "kurrentdb.protocol.v2.streams.StreamsService",
}
