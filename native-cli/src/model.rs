//! A model's directory: config.json, tokenizer.json and safetensors files or a web pack's, mapped into memory.

use crate::hub;
use crate::output;
use crate::pack::PackSource;
use crate::progress::Progress;
use crate::weights::Weights;
use anyhow::Context as _;
use codingspot_core::Device;
use codingspot_core::checkpoint::{
    ByteSource, CheckpointError, Fingerprint, FingerprintBuilder, LoadedModel, SafetensorsSource, ShardIndex,
    SourceError, TensorSource as _, load_model,
};
use codingspot_core::config::LlamaConfig;
use codingspot_core::layout::ParameterLayout;
use codingspot_core::tokenizer::Tokenizer;
use codingspot_pack::manifest::MANIFEST;
use codingspot_tasks::chat::{ChatTemplate, TemplateFiles};
use rayon::prelude::*;
use std::borrow::Cow;
use std::fs::{self, File};
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Longest config.json or index that is read, bytes.
pub(crate) const MAX_JSON_BYTES: u64 = 64 << 20;
/// Longest tokenizer.json that is read, bytes (Llama 3's has 9 MB).
pub(crate) const MAX_TOKENIZER_BYTES: u64 = 256 << 20;
/// Name of the index of a sharded checkpoint.
pub(crate) const INDEX: &str = "model.safetensors.index.json";

/// A file mapped into memory.
#[derive(Debug)]
pub(crate) struct MappedFile {
    name: String,
    map: memmap2::Mmap,
}

impl MappedFile {
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let open = || -> std::io::Result<memmap2::Mmap> {
            let file = File::open(path)?;
            #[expect(unsafe_code, reason = "mapping is how tens of gigabytes are read without a copy")]
            // SAFETY: the map is read only. A program that truncates the file meanwhile can still
            // end this one with SIGBUS; no data race can make the bytes anything but bytes.
            unsafe {
                memmap2::Mmap::map(&file)
            }
        };
        let map = open().with_context(|| format!("{} can't be read", path.display()))?;
        Ok(Self { name: path.display().to_string(), map })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.map
    }
}

impl ByteSource for MappedFile {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> u64 {
        self.map.len() as u64
    }

    async fn read(&self, range: Range<u64>) -> Result<Cow<'_, [u8]>, SourceError> {
        let bounds = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
        bounds.and_then(|(start, end)| self.map.get(start..end)).map(Cow::Borrowed).ok_or_else(|| {
            SourceError {
                file: self.name.clone(),
                reason: format!("bytes {}..{} are past its end ({})", range.start, range.end, self.len()),
            }
        })
    }
}

/// Reads a text file of at most `limit` bytes.
pub(crate) fn read_text(path: &Path, limit: u64) -> anyhow::Result<String> {
    let size = fs::metadata(path).with_context(|| format!("{} can't be read", path.display()))?.len();
    anyhow::ensure!(
        size <= limit,
        "{} has {size} bytes, more than the {limit} that are read",
        path.display()
    );
    fs::read_to_string(path).with_context(|| format!("{} can't be read as text", path.display()))
}

/// A checkpoint on disk, opened and checked but not loaded.
#[derive(Debug)]
pub(crate) struct ModelDirectory {
    pub(crate) path: PathBuf,
    /// Its directory's name, or its name on the hub.
    pub(crate) name: String,
    pub(crate) config_json: String,
    pub(crate) config: LlamaConfig,
    pub(crate) source: Arc<Weights>,
    pub(crate) shards: Vec<PathBuf>,
}

impl ModelDirectory {
    /// Opens a directory (a checkpoint's or a web pack's), or a model of the hub that is cached or
    /// fetched, and checks config, index, headers and shapes.
    pub(crate) fn open(model: &Path) -> anyhow::Result<Self> {
        let (path, name) = if model.is_dir() {
            (model.to_owned(), model.file_name().unwrap_or(model.as_os_str()))
        } else {
            (hub::resolve(model)?, model.as_os_str())
        };
        let name = name.to_string_lossy().into_owned();
        let config_path = path.join("config.json");
        let config_json = read_text(&config_path, MAX_JSON_BYTES)?;
        let config = LlamaConfig::from_json(&config_json)
            .with_context(|| format!("{} was refused", config_path.display()))?;
        let index_path = path.join(INDEX);
        let single = path.join("model.safetensors");
        if path.join(MANIFEST).is_file() && !index_path.is_file() && !single.is_file() {
            let pack = PackSource::open(&path)?;
            let shards = pack.shards();
            return Ok(Self {
                path,
                name,
                config_json,
                config,
                source: Arc::new(Weights::Pack(Box::new(pack))),
                shards,
            });
        }
        let index = index_path
            .is_file()
            .then(|| -> anyhow::Result<ShardIndex> {
                let text = read_text(&index_path, MAX_JSON_BYTES)?;
                Ok(ShardIndex::from_json(&index_path.display().to_string(), &text)?)
            })
            .transpose()?;
        let shards: Vec<PathBuf> = match &index {
            Some(index) => index.files().into_iter().map(|name| path.join(name)).collect(),
            None => vec![single],
        };
        let files = shards.iter().map(|shard| MappedFile::open(shard)).collect::<anyhow::Result<Vec<_>>>()?;
        let source = pollster::block_on(SafetensorsSource::open(files))?;
        if let Some(index) = &index {
            source.check_index(&index_path.display().to_string(), index)?;
        }
        let source = Arc::new(Weights::Checkpoint(source));
        Ok(Self { path, name, config_json, config, source, shards })
    }

    /// As [`Self::open`], refusing web packs: for work whose results stand for the weights themselves,
    /// not for what an encoding left of them.
    pub(crate) fn open_checkpoint(model: &Path) -> anyhow::Result<Self> {
        let opened = Self::open(model)?;
        anyhow::ensure!(
            matches!(*opened.source, Weights::Checkpoint(_)),
            "{} is a web pack, whose weights are rounded; give the checkpoint that it was made from",
            model.display()
        );
        Ok(opened)
    }

    /// The order of its tensors.
    pub(crate) fn layout(&self) -> ParameterLayout {
        ParameterLayout::new(&self.config)
    }

    /// The tokenizer, if the directory has one; `tokenizer_config.json` beside it has a say.
    pub(crate) fn tokenizer(&self) -> anyhow::Result<Option<Tokenizer>> {
        let path = self.path.join("tokenizer.json");
        if !path.is_file() {
            return Ok(None);
        }
        let text = read_text(&path, MAX_TOKENIZER_BYTES)?;
        let tokenizer = Tokenizer::from_bytes(text.as_bytes(), &self.config)
            .with_context(|| format!("{} was refused", path.display()))?;
        let settings = self.path.join("tokenizer_config.json");
        if !settings.is_file() {
            return Ok(Some(tokenizer));
        }
        let text = read_text(&settings, MAX_JSON_BYTES)?;
        let tokenizer =
            tokenizer.with_settings(&text).with_context(|| format!("{} was refused", settings.display()))?;
        Ok(Some(tokenizer))
    }

    /// The template of the model's conversations, if it has one: `chat_template.jinja`, or what
    /// `tokenizer_config.json` says.
    pub(crate) fn chat_template(&self) -> anyhow::Result<Option<ChatTemplate>> {
        let read = |name: &str| {
            let path = self.path.join(name);
            path.is_file().then(|| read_text(&path, MAX_JSON_BYTES)).transpose()
        };
        let (config, template) = (read("tokenizer_config.json")?, read("chat_template.jinja")?);
        let map = read("special_tokens_map.json")?;
        let files = TemplateFiles {
            tokenizer_config: config.as_deref(),
            chat_template: template.as_deref(),
            special_tokens_map: map.as_deref(),
        };
        ChatTemplate::new(&files).with_context(|| format!("{} was refused", self.path.display()))
    }

    /// The fingerprint of the weights, hashed by all threads; of a web pack that of the checkpoint that it
    /// was made from, as its manifest says.
    pub(crate) fn fingerprint(&self) -> anyhow::Result<Fingerprint> {
        if let Weights::Pack(pack) = &*self.source {
            return pack.fingerprint();
        }
        let layout = self.layout();
        let mut builder = FingerprintBuilder::new(layout.tensors().len());
        let tensors: Vec<(usize, usize)> = self
            .source
            .tensors()
            .iter()
            .enumerate()
            .filter_map(|(stored, info)| Some((stored, layout.index_of(&info.name)?)))
            .collect();
        let mut bar = Progress::new("Hashing weights", tensors.len() as u64);
        let done = std::sync::atomic::AtomicU64::new(0);
        let bar_lock = std::sync::Mutex::new(&mut bar);
        let hashers = tensors
            .par_iter()
            .map(|&(stored, _)| {
                let info = &self.source.tensors()[stored];
                let bytes = pollster::block_on(self.source.read(stored, 0..info.num_bytes()))?;
                let mut hasher = blake3::Hasher::new();
                hasher.update(&bytes);
                let done = done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
                if let Ok(mut bar) = bar_lock.try_lock() {
                    bar.set(done);
                }
                Ok(hasher)
            })
            .collect::<Result<Vec<_>, CheckpointError>>()?;
        for ((stored, index), hasher) in tensors.into_iter().zip(hashers) {
            let info = &self.source.tensors()[stored];
            builder.set(index, &info.name, info.dtype.name(), &info.shape, &hasher);
        }
        bar.finish();
        builder.finish().with_context(|| format!("{} lacks tensors of its config", self.path.display()))
    }

    /// Loads the weights onto `device` in f32, with the fingerprint that [`Self::fingerprint`] has.
    pub(crate) fn load(&self, device: &Device) -> anyhow::Result<LoadedModel> {
        let total =
            self.source.tensors().iter().map(codingspot_core::checkpoint::TensorInfo::num_bytes).sum();
        let mut bar = Progress::new("Loading weights", total);
        let mut loaded =
            pollster::block_on(load_model(&*self.source, &self.config, device, async |progress| {
                bar.set(progress.done_bytes);
                ControlFlow::Continue(())
            }))?;
        bar.finish();
        if let Weights::Pack(pack) = &*self.source {
            loaded.fingerprint = pack.fingerprint()?;
        }
        output::note(&format!(
            "Loaded {}: {} parameters, fingerprint {}",
            self.path.display(),
            output::grouped(loaded.model.layout().num_parameters()),
            loaded.fingerprint.short()
        ));
        Ok(loaded)
    }
}
