//! Files over HTTP: ranges as they are needed, a few megabytes ahead, nothing kept.

use codingspot_core::checkpoint::{ByteSource, SourceError};
use js_sys::{Promise, Uint8Array};
use std::borrow::Cow;
use std::cell::RefCell;
use std::ops::Range;
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{AbortController, Headers, RequestInit, Response};

/// Bytes that are fetched at once.
const BLOCK_BYTES: u64 = 4 << 20;
/// Largest file that is held in memory: small files by design, and whole files from servers that
/// don't know ranges.
const MAX_WHOLE_BYTES: u64 = 256 << 20;

/// Fetches with one abort signal.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    abort: AbortController,
}

impl Client {
    /// Whose fetches `abort` ends.
    pub(crate) fn new(abort: AbortController) -> Self {
        Self { abort }
    }

    async fn fetch(&self, url: &str, range: Option<Range<u64>>) -> Result<Response, SourceError> {
        let failed = |reason: String| SourceError { file: url.to_owned(), reason };
        let text = |error: JsValue| {
            error
                .dyn_ref::<js_sys::Error>()
                .map_or_else(|| format!("{error:?}"), |error| String::from(error.message()))
        };
        let init = RequestInit::new();
        init.set_signal(Some(&self.abort.signal()));
        if let Some(range) = range {
            let headers = Headers::new().map_err(|error| failed(text(error)))?;
            headers
                .set("Range", &format!("bytes={}-{}", range.start, range.end - 1))
                .map_err(|error| failed(text(error)))?;
            init.set_headers(&headers);
        }
        let promise: Promise = super::scope().fetch_with_str_and_init(url, &init);
        let response: Response =
            JsFuture::from(promise).await.map_err(|error| failed(text(error)))?.unchecked_into();
        if response.ok() {
            Ok(response)
        } else {
            Err(failed(format!("the server answers {} {}", response.status(), response.status_text())))
        }
    }

    /// The bytes of a response's body, `limit` at most.
    async fn body(url: &str, response: &Response, limit: u64) -> Result<Vec<u8>, SourceError> {
        let failed = |reason: &str| SourceError { file: url.to_owned(), reason: reason.to_owned() };
        let announced = header_number(response, "Content-Length");
        if announced.is_some_and(|length| length > limit) {
            return Err(failed(&format!("it has more than the {limit} bytes that are read at once")));
        }
        let promise = response.array_buffer().map_err(|_| failed("its body can't be read"))?;
        let buffer = JsFuture::from(promise).await.map_err(|_| failed("the connection ended early"))?;
        let bytes = Uint8Array::new(&buffer);
        if u64::from(bytes.length()) > limit {
            return Err(failed(&format!("it has more than the {limit} bytes that are read at once")));
        }
        Ok(bytes.to_vec())
    }

    /// A whole small file.
    pub(crate) async fn whole(&self, url: &str) -> Result<Vec<u8>, SourceError> {
        let response = self.fetch(url, None).await?;
        Self::body(url, &response, MAX_WHOLE_BYTES).await
    }
}

fn header_number(response: &Response, name: &str) -> Option<u64> {
    response.headers().get(name).ok()??.parse().ok()
}

/// One file, read by ranges.
#[derive(Debug)]
pub(crate) struct HttpFile {
    client: Client,
    url: String,
    len: u64,
    /// The block that was fetched last: its first byte's place, and its bytes.
    block: RefCell<(u64, Vec<u8>)>,
}

impl HttpFile {
    /// Asks for the first block, which tells the length.
    pub(crate) async fn open(client: &Client, url: String) -> Result<Self, SourceError> {
        let response = client.fetch(&url, Some(0..BLOCK_BYTES)).await?;
        // 206 names the whole length in Content-Range: `bytes 0-99/1234`. A server without ranges
        // answers 200 with everything, which is then kept.
        let total = response
            .headers()
            .get("Content-Range")
            .ok()
            .flatten()
            .and_then(|range| range.rsplit_once('/').and_then(|(_, total)| total.parse().ok()));
        let limit = if response.status() == 206 { BLOCK_BYTES } else { MAX_WHOLE_BYTES };
        let bytes = Client::body(&url, &response, limit).await?;
        let len = if response.status() == 206 {
            total.ok_or_else(|| SourceError {
                file: url.clone(),
                reason: "the server sends a part without saying of how many bytes".to_owned(),
            })?
        } else {
            bytes.len() as u64
        };
        Ok(Self { client: client.clone(), url, len, block: RefCell::new((0, bytes)) })
    }

    fn cached(&self, range: &Range<u64>) -> Option<Vec<u8>> {
        let block = self.block.borrow();
        let start = usize::try_from(range.start.checked_sub(block.0)?).ok()?;
        let end = usize::try_from(range.end.checked_sub(block.0)?).ok()?;
        block.1.get(start..end).map(<[u8]>::to_vec)
    }
}

impl ByteSource for HttpFile {
    fn name(&self) -> &str {
        &self.url
    }

    fn len(&self) -> u64 {
        self.len
    }

    async fn read(&self, range: Range<u64>) -> Result<Cow<'_, [u8]>, SourceError> {
        if let Some(bytes) = self.cached(&range) {
            return Ok(Cow::Owned(bytes));
        }
        let failed = |reason: String| SourceError { file: self.url.clone(), reason };
        let end = range.end.max(range.start.saturating_add(BLOCK_BYTES)).min(self.len);
        let response = self.client.fetch(&self.url, Some(range.start..end)).await?;
        if response.status() != 206 {
            return Err(failed("the server stopped answering ranges".to_owned()));
        }
        let wanted = end - range.start;
        let bytes = Client::body(&self.url, &response, wanted).await?;
        if bytes.len() as u64 != wanted {
            return Err(failed(format!("{} of {wanted} bytes came", bytes.len())));
        }
        *self.block.borrow_mut() = (range.start, bytes);
        self.cached(&range)
            .map(Cow::Owned)
            .ok_or_else(|| failed("a range past its end was asked for".to_owned()))
    }
}
