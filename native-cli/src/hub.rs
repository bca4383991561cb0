//! Models and data sets of the Hugging Face hub, in the cache that all of the hub's tools share.
//!
//! The layout of the cache and the hub's addresses are hf-hub's. Requests, resuming and checks are
//! made here: hf-hub's own downloads check no hash, append to a partial file whatever the server
//! sends, and give the token to the host that a redirect names.

mod blob;
mod dataset;
mod http;

use crate::atomic;
use crate::model::{INDEX, MAX_JSON_BYTES, MAX_TOKENIZER_BYTES, read_text};
use crate::output;
use crate::progress::Progress;
use anyhow::Context as _;
use blob::{Blobs, ContentHash, RemoteFile};
use codingspot_core::checkpoint::ShardIndex;
use codingspot_core::config::LlamaConfig;
pub(crate) use dataset::DatasetFiles;
use hf_hub::{Cache, Repo, RepoType};
use http::{Client, Token};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
const TOKENIZER: &str = "tokenizer.json";
/// Files beside config and weights that are fetched where the repository has them.
const COMPANIONS: [&str; 5] = [
    "generation_config.json",
    TOKENIZER,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
];
/// Longest name of a repository that the hub gives, and of a revision that is asked for.
const MAX_REPO_CHARS: usize = 96;
const MAX_REVISION_CHARS: usize = 255;
/// Largest model that is believed, bytes: sums of sizes stay far from overflow.
const MAX_FILE_BYTES: u64 = 1 << 44;

/// What a repository of the hub holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RepoKind {
    /// Weights.
    Model,
    /// Rows.
    Dataset,
}

impl fmt::Display for RepoKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Model => "model",
            Self::Dataset => "data set",
        })
    }
}

/// A repository on the hub: what it holds, `name` or `org/name`, and a branch, tag or commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RepoId {
    kind: RepoKind,
    repo: String,
    revision: String,
}

impl fmt::Display for RepoId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.repo, self.revision)
    }
}

impl RepoId {
    /// Parses a model's `name`, `org/name`, or either with `@revision`; the revision is else `main`.
    pub(crate) fn parse_model(text: &str) -> anyhow::Result<Self> {
        let (repo, revision) = text.split_once('@').unwrap_or((text, "main"));
        Self::new(RepoKind::Model, repo, revision)
    }

    /// A repository and a revision, checked: both become parts of paths and addresses.
    pub(crate) fn new(kind: RepoKind, repo: &str, revision: &str) -> anyhow::Result<Self> {
        let parts: Vec<&str> = repo.split('/').collect();
        let name = |part: &str| {
            is_plain(part)
                && !part.starts_with('-')
                && !part.ends_with(['-', '.'])
                && !part.contains("--")
                && !part.contains("..")
        };
        anyhow::ensure!(
            parts.len() <= 2 && parts.iter().all(|part| name(part)) && repo.len() <= MAX_REPO_CHARS,
            "{repo:?} is not the name of a {kind} on the hub; expected NAME or ORG/NAME of letters, digits, \"-\", \
             \"_\" and \".\""
        );
        let segment = |part: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+');
            !part.is_empty() && part.chars().all(plain) && part != "." && !part.contains("..")
        };
        anyhow::ensure!(
            revision.split('/').all(segment) && revision.len() <= MAX_REVISION_CHARS,
            "{revision:?} is not a revision; expected a branch, a tag or a commit"
        );
        Ok(Self { kind, repo: repo.to_owned(), revision: revision.to_owned() })
    }

    /// What a MODEL that is no directory names: `org/name` or `org/name@revision`. A bare name is
    /// taken for a directory that is not there.
    fn from_argument(argument: &Path) -> Option<Self> {
        let id = Self::parse_model(argument.to_str()?).ok()?;
        id.repo.contains('/').then_some(id)
    }

    fn at(&self, revision: &str) -> Repo {
        let kind = match self.kind {
            RepoKind::Model => RepoType::Model,
            RepoKind::Dataset => RepoType::Dataset,
        };
        Repo::with_revision(self.repo.clone(), kind, revision.to_owned())
    }
}

/// Whether `part` is a name that means nothing else in a path or an address.
fn is_plain(part: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !part.is_empty() && part.chars().all(plain) && !part.starts_with('.')
}

/// A file of a fetched repository.
#[derive(Debug, Serialize)]
pub(crate) struct FetchedFile {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    /// What its content was checked against.
    pub(crate) hash: ContentHash,
    /// Whether this run downloaded it, or part of it; else the cache had it whole.
    pub(crate) downloaded: bool,
}

/// A model that is whole in the cache, or the files that were asked for of a data set.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) snapshot: PathBuf,
    pub(crate) commit: String,
    pub(crate) files: Vec<FetchedFile>,
}

/// The directory of a MODEL that is no directory itself: from the cache, else from the hub.
pub(crate) fn resolve(argument: &Path) -> anyhow::Result<PathBuf> {
    let id = if argument.exists() { None } else { RepoId::from_argument(argument) };
    let Some(id) = id else {
        anyhow::bail!(
            "{} is not a directory; expected one with config.json and *.safetensors, or ORG/NAME[@REVISION] \
             on the Hugging Face hub",
            argument.display()
        )
    };
    let hub = Hub::from_environment(None)?;
    if let Some(snapshot) = hub.cached(&id) {
        return Ok(snapshot);
    }
    if !hub.offline {
        output::note(&format!(
            "{} is neither a directory nor in {}; fetching {id} from {}",
            argument.display(),
            hub.cache.path().display(),
            hub.client.endpoint()
        ));
    }
    Ok(hub.fetch(&id)?.snapshot)
}

/// What the hub says of a revision.
#[derive(Debug, Deserialize)]
struct Listing {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    blob_id: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Debug, Clone, Deserialize)]
struct Lfs {
    size: u64,
    #[serde(alias = "oid")]
    sha256: String,
}

impl Sibling {
    /// Size and hash, which the hub has to give: a file that can't be checked is not fetched.
    fn into_remote(self) -> anyhow::Result<RemoteFile> {
        let (bytes, hash) = match self.lfs {
            Some(lfs) => (Some(lfs.size), ContentHash::sha256(&lfs.sha256)),
            None => (self.size, self.blob_id.as_deref().and_then(ContentHash::git_sha1)),
        };
        let known = bytes.filter(|bytes| *bytes <= MAX_FILE_BYTES).zip(hash);
        let (bytes, hash) = known.with_context(|| {
            format!("the hub gives no size and hash of {}, so it can't be checked", self.rfilename)
        })?;
        Ok(RemoteFile { name: self.rfilename, bytes, hash })
    }
}

/// The hub as the environment describes it, and its cache.
#[derive(Debug)]
pub(crate) struct Hub {
    client: Client,
    cache: Cache,
    offline: bool,
}

/// A variable that is set and not empty.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

impl Hub {
    /// Reads `HF_ENDPOINT`, `HF_HOME`, `HF_HUB_CACHE`, `HF_HUB_OFFLINE` and the token; `cache_dir`
    /// comes before `HF_HUB_CACHE`.
    pub(crate) fn from_environment(cache_dir: Option<&Path>) -> anyhow::Result<Self> {
        let home = match (variable("HF_HOME"), variable("XDG_CACHE_HOME")) {
            (Some(home), _) => Some(PathBuf::from(home)),
            (None, Some(caches)) => Some(Path::new(&caches).join("huggingface")),
            (None, None) => std::env::home_dir().map(|home| home.join(".cache/huggingface")),
        };
        let default = home.map(|home| Cache::new(home.join("hub")));
        let token = match variable("HF_TOKEN") {
            Some(token) => Some(Token::new(&token, "HF_TOKEN")?),
            None => match default.as_ref().and_then(|cache| Some((cache.token_path(), cache.token()?))) {
                Some((path, token)) => Some(Token::new(&token, &path.display().to_string())?),
                None => None,
            },
        };
        let chosen = cache_dir.map(Path::to_owned).or_else(|| variable("HF_HUB_CACHE").map(PathBuf::from));
        let cache = chosen
            .map(Cache::new)
            .or(default)
            .context("there is no home directory for the cache; set HF_HOME or give --cache-dir")?;
        let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned());
        let offline = variable("HF_HUB_OFFLINE")
            .is_some_and(|value| ["1", "on", "yes", "true"].contains(&value.to_lowercase().as_str()));
        Ok(Self { client: Client::new(&endpoint, token)?, cache, offline })
    }

    /// The snapshot of `id`, if config and all weights are there. Contents were checked when they
    /// came.
    fn cached(&self, id: &RepoId) -> Option<PathBuf> {
        let snapshot = self.snapshot(id, &self.cached_commit(id)?);
        let index = snapshot.join(INDEX);
        let whole = snapshot.join(CONFIG).is_file()
            && if index.is_file() {
                let index = ShardIndex::from_json(INDEX, &read_text(&index, MAX_JSON_BYTES).ok()?).ok()?;
                index.files().into_iter().all(|name| snapshot.join(name).is_file())
            } else {
                snapshot.join(WEIGHTS).is_file()
            };
        whole.then_some(snapshot)
    }

    /// The commit that the cache has for the revision.
    fn cached_commit(&self, id: &RepoId) -> Option<String> {
        let commit = if is_commit(&id.revision) {
            id.revision.clone()
        } else {
            read_text(&self.reference(id), 4096).ok()?.trim().to_owned()
        };
        is_commit(&commit).then_some(commit)
    }

    fn snapshot(&self, id: &RepoId, commit: &str) -> PathBuf {
        self.cache.repo(id.at(commit)).pointer_path(commit)
    }

    fn reference(&self, id: &RepoId) -> PathBuf {
        self.cache.path().join(id.at(&id.revision).folder_name()).join("refs").join(&id.revision)
    }

    /// Brings config, tokenizer and weights of `id` into the cache. The snapshot is made once all of
    /// its files are there and checked.
    pub(crate) fn fetch(&self, id: &RepoId) -> anyhow::Result<Fetched> {
        if self.offline {
            let snapshot = self.cached(id).with_context(|| {
                format!(
                    "{id} is not whole in {}, and HF_HUB_OFFLINE forbids to fetch it; unset HF_HUB_OFFLINE",
                    self.cache.path().display()
                )
            })?;
            let commit = snapshot.file_name().map(|name| name.to_string_lossy().into_owned());
            return Ok(Fetched { snapshot, commit: commit.unwrap_or_default(), files: Vec::new() });
        }
        let (commit, mut listed) = self.list(id)?;
        let blobs = Blobs::new(&self.client, &self.cache, id, id.at(&commit));
        let mut files = Vec::new();

        // The small files that decide come first: a model that can't be used costs no gigabytes.
        let config = listed.remove(CONFIG).with_context(|| {
            format!("{id} has no {CONFIG}; expected a Llama in Hugging Face's own format")
        })?;
        let config = config.into_remote()?;
        let config_json = blobs.text(config, MAX_JSON_BYTES, &mut files)?;
        LlamaConfig::from_json(&config_json).with_context(|| format!("{CONFIG} of {id} was refused"))?;
        let mut wanted = Vec::new();
        let weights = match listed.remove(INDEX) {
            Some(index) => {
                let text = blobs.text(index.into_remote()?, MAX_JSON_BYTES, &mut files)?;
                let index = ShardIndex::from_json(INDEX, &text)
                    .with_context(|| format!("{INDEX} of {id} was refused"))?;
                index.files().into_iter().map(str::to_owned).collect()
            }
            None => vec![WEIGHTS.to_owned()],
        };
        for name in COMPANIONS {
            if let Some(file) = listed.remove(name) {
                let limit = if name == TOKENIZER { MAX_TOKENIZER_BYTES } else { MAX_JSON_BYTES };
                wanted.push(file.into_remote()?.within(limit)?);
            }
        }
        for name in weights {
            anyhow::ensure!(
                is_plain(&name) && name.ends_with(".safetensors"),
                "{INDEX} of {id} names the file {name:?}; expected plain names that end in .safetensors"
            );
            let file = listed.remove(&name).with_context(|| {
                format!("{id} has no {name}; expected weights in safetensors files beside {CONFIG}")
            })?;
            wanted.push(file.into_remote()?);
        }

        self.bring(id, commit, &blobs, wanted, files)
    }

    /// Brings `wanted` into the cache, and makes the snapshot of them and of `files`, which are there.
    fn bring(
        &self,
        id: &RepoId,
        commit: String,
        blobs: &Blobs<'_>,
        wanted: Vec<RemoteFile>,
        mut files: Vec<FetchedFile>,
    ) -> anyhow::Result<Fetched> {
        blobs.check_space(&wanted)?;
        let total = wanted.iter().map(|file| file.bytes).sum();
        let mut bar = Progress::new("Fetching", total);
        let mut before = 0;
        for file in wanted {
            bar.rename(&format!("Fetching {}", file.name));
            let bytes = file.bytes;
            files.push(blobs.ensure(file, &mut |done| bar.set(before + done))?);
            before += bytes;
        }
        bar.finish();

        let snapshot = self.snapshot(id, &commit);
        for file in &files {
            blob::link(&snapshot, file)?;
        }
        if !is_commit(&id.revision) {
            atomic::write_file(&self.reference(id), commit.as_bytes())?;
        }
        Ok(Fetched { snapshot, commit, files })
    }

    /// The commit that the revision names, and its files by name.
    fn list(&self, id: &RepoId) -> anyhow::Result<(String, BTreeMap<String, Sibling>)> {
        let url = format!(
            "{}/api/{}?blobs=true",
            self.client.endpoint(),
            id.at(&id.revision).api_url().replace('+', "%2B")
        );
        let text = self.client.get_text(&url, MAX_JSON_BYTES, id)?;
        let listing: Listing = serde_json::from_str(&text).with_context(|| {
            format!(
                "{} answers for {id} with something else than a {}'s files",
                self.client.endpoint(),
                id.kind
            )
        })?;
        anyhow::ensure!(
            is_commit(&listing.sha),
            "the hub names {:?} as the commit of {id}; expected 40 hexadecimal digits",
            listing.sha
        );
        Ok((listing.sha, listing.siblings.into_iter().map(|file| (file.rfilename.clone(), file)).collect()))
    }
}

/// Whether `text` is a whole git commit, which never changes its meaning.
fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Creates a folder of the cache.
fn create_folder(path: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(path).with_context(|| {
        format!("{} can't be created; choose another cache with --cache-dir", path.display())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_plain_names_and_revisions() {
        for good in ["gpt2", "meta-llama/Llama-3.2-1B", "a/b@v1.0", "a/b@refs/pr/1", "a_b/c.d@main"] {
            assert!(RepoId::parse_model(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "/",
            "a/",
            "/b",
            "a/b/c",
            "../a",
            "a/..",
            "a/.b",
            "-a/b",
            "a/b-",
            "a--b/c",
            "a b/c",
            "a/b?x",
            "a/b#c",
            "a/b%2e",
            "a/b@",
            "a/b@..",
            "a/b@x/../y",
            "a/b@/x",
            "a/b@x y",
            "a/b@x@y",
            "a\\b",
            "ä/b",
        ] {
            assert!(RepoId::parse_model(bad).is_err(), "{bad}");
        }
        assert_eq!(RepoId::parse_model("a/b@v1").unwrap().to_string(), "a/b@v1");
        assert_eq!(RepoId::parse_model("a/b").unwrap().to_string(), "a/b@main");
    }

    #[test]
    fn an_argument_without_an_organisation_is_a_directory() {
        assert!(RepoId::from_argument(Path::new("org/name")).is_some());
        for directory in ["name", "/org/name", "./org/name", "../name", "org/name/", "a/b/c"] {
            assert!(RepoId::from_argument(Path::new(directory)).is_none(), "{directory}");
        }
    }

    #[test]
    fn commits_are_forty_lower_case_hexadecimal_digits() {
        assert!(is_commit(&"0a".repeat(20)));
        for bad in ["main", &"0A".repeat(20), &"0".repeat(39), &"../".repeat(14)] {
            assert!(!is_commit(bad), "{bad}");
        }
    }
}
