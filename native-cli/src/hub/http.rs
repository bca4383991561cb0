//! Requests to the hub: redirects that never carry the token elsewhere, and failures as sentences.

use super::RepoId;
use anyhow::Context as _;
use std::fmt;
use std::time::Duration;
use ureq::config::AutoHeaderValue;
use ureq::http::{Response, StatusCode, Uri, header};
use ureq::{Agent, Body};

/// Attempts at one request, or at one download that makes no progress.
const MAX_ATTEMPTS: u32 = 5;
/// Wait before the second attempt; it doubles from then on.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// Longest wait that a server may ask for.
const MAX_WAIT: Duration = Duration::from_mins(1);
const MAX_REDIRECTS: usize = 10;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// A server that is silent for so long has gone; a slow one is not cut off.
const SILENCE_TIMEOUT: Duration = Duration::from_mins(1);

/// What opens gated repositories; never printed.
pub(super) struct Token {
    secret: String,
    /// Where it was found.
    source: String,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("source", &self.source).finish_non_exhaustive()
    }
}

impl Token {
    pub(super) fn new(text: &str, source: &str) -> anyhow::Result<Self> {
        let secret = text.trim().to_owned();
        anyhow::ensure!(
            secret.bytes().all(|byte| byte.is_ascii_graphic()),
            "the token in {source} has characters that no token has; copy it again from the hub's settings"
        );
        Ok(Self { secret, source: source.to_owned() })
    }
}

/// Scheme, host and port: whom a token is for.
#[derive(Debug, PartialEq, Eq)]
struct Origin {
    https: bool,
    host: String,
    port: u16,
}

impl Origin {
    fn of(uri: &Uri) -> Option<Self> {
        let https = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        // A name and a password before the host are nothing that the hub uses.
        let plain = !uri.authority()?.as_str().contains('@');
        let host = uri.host().filter(|host| plain && !host.is_empty())?.to_ascii_lowercase();
        Some(Self { https, host, port: uri.port_u16().unwrap_or(if https { 443 } else { 80 }) })
    }
}

/// An answer, and whether the hub itself gave it.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) response: Response<Body>,
    from_hub: bool,
}

impl Answer {
    pub(super) fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// A header's text.
    pub(super) fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.response.headers().get(name).and_then(|value| value.to_str().ok())
    }
}

/// Counts attempts and says how long to wait between them.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    failed: u32,
}

impl Attempts {
    /// The wait before the next attempt, or `None` when there were enough.
    pub(super) fn next_wait(&mut self, asked: Option<Duration>) -> Option<Duration> {
        self.failed += 1;
        (self.failed < MAX_ATTEMPTS)
            .then(|| (FIRST_WAIT * 2_u32.pow(self.failed - 1)).max(asked.unwrap_or_default()).min(MAX_WAIT))
    }
}

/// Speaks to one endpoint.
#[derive(Debug)]
pub(super) struct Client {
    agent: Agent,
    endpoint: String,
    origin: Origin,
    token: Option<Token>,
}

impl Client {
    pub(super) fn new(endpoint: &str, token: Option<Token>) -> anyhow::Result<Self> {
        let endpoint = endpoint.trim().trim_end_matches('/').to_owned();
        let uri = endpoint.parse::<Uri>().ok().filter(|uri| uri.query().is_none());
        let origin = uri.as_ref().and_then(Origin::of).with_context(|| {
            format!("HF_ENDPOINT is {endpoint:?}; expected an address such as https://huggingface.co")
        })?;
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            // Redirects are followed below, where it is known whom the token is for.
            .max_redirects(0)
            // Bytes as they are stored: ranges count them.
            .accept_encoding(AutoHeaderValue::Provided("identity".to_owned().into()))
            .user_agent(concat!("codingspot/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(CONNECT_TIMEOUT))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(SILENCE_TIMEOUT))
            .timeout_per_read(Some(SILENCE_TIMEOUT))
            .build()
            .new_agent();
        Ok(Self { agent, endpoint, origin, token })
    }

    /// Where the hub is, without a slash at the end.
    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// One GET of `url` from byte `start` on, through redirects. The token goes to the hub's own
    /// scheme, host and port and to nobody else.
    pub(super) fn get(&self, url: &str, start: u64) -> Result<Answer, ureq::Error> {
        let mut uri: Uri = url.parse().map_err(|_invalid| ureq::Error::BadUri(url.to_owned()))?;
        for _ in 0..=MAX_REDIRECTS {
            let from_hub = Origin::of(&uri).is_some_and(|origin| origin == self.origin);
            let mut request = self.agent.get(uri.clone());
            if start > 0 {
                request = request.header(header::RANGE, format!("bytes={start}-"));
            }
            if let Some(token) = self.token.as_ref().filter(|_| from_hub) {
                request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.secret));
            }
            let answer = Answer { response: request.call()?, from_hub };
            if !matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(answer);
            }
            let next = answer.header(header::LOCATION).and_then(|location| redirected(&uri, location));
            // What was asked for over TLS does not come without it.
            uri = next
                .filter(|next| !self.origin.https || next.scheme_str() == Some("https"))
                .ok_or(ureq::Error::RedirectFailed)?;
        }
        Err(ureq::Error::TooManyRedirects)
    }

    /// The text at `url`, at most `limit` bytes of it.
    pub(super) fn get_text(&self, url: &str, limit: u64, id: &RepoId) -> anyhow::Result<String> {
        let mut attempts = Attempts::default();
        loop {
            let failure = match self.get(url, 0) {
                Ok(mut answer) if answer.status().is_success() => {
                    match answer.response.body_mut().with_config().limit(limit).read_to_string() {
                        Ok(text) => return Ok(text),
                        Err(ureq::Error::BodyExceedsLimit(_)) => anyhow::bail!(
                            "{} answers for {id} with more than the {limit} bytes that are read",
                            self.endpoint
                        ),
                        Err(error) => Failure::Network(error),
                    }
                }
                Ok(answer) => Failure::Status(answer),
                Err(error) => Failure::Network(error),
            };
            let Some(wait) =
                failure.is_transient().then(|| attempts.next_wait(failure.asked_wait())).flatten()
            else {
                return Err(self.explain(&failure, &format!("the {}'s list of files", id.kind), id));
            };
            std::thread::sleep(wait);
        }
    }

    /// `failure` at getting `what` as one sentence: what happened, and what to do.
    pub(super) fn explain(&self, failure: &Failure, what: &str, id: &RepoId) -> anyhow::Error {
        let endpoint = &self.endpoint;
        let answer = match failure {
            Failure::Network(_) | Failure::Cut(_) => {
                return anyhow::anyhow!(
                    "{endpoint} can't be reached for {what} of {id} ({failure}); check the network, HF_ENDPOINT and \
                     HTTPS_PROXY, or use what the cache has with HF_HUB_OFFLINE=1"
                );
            }
            Failure::Status(answer) => answer,
        };
        let status = answer.status();
        if !answer.from_hub {
            return anyhow::anyhow!(
                "the host to which {endpoint} redirects for {what} of {id} answers {status}; try again later"
            );
        }
        let (kind, repo, revision) = (id.kind, &id.repo, &id.revision);
        let page = format!("{endpoint}/{}", id.at(revision).url());
        match (status.as_u16(), answer.header("x-error-code"), &self.token) {
            (401 | 403, _, None) => anyhow::anyhow!(
                "{endpoint} refuses {what} of {repo} ({status}): the {kind} is gated or private, or its name is \
                 wrong; accept its licence at {page} and set HF_TOKEN to a token of your account"
            ),
            (401 | 403, _, Some(token)) => anyhow::anyhow!(
                "{endpoint} refuses {what} of {repo} ({status}) to the token in {}: accept the licence at \
                 {page} with the account of the token, or set HF_TOKEN to a token that may read it",
                token.source
            ),
            (404, Some("RevisionNotFound"), _) => anyhow::anyhow!(
                "{repo} has no revision {revision} at {endpoint}; name one of its branches, tags or commits"
            ),
            (404, _, _) => anyhow::anyhow!(
                "{endpoint} has no {what} of {repo} at revision {revision} ({status}); check the name, or set \
                 HF_TOKEN if the {kind} is private"
            ),
            _ => anyhow::anyhow!("{endpoint} answers {status} for {what} of {id}; try again later"),
        }
    }
}

/// Why a request brought nothing.
#[derive(Debug)]
pub(super) enum Failure {
    /// No answer, or one that was cut.
    Network(ureq::Error),
    /// An answer whose content is not what was asked for, or not all of it.
    Cut(&'static str),
    /// An answer that is not the content.
    Status(Answer),
}

impl Failure {
    /// Whether the same request may well succeed a little later.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Network(error) => {
                matches!(
                    error,
                    ureq::Error::Io(_)
                        | ureq::Error::Timeout(_)
                        | ureq::Error::ConnectionFailed
                        | ureq::Error::Protocol(_)
                        | ureq::Error::BodyStalled
                )
            }
            Self::Cut(_) => true,
            // A signed address of another host may have run out; the hub signs a new one.
            Self::Status(answer) => {
                matches!(answer.status().as_u16(), 408 | 429 | 500 | 502..=504)
                    || (!answer.from_hub && answer.status() == StatusCode::FORBIDDEN)
            }
        }
    }

    /// How long the server asks to wait.
    pub(super) fn asked_wait(&self) -> Option<Duration> {
        match self {
            Self::Network(_) | Self::Cut(_) => None,
            Self::Status(answer) => {
                answer.header(header::RETRY_AFTER)?.trim().parse().ok().map(Duration::from_secs)
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(error) => error.fmt(f),
            Self::Cut(reason) => f.write_str(reason),
            Self::Status(answer) => write!(f, "answer {}", answer.status()),
        }
    }
}

/// The address that `location` means in an answer from `base`.
fn redirected(base: &Uri, location: &str) -> Option<Uri> {
    let (scheme, authority) = (base.scheme_str()?, base.authority()?);
    let absolute = if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else {
        location.to_owned()
    };
    let absolute = absolute.split('#').next()?.parse().ok()?;
    Origin::of(&absolute).map(|_| absolute)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_stay_on_the_web() {
        let base: Uri = "https://hub.example:8443/a/b".parse().unwrap();
        for (location, meant) in [
            ("/c?d=e", "https://hub.example:8443/c?d=e"),
            ("//other.example/x", "https://other.example/x"),
            ("http://other.example/x#y", "http://other.example/x"),
        ] {
            assert_eq!(redirected(&base, location).unwrap().to_string(), meant);
        }
        for bad in ["file:///etc/passwd", "c", "", "https://user@other.example/", "ftp://other.example/"] {
            assert!(redirected(&base, bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn origins_differ_by_scheme_host_and_port() {
        let origin = |text: &str| Origin::of(&text.parse().unwrap()).unwrap();
        assert_eq!(origin("https://Hub.example/a"), origin("https://hub.example:443/b"));
        for other in ["http://hub.example", "https://hub.example:444", "https://hub.example.org"] {
            assert_ne!(origin("https://hub.example"), origin(other), "{other}");
        }
    }

    #[test]
    fn waits_double_and_end() {
        let mut attempts = Attempts::default();
        let waits: Vec<_> =
            std::iter::from_fn(|| attempts.next_wait(None)).map(|wait| wait.as_millis()).collect();
        assert_eq!(waits, [500, 1000, 2000, 4000]);
        let asked = Attempts::default().next_wait(Some(Duration::from_hours(9)));
        assert_eq!(asked, Some(MAX_WAIT));
    }

    #[test]
    fn a_token_is_not_printed() {
        let token = Token::new(" hf_secret\n", "HF_TOKEN").unwrap();
        assert!(!format!("{token:?}").contains("secret"));
        let refused = Token::new("hf_sec ret", "HF_TOKEN").unwrap_err().to_string();
        assert!(refused.contains("HF_TOKEN") && !refused.contains("ret\""), "{refused}");
    }
}
