//! Headers of what is served, by path.

use axum::http::{HeaderName, HeaderValue, header};

/// What the page may do: run its own scripts and compile WebAssembly, start its own workers, and
/// fetch from here and from the Hugging Face hub, whose files come from other hosts of its own.
/// `{frame}` is the place of the script of the Python frame, which inherits this policy beside its own;
/// blobs as workers are that frame's, too. Nothing else that evaluates text is allowed.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'{frame}; worker-src 'self' blob:; \
     connect-src 'self' https://huggingface.co https://*.huggingface.co https://*.hf.co; \
     style-src 'self'; img-src 'self' data:; font-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'";

/// The Python frame as a document of its own, which only somebody who opens its address gets: nothing
/// in it runs. The page takes its text and puts it in a sandboxed frame.
const FRAME_POLICY: &str = "default-src 'none'; sandbox; frame-ancestors 'none'";

/// Where the Python frame is.
pub(super) const FRAME: &str = "python/frame.html";

/// The same for every path. COOP and COEP isolate the page (shared memory, precise clocks); files are
/// asked for again each time, so that a new build is never mixed with an older one.
const COMMON: [(HeaderName, &str); 6] = [
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-embedder-policy"), "require-corp"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-cache"),
];

/// The headers of one directory.
#[derive(Debug)]
pub(super) struct Headers {
    page_policy: HeaderValue,
}

impl Headers {
    /// For a directory whose Python frame is `frame`, if it has one: its script is allowed by the hash
    /// that it names.
    pub(super) fn new(frame: Option<&str>) -> Self {
        let source = frame.and_then(script_hash).map(|hash| format!(" '{hash}'")).unwrap_or_default();
        let policy = PAGE_POLICY.replace("{frame}", &source);
        // All of it is ASCII, so it is a header's value; nothing would be allowed if it were not.
        let page_policy =
            HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"));
        Self { page_policy }
    }

    /// Headers of the response for `path`, as in the request.
    pub(super) fn of(&self, path: &str) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let policy = if path.strip_prefix('/') == Some(FRAME) {
            HeaderValue::from_static(FRAME_POLICY)
        } else {
            self.page_policy.clone()
        };
        let common = COMMON.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value)));
        std::iter::once((header::CONTENT_SECURITY_POLICY, policy)).chain(common)
    }
}

/// The first `sha256-…` source of a document's own policy: 43 digits of base64 and `=`.
fn script_hash(document: &str) -> Option<&str> {
    const LENGTH: usize = "sha256-".len() + 44;
    let start = document.find("'sha256-")? + 1;
    let hash = document.get(start..start + LENGTH)?;
    let digits = hash.strip_prefix("sha256-")?.strip_suffix('=')?;
    let is_base64 = digits.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'));
    (is_base64 && document[start + LENGTH..].starts_with('\'')).then_some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "sha256-TFsxI/bFD9rMJFWTdZmuydLscWNyRY41qzDN1YD6+ik=";

    fn policy(headers: &Headers, path: &str) -> String {
        let (_, value) = headers.of(path).find(|(name, _)| *name == header::CONTENT_SECURITY_POLICY).unwrap();
        value.to_str().unwrap().to_owned()
    }

    #[test]
    fn every_path_is_isolated_and_typed() {
        let headers = Headers::new(None);
        for path in ["/", "/index.html", "/engine_bg.wasm", "/python/frame.html", "/no/such/file"] {
            let names: Vec<_> = headers.of(path).map(|(name, _)| name.to_string()).collect();
            for name in
                ["cross-origin-opener-policy", "cross-origin-embedder-policy", "x-content-type-options"]
            {
                assert_eq!(names.iter().filter(|found| *found == name).count(), 1, "{name} of {path}");
            }
        }
    }

    #[test]
    fn the_page_may_reach_this_server_and_the_hub_alone() {
        let policy = policy(&Headers::new(None), "/");
        let connect = policy.split("; ").find(|part| part.starts_with("connect-src ")).unwrap();
        assert_eq!(
            connect,
            "connect-src 'self' https://huggingface.co https://*.huggingface.co https://*.hf.co"
        );
        assert!(!policy.contains("unsafe-inline") && !policy.contains("'unsafe-eval'"), "{policy}");
    }

    #[test]
    fn the_frames_script_is_allowed_by_its_hash_and_only_by_that() {
        let document = format!("<meta content=\"script-src '{HASH}' 'wasm-unsafe-eval'\">");
        let expected = format!("script-src 'self' 'wasm-unsafe-eval' '{HASH}';");
        assert!(policy(&Headers::new(Some(&document)), "/").contains(&expected));
        for other in
            ["", "'sha256-short='", "'sha256-TFsxI/bFD9rMJFWTdZmuydLscWNyRY41qzDN1YD6 ik='", "'sha256-é"]
        {
            let policy = policy(&Headers::new(Some(other)), "/");
            assert!(policy.contains("script-src 'self' 'wasm-unsafe-eval'; "), "{other} gave {policy}");
        }
    }

    #[test]
    fn the_frame_by_itself_runs_nothing() {
        let headers = Headers::new(None);
        assert_eq!(policy(&headers, "/python/frame.html"), FRAME_POLICY);
        assert_ne!(policy(&headers, "/python/runtime.json"), FRAME_POLICY);
    }
}
