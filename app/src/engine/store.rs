//! What this browser keeps of models: files in the origin private file system, each a prefix of the file on its server.

use super::wait::words;
use crate::protocol::CacheEntry;
use js_sys::{AsyncIterator, Reflect};
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    File, FileSystemDirectoryHandle, FileSystemFileHandle, FileSystemGetDirectoryOptions,
    FileSystemGetFileOptions, FileSystemReadWriteOptions, FileSystemRemoveOptions,
    FileSystemSyncAccessHandle,
};

/// The directory of all models.
const ROOT: &str = "models";
/// In a model's directory, what it is.
const ENTRY: &str = "entry.json";

/// What a model's directory says of itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) total_bytes: u64,
    /// The lengths and tags of its files.
    #[serde(default)]
    pub(crate) files: Vec<EntryFile>,
}

/// A file on its server, when it was fetched.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct EntryFile {
    pub(crate) name: String,
    pub(crate) len: u64,
    pub(crate) tag: Option<String>,
}

/// A model's directory.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    directory: FileSystemDirectoryHandle,
}

type Kept<T> = Result<T, String>;

async fn settle<T: wasm_bindgen::JsCast>(promise: js_sys::Promise) -> Kept<T> {
    JsFuture::from(promise).await.map(JsValue::unchecked_into).map_err(|error| words(&error))
}

async fn root() -> Kept<FileSystemDirectoryHandle> {
    let storage = super::scope().navigator().storage();
    // Insecure contexts have none.
    if storage.is_undefined() {
        return Err("this browser keeps nothing for this page".to_owned());
    }
    let root: FileSystemDirectoryHandle = settle(storage.get_directory()).await?;
    directory(&root, ROOT).await
}

async fn directory(parent: &FileSystemDirectoryHandle, name: &str) -> Kept<FileSystemDirectoryHandle> {
    let options = FileSystemGetDirectoryOptions::new();
    options.set_create(true);
    settle(parent.get_directory_handle_with_options(name, &options)).await
}

/// Bytes that the browser lets the page keep in all, and those that it has.
pub(crate) async fn quota() -> Option<(u64, u64)> {
    let storage = super::scope().navigator().storage();
    if storage.is_undefined() {
        return None;
    }
    let estimate: JsValue = settle(storage.estimate().ok()?).await.ok()?;
    let number = |name: &str| Reflect::get(&estimate, &name.into()).ok()?.as_f64();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bytes, below 2^53")]
    Some((number("quota")? as u64, number("usage").unwrap_or(0.0) as u64))
}

impl Store {
    /// The directory of the model that `key` names.
    pub(crate) async fn open(key: &str) -> Kept<Self> {
        Ok(Self { directory: directory(&root().await?, key).await? })
    }

    async fn handle(&self, name: &str, create: bool) -> Kept<FileSystemFileHandle> {
        let options = FileSystemGetFileOptions::new();
        options.set_create(create);
        settle(self.directory.get_file_handle_with_options(name, &options)).await
    }

    /// A small file, if it is kept.
    pub(crate) async fn small(&self, name: &str) -> Option<Vec<u8>> {
        let file: File = settle(self.handle(name, false).await.ok()?.get_file()).await.ok()?;
        let bytes: JsValue = settle(file.array_buffer()).await.ok()?;
        Some(js_sys::Uint8Array::new(&bytes).to_vec())
    }

    /// Keeps a small file.
    pub(crate) async fn keep_small(&self, name: &str, bytes: &[u8]) -> Kept<()> {
        let file = self.file(name).await?;
        file.truncate(0)?;
        file.append(bytes)
    }

    /// What the directory says of itself.
    pub(crate) async fn entry(&self) -> Entry {
        let bytes = self.small(ENTRY).await.unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    /// Says what the directory is of.
    pub(crate) async fn describe(&self, entry: &Entry) -> Kept<()> {
        let bytes = serde_json::to_vec(entry).map_err(|error| error.to_string())?;
        self.keep_small(ENTRY, &bytes).await
    }

    /// A file to append to; nobody else can have it meanwhile.
    pub(crate) async fn file(&self, name: &str) -> Kept<KeptFile> {
        let handle = self.handle(name, true).await?;
        let access: FileSystemSyncAccessHandle = settle(handle.create_sync_access_handle()).await?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bytes, below 2^53")]
        let len = access.get_size().map_err(|error| words(&error))? as u64;
        Ok(KeptFile { access, len: Cell::new(len) })
    }

    /// Bytes of the directory's files.
    pub(crate) async fn bytes(&self) -> u64 {
        let mut sum = 0;
        for (name, handle) in children(&self.directory).await {
            if name != ENTRY
                && let Ok(promise) = handle.dyn_into::<FileSystemFileHandle>().map(|handle| handle.get_file())
                && let Ok(file) = settle::<File>(promise).await
            {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "bytes, below 2^53"
                )]
                {
                    sum += file.size() as u64;
                }
            }
        }
        sum
    }
}

/// Names and handles of what is in a directory.
async fn children(directory: &FileSystemDirectoryHandle) -> Vec<(String, JsValue)> {
    let mut found = Vec::new();
    let iterator: AsyncIterator = directory.values();
    while let Ok(next) = iterator.next() {
        let Ok(step) = JsFuture::from(next).await else { break };
        let get = |object: &JsValue, name: &str| Reflect::get(object, &name.into()).unwrap_or_default();
        if get(&step, "done").is_truthy() {
            break;
        }
        let handle = get(&step, "value");
        found.push((get(&handle, "name").as_string().unwrap_or_default(), handle));
    }
    found
}

/// What is kept, by model.
pub(crate) async fn list() -> Vec<CacheEntry> {
    let Ok(root) = root().await else { return Vec::new() };
    let mut entries = Vec::new();
    for (key, handle) in children(&root).await {
        if let Ok(directory) = handle.dyn_into::<FileSystemDirectoryHandle>() {
            let store = Store { directory };
            let Entry { name, total_bytes, .. } = store.entry().await;
            let bytes = store.bytes().await;
            if bytes > 0 {
                let name = if name.is_empty() { key.clone() } else { name };
                entries.push(CacheEntry { key, name, bytes, total_bytes });
            }
        }
    }
    entries
}

/// Deletes what is kept of one model, or of all.
pub(crate) async fn evict(key: Option<&str>) -> Kept<()> {
    let root = root().await?;
    let options = FileSystemRemoveOptions::new();
    options.set_recursive(true);
    for (name, _) in children(&root).await {
        if key.is_none_or(|key| key == name) {
            settle::<JsValue>(root.remove_entry_with_options(&name, &options)).await?;
        }
    }
    Ok(())
}

/// A kept file: the first bytes of the one on its server.
#[derive(Debug)]
pub(crate) struct KeptFile {
    access: FileSystemSyncAccessHandle,
    len: Cell<u64>,
}

impl KeptFile {
    /// Bytes that are there.
    pub(crate) fn len(&self) -> u64 {
        self.len.get()
    }

    fn at(place: u64) -> FileSystemReadWriteOptions {
        let options = FileSystemReadWriteOptions::new();
        options.set_at(place as f64);
        options
    }

    /// Adds `len` bytes from `start` on to `out`.
    pub(crate) fn read(&self, start: u64, len: usize, out: &mut Vec<u8>) -> Kept<()> {
        let before = out.len();
        out.resize(before + len, 0);
        let read = self
            .access
            .read_with_u8_array_and_options(&mut out[before..], &Self::at(start))
            .map_err(|error| words(&error))?;
        if read == len as f64 { Ok(()) } else { Err(format!("{read} of {len} bytes could be read")) }
    }

    /// Adds bytes at the end; a part that does not fit is taken back.
    pub(crate) fn append(&self, bytes: &[u8]) -> Kept<()> {
        let len = self.len.get();
        let written = self.access.write_with_u8_array_and_options(bytes, &Self::at(len));
        match written {
            Ok(written) if written == bytes.len() as f64 => {
                self.len.set(len + bytes.len() as u64);
                Ok(())
            }
            Ok(_) => {
                self.truncate(len)?;
                Err("the storage is full".to_owned())
            }
            Err(error) => {
                self.truncate(len)?;
                Err(words(&error))
            }
        }
    }

    /// Forgets all but the first `len` bytes.
    pub(crate) fn truncate(&self, len: u64) -> Kept<()> {
        self.access.truncate_with_f64(len as f64).map_err(|error| words(&error))?;
        self.len.set(len);
        Ok(())
    }
}

impl Drop for KeptFile {
    fn drop(&mut self) {
        drop(self.access.flush());
        self.access.close();
    }
}
