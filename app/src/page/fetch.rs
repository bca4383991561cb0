//! Files beside the page.

use gloo::net::http::Request;

/// The text of a file beside the page; none where there is no such file or it is longer than `limit` bytes.
pub(super) async fn text(url: &str, limit: usize) -> Option<String> {
    let response = Request::get(url).send().await.ok().filter(gloo::net::http::Response::ok)?;
    // A server that answers everything with the page itself has no such file.
    if response.headers().get("content-type").is_some_and(|kind| kind.starts_with("text/html")) {
        return None;
    }
    let length = response.headers().get("content-length").and_then(|length| length.parse::<usize>().ok());
    if length.is_some_and(|length| length > limit) {
        return None;
    }
    response.text().await.ok().filter(|text| text.len() <= limit)
}
