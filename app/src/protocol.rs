//! Messages between the page and its worker.
//!
//! Postcard bytes in a transferred `ArrayBuffer`, sent as the first element of an array; files of this computer follow
//! them as `File` objects. Every request carries an id and gets exactly one terminal message; what arrives with an id
//! that is no longer awaited is dropped.

use serde::{Deserialize, Serialize};

/// Version of the messages; both sides must have the same.
pub const PROTOCOL_VERSION: u32 = 2;

/// Names a request.
pub type RequestId = u32;

/// Which form of the model speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Arm {
    /// The weights as loaded.
    Original,
    /// The spot set to zero.
    Spot,
    /// As many parameters of each tensor, drawn at random, set to zero.
    Random,
}

/// What the arms of a run have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RunMode {
    /// Every arm scores the tokens that the original writes: its numbers compare token by token.
    SameText,
    /// Every arm writes its own text.
    OwnText,
}

/// What computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Backend {
    /// The browser's GPU interface.
    WebGpu,
    /// The CPU, in WebAssembly.
    Cpu,
}

/// Why it is not WebGPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum BackendReason {
    /// It was asked for.
    Asked,
    /// The browser has no WebGPU in workers.
    NoWebGpu,
    /// The browser gives no adapter.
    NoAdapter,
    /// The adapter lacks a feature that is needed.
    MissingFeature(String),
    /// The device could not be had; the browser's words.
    NoDevice(String),
}

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StopReason {
    /// The model ended the sequence.
    Eos,
    /// The limit of tokens, or the context is full.
    Length,
}

/// Sampling settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// At most this many new tokens.
    pub max_tokens: u32,
    /// 0 is greedy.
    pub temperature: f64,
    /// Nucleus.
    pub top_p: f64,
    /// Seed.
    pub seed: u64,
}

/// How weights are held on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Encoding {
    /// As 32-bit floats.
    F32,
    /// As 16-bit floats.
    F16,
    /// In 8 bits, blocks of 32 with one scale.
    Q8,
    /// In 4 bits, blocks of 32 with one scale.
    Q4,
}

impl Encoding {
    /// As people read it.
    pub fn label(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Q8 => "Q8",
            Self::Q4 => "Q4",
        }
    }
}

/// Where a model comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ModelSource {
    /// A directory on a server: a web pack (`manifest.json`) or a checkpoint (`config.json`).
    Url {
        /// Absolute address, with a final slash.
        url: String,
        /// It is a web pack.
        pack: bool,
    },
    /// A checkpoint on the Hugging Face hub.
    Hub {
        /// `ORG/NAME`.
        repo: String,
    },
    /// Files of this computer, sent beside the message: a checkpoint's or a web pack's.
    LocalFiles,
}

/// Where a spot comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SpotSource {
    /// A file on a server.
    Url(String),
    /// The one of this name in the loaded web pack.
    Pack(String),
    /// A file of this computer, sent beside the message.
    LocalFile,
}

/// One tensor of a loaded model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorFacts {
    /// Hugging Face name.
    pub name: String,
    /// Its layer; `None` for the embedding, the last norm and the head.
    pub layer: Option<u32>,
    /// Its module, as in its name: `q_proj`, `input_layernorm`, `embed_tokens`.
    pub module: String,
    /// Parameters.
    pub parameters: u64,
}

/// A loaded model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelFacts {
    /// What it is called.
    pub name: String,
    /// Parameters.
    pub parameters: u64,
    /// Longest context that the page uses, tokens.
    pub context: u32,
    /// Fingerprint of the weights, 64 hexadecimal digits.
    pub fingerprint: String,
    /// How the matrices are held.
    pub encoding: Encoding,
    /// Bytes of GPU memory, or of the page's for the CPU, that the weights take.
    pub weight_bytes: u64,
    /// Its tensors, in the order of `MaskApplied::by_tensor`.
    pub tensors: Vec<TensorFacts>,
    /// Spots that come with it (a web pack's): their names.
    pub spots: Vec<String>,
}

/// A loaded spot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpotFacts {
    /// Which parameters competed: `all`, `no-norm`, `no-embedding` or `blocks`.
    pub scope: String,
    /// Number of parameters that competed: 100 %.
    pub parameters_in_scope: u64,
    /// Number of parameters that it ranks.
    pub len: u64,
    /// The largest k that it holds, percent.
    pub max_k: f64,
    /// Languages whose scores were added.
    pub languages: Vec<String>,
    /// The counts that can be chosen, ascending; empty when every count can.
    pub levels: Vec<u64>,
}

/// Why a spot does not fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SpotMismatch {
    /// It was made from other weights.
    ModelHash {
        /// Fingerprint in the spot.
        spot: String,
        /// Fingerprint of the model.
        model: String,
    },
    /// Its tensors are not the model's.
    Shape(String),
    /// It is of a version that this build does not read.
    Version(String),
    /// It is damaged.
    Checksum(String),
    /// It is no spot.
    Malformed(String),
}

/// What a device must hold, before anything is loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryNeeds {
    /// Bytes that are fetched, as far as they are not kept in this browser.
    pub download_bytes: u64,
    /// Bytes of the model's files.
    pub total_bytes: u64,
    /// Bytes of weights on the device.
    pub weight_bytes: u64,
    /// Bytes of keys, values and activations at the longest context.
    pub context_bytes: u64,
    /// Bytes that this browser lets the page keep, if it says so.
    pub quota_bytes: Option<u64>,
}

/// What a browser keeps of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheEntry {
    /// Names it for `EvictCache`.
    pub key: String,
    /// What it is called.
    pub name: String,
    /// Bytes kept.
    pub bytes: u64,
    /// Bytes of all of it.
    pub total_bytes: u64,
}

/// What happened, for code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ErrorCode {
    /// A checkpoint or web pack is not what it should be.
    Checkpoint,
    /// The spot can't be used.
    Spot,
    /// Nothing could be generated.
    Generate,
    /// Something can't be fetched.
    Network,
    /// There is no network, and the model is not kept here.
    Offline,
    /// GPU memory does not suffice.
    GpuMemory,
    /// The page's memory does not suffice.
    PageMemory,
    /// Page and worker don't understand each other.
    Protocol,
    /// The device failed.
    Device,
}

/// A failure, for people and for code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineError {
    /// What kind it is.
    pub code: ErrorCode,
    /// One sentence or two: what happened, and what to do.
    pub message: String,
}

/// A fault to bring about, to see how the page takes it: its address asks for one by `?fault=`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// The device is lost at this token of a run.
    DeviceLost {
        /// Token, from 1.
        token: u32,
    },
    /// There is no GPU memory left while loading.
    OutOfMemory,
    /// The browser's storage is full.
    Quota,
    /// The network gives no data while loading.
    Stall,
}

/// A token that may come next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// The token.
    pub token: u32,
    /// Its text.
    pub text: String,
    /// Its log-probability, nats.
    pub logprob: f32,
}

/// A token of a run: written by the arm, or given to it (`RunMode::SameText`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenInfo {
    /// The token.
    pub token: u32,
    /// Text that it completes, possibly empty.
    pub text: String,
    /// Its log-probability, nats, before temperature and top-p.
    pub logprob: f32,
    /// The likeliest tokens at its place, the likeliest first: five at most.
    pub top: Vec<Candidate>,
}

/// A text of a language, to measure the loss on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snippet {
    /// The language.
    pub language: String,
    /// The text.
    pub text: String,
}

/// Page → worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ToEngine {
    /// First message; answered by [`FromEngine::Ready`].
    Hello {
        /// The page's [`PROTOCOL_VERSION`].
        version: u32,
        /// Don't try WebGPU.
        force_cpu: bool,
    },
    /// What a model would need; ends in `MemoryEstimate` or `Failed`. Only its small files are read.
    EstimateMemory {
        /// Request.
        id: RequestId,
        /// The model.
        source: ModelSource,
        /// How its matrices are to be held; `None` leaves it to the model's size, or to the pack.
        encoding: Option<Encoding>,
    },
    /// Load a model; ends in `ModelReady`, `LoadCancelled` or `Failed`.
    OpenModel {
        /// Request.
        id: RequestId,
        /// The model.
        source: ModelSource,
        /// As in `EstimateMemory`.
        encoding: Option<Encoding>,
        /// Keep what is fetched in this browser.
        keep: bool,
    },
    /// Stop loading.
    CancelLoad {
        /// The request to stop.
        id: RequestId,
    },
    /// Load a spot for the loaded model, and draw its random control; ends in `SpotReady`, `SpotRejected` or `Failed`.
    OpenSpot {
        /// Request.
        id: RequestId,
        /// The spot.
        source: SpotSource,
        /// Seed of the random control.
        control_seed: u64,
    },
    /// Score the loaded model on code and take its spot, for models that fit; ends in `SpotReady` or `Failed`.
    ScoreCode {
        /// Request.
        id: RequestId,
        /// The code, a text a document.
        documents: Vec<Snippet>,
        /// Leave the gains of norms out.
        no_norm: bool,
        /// Seed of the random control.
        control_seed: u64,
    },
    /// Switch the first `count` parameters of an arm's ranking off, all others on; ends in `MaskApplied` or `Failed`.
    SetMask {
        /// Request.
        id: RequestId,
        /// Whose ranking: `Original` switches all on.
        arm: Arm,
        /// How many.
        count: u64,
    },
    /// Complete a prompt with each arm in turn; ends in `RunFinished`, `RunStopped` or `Failed`.
    Generate {
        /// Request.
        id: RequestId,
        /// Text; BOS is put before it.
        prompt: String,
        /// How many parameters are zero in the ablated arms.
        count: u64,
        /// Arms in the order in which they run.
        arms: Vec<Arm>,
        /// Whether ablated arms write, or score what the original wrote.
        mode: RunMode,
        /// For `SameText` without the original among the arms: the tokens that it wrote.
        given: Vec<u32>,
        /// Sampling.
        sampling: Sampling,
    },
    /// Measure the loss of each arm on texts; ends in `RunFinished`, `RunStopped` or `Failed`.
    ScoreLanguages {
        /// Request.
        id: RequestId,
        /// The texts, those of a language side by side.
        snippets: Vec<Snippet>,
        /// How many parameters are zero in the ablated arms.
        count: u64,
        /// Arms in the order in which they run.
        arms: Vec<Arm>,
    },
    /// Stop generating or measuring.
    StopRun {
        /// The request to stop.
        id: RequestId,
    },
    /// What this browser keeps; ends in `CacheListing` or `Failed`.
    ListCache {
        /// Request.
        id: RequestId,
    },
    /// Delete what this browser keeps of a model; ends in `CacheListing` or `Failed`.
    EvictCache {
        /// Request.
        id: RequestId,
        /// The entry; `None` deletes all.
        key: Option<String>,
    },
    /// Give the model's memory back; ends in `Released`.
    Release {
        /// Request.
        id: RequestId,
    },
    /// Bring a fault about.
    InjectFault {
        /// Which.
        fault: Fault,
    },
}

/// What loading is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LoadPhase {
    /// Reading what there is to load.
    Header,
    /// Fetching, checking and uploading weights.
    Fetch,
    /// Compiling kernels by a first run.
    Warm,
}

/// Worker → page.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum FromEngine {
    /// The device is chosen and the worker listens.
    Ready {
        /// The worker's [`PROTOCOL_VERSION`].
        version: u32,
        /// What computes.
        backend: Backend,
        /// Name of the adapter, or of the CPU path.
        adapter: String,
        /// Why it is not WebGPU.
        reason: Option<BackendReason>,
    },
    /// What a model would need. Terminal.
    MemoryEstimate {
        /// Request.
        id: RequestId,
        /// The needs.
        needs: MemoryNeeds,
    },
    /// Weights arrive.
    LoadProgress {
        /// Request.
        id: RequestId,
        /// What is being done.
        phase: LoadPhase,
        /// Bytes on the device.
        done_bytes: u64,
        /// Bytes of the model's files.
        total_bytes: u64,
        /// Of `done_bytes`, those that this browser had kept.
        kept_bytes: u64,
    },
    /// No data comes; it is tried again.
    LoadStalled {
        /// Request.
        id: RequestId,
        /// Seconds without data.
        seconds: u32,
        /// The attempt that begins.
        attempt: u32,
        /// How many there will be.
        attempts: u32,
    },
    /// What is fetched can't be kept; loading goes on.
    NotKept {
        /// Request.
        id: RequestId,
        /// Bytes that this browser allows.
        quota_bytes: u64,
        /// Bytes of the model.
        needed_bytes: u64,
    },
    /// The model can be used. Terminal.
    ModelReady {
        /// Request.
        id: RequestId,
        /// The model.
        model: ModelFacts,
    },
    /// Loading was stopped. Terminal.
    LoadCancelled {
        /// Request.
        id: RequestId,
        /// Bytes that this browser keeps, with which a next loading begins.
        kept_bytes: u64,
    },
    /// How far a scoring is.
    ScoreProgress {
        /// Request.
        id: RequestId,
        /// Batches done.
        done: u32,
        /// Batches.
        total: u32,
    },
    /// The spot can be used. Terminal.
    SpotReady {
        /// Request.
        id: RequestId,
        /// The spot.
        spot: SpotFacts,
    },
    /// The spot does not fit; the model and a spot that was there before are untouched. Terminal.
    SpotRejected {
        /// Request.
        id: RequestId,
        /// Why.
        mismatch: SpotMismatch,
    },
    /// Parameters were switched. Terminal.
    MaskApplied {
        /// Request.
        id: RequestId,
        /// Whose ranking.
        arm: Arm,
        /// How many are off now (the level's, where the spot has levels).
        count: u64,
        /// How many changed.
        changed: u64,
        /// Time that it took, milliseconds.
        milliseconds: f64,
        /// How many are off in each tensor of `ModelFacts::tensors`.
        by_tensor: Vec<u64>,
    },
    /// An arm begins; its text so far is empty.
    ArmStarted {
        /// Request.
        id: RequestId,
        /// Arm.
        arm: Arm,
    },
    /// New tokens, at most 30 messages a second for an arm.
    TokenBatch {
        /// Request.
        id: RequestId,
        /// Arm.
        arm: Arm,
        /// Tokens of the arm before these.
        first: u32,
        /// The tokens.
        tokens: Vec<TokenInfo>,
    },
    /// An arm is done.
    ArmFinished {
        /// Request.
        id: RequestId,
        /// Arm.
        arm: Arm,
        /// Why.
        stop: StopReason,
        /// Tokens.
        tokens: u32,
        /// Speed after the first token (`None` where tokens were given).
        tokens_per_s: Option<f64>,
    },
    /// An arm's loss on a language.
    LanguageNll {
        /// Request.
        id: RequestId,
        /// Arm.
        arm: Arm,
        /// Language.
        language: String,
        /// Nats per token, over all tokens of the language.
        mean: f64,
        /// Half the width of the 95 % interval over its texts; `None` for fewer than two texts.
        half_width: Option<f64>,
        /// Tokens.
        tokens: u32,
    },
    /// All arms are done. Terminal.
    RunFinished {
        /// Request.
        id: RequestId,
    },
    /// The run was stopped. Terminal.
    RunStopped {
        /// Request.
        id: RequestId,
    },
    /// What this browser keeps. Terminal.
    CacheListing {
        /// Request.
        id: RequestId,
        /// By model.
        entries: Vec<CacheEntry>,
        /// Bytes that this browser lets the page keep, if it says so.
        quota_bytes: Option<u64>,
    },
    /// Memory was given back. Terminal.
    Released {
        /// Request.
        id: RequestId,
    },
    /// The GPU was lost, and with it the model; the worker must be started again. Terminal for every request.
    DeviceLost {
        /// Tokens of the arm that ran.
        token: Option<u32>,
        /// The browser's words.
        message: String,
    },
    /// A request failed (terminal), or the worker itself (`id` is `None`).
    Failed {
        /// Request.
        id: Option<RequestId>,
        /// What happened.
        error: EngineError,
    },
}

/// Why bytes are not a message.
pub type DecodeError = postcard::Error;

/// The bytes of a message.
///
/// # Panics
/// Never: the messages are plain data.
pub fn encode(message: &impl Serialize) -> Vec<u8> {
    postcard::to_allocvec(message).expect("messages are plain data")
}

/// The message in `bytes`.
///
/// # Errors
/// [`DecodeError`] when they are not one.
pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, DecodeError> {
    postcard::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_round_trip_and_noise_is_refused() {
        let message = ToEngine::Generate {
            id: 7,
            prompt: "fn main() {".into(),
            count: 13_505,
            arms: vec![Arm::Original, Arm::Spot, Arm::Random],
            mode: RunMode::SameText,
            given: vec![1, 2, 3],
            sampling: Sampling { max_tokens: 48, temperature: 0.0, top_p: 1.0, seed: 3 },
        };
        assert_eq!(decode::<ToEngine>(&encode(&message)).unwrap(), message);
        assert!(decode::<ToEngine>(&[200, 1, 2]).is_err());
        assert!(decode::<FromEngine>(&[]).is_err());
    }
}
