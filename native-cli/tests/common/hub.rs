//! A hub on this machine, and runs of the program against it: what is asked for, what is sent, what stands in the
//! cache afterwards, and what is said.

use ring::digest;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

pub(crate) const TOKEN: &str = "hf_thisIsNoRealToken";
/// Nothing here takes longer, whatever hangs.
pub(crate) const LIMIT: Duration = Duration::from_mins(1);

/// A request as a server got it; names of headers are in lower case.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) target: String,
    pub(crate) headers: BTreeMap<String, String>,
}

impl Request {
    pub(crate) fn range_start(&self) -> Option<usize> {
        let range = self.headers.get("range")?;
        Some(range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().expect("a number"))
    }
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Send no more than this of the body.
    pub(crate) cut: Option<usize>,
    /// Keep the connection open after a cut, saying nothing.
    pub(crate) hang: bool,
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), cut: None, hang: false }
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn cut_after(self, cut: usize) -> Self {
        Self { cut: Some(cut), ..self }
    }
}

pub(crate) type Handler = Box<dyn Fn(&Request) -> Reply + Send>;

/// A server on a free port of this machine.
pub(crate) struct Server {
    address: SocketAddr,
    log: Arc<Mutex<Vec<(Request, usize)>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(handler: Handler) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (log_here, stop_here) = (log.clone(), stop.clone());
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if stop_here.load(Ordering::SeqCst) {
                    return;
                }
                // A client that goes away in the middle is part of the tests.
                drop(stream.and_then(|stream| serve(stream, &handler, &log_here, &stop_here)));
            }
        });
        Self { address, log, stop, thread: Some(thread) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Requests so far, with the bytes of content that each was sent.
    pub(crate) fn requests(&self) -> Vec<(Request, usize)> {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn requests_for(&self, name: &str) -> Vec<(Request, usize)> {
        let mut requests = self.requests();
        requests.retain(|(request, _)| request.target.ends_with(&format!("/{name}")));
        requests
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn serve(
    mut stream: TcpStream,
    handler: &Handler,
    log: &Mutex<Vec<(Request, usize)>>,
    stop: &AtomicBool,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let target = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = BTreeMap::new();
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let request = Request { target, headers };
    let reply = handler(&request);
    let sent = reply.cut.unwrap_or(reply.body.len()).min(reply.body.len());
    log.lock().unwrap().push((request, sent));
    let mut head = format!("HTTP/1.1 {} x\r\nConnection: close\r\n", reply.status);
    head += &format!("Content-Length: {}\r\n", reply.body.len());
    for (name, value) in &reply.headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all((head + "\r\n").as_bytes())?;
    stream.write_all(&reply.body[..sent])?;
    stream.flush()?;
    if reply.hang {
        // Until the client goes away, or the test ends.
        let mut byte = [0];
        stream.set_read_timeout(Some(Duration::from_millis(50)))?;
        while !stop.load(Ordering::SeqCst) && !matches!(stream.read(&mut byte), Ok(0)) {}
    }
    Ok(())
}

fn hex(algorithm: &'static digest::Algorithm, bytes: &[u8]) -> String {
    digest::digest(algorithm, bytes)
        .as_ref()
        .iter()
        .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&digest::SHA256, bytes)
}

pub(crate) fn git_sha1(bytes: &[u8]) -> String {
    let blob = [format!("blob {}\0", bytes.len()).as_bytes(), bytes].concat();
    hex(&digest::SHA1_FOR_LEGACY_USE_ONLY, &blob)
}

/// A file from the byte that was asked for.
pub(crate) fn ranged(request: &Request, bytes: &[u8]) -> Reply {
    match request.range_start() {
        Some(start) if start >= bytes.len() => Reply::new(416, ""),
        Some(start) => Reply::new(206, &bytes[start..])
            .with("Content-Range", &format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len())),
        None => Reply::new(200, bytes),
    }
}

/// A place for one test, with its own `HF_HOME`.
pub(crate) struct Home(tempfile::TempDir);

impl Home {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// A repository's folder in the cache, for instance `models--org--name`.
    pub(crate) fn cached(&self, folder: &str) -> PathBuf {
        self.path().join("hub").join(folder)
    }

    pub(crate) fn command(&self, endpoint: &str, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_codingspot"));
        for (name, _) in std::env::vars() {
            let upper = name.to_uppercase();
            if upper.starts_with("HF_") || upper.ends_with("_PROXY") || upper == "XDG_CACHE_HOME" {
                command.env_remove(name);
            }
        }
        command
            .args(args)
            .current_dir(self.0.path())
            .env("HF_HOME", self.0.path())
            .env("HF_ENDPOINT", endpoint);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, endpoint: &str, args: &[&str]) -> Output {
        bounded(self.command(endpoint, args).spawn().unwrap())
    }
}

/// Names of all files below `folder`.
pub(crate) fn file_names(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            names.extend(file_names(&path));
        } else {
            names.push(path.file_name().unwrap().to_str().unwrap().to_owned());
        }
    }
    names
}

/// The output of `child`, which is ended if it hangs.
pub(crate) fn bounded(child: Child) -> Output {
    let id = child.id();
    let (send, receive) = mpsc::channel();
    thread::spawn(move || send.send(child.wait_with_output()));
    if let Ok(output) = receive.recv_timeout(LIMIT) {
        return output.unwrap();
    }
    drop(Command::new("kill").args(["-9", &id.to_string()]).status());
    panic!("the program did not end within {LIMIT:?}");
}

pub(crate) fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn fetched(output: &Output) -> Value {
    serde_json::from_str(&stdout(output)).unwrap()
}

/// Asserts a failure whose last line on stderr has all of `parts`, and that no token is shown.
pub(crate) fn refused(output: &Output, code: i32, parts: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    let last = stderr.lines().last().unwrap_or_default();
    assert!(last.starts_with("error: "), "{stderr}");
    for part in parts {
        assert!(last.contains(part), "{part:?} is not in {last}");
    }
    assert!(!stderr.contains("panicked") && !stderr.contains(TOKEN), "{stderr}");
    assert!(output.stdout.is_empty());
}
