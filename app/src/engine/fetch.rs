//! Bytes over HTTP, as a stream that survives stalls and broken connections.

use super::loading::{ATTEMPTS, Loading, STALL_MS};
use super::wait::{Settled, within, words};
use codingspot_core::checkpoint::SourceError;
use gloo::timers::future::TimeoutFuture;
use js_sys::{Promise, Reflect, Uint8Array};
use std::rc::Rc;
use wasm_bindgen::JsCast as _;
use web_sys::{Headers, ReadableStreamDefaultReader, RequestInit, Response};

/// Wait before a fetch is begun anew after an error, milliseconds, times the attempt.
const BACK_OFF_MS: u32 = 300;

/// A body that is being read.
#[derive(Debug)]
pub(crate) struct Body {
    reader: ReadableStreamDefaultReader,
    /// Where in the file its next byte is.
    at: u64,
    /// A chunk that was not wanted whole.
    rest: Vec<u8>,
}

/// What the answer to a first request says of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Its length.
    pub(crate) len: u64,
    /// The server's name for its content, where it tells one.
    pub(crate) tag: Option<String>,
}

enum Failure {
    /// Asked to stop.
    Aborted,
    /// No data came.
    Stalled,
    /// It may work the next time.
    Broken(String),
    /// It won't.
    Refused(String),
}

fn header(response: &Response, name: &str) -> Option<String> {
    response.headers().get(name).ok().flatten()
}

/// Fetches for a loading.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    loading: Rc<Loading>,
}

impl Client {
    pub(crate) fn new(loading: Rc<Loading>) -> Self {
        Self { loading }
    }

    pub(crate) fn loading(&self) -> &Loading {
        &self.loading
    }

    async fn request(&self, url: &str, from: u64, to: Option<u64>) -> Result<Response, Failure> {
        if self.loading.stall.take() {
            TimeoutFuture::new(STALL_MS).await;
            return Err(Failure::Stalled);
        }
        let init = RequestInit::new();
        init.set_signal(Some(&self.loading.abort.signal()));
        if from > 0 || to.is_some() {
            let headers = Headers::new().map_err(|error| Failure::Refused(words(&error)))?;
            let last = to.map_or_else(String::new, |to| (to - 1).to_string());
            headers
                .set("Range", &format!("bytes={from}-{last}"))
                .map_err(|error| Failure::Refused(words(&error)))?;
            init.set_headers(&headers);
        }
        let promise: Promise = super::scope().fetch_with_str_and_init(url, &init);
        let response: Response = match within(promise, STALL_MS).await {
            Settled::Value(response) => response.unchecked_into(),
            Settled::Late => return Err(Failure::Stalled),
            Settled::Error(_) if self.loading.abort.signal().aborted() => return Err(Failure::Aborted),
            Settled::Error(error) => return Err(Failure::Broken(words(&error))),
        };
        match response.status() {
            200..300 => Ok(response),
            status @ (408 | 425 | 429 | 500..600) => {
                Err(Failure::Broken(format!("the server answers {status}")))
            }
            status => {
                Err(Failure::Refused(format!("the server answers {status} {}", response.status_text())))
            }
        }
    }

    /// Begins a body at `from`, and what its answer says of the file. A server without ranges begins at 0.
    async fn begin(&self, url: &str, from: u64) -> Result<(Body, Facts), Failure> {
        let response = self.request(url, from, None).await?;
        let at = if response.status() == 206 { from } else { 0 };
        let whole = header(&response, "Content-Range")
            .and_then(|range| range.rsplit_once('/').and_then(|(_, total)| total.parse().ok()));
        let rest: Option<u64> = header(&response, "Content-Length").and_then(|length| length.parse().ok());
        let len = whole
            .or_else(|| rest.map(|rest| at + rest))
            .ok_or_else(|| Failure::Refused("the server does not say how long it is".to_owned()))?;
        let tag = header(&response, "ETag").or_else(|| header(&response, "Last-Modified"));
        let stream = response.body().ok_or_else(|| Failure::Broken("the answer has no body".to_owned()))?;
        let reader: ReadableStreamDefaultReader = stream.get_reader().unchecked_into();
        Ok((Body { reader, at, rest: Vec::new() }, Facts { len, tag }))
    }

    /// As [`Self::begin`], tried several times.
    pub(crate) async fn open(&self, url: &str, from: u64) -> Result<(Body, Facts), SourceError> {
        let mut attempt = 1;
        loop {
            match self.begin(url, from).await {
                Ok(opened) => return Ok(opened),
                Err(failure) => attempt = self.again(url, failure, attempt).await?,
            }
        }
    }

    /// Waits before the next attempt, or says why there is none.
    async fn again(&self, url: &str, failure: Failure, attempt: u32) -> Result<u32, SourceError> {
        let failed = |reason: String| Err(SourceError { file: url.to_owned(), reason });
        match failure {
            Failure::Aborted => failed("loading was stopped".to_owned()),
            Failure::Refused(reason) => failed(reason),
            Failure::Broken(reason) if attempt == ATTEMPTS => failed(reason),
            Failure::Stalled if attempt == ATTEMPTS => failed("it gives no data".to_owned()),
            // Without a network there is nothing to wait for.
            Failure::Broken(reason) if !super::scope().navigator().on_line() => failed(reason),
            failure => {
                if matches!(failure, Failure::Stalled) {
                    self.loading.stalled(attempt + 1);
                } else {
                    TimeoutFuture::new(BACK_OFF_MS * attempt).await;
                }
                if self.loading.stops.asked() {
                    failed("loading was stopped".to_owned())
                } else {
                    Ok(attempt + 1)
                }
            }
        }
    }

    /// Reads on until `out` has the bytes up to `end`; `body` is begun anew where it broke or is elsewhere.
    pub(crate) async fn read(
        &self,
        url: &str,
        body: &mut Option<Body>,
        start: u64,
        end: u64,
        out: &mut Vec<u8>,
    ) -> Result<(), SourceError> {
        let before = out.len() as u64;
        let mut attempt = 1;
        loop {
            let at = start + out.len() as u64 - before;
            if at >= end {
                return Ok(());
            }
            let failure = match body {
                Some(open) if open.at == at || (open.at < at && at - open.at < 1 << 20) => {
                    match open.next(at, end, out, &self.loading).await {
                        Ok(()) => {
                            attempt = 1;
                            continue;
                        }
                        Err(failure) => failure,
                    }
                }
                _ => match self.begin(url, at).await {
                    Ok((begun, _)) => {
                        *body = Some(begun);
                        // A server without ranges: what comes before is read and dropped.
                        if let Some(open) = body
                            && open.at < at
                            && let Err(failure) = open.skip_to(at, &self.loading).await
                        {
                            failure
                        } else {
                            continue;
                        }
                    }
                    Err(failure) => failure,
                },
            };
            *body = None;
            attempt = self.again(url, failure, attempt).await?;
        }
    }

    /// A whole small file, of at most `limit` bytes.
    pub(crate) async fn whole(&self, url: &str, limit: u64) -> Result<Vec<u8>, SourceError> {
        let (body, facts) = self.open(url, 0).await?;
        if facts.len > limit {
            return Err(SourceError {
                file: url.to_owned(),
                reason: format!("it has {} bytes, expected at most {limit}", facts.len),
            });
        }
        let mut out = Vec::new();
        self.read(url, &mut Some(body), 0, facts.len, &mut out).await?;
        Ok(out)
    }
}

impl Body {
    /// Adds what comes next to `out`, up to `end`.
    async fn next(&mut self, at: u64, end: u64, out: &mut Vec<u8>, loading: &Loading) -> Result<(), Failure> {
        if self.at < at {
            return self.skip_to(at, loading).await;
        }
        self.fill(loading).await?;
        let take = usize::try_from(end - at).unwrap_or(usize::MAX).min(self.rest.len());
        out.extend_from_slice(&self.rest[..take]);
        self.rest.drain(..take);
        self.at += take as u64;
        Ok(())
    }

    async fn skip_to(&mut self, at: u64, loading: &Loading) -> Result<(), Failure> {
        while self.at < at {
            self.fill(loading).await?;
            let take = usize::try_from(at - self.at).unwrap_or(usize::MAX).min(self.rest.len());
            self.rest.drain(..take);
            self.at += take as u64;
        }
        Ok(())
    }

    /// Waits until there is a byte.
    async fn fill(&mut self, loading: &Loading) -> Result<(), Failure> {
        while self.rest.is_empty() {
            let chunk = match within(self.reader.read(), STALL_MS).await {
                Settled::Value(chunk) => chunk,
                Settled::Late => return Err(Failure::Stalled),
                Settled::Error(_) if loading.abort.signal().aborted() => return Err(Failure::Aborted),
                Settled::Error(error) => return Err(Failure::Broken(words(&error))),
            };
            let get = |name: &str| Reflect::get(&chunk, &name.into()).unwrap_or_default();
            if get("done").is_truthy() {
                return Err(Failure::Broken("the connection ended early".to_owned()));
            }
            self.rest = get("value").dyn_into::<Uint8Array>().map(|bytes| bytes.to_vec()).unwrap_or_default();
        }
        Ok(())
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        // What is not wanted any more is not fetched any more.
        drop(self.reader.cancel());
    }
}
