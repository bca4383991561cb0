//! `codingspot serve`: the page and its models, on this machine only.

mod headers;

use crate::args::ServeArgs;
use crate::output;
use anyhow::Context as _;
use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use headers::{FRAME, Headers};
use std::net::{Ipv4Addr, SocketAddr};
use tower_http::services::ServeDir;

pub(crate) fn run(args: &ServeArgs) -> anyhow::Result<()> {
    anyhow::ensure!(
        args.dir.join("index.html").is_file(),
        "{} has no index.html; build the page first (`tests/build-page`, or `trunk build`), or name its directory",
        args.dir.display()
    );
    let runtime = tokio::runtime::Runtime::new().context("the server's threads can't be started")?;
    runtime.block_on(serve(args))
}

async fn serve(args: &ServeArgs) -> anyhow::Result<()> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port));
    let listener = tokio::net::TcpListener::bind(address).await.with_context(|| {
        format!("{address} can't be used; choose another port with --port, or 0 for a free one")
    })?;
    // ServeDir answers Range and conditional requests, and refuses paths that leave the directory.
    let files = ServeDir::new(&args.dir).precompressed_br().precompressed_gzip();
    let frame = args.dir.join(FRAME);
    let add_headers = from_fn(move |request: Request, next: Next| {
        // Read each time, as a build may replace it; without it the page runs, and has no Python.
        let document = std::fs::read_to_string(&frame).ok();
        let added: Vec<_> = Headers::new(document.as_deref()).of(request.uri().path()).collect();
        async move {
            let mut response = next.run(request).await;
            for (name, value) in added {
                response.headers_mut().insert(name, value);
            }
            response
        }
    });
    let router = Router::new().fallback_service(files).layer(add_headers);
    output::result(&format!("http://{}/\n", listener.local_addr()?))?;
    output::note("Serving on this machine only; Ctrl+C ends it.");
    let interrupted = async { drop(tokio::signal::ctrl_c().await) };
    axum::serve(listener, router).with_graceful_shutdown(interrupted).await.context("the server failed")
}
