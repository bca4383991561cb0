//! Contents in the cache: downloaded in parts, checked, and named by their hash.

use super::http::{Answer, Attempts, Client, Failure};
use super::{FetchedFile, RepoId, create_folder};
use crate::model::read_text;
use crate::output::{self, bytes};
use anyhow::Context as _;
use hf_hub::{Cache, CacheRepo, Repo};
use ring::digest::{self, Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use serde::{Serialize, Serializer};
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use ureq::http::{StatusCode, header};

/// Bytes that are read at once.
const BUFFER_BYTES: usize = 1 << 18;
/// A connection that brought so much was no failed attempt.
const PROGRESS_BYTES: u64 = 1 << 20;

/// What the hub says a content hashes to; also its name in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ContentHash {
    /// SHA-256 of the bytes: files in LFS or Xet storage.
    Sha256(String),
    /// Git's own: SHA-1 over `blob SIZE\0` and the bytes.
    GitSha1(String),
}

impl ContentHash {
    pub(super) fn sha256(text: &str) -> Option<Self> {
        lower_hex(text, 64).map(Self::Sha256)
    }

    pub(super) fn git_sha1(text: &str) -> Option<Self> {
        lower_hex(text, 40).map(Self::GitSha1)
    }

    fn hex(&self) -> &str {
        match self {
            Self::Sha256(hex) | Self::GitSha1(hex) => hex,
        }
    }

    /// A state that has read nothing of a content of `size` bytes.
    fn begin(&self, size: u64) -> Context {
        match self {
            Self::Sha256(_) => Context::new(&SHA256),
            Self::GitSha1(_) => {
                let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
                context.update(format!("blob {size}\0").as_bytes());
                context
            }
        }
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(hex) => write!(f, "sha256:{hex}"),
            Self::GitSha1(hex) => write!(f, "git-sha1:{hex}"),
        }
    }
}

impl Serialize for ContentHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// `text` if it is `digits` hexadecimal digits, in lower case: it becomes a file's name.
fn lower_hex(text: &str, digits: usize) -> Option<String> {
    (text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .then(|| text.to_ascii_lowercase())
}

fn hex_of(digest: &digest::Digest) -> String {
    digest.as_ref().iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// A file as the hub describes it.
#[derive(Debug)]
pub(super) struct RemoteFile {
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) hash: ContentHash,
}

impl RemoteFile {
    /// Refuses a file of more than `limit` bytes before any is asked for.
    pub(super) fn within(self, limit: u64) -> anyhow::Result<Self> {
        anyhow::ensure!(
            self.bytes <= limit,
            "{} has {} bytes on the hub, more than the {limit} that are read",
            self.name,
            self.bytes
        );
        Ok(self)
    }
}

/// The contents of one repository at one commit.
#[derive(Debug)]
pub(super) struct Blobs<'a> {
    client: &'a Client,
    id: &'a RepoId,
    repo: Repo,
    cache: CacheRepo,
    locks: PathBuf,
}

impl<'a> Blobs<'a> {
    pub(super) fn new(client: &'a Client, cache: &Cache, id: &'a RepoId, repo: Repo) -> Self {
        let locks = cache.path().join(".locks").join(repo.folder_name());
        Self { client, id, cache: cache.repo(repo.clone()), repo, locks }
    }

    /// Where an unfinished download of `file` waits. Not the name that `huggingface_hub` uses:
    /// that one may be written out of order.
    fn part_path(&self, file: &RemoteFile) -> PathBuf {
        self.cache.blob_path(&format!("{}.codingspot-part", file.hash.hex()))
    }

    /// The text of a small file, after it came into the cache.
    pub(super) fn text(
        &self,
        file: RemoteFile,
        limit: u64,
        files: &mut Vec<FetchedFile>,
    ) -> anyhow::Result<String> {
        let file = file.within(limit)?;
        let path = self.cache.blob_path(file.hash.hex());
        files.push(self.ensure(file, &mut |_| ())?);
        read_text(&path, limit)
    }

    /// Refuses downloads that can't fit on the disk.
    pub(super) fn check_space(&self, files: &[RemoteFile]) -> anyhow::Result<()> {
        let folder = self.cache.blob_path("");
        create_folder(&folder)?;
        let size = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
        let missing = |file: &RemoteFile| {
            let whole = size(&self.cache.blob_path(file.hash.hex())) == file.bytes;
            if whole { 0 } else { file.bytes.saturating_sub(size(&self.part_path(file))) }
        };
        let needed: u64 = files.iter().map(missing).sum();
        let free = free_space(&folder).unwrap_or(u64::MAX);
        anyhow::ensure!(
            needed <= free,
            "{} needs {} more in {}, which has {} free; make room, or choose another cache with --cache-dir or \
             HF_HUB_CACHE",
            self.id,
            bytes(needed),
            folder.display(),
            bytes(free)
        );
        Ok(())
    }

    /// Has `file` in the cache, whole and checked; `progress` is told of bytes that are.
    pub(super) fn ensure(
        &self,
        file: RemoteFile,
        progress: &mut dyn FnMut(u64),
    ) -> anyhow::Result<FetchedFile> {
        let path = self.cache.blob_path(file.hash.hex());
        if let Some(folder) = path.parent() {
            create_folder(folder)?;
        }
        let _lock = self.lock(&file)?;
        if path.exists() {
            let fault = fault_of(&path, &file, progress)
                .with_context(|| format!("{} can't be read", path.display()))?;
            let Some(fault) = fault else {
                let RemoteFile { name, bytes, hash } = file;
                return Ok(FetchedFile { name, bytes, hash, downloaded: false });
            };
            output::note(&format!("{} in the cache is damaged ({fault}) and is fetched again", file.name));
            fs::remove_file(&path).with_context(|| format!("{} can't be removed", path.display()))?;
        }
        let part = self.part_path(&file);
        self.download(&file, &part, progress)?;
        fs::rename(&part, &path).with_context(|| format!("{} can't be written", path.display()))?;
        let RemoteFile { name, bytes, hash } = file;
        Ok(FetchedFile { name, bytes, hash, downloaded: true })
    }

    /// Waits until no other program downloads `file`. Place and kind of the lock are
    /// `huggingface_hub`'s; the system ends it with the process.
    fn lock(&self, file: &RemoteFile) -> anyhow::Result<File> {
        create_folder(&self.locks)?;
        let path = self.locks.join(format!("{}.lock", file.hash.hex()));
        let lock = || -> io::Result<File> {
            let lock = OpenOptions::new().write(true).create(true).truncate(false).open(&path)?;
            match lock.try_lock() {
                Ok(()) => {}
                Err(fs::TryLockError::WouldBlock) => {
                    output::note(&format!("Waiting for another program that fetches {}", file.name));
                    lock.lock()?;
                }
                // Some network disks have no locks; then nothing but care keeps two programs apart.
                Err(fs::TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
                Err(fs::TryLockError::Error(error)) => return Err(error),
            }
            Ok(lock)
        };
        lock().with_context(|| format!("{} can't be locked", path.display()))
    }

    /// Downloads `file` to `part`, from where an earlier download ended, and checks it.
    fn download(&self, file: &RemoteFile, part: &Path, progress: &mut dyn FnMut(u64)) -> anyhow::Result<()> {
        let on_disk = |error| disk_failure(part, error);
        let mut out = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(part)
            .map_err(on_disk)?;
        let mut state = Partial { have: 0, hash: file.hash.begin(file.bytes) };
        if out.metadata().map_err(on_disk)?.len() <= file.bytes {
            let mut buffer = vec![0; BUFFER_BYTES];
            loop {
                let count = out.read(&mut buffer).map_err(on_disk)?;
                if count == 0 {
                    break;
                }
                state.take(&buffer[..count]);
            }
            if state.have > 0 {
                output::note(&format!(
                    "{}: going on after {} of {}",
                    file.name,
                    bytes(state.have),
                    bytes(file.bytes)
                ));
            }
        } else {
            state.restart(&mut out, file).map_err(on_disk)?;
        }

        let url = format!(
            "{}/{}/resolve/{}/{}",
            self.client.endpoint(),
            self.repo.url(),
            self.repo.revision(),
            file.name
        );
        let mut attempts = Attempts::default();
        while state.have < file.bytes {
            let before = state.have;
            let failure = match self.client.get(&url, before) {
                Ok(answer) if is_content(answer.status()) => {
                    match self.receive(answer, file, &mut state, &mut out, progress)? {
                        Some(failure) => failure,
                        None => break,
                    }
                }
                // The server knows of no such place: begin again, as a failed attempt.
                Ok(answer) if answer.status() == StatusCode::RANGE_NOT_SATISFIABLE && before > 0 => {
                    state.restart(&mut out, file).map_err(on_disk)?;
                    Failure::Cut("the server has no such part of the file")
                }
                Ok(answer) => Failure::Status(answer),
                Err(error) => Failure::Network(error),
            };
            if state.have >= before.saturating_add(PROGRESS_BYTES) {
                attempts = Attempts::default();
            }
            let wait = failure.is_transient().then(|| attempts.next_wait(failure.asked_wait())).flatten();
            let Some(wait) = wait else {
                if state.have > 0 {
                    output::note(&format!(
                        "{} of {} are kept; the same command goes on from there",
                        bytes(state.have),
                        file.name
                    ));
                }
                return Err(self.client.explain(&failure, &file.name, self.id));
            };
            output::note(&format!(
                "{} was cut after {} of {} ({failure}); trying again",
                file.name,
                bytes(state.have),
                bytes(file.bytes)
            ));
            std::thread::sleep(wait);
        }

        let found = hex_of(&state.hash.finish());
        if found != file.hash.hex() {
            remove_bad(part)?;
            anyhow::bail!(
                "{} of {} was refused: the content that came hashes to {found}, and the hub says {}; the download \
                 was removed; run the command again, and if it repeats, use another network or HF_ENDPOINT",
                file.name,
                self.id,
                file.hash
            );
        }
        out.sync_all().map_err(on_disk)
    }

    /// Writes an answer's content behind what is there. `None` once the file is complete, else why
    /// the content ended early.
    fn receive(
        &self,
        answer: Answer,
        file: &RemoteFile,
        state: &mut Partial,
        out: &mut File,
        progress: &mut dyn FnMut(u64),
    ) -> anyhow::Result<Option<Failure>> {
        let part = self.part_path(file);
        let on_disk = |error| disk_failure(&part, error);
        let whole = if answer.status() == StatusCode::PARTIAL_CONTENT {
            let range = answer.header(header::CONTENT_RANGE).and_then(content_range);
            let (start, whole) = range.with_context(|| {
                format!("{} sends a part of {} without its place", self.client.endpoint(), file.name)
            })?;
            anyhow::ensure!(
                start == state.have,
                "{} sends {} from byte {start}; expected byte {}",
                self.client.endpoint(),
                file.name,
                state.have
            );
            whole
        } else {
            // Ranges are optional: this is the whole file.
            if state.have > 0 {
                state.restart(out, file).map_err(on_disk)?;
            }
            answer.header(header::CONTENT_LENGTH).and_then(|length| length.trim().parse().ok())
        };
        let wrong_size = |found: u64| {
            anyhow::anyhow!(
                "{} of {} was refused: {found} bytes or more come, and the hub says {}; the download was removed; \
                 run the command again",
                file.name,
                self.id,
                file.bytes
            )
        };
        if let Some(found) = whole.filter(|found| *found != file.bytes) {
            remove_bad(&part)?;
            return Err(wrong_size(found));
        }
        out.seek(SeekFrom::Start(state.have)).map_err(on_disk)?;
        let mut body = answer.response.into_body().into_reader();
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let count = match body.read(&mut buffer) {
                Ok(0) if state.have == file.bytes => return Ok(None),
                Ok(0) => return Ok(Some(Failure::Cut("the connection ended early"))),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Ok(Some(Failure::Network(ureq::Error::Io(error)))),
            };
            let end = state.have + count as u64;
            if end > file.bytes {
                remove_bad(&part)?;
                return Err(wrong_size(end));
            }
            out.write_all(&buffer[..count]).map_err(on_disk)?;
            state.take(&buffer[..count]);
            progress(state.have);
        }
    }
}

/// Makes `file` appear in `snapshot` as a relative link, as `huggingface_hub` does.
pub(super) fn link(snapshot: &Path, file: &FetchedFile) -> anyhow::Result<()> {
    let pointer = snapshot.join(&file.name);
    let folder = pointer.parent().unwrap_or(snapshot);
    create_folder(folder)?;
    let up = "../".repeat(2 + file.name.matches('/').count());
    let target = PathBuf::from(format!("{up}blobs/{}", file.hash.hex()));
    if fs::read_link(&pointer).is_ok_and(|present| present == target) {
        return Ok(());
    }
    let link = || -> io::Result<()> {
        let temporary = tempfile::Builder::new().prefix(".codingspot-").tempdir_in(folder)?;
        let fresh = temporary.path().join("link");
        #[cfg(unix)]
        std::os::unix::fs::symlink(&target, &fresh)?;
        // Links need a privilege on Windows; a second name does not.
        #[cfg(not(unix))]
        fs::hard_link(folder.join(&target), &fresh)?;
        fs::rename(&fresh, &pointer)
    };
    link().with_context(|| format!("{} can't be written", pointer.display()))
}

/// How much of a file is there, and its hash so far.
struct Partial {
    have: u64,
    hash: Context,
}

impl Partial {
    fn take(&mut self, bytes: &[u8]) {
        self.have += bytes.len() as u64;
        self.hash.update(bytes);
    }

    fn restart(&mut self, out: &mut File, file: &RemoteFile) -> io::Result<()> {
        out.set_len(0)?;
        out.seek(SeekFrom::Start(0))?;
        *self = Self { have: 0, hash: file.hash.begin(file.bytes) };
        Ok(())
    }
}

fn is_content(status: StatusCode) -> bool {
    matches!(status, StatusCode::OK | StatusCode::PARTIAL_CONTENT)
}

/// First byte and whole length in `bytes 5-9/10`; the length may be `*`.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, whole) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    let whole = if whole == "*" { None } else { Some(whole.parse().ok()?) };
    Some((start.trim().parse().ok()?, whole))
}

/// What is wrong with a content of the cache, if anything is.
fn fault_of(path: &Path, file: &RemoteFile, progress: &mut dyn FnMut(u64)) -> io::Result<Option<String>> {
    let mut content = File::open(path)?;
    let size = content.metadata()?.len();
    if size != file.bytes {
        return Ok(Some(format!("{size} bytes instead of {}", file.bytes)));
    }
    let mut state = Partial { have: 0, hash: file.hash.begin(file.bytes) };
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = content.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        state.take(&buffer[..count]);
        progress(state.have);
    }
    let found = hex_of(&state.hash.finish());
    Ok((found != file.hash.hex()).then(|| format!("hash {found} instead of {}", file.hash.hex())))
}

fn remove_bad(part: &Path) -> anyhow::Result<()> {
    fs::remove_file(part).with_context(|| format!("{} is bad and can't be removed", part.display()))
}

/// `error` at an unfinished download as a sentence; what came before it is kept.
fn disk_failure(part: &Path, error: io::Error) -> anyhow::Error {
    let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    anyhow::Error::new(error).context(if full {
        format!(
            "{} can't be written, as the disk is full; make room and run the command again to go on, or choose \
             another cache with --cache-dir or HF_HUB_CACHE",
            part.display()
        )
    } else {
        format!("{} can't be written; choose another cache with --cache-dir or HF_HUB_CACHE", part.display())
    })
}

/// Bytes that this user may still write to the disk of `folder`, where the system says.
#[cfg(unix)]
fn free_space(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    disk.f_bavail.checked_mul(disk.f_frsize)
}

#[cfg(not(unix))]
fn free_space(_folder: &Path) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_sha256sum_and_git() {
        let of = |hash: ContentHash| {
            let mut state = Partial { have: 0, hash: hash.begin(6) };
            state.take(b"hel");
            state.take(b"lo\n");
            hex_of(&state.hash.finish())
        };
        let none = |digits: usize| "0".repeat(digits);
        assert_eq!(
            of(ContentHash::sha256(&none(64)).unwrap()),
            "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
        );
        // printf 'hello\n' | git hash-object --stdin
        assert_eq!(of(ContentHash::git_sha1(&none(40)).unwrap()), "ce013625030ba8dba906f756967f9e9ca394464a");
    }

    #[test]
    fn a_hash_is_nothing_but_hexadecimal_digits() {
        assert!(ContentHash::sha256(&"aF".repeat(32)).is_some());
        for bad in ["", "../../../etc/passwd", &"0".repeat(63), &"g".repeat(64), &"ä".repeat(32)] {
            assert!(ContentHash::sha256(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn content_ranges_are_read() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, None)));
        for bad in ["", "bytes", "bytes */10", "bytes 5/10", "lines 5-9/10", "bytes -9/10", "bytes 5-9/x"] {
            assert_eq!(content_range(bad), None, "{bad}");
        }
    }
}
