//! Loading a model: its small files, what it will need, and its weights as a stream.

use super::failure;
use super::source::{Directory, ModelFile};
use super::store;
use crate::protocol::{
    Encoding as Choice, EngineError, ErrorCode, LoadPhase, MemoryNeeds, ModelFacts, TensorFacts,
};
use codingspot_core::checkpoint::{
    ByteSource as _, CheckpointError, SafetensorsSource, ShardIndex, SourceError,
};
use codingspot_core::config::LlamaConfig;
use codingspot_core::kernels::packed::Compute;
use codingspot_core::layout::ParameterLayout;
use codingspot_core::packed::{LoadError, PackedLlama, PackedLoader, load_checkpoint, memory_needs};
use codingspot_core::tokenizer::Tokenizer;
use codingspot_pack::{Encoding, Manifest};
use std::ops::ControlFlow;

/// Limits of small files, bytes.
const MAX_CONFIG: u64 = 1 << 20;
const MAX_TOKENIZER: u64 = 64 << 20;
const MAX_INDEX: u64 = 8 << 20;
/// Longest sequence that the page runs, tokens.
const CONTEXT: usize = 1_024;
/// Most bytes of weights in the page's own memory.
const MAX_PAGE_BYTES: u64 = 1_500_000_000;

/// A model before its weights.
#[derive(Debug)]
pub(crate) struct Plan {
    directory: Directory,
    config: LlamaConfig,
    tokenizer: Tokenizer,
    encoding: Encoding,
    manifest: Option<Manifest>,
    /// A checkpoint's files of weights.
    files: Vec<ModelFile>,
    total_bytes: u64,
}

/// A model that can be used.
#[derive(Debug)]
pub(crate) struct Ready<C: Compute> {
    pub(crate) model: PackedLlama<C>,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) fingerprint: String,
    pub(crate) manifest: Option<Manifest>,
    pub(crate) directory: Directory,
    weight_bytes: u64,
    pub(crate) masks: Option<super::masks::Masks<C>>,
}

pub(crate) fn network(error: &SourceError) -> EngineError {
    if super::scope().navigator().on_line() {
        failure(ErrorCode::Network, error)
    } else {
        failure(
            ErrorCode::Offline,
            format!(
                "there is no network, and {} is not kept in this browser; connect and try again",
                error.file
            ),
        )
    }
}

fn checkpoint(error: CheckpointError) -> EngineError {
    match error {
        CheckpointError::Source(error) => network(&error),
        error => failure(ErrorCode::Checkpoint, error),
    }
}

pub(crate) fn encoding(choice: Choice) -> Encoding {
    match choice {
        Choice::F32 => Encoding::F32,
        Choice::F16 => Encoding::F16,
        Choice::Q8 => Encoding::Q8,
        Choice::Q4 => Encoding::Q4,
    }
}

fn choice(encoding: Encoding) -> Choice {
    match encoding {
        Encoding::F32 => Choice::F32,
        Encoding::F16 => Choice::F16,
        Encoding::Q8 => Choice::Q8,
        Encoding::Q4 => Choice::Q4,
    }
}

/// How a checkpoint's matrices are held unless it is chosen: exactly while that is small.
fn usual_encoding(parameters: u64) -> Encoding {
    match parameters {
        ..50_000_000 => Encoding::F32,
        ..250_000_000 => Encoding::F16,
        ..700_000_000 => Encoding::Q8,
        _ => Encoding::Q4,
    }
}

impl Plan {
    /// Reads the small files.
    pub(crate) async fn new(mut directory: Directory, chosen: Option<Choice>) -> Result<Self, EngineError> {
        directory.loading().begin(LoadPhase::Header, 0);
        let manifest = if directory.pack {
            let bytes = directory.small("manifest.json", MAX_INDEX).await.map_err(|error| network(&error))?;
            let manifest = Manifest::parse(&bytes).map_err(|error| failure(ErrorCode::Checkpoint, error))?;
            directory.name.clone_from(&manifest.name);
            Some(manifest)
        } else {
            None
        };
        let small = async |name: &str, limit: u64| {
            let bytes = directory.small(name, limit).await.map_err(|error| network(&error))?;
            if let Some(file) = manifest.as_ref().and_then(|manifest| manifest.file(name)) {
                let found = blake3::hash(&bytes).to_string();
                if found != file.blake3 {
                    let text = format!(
                        "{name} has the hash {}, the manifest says {}: it is damaged or of another version; fetch the pack again",
                        &found[..8],
                        &file.blake3[..8]
                    );
                    return Err(failure(ErrorCode::Checkpoint, text));
                }
            }
            Ok(bytes)
        };
        let config = String::from_utf8(small("config.json", MAX_CONFIG).await?)
            .map_err(|_| failure(ErrorCode::Checkpoint, "config.json is not text"))?;
        let config =
            LlamaConfig::from_json(&config).map_err(|error| failure(ErrorCode::Checkpoint, error))?;
        let tokenizer = Tokenizer::from_bytes(&small("tokenizer.json", MAX_TOKENIZER).await?, &config)
            .map_err(|error| failure(ErrorCode::Checkpoint, error))?;
        let parameters = ParameterLayout::new(&config).num_parameters();
        let encoding = match (&manifest, chosen) {
            (Some(manifest), _) => manifest.encoding,
            (None, Some(chosen)) => encoding(chosen),
            (None, None) => usual_encoding(parameters),
        };
        let total_bytes = manifest.as_ref().map_or(0, Manifest::weight_bytes);
        Ok(Self { directory, config, tokenizer, encoding, manifest, files: Vec::new(), total_bytes })
    }

    /// Opens a checkpoint's files of weights, which tell their lengths.
    async fn open_files(&mut self) -> Result<(), EngineError> {
        if self.manifest.is_some() || !self.files.is_empty() {
            return Ok(());
        }
        match self.directory.weights("model.safetensors", None).await {
            Ok(file) => self.files.push(file),
            Err(single) => {
                let index = self.directory.small("model.safetensors.index.json", MAX_INDEX).await;
                let index = index.map_err(|_| network(&single))?;
                let text = String::from_utf8_lossy(&index);
                let index =
                    ShardIndex::from_json("model.safetensors.index.json", &text).map_err(checkpoint)?;
                for name in index.files() {
                    if !codingspot_pack::manifest::is_file_name(name) {
                        let text = format!("the index names the file {name:?}; expected a plain file name");
                        return Err(failure(ErrorCode::Checkpoint, text));
                    }
                    let file = self.directory.weights(name, None).await;
                    self.files.push(file.map_err(|error| network(&error))?);
                }
            }
        }
        self.total_bytes = self.files.iter().map(|file| file.len()).sum();
        Ok(())
    }

    /// What it will need.
    pub(crate) async fn needs(&mut self) -> Result<MemoryNeeds, EngineError> {
        self.open_files().await?;
        let needs = memory_needs(&self.config, self.encoding, CONTEXT)
            .map_err(|error| failure(ErrorCode::Checkpoint, error))?;
        let kept = self.directory.kept_bytes().await;
        Ok(MemoryNeeds {
            download_bytes: self.total_bytes.saturating_sub(kept),
            total_bytes: self.total_bytes,
            weight_bytes: needs.weight_bytes,
            context_bytes: needs.context_bytes,
            quota_bytes: store::quota().await.map(|(quota, _)| quota),
        })
    }

    /// Says so, and keeps nothing, where the browser does not allow as much as the model has.
    async fn check_quota(&mut self, full: bool) {
        if !self.directory.keeps() {
            return;
        }
        let kept = self.directory.kept_bytes().await;
        let quota = if full { Some((kept, kept)) } else { store::quota().await };
        if let Some((quota, used)) = quota
            && quota.saturating_sub(used) + kept < self.total_bytes
        {
            self.directory.loading().not_kept(quota, self.total_bytes);
            self.directory.forget_store();
            self.files.clear();
        }
    }

    /// Loads the weights. `largest_buffer` is what the device binds, `full` a storage that is full (for tests).
    pub(crate) async fn load<C: Compute>(
        mut self,
        compute: C,
        largest_buffer: Option<u64>,
        full: bool,
    ) -> Result<Ready<C>, EngineError> {
        let needs = memory_needs(&self.config, self.encoding, CONTEXT)
            .map_err(|error| failure(ErrorCode::Checkpoint, error))?;
        match largest_buffer {
            Some(limit) if needs.largest_bytes > limit => {
                let text = format!(
                    "this GPU binds {} at once, {} needed as {}; choose a smaller encoding or model",
                    megabytes(limit),
                    megabytes(needs.largest_bytes),
                    self.encoding.name()
                );
                return Err(failure(ErrorCode::GpuMemory, text));
            }
            None if needs.weight_bytes > MAX_PAGE_BYTES => {
                let text = format!("not enough page memory: {} needed", megabytes(needs.weight_bytes));
                return Err(failure(ErrorCode::PageMemory, text));
            }
            _ => {}
        }
        self.open_files().await?;
        self.check_quota(full).await;
        self.open_files().await?;
        self.directory.describe(self.total_bytes).await;
        let loader = PackedLoader::new(compute, &self.config, self.encoding, CONTEXT)
            .map_err(|error| failure(ErrorCode::Checkpoint, error))?;
        self.directory.loading().begin(LoadPhase::Fetch, self.total_bytes);
        let (model, fingerprint) = match &self.manifest {
            Some(manifest) => {
                (load_pack(loader, manifest, &self.directory).await?, manifest.fingerprint.clone())
            }
            None => self.load_files(loader).await?,
        };
        self.directory.loading().begin(LoadPhase::Warm, self.total_bytes);
        // Reading back also tells whether the device could hold it all.
        model.score(&[0; 10], 1, async |_| ControlFlow::Continue(())).await.map_err(|error| {
            let text = format!("not enough GPU memory: {} needed ({error})", megabytes(needs.weight_bytes));
            failure(ErrorCode::GpuMemory, text)
        })?;
        let Self { tokenizer, manifest, directory, .. } = self;
        Ok(Ready {
            model,
            tokenizer,
            fingerprint,
            manifest,
            directory,
            weight_bytes: needs.weight_bytes,
            masks: None,
        })
    }

    async fn load_files<C: Compute>(
        &mut self,
        loader: PackedLoader<C>,
    ) -> Result<(PackedLlama<C>, String), EngineError> {
        let files = std::mem::take(&mut self.files);
        let source = SafetensorsSource::open(files).await.map_err(checkpoint)?;
        let loading = self.directory.loading();
        let loaded = load_checkpoint(loader, &source, async |_| {
            if loading.turn().await { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .await;
        let (model, fingerprint) = loaded.map_err(|error| match error {
            LoadError::Checkpoint(error) => checkpoint(error),
            error @ LoadError::Packed(_) => failure(ErrorCode::Checkpoint, error),
        })?;
        Ok((model, fingerprint.to_string()))
    }
}

fn megabytes(bytes: u64) -> String {
    if bytes < 1_000_000_000 {
        format!("{:.0} MB", bytes as f64 / 1e6)
    } else {
        format!("{:.2} GB", bytes as f64 / 1e9)
    }
}

/// A pack's pieces, one at a time: read, hashed, put on the device, dropped.
async fn load_pack<C: Compute>(
    mut loader: PackedLoader<C>,
    manifest: &Manifest,
    directory: &Directory,
) -> Result<PackedLlama<C>, EngineError> {
    let layout = loader.layout().clone();
    let refuse = |text: String| failure(ErrorCode::Checkpoint, text);
    let mut open: Option<(usize, ModelFile)> = None;
    let mut told_full = false;
    for piece in manifest.pieces() {
        let index = layout.index_of(piece.name).ok_or_else(|| {
            refuse(format!("the pack has a tensor {}, which config.json does not imply", piece.name))
        })?;
        let shape: Vec<u64> = layout.tensors()[index].shape.iter().map(|&d| d as u64).collect();
        if manifest.tensors[piece.tensor].shape != shape {
            let found = &manifest.tensors[piece.tensor].shape;
            return Err(refuse(format!("{} has shape {found:?}, config.json implies {shape:?}", piece.name)));
        }
        if open.as_ref().is_none_or(|(shard, _)| *shard != piece.shard) {
            // The one before is closed first: its handle is the only one.
            drop(open.take());
            let shard = &manifest.shards[piece.shard];
            let file = directory.weights(&shard.name, Some(shard.bytes)).await;
            open = Some((piece.shard, file.map_err(|error| network(&error))?));
        }
        let (_, file) = open.as_ref().expect("it was opened above");
        let len = piece.range.end - piece.range.start;
        let mut bytes = file.read(piece.range.clone()).await.map_err(|error| network(&error))?;
        if piece.check(&bytes).is_err() && file.distrust(piece.range.start, len) {
            bytes = file.read(piece.range.clone()).await.map_err(|error| network(&error))?;
        }
        let rows = piece.decode(&bytes).map_err(|error| failure(ErrorCode::Checkpoint, error))?;
        drop(bytes);
        loader.push(index, &rows, piece.encoding).map_err(|error| failure(ErrorCode::Checkpoint, error))?;
        if file.is_full() && !std::mem::replace(&mut told_full, true) {
            let quota = store::quota().await.map_or(0, |(quota, _)| quota);
            directory.loading().not_kept(quota, manifest.weight_bytes());
        }
        if directory.loading().turn().await {
            return Err(refuse("loading was stopped".to_owned()));
        }
    }
    loader.finish().map_err(|error| failure(ErrorCode::Checkpoint, error))
}

impl<C: Compute> Ready<C> {
    /// What the page is told of it.
    pub(crate) fn facts(&self) -> ModelFacts {
        let layout = self.model.layout();
        ModelFacts {
            name: self.directory.name.clone(),
            parameters: layout.num_parameters(),
            context: u32::try_from(self.model.context()).unwrap_or(u32::MAX),
            fingerprint: self.fingerprint.clone(),
            encoding: choice(self.model.encoding()),
            weight_bytes: self.weight_bytes,
            tensors: layout
                .tensors()
                .iter()
                .map(|spec| TensorFacts {
                    name: spec.name.clone(),
                    layer: spec.layer.and_then(|layer| u32::try_from(layer).ok()),
                    module: spec.module.name().to_owned(),
                    parameters: spec.numel(),
                })
                .collect(),
            spots: self
                .manifest
                .iter()
                .flat_map(|manifest| manifest.spots.iter().map(|spot| spot.name.clone()))
                .collect(),
        }
    }
}
