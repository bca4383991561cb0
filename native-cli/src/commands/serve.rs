//! `codingspot serve`: the page and its models, on this machine only.

use crate::args::ServeArgs;
use crate::output;
use anyhow::Context as _;
use axum::Router;
use axum::http::{HeaderName, HeaderValue, header};
use std::net::{Ipv4Addr, SocketAddr};
use tower_http::services::ServeDir;
use tower_http::set_header::SetResponseHeaderLayer;

/// Headers of every response. COOP and COEP isolate the page (shared memory, precise clocks); the
/// policy allows compiling WebAssembly and nothing else that evaluates code.
const HEADERS: [(HeaderName, &str); 7] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'; \
         style-src 'self'; img-src 'self' data:; font-src 'self'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'",
    ),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-embedder-policy"), "require-corp"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-cache"),
];

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
    let router = HEADERS.into_iter().fold(Router::new().fallback_service(files), |router, (name, value)| {
        router.layer(SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value)))
    });
    output::result(&format!("http://{}/\n", listener.local_addr()?))?;
    output::note("Serving on this machine only; Ctrl+C ends it.");
    let interrupted = async { drop(tokio::signal::ctrl_c().await) };
    axum::serve(listener, router).with_graceful_shutdown(interrupted).await.context("the server failed")
}
