//! A model's files, wherever they are: a server, the hub, this computer, or what this browser keeps.

use super::fetch::{Body, Client, Facts};
use super::loading::Loading;
use super::store::{Entry, EntryFile, KeptFile, Store};
use crate::protocol::ModelSource;
use codingspot_core::checkpoint::{ByteSource, SourceError};
use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;
use wasm_bindgen_futures::JsFuture;
use web_sys::File;

/// The hub.
const HUB: &str = "https://huggingface.co";

/// Where files come from.
#[derive(Debug, Clone)]
enum Origin {
    /// A directory on a server: its address, with a final slash.
    Http(String),
    /// Files of this computer.
    Local(Vec<File>),
}

/// A model's directory.
#[derive(Debug, Clone)]
pub(crate) struct Directory {
    origin: Origin,
    client: Client,
    store: Option<Store>,
    /// For people.
    pub(crate) name: String,
    /// It is known to be a web pack, or not to be one.
    pub(crate) pack: bool,
}

fn failed(file: &str, reason: impl Into<String>) -> SourceError {
    SourceError { file: file.to_owned(), reason: reason.into() }
}

/// Names what a browser keeps of the model at an address.
fn key(base: &str) -> String {
    blake3::hash(base.as_bytes()).to_hex()[..16].to_owned()
}

impl Directory {
    /// Of a source; nothing is fetched yet. `keep`: what is fetched is kept in this browser.
    pub(crate) async fn open(
        source: &ModelSource,
        files: Vec<File>,
        loading: Rc<Loading>,
        keep: bool,
    ) -> Result<Self, SourceError> {
        let client = Client::new(loading);
        let (origin, name, pack) = match source {
            ModelSource::Url { url, pack } => {
                let name = url.trim_end_matches('/').rsplit('/').next().unwrap_or(url).to_owned();
                (Origin::Http(url.clone()), name, *pack)
            }
            ModelSource::Hub { repo } => {
                let plain = |part: &str| {
                    !part.is_empty()
                        && !part.starts_with('.')
                        && part.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
                };
                if repo.split('/').count() != 2 || !repo.split('/').all(plain) {
                    return Err(failed(repo, "it is no model id of the hub; expected ORG/NAME"));
                }
                (Origin::Http(format!("{HUB}/{repo}/resolve/main/")), repo.clone(), false)
            }
            ModelSource::LocalFiles => {
                let pack = files.iter().any(|file| file.name() == "manifest.json");
                (Origin::Local(files), "your files".to_owned(), pack)
            }
        };
        let store = match &origin {
            // Without a store all is fetched.
            Origin::Http(base) if keep => Store::open(&key(base)).await.ok(),
            _ => None,
        };
        Ok(Self { origin, client, store, name, pack })
    }

    pub(crate) fn loading(&self) -> &Loading {
        self.client.loading()
    }

    /// Whether what is fetched is kept.
    pub(crate) fn keeps(&self) -> bool {
        self.store.is_some()
    }

    /// The same for another loading: what was fetched before is over.
    pub(crate) fn with_loading(&self, loading: Rc<Loading>) -> Self {
        Self { client: Client::new(loading), ..self.clone() }
    }

    /// Keeps nothing from now on.
    pub(crate) fn forget_store(&mut self) {
        self.store = None;
    }

    /// Bytes that this browser keeps of it.
    pub(crate) async fn kept_bytes(&self) -> u64 {
        match &self.store {
            Some(store) => store.bytes().await,
            None => 0,
        }
    }

    /// Notes what the directory is, for the list of what is kept.
    pub(crate) async fn describe(&self, total_bytes: u64) {
        if let Some(store) = &self.store {
            let entry = Entry { name: self.name.clone(), total_bytes, ..store.entry().await };
            // Without it the list shows the key.
            drop(store.describe(&entry).await);
        }
    }

    fn local(files: &[File], name: &str) -> Result<File, SourceError> {
        let found = files.iter().find(|file| file.name() == name).cloned();
        found.ok_or_else(|| {
            let given: Vec<String> = files.iter().map(File::name).collect();
            failed(name, format!("it is not among the chosen files ({})", given.join(", ")))
        })
    }

    /// A small file, of at most `limit` bytes: from its server, or as it was kept where that can't be reached.
    pub(crate) async fn small(&self, name: &str, limit: u64) -> Result<Vec<u8>, SourceError> {
        match &self.origin {
            Origin::Local(files) => {
                let file = Self::local(files, name)?;
                if file.size() > limit as f64 {
                    return Err(failed(
                        name,
                        format!("it has {} bytes, expected at most {limit}", file.size()),
                    ));
                }
                read_local(&file, name, 0..file.size() as u64).await
            }
            Origin::Http(base) => match self.client.whole(&format!("{base}{name}"), limit).await {
                Ok(bytes) => {
                    if let Some(store) = &self.store {
                        drop(store.keep_small(name, &bytes).await);
                    }
                    Ok(bytes)
                }
                Err(error) => match &self.store {
                    Some(store) => store.small(name).await.ok_or(error),
                    None => Err(error),
                },
            },
        }
    }

    /// A file of weights. `len` is its length where that is known: then nothing is fetched before it is read.
    pub(crate) async fn weights(&self, name: &str, len: Option<u64>) -> Result<ModelFile, SourceError> {
        let base = match &self.origin {
            Origin::Local(files) => {
                let file = Self::local(files, name)?;
                let len = file.size() as u64;
                let from = From::Local(file);
                return Ok(ModelFile::new(name, len, from, None, self.client.clone()));
            }
            Origin::Http(base) => base,
        };
        let url = format!("{base}{name}");
        let kept = match &self.store {
            Some(store) => store.file(name).await.ok(),
            None => None,
        };
        if let Some(len) = len {
            // More than there should be is of something else.
            let kept = kept.filter(|kept| kept.len() <= len || kept.truncate(0).is_ok());
            return Ok(ModelFile::new(
                name,
                len,
                From::Http { url, body: RefCell::default() },
                kept,
                self.client.clone(),
            ));
        }
        // The server tells how long it is, and whether it is still what is kept a part of.
        let noted = match &self.store {
            Some(store) => store.entry().await.files.into_iter().find(|file| file.name == name),
            None => None,
        };
        let have = kept.as_ref().map_or(0, KeptFile::len);
        let whole = noted.as_ref().is_some_and(|noted| noted.len == have && have > 0);
        let opened = self.client.open(&url, if whole { 0 } else { have }).await;
        let (body, facts) = match (opened, noted) {
            (Ok((body, facts)), noted) => {
                if have > 0 && noted.is_none_or(|noted| noted.len != facts.len || noted.tag != facts.tag) {
                    if let Some(kept) = &kept {
                        drop(kept.truncate(0));
                    }
                }
                (Some(body), facts)
            }
            // No network: what is kept whole will do.
            (Err(_), Some(noted)) if noted.len == have => (None, Facts { len: noted.len, tag: noted.tag }),
            (Err(error), _) => return Err(error),
        };
        if let Some(store) = &self.store {
            let mut entry = store.entry().await;
            entry.files.retain(|file| file.name != name);
            entry.files.push(EntryFile { name: name.to_owned(), len: facts.len, tag: facts.tag });
            drop(store.describe(&entry).await);
        }
        // A body from 0 is of no use when all is kept: it ends here.
        let body = body.filter(|_| !(whole && kept.as_ref().is_some_and(|kept| kept.len() == facts.len)));
        let from = From::Http { url, body: RefCell::new(body) };
        Ok(ModelFile::new(name, facts.len, from, kept, self.client.clone()))
    }
}

async fn read_local(file: &File, name: &str, range: Range<u64>) -> Result<Vec<u8>, SourceError> {
    let changed = || failed(name, "it can't be read any more; choose the files again");
    let slice = file.slice_with_f64_and_f64(range.start as f64, range.end as f64).map_err(|_| changed())?;
    let buffer = JsFuture::from(slice.array_buffer()).await.map_err(|_| changed())?;
    let bytes = js_sys::Uint8Array::new(&buffer).to_vec();
    if bytes.len() as u64 == range.end - range.start { Ok(bytes) } else { Err(changed()) }
}

/// Where a file's bytes come from, but for those that are kept.
#[derive(Debug)]
enum From {
    Http { url: String, body: RefCell<Option<Body>> },
    Local(File),
}

/// A file of weights.
#[derive(Debug)]
pub(crate) struct ModelFile {
    name: String,
    len: u64,
    from: From,
    kept: RefCell<Option<KeptFile>>,
    client: Client,
    /// Why nothing is kept any more.
    full: Cell<bool>,
}

impl ModelFile {
    fn new(name: &str, len: u64, from: From, kept: Option<KeptFile>, client: Client) -> Self {
        let kept = RefCell::new(kept);
        Self { name: name.to_owned(), len, from, kept, client, full: Cell::new(false) }
    }

    /// Forgets what is kept from `start` on: it is not what it should be.
    pub(crate) fn distrust(&self, start: u64, bytes: u64) -> bool {
        let kept = self.kept.borrow();
        let Some(kept) = kept.as_ref().filter(|kept| kept.len() > start) else { return false };
        drop(kept.truncate(start));
        self.client.loading().unread(bytes);
        true
    }

    /// Whether the browser's storage was full.
    pub(crate) fn is_full(&self) -> bool {
        self.full.get()
    }

    async fn read_range(&self, range: Range<u64>) -> Result<Vec<u8>, SourceError> {
        let wanted = usize::try_from(range.end - range.start)
            .map_err(|_| failed(&self.name, "a part of it is too large"))?;
        let url = match &self.from {
            From::Local(file) => {
                let bytes = read_local(file, &self.name, range).await?;
                self.client.loading().read(bytes.len() as u64, 0);
                return Ok(bytes);
            }
            From::Http { url, .. } => url,
        };
        let mut out = Vec::with_capacity(wanted);
        if let Some(kept) = &*self.kept.borrow()
            && kept.len() > range.start
        {
            let end = kept.len().min(range.end);
            let len = usize::try_from(end - range.start).unwrap_or(wanted);
            if kept.read(range.start, len, &mut out).is_err() {
                out.clear();
            }
        }
        let had = out.len() as u64;
        self.client.loading().read(had, had);
        let From::Http { body, .. } = &self.from else { return Ok(out) };
        let mut at = range.start + had;
        // A little at a time, so that what arrived is told, kept, and can be stopped.
        while at < range.end {
            let mut open = body.borrow_mut().take();
            let before = out.len();
            let end = range.end.min(at + (1 << 20));
            let read = self.client.read(url, &mut open, at, end, &mut out).await;
            *body.borrow_mut() = open;
            read?;
            self.keep(at, &out[before..]);
            self.client.loading().read(end - at, 0);
            at = end;
        }
        Ok(out)
    }

    /// Keeps bytes that continue what is kept.
    fn keep(&self, at: u64, bytes: &[u8]) {
        let mut kept = self.kept.borrow_mut();
        let continues = kept.as_ref().is_some_and(|kept| kept.len() == at);
        if continues && kept.as_ref().is_some_and(|kept| kept.append(bytes).is_err()) {
            // The rest is loaded without being kept.
            *kept = None;
            self.full.set(true);
        }
    }
}

impl ByteSource for ModelFile {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> u64 {
        self.len
    }

    async fn read(&self, range: Range<u64>) -> Result<Cow<'_, [u8]>, SourceError> {
        if range.end > self.len || range.start > range.end {
            return Err(failed(
                &self.name,
                format!("it has {} bytes, {} are asked for", self.len, range.end),
            ));
        }
        self.read_range(range).await.map(Cow::Owned)
    }
}
