//! Checkpoints of random weights, written as transformers writes them, in bounded memory.

use crate::args::StorageChoice;
use crate::model::{INDEX, MAX_JSON_BYTES, read_text};
use crate::output;
use crate::sweep::Sweep;
use anyhow::Context as _;
use codingspot_core::checkpoint::{CheckpointDtype, safetensors_head};
use codingspot_core::config::LlamaConfig;
use codingspot_core::layout::ParameterLayout;
use codingspot_core::synth::{CHUNK, RandomWeights};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;

/// Standard deviation where a config names none; transformers' own default.
const INITIALIZER_RANGE: f64 = 0.02;

/// A checkpoint to be written.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) layout: ParameterLayout,
    pub(crate) dtype: CheckpointDtype,
    pub(crate) weights: RandomWeights,
    config_json: String,
    shards: Vec<Shard>,
}

/// One file of it.
#[derive(Debug)]
struct Shard {
    name: String,
    head: Vec<u8>,
    /// Index in the layout and first byte in the file, in file order.
    tensors: Vec<(usize, u64)>,
    len_bytes: u64,
}

impl Plan {
    /// Reads and checks the config, and lays the files out.
    pub(crate) fn new(
        config: &Path,
        dtype: StorageChoice,
        seed: u64,
        max_shard_bytes: u64,
    ) -> anyhow::Result<Self> {
        let dtype = CheckpointDtype::from(dtype);
        let config_json = read_text(config, MAX_JSON_BYTES)?;
        let refused = || format!("{} was refused; expected the config.json of one Llama", config.display());
        let parsed = LlamaConfig::from_json(&config_json).with_context(refused)?;
        check_size(&parsed).with_context(refused)?;
        let weights = RandomWeights { seed, std_dev: initializer_range(&config_json).with_context(refused)? };
        let layout = ParameterLayout::new(&parsed);
        let shards = shards(&layout, dtype, max_shard_bytes)?;
        Ok(Self { layout, dtype, weights, config_json, shards })
    }

    /// Bytes of all its weight files.
    pub(crate) fn len_bytes(&self) -> u64 {
        self.shards.iter().map(|shard| shard.len_bytes).sum()
    }

    /// Names of its weight files.
    pub(crate) fn files(&self) -> Vec<&str> {
        self.shards.iter().map(|shard| shard.name.as_str()).collect()
    }

    /// Writes config, weights and index into `folder`, which exists. Memory: 2 MiB a thread.
    pub(crate) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        check_free_space(folder, self.len_bytes())?;
        fs::write(folder.join("config.json"), &self.config_json)?;
        let size = self.dtype.size_bytes();
        let mut files = Vec::new();
        let mut pieces = Vec::new();
        for (number, shard) in self.shards.iter().enumerate() {
            files.push(NewFile::create(&folder.join(&shard.name), shard.len_bytes, &shard.head)?);
            for &(tensor, start) in &shard.tensors {
                let spec = &self.layout.tensors()[tensor];
                let mut left = spec.numel();
                for chunk in 0..u32::try_from(left.div_ceil(CHUNK as u64))? {
                    let place = start + u64::from(chunk) * CHUNK as u64 * size;
                    let values = usize::try_from(left.min(CHUNK as u64))?;
                    left -= values as u64;
                    let tensor = u32::try_from(tensor)?;
                    pieces.push(Piece { file: number, place, tensor, chunk, values });
                }
            }
        }
        let sweep = Sweep::new("Writing random weights", &pieces, 1, |piece| piece.values as u64);
        sweep.run(
            || (vec![0.0; CHUNK], Vec::new()),
            |(values, bytes), piece| {
                let values = &mut values[..piece.values];
                let is_norm = self.layout.tensors()[piece.tensor as usize].module.is_norm();
                self.weights.fill(piece.tensor, piece.chunk, is_norm, values);
                bytes.clear();
                self.dtype.extend_bytes(values, bytes);
                files[piece.file].write_at(piece.place, bytes)
            },
        )?;
        files.iter().try_for_each(NewFile::sync)?;
        sweep.finish();
        if self.shards.len() > 1 {
            fs::write(folder.join(INDEX), self.index()?)?;
        }
        Ok(())
    }

    /// `model.safetensors.index.json`.
    fn index(&self) -> anyhow::Result<String> {
        let map: BTreeMap<&str, &str> = self
            .shards
            .iter()
            .flat_map(|shard| shard.tensors.iter().map(|&(tensor, _)| (tensor, shard.name.as_str())))
            .map(|(tensor, file)| (self.layout.tensors()[tensor].name.as_str(), file))
            .collect();
        let parameters = self.layout.num_parameters();
        let index = json!({
            "metadata": {"total_parameters": parameters, "total_size": parameters * self.dtype.size_bytes()},
            "weight_map": map,
        });
        Ok(serde_json::to_string_pretty(&index)? + "\n")
    }
}

/// A run of weights of one tensor.
#[derive(Debug)]
struct Piece {
    file: usize,
    place: u64,
    tensor: u32,
    chunk: u32,
    values: usize,
}

/// Refuses tensors that no spot can name, before anything is sized by them.
fn check_size(config: &LlamaConfig) -> anyhow::Result<()> {
    let rows = [config.vocab_size, config.intermediate_size, config.query_size(), config.key_value_size()];
    let largest = rows.map(|rows| rows as u128 * config.hidden_size as u128).into_iter().max();
    let largest = largest.unwrap_or(0);
    anyhow::ensure!(
        largest <= 1 << 32,
        "one of its tensors has {largest} parameters; expected 4294967296 at most"
    );
    Ok(())
}

/// `initializer_range` of a config.
pub(crate) fn initializer_range(config_json: &str) -> anyhow::Result<f32> {
    let config: serde_json::Value = serde_json::from_str(config_json)?;
    let range = match config.get("initializer_range") {
        None | Some(serde_json::Value::Null) => INITIALIZER_RANGE,
        Some(value) => value
            .as_f64()
            .filter(|range| (0.0..=1000.0).contains(range))
            .with_context(|| format!("its initializer_range is {value}; expected a number from 0 to 1000"))?,
    };
    #[expect(clippy::cast_possible_truncation, reason = "a standard deviation, rounded")]
    Ok(range as f32)
}

/// Which tensor goes to which file, as `split_torch_state_dict_into_shards` of `huggingface_hub` has
/// it: tensors in order, a new file when the next one doesn't fit, and a file of its own for each
/// that fits none.
fn shards(layout: &ParameterLayout, dtype: CheckpointDtype, most: u64) -> anyhow::Result<Vec<Shard>> {
    let size = |tensor: usize| layout.tensors()[tensor].numel() * dtype.size_bytes();
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut current = Vec::new();
    let mut current_bytes = 0;
    for tensor in 0..layout.tensors().len() {
        if size(tensor) > most {
            groups.push(vec![tensor]);
            continue;
        }
        if current_bytes + size(tensor) > most {
            groups.push(std::mem::take(&mut current));
            current_bytes = 0;
        }
        current_bytes += size(tensor);
        current.push(tensor);
    }
    if !current.is_empty() {
        groups.push(current);
    }
    let count = groups.len();
    let shard = |(number, mut tensors): (usize, Vec<usize>)| {
        let name = match count {
            1 => "model.safetensors".to_owned(),
            _ => format!("model-{:05}-of-{count:05}.safetensors", number + 1),
        };
        // Inside a file the library orders tensors of one type by name.
        tensors.sort_by_key(|&tensor| &layout.tensors()[tensor].name);
        let specs = tensors.iter().map(|&tensor| &layout.tensors()[tensor]);
        let described = specs.map(|spec| (spec.name.clone(), dtype.to_safetensors(), spec.shape.clone()));
        let head = safetensors_head(&[("format", "pt")], described.collect())?;
        let mut len_bytes = head.len() as u64;
        let places = tensors.into_iter().map(|tensor| {
            let start = len_bytes;
            len_bytes += size(tensor);
            (tensor, start)
        });
        let tensors = places.collect();
        Ok(Shard { name, head, tensors, len_bytes })
    };
    groups.into_iter().enumerate().map(shard).collect()
}

/// Refuses to begin what the disk has no room for.
pub(crate) fn check_free_space(folder: &Path, needed: u64) -> anyhow::Result<()> {
    #[cfg(unix)]
    {
        let disk = rustix::fs::statvfs(folder)
            .with_context(|| format!("the disk of {} can't be asked for its free space", folder.display()))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        anyhow::ensure!(
            needed <= free,
            "{} are needed and the disk of {} has {} free; free some, choose another place, or ask for less",
            output::bytes(needed),
            folder.display(),
            output::bytes(free)
        );
    }
    Ok(())
}

/// A file that threads write parts of.
#[derive(Debug)]
pub(crate) struct NewFile {
    file: File,
    name: String,
}

impl NewFile {
    /// Creates a file of `len_bytes` that begins with `head`.
    pub(crate) fn create(path: &Path, len_bytes: u64, head: &[u8]) -> anyhow::Result<Self> {
        let name = path.display().to_string();
        let create = || File::create(path).and_then(|file| file.set_len(len_bytes).map(|()| file));
        let file = create().with_context(|| format!("{name} can't be created"))?;
        let new = Self { file, name };
        new.write_at(0, head)?;
        Ok(new)
    }

    /// Writes `bytes` from byte `place` on.
    pub(crate) fn write_at(&self, place: u64, bytes: &[u8]) -> anyhow::Result<()> {
        #[cfg(unix)]
        let outcome = std::os::unix::fs::FileExt::write_all_at(&self.file, bytes, place);
        #[cfg(not(unix))]
        let outcome = {
            use std::io::{Seek as _, SeekFrom, Write as _};
            // One handle has one position, so writers take turns.
            static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());
            let _turn = crate::sweep::lock(&TURN);
            let mut file = &self.file;
            file.seek(SeekFrom::Start(place)).and_then(|_| file.write_all(bytes))
        };
        outcome.with_context(|| format!("{} can't be written", self.name))
    }

    /// Waits until it is on the disk.
    pub(crate) fn sync(&self) -> anyhow::Result<()> {
        self.file.sync_all().with_context(|| format!("{} can't be written", self.name))
    }
}
