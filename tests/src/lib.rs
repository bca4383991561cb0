//! What the cross-crate tests share: golden fixtures, tolerances, and data that may be absent.

use codingspot_core::Device;
use codingspot_core::checkpoint::{
    CheckpointError, LoadedModel, MemorySource, SafetensorsSource, ShardIndex, load_model,
};
use codingspot_core::config::LlamaConfig;
use safetensors::SafeTensors;
use serde_json::Value;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// A tiny model with what Hugging Face transformers and PyTorch autograd (float64) computed on it.
#[derive(Debug)]
pub struct Fixture {
    /// Directory.
    pub path: PathBuf,
    /// Shape.
    pub config: LlamaConfig,
    /// `golden.json`.
    pub golden: Value,
    tensors: Vec<u8>,
}

/// Names of the bundled fixtures.
pub const FIXTURES: [&str; 6] =
    ["llama32-tiny", "codellama-tiny", "qwen2-tiny", "mistral-tiny", "smollm-tiny", "tinyllama-tiny"];

/// Those that run on a GPU adapter too: a software one takes a minute for each.
pub const GPU_FIXTURES: [&str; 3] = ["llama32-tiny", "codellama-tiny", "qwen2-tiny"];

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

impl Fixture {
    /// Opens a bundled fixture.
    ///
    /// # Panics
    /// When it is damaged.
    pub fn open(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name);
        let config = String::from_utf8(read(&path.join("config.json"))).expect("text");
        Self {
            config: LlamaConfig::from_json(&config).expect("the fixture's config"),
            golden: serde_json::from_slice(&read(&path.join("golden.json"))).expect("golden.json"),
            tensors: read(&path.join("golden.safetensors")),
            path,
        }
    }

    /// Loads its weights.
    ///
    /// # Panics
    /// When they are damaged.
    pub fn load(&self, device: &Device) -> LoadedModel {
        load_directory(&self.path, &self.config, device).expect("the fixture's weights")
    }

    fn view(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.tensors).expect("golden.safetensors")
    }

    /// A golden f32 tensor.
    ///
    /// # Panics
    /// When there is none.
    pub fn floats(&self, name: &str) -> Vec<f32> {
        let view = self.view();
        let data = view.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}")).data().to_vec();
        data.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    }

    /// Rows of a golden i64 tensor.
    ///
    /// # Panics
    /// When there is none, or a value is no token.
    pub fn ids(&self, name: &str) -> Vec<Vec<u32>> {
        let view = self.view();
        let tensor = view.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        let cols = *tensor.shape().last().expect("an axis");
        let values: Vec<u32> = tensor
            .data()
            .as_chunks::<8>()
            .0
            .iter()
            .map(|bytes| u32::try_from(i64::from_le_bytes(*bytes)).expect("a token or position"))
            .collect();
        values.chunks(cols).map(<[u32]>::to_vec).collect()
    }

    /// The languages that it was scored on.
    ///
    /// # Panics
    /// When golden.json has none.
    pub fn languages(&self) -> Vec<String> {
        let names = self.golden["languages"].as_array().expect("languages");
        names.iter().map(|name| name.as_str().expect("a name").to_owned()).collect()
    }
}

/// Loads a checkpoint directory from memory.
///
/// # Errors
/// As [`load_model`].
///
/// # Panics
/// When a file can't be read.
pub fn load_directory(
    path: &Path,
    config: &LlamaConfig,
    device: &Device,
) -> Result<LoadedModel, CheckpointError> {
    let source = open_directory(path)?;
    pollster::block_on(load_model(&source, config, device, async |_| ControlFlow::Continue(())))
}

/// The tensors of a checkpoint directory, in memory.
///
/// # Errors
/// As [`SafetensorsSource::open`].
///
/// # Panics
/// When a file can't be read.
pub fn open_directory(path: &Path) -> Result<SafetensorsSource<MemorySource<Vec<u8>>>, CheckpointError> {
    let index = path.join("model.safetensors.index.json");
    let files: Vec<PathBuf> = if index.is_file() {
        let text = String::from_utf8(read(&index)).expect("text");
        let index = ShardIndex::from_json("index", &text)?;
        index.files().into_iter().map(|name| path.join(name)).collect()
    } else {
        vec![path.join("model.safetensors")]
    };
    let sources =
        files.iter().map(|file| MemorySource::new(file.display().to_string(), read(file))).collect();
    pollster::block_on(SafetensorsSource::open(sources))
}

/// A directory of data that is not part of the project, or `None` with a message: tests that need
/// it skip. Set `CODINGSPOT_SHARED` to where it is; beside the project it is found by itself.
pub fn shared(path: &str) -> Option<PathBuf> {
    let root = std::env::var_os("CODINGSPOT_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let found = root.join(path);
    if found.exists() {
        Some(found)
    } else {
        println!("skipped: {} is not there (set CODINGSPOT_SHARED)", found.display());
        None
    }
}

/// Relative error `‖a − b‖ / ‖b‖`.
///
/// # Panics
/// When lengths differ, something is not finite, or the expected norm is 0.
pub fn relative_error(actual: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(actual.len(), expected.len(), "lengths differ");
    assert!(actual.iter().chain(expected).all(|value| value.is_finite()), "a value is not finite");
    let square = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>();
    let difference = square(&mut actual.iter().zip(expected).map(|(a, b)| f64::from(*a) - f64::from(*b)));
    let norm = square(&mut expected.iter().map(|value| f64::from(*value)));
    assert!(norm > 0.0, "the expected values are all zero");
    (difference / norm).sqrt()
}

/// Asserts a relative error of at most `tolerance`, and prints it (`--nocapture` shows it).
///
/// # Panics
/// When it is larger.
pub fn assert_close(what: &str, actual: &[f32], expected: &[f32], tolerance: f64) {
    let error = relative_error(actual, expected);
    println!("{what}: relative error {error:.2e}");
    assert!(error <= tolerance, "{what}: relative error {error:.2e} is above {tolerance:.0e}");
}

/// Random numbers of a seed, the same on every machine (`SplitMix64`).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The sequence of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `0..end`.
    ///
    /// # Panics
    /// When `end` is 0.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.bits() % end as u64).expect("below a usize")
    }

    /// One of `choices`.
    ///
    /// # Panics
    /// When there is none.
    pub fn choose<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// Uniform in `[-1, 1)`, a multiple of 2⁻²³.
    pub fn signed(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / 8_388_608.0 - 1.0
    }

    /// `n` values, uniform in `[-scale, scale)`.
    pub fn values(&mut self, n: usize, scale: f32) -> Vec<f32> {
        (0..n).map(|_| scale * self.signed()).collect()
    }
}
