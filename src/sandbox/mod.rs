//! The sandbox: an ImageKit look-alike on loopback, inside the same process.
//!
//! Requests come in over real connections, answers and scripted faults leave; the [`Ledger`] knows
//! what really happened. The same server is `--sandbox` and the tests' other side.

mod answer;
mod fault;
mod file;
mod ledger;
mod limits;
mod request;
mod script;
mod search;
mod server;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::LocalSet;
use tokio::time::sleep;

pub use answer::Answer;
pub use file::File;
pub use ledger::{Ledger, LoggedRequest};
pub use limits::{LimitState, Window, pass};
pub use script::{Fault, Instead, Script};

use answer::{AnswerBody, Delivery};
use request::ParsedRequest;
use server::Server;

/// A server that runs until it is dropped.
#[derive(Debug)]
pub struct Sandbox {
    address: SocketAddr,
    ledger: Arc<Ledger>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Sandbox {
    /// Serves on a free port of loopback.
    pub fn start(script: Script) -> io::Result<Self> {
        Self::listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), script)
    }

    /// Serves on an address, which must be one of loopback.
    pub fn listen(address: SocketAddr, script: Script) -> io::Result<Self> {
        if !address.ip().is_loopback() {
            let text = format!(
                "{address} is not a loopback address; the sandbox serves this machine only"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let ledger = Arc::new(Ledger::new(script.missing_one_in));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        (0..script.listed).for_each(|number| ledger.put_file(File::of_rehearsal(number)));
        let (end, ended) = oneshot::channel();
        let shared = Arc::clone(&ledger);
        // A thread of its own, so that its work is not counted as the client's, nor blocked by it.
        let thread = std::thread::Builder::new()
            .name("sandbox".into())
            .spawn(move || {
                let tasks = LocalSet::new();
                let server = Rc::new(RefCell::new(Server::new(script, shared)));
                runtime.block_on(tasks.run_until(async {
                    tokio::select! {
                        _ = ended => {}
                        () = accept(listener, server) => {}
                    }
                }));
            })?;
        Ok(Self {
            address,
            ledger,
            end: Some(end),
            thread: Some(thread),
        })
    }

    /// A key that the server takes, unless its script names another.
    pub fn key() -> &'static str {
        script::KEY
    }

    /// Where it serves.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What a client is given as its base URL.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What the server has, did and was asked.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.end.take();
        if let Some(thread) = self.thread.take() {
            // A panic of the server stands on stderr already.
            let _ = thread.join();
        }
    }
}

async fn accept(listener: std::net::TcpListener, server: Rc<RefCell<Server>>) {
    let Ok(listener) = TcpListener::from_std(listener) else {
        return;
    };
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            tokio::task::spawn_local(serve(stream, Rc::clone(&server)));
        }
    }
}

/// Serves one connection; a fault may end it with a reset.
async fn serve(stream: TcpStream, server: Rc<RefCell<Server>>) {
    let is_reset = Cell::new(false);
    let service = service_fn(|request| Box::pin(respond(request, &server, &is_reset)));
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // A broken connection is what some tests ask for.
    let _ = poll_fn(|context| connection.poll_without_shutdown(context)).await;
    if is_reset.get() {
        // Linger of zero makes the close a reset.
        let _ = connection.into_parts().io.into_inner().set_zero_linger();
    }
}

async fn respond(
    request: hyper::Request<Incoming>,
    server: &Rc<RefCell<Server>>,
    is_reset: &Cell<bool>,
) -> Result<hyper::Response<AnswerBody>, io::Error> {
    let number = server.borrow().count_request();
    let (head, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let (latency, answer) = {
        let mut server = server.borrow_mut();
        let request = ParsedRequest::new(&head, &body);
        (server.latency(), server.answer(number, &request))
    };
    sleep(latency).await;
    match answer.delivery {
        Delivery::Whole | Delivery::Half => Ok(answer.into_response()),
        Delivery::Hang => std::future::pending().await,
        Delivery::Reset => {
            is_reset.set(true);
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }
}
