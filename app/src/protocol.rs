//! Messages between the page and its worker.
//!
//! Postcard bytes in a transferred `ArrayBuffer`. Every request carries an id and gets exactly one
//! terminal message; what arrives with an id that is no longer awaited is dropped.

use serde::{Deserialize, Serialize};

/// Version of the messages; both sides must have the same.
pub const PROTOCOL_VERSION: u32 = 1;

/// Names a request.
pub type RequestId = u32;

/// Which form of the model speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Arm {
    /// The weights as loaded.
    Original,
    /// The spot set to zero.
    Spot,
}

/// What computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Backend {
    /// The browser's GPU interface.
    WebGpu,
    /// The CPU, in WebAssembly (burn's flex backend).
    Flex,
}

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StopReason {
    /// The model ended the sequence.
    Eos,
    /// The limit of tokens.
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

/// A loaded model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelFacts {
    /// Parameters.
    pub parameters: u64,
    /// Longest context, tokens.
    pub context: u32,
    /// Fingerprint of the weights, 64 hexadecimal digits.
    pub fingerprint: String,
}

/// A loaded spot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpotFacts {
    /// Which parameters competed: `all` or `no-norm`.
    pub scope: String,
    /// Number of parameters that competed: 100 %.
    pub parameters_in_scope: u64,
    /// Number of parameters that the file ranks.
    pub len: u64,
    /// The largest k that it holds, percent.
    pub max_k: f64,
}

/// A failure, for people and for code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineError {
    /// Stable name: `checkpoint`, `spot`, `generate`, `network`, `protocol`, `device`.
    pub code: String,
    /// One sentence.
    pub message: String,
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
    /// Load the model in a directory; ends in `ModelReady`, `LoadCancelled` or `Failed`.
    OpenModel {
        /// Request.
        id: RequestId,
        /// Absolute address of the directory, with a final slash.
        url: String,
    },
    /// Stop loading.
    CancelLoad {
        /// The request to stop.
        id: RequestId,
    },
    /// Load a spot for the loaded model; ends in `SpotReady` or `Failed`.
    OpenSpot {
        /// Request.
        id: RequestId,
        /// Absolute address of the file.
        url: String,
    },
    /// Complete a prompt with each arm in turn; ends in `RunFinished`, `RunStopped` or `Failed`.
    Generate {
        /// Request.
        id: RequestId,
        /// Text; BOS is put before it.
        prompt: String,
        /// How many parameters of the spot are zero in the spot arm.
        count: u64,
        /// Arms in the order in which they run.
        arms: Vec<Arm>,
        /// Sampling.
        sampling: Sampling,
    },
    /// Stop generating.
    StopRun {
        /// The request to stop.
        id: RequestId,
    },
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
        reason: Option<String>,
    },
    /// Weights arrive.
    LoadProgress {
        /// Request.
        id: RequestId,
        /// Bytes on the device.
        done_bytes: u64,
        /// Bytes of the checkpoint.
        total_bytes: u64,
    },
    /// The model can be used. Terminal.
    ModelReady {
        /// Request.
        id: RequestId,
        /// The model.
        model: ModelFacts,
    },
    /// Loading was stopped; nothing of it is kept. Terminal.
    LoadCancelled {
        /// Request.
        id: RequestId,
    },
    /// The spot can be used. Terminal.
    SpotReady {
        /// Request.
        id: RequestId,
        /// The spot.
        spot: SpotFacts,
    },
    /// An arm begins; its text so far is empty.
    ArmStarted {
        /// Request.
        id: RequestId,
        /// Arm.
        arm: Arm,
    },
    /// A new token.
    Token {
        /// Request.
        id: RequestId,
        /// Arm.
        arm: Arm,
        /// The token.
        token: u32,
        /// Text that it completes, possibly empty.
        text: String,
        /// Its log-probability, nats.
        logprob: f32,
    },
    /// An arm is done.
    ArmFinished {
        /// Request.
        id: RequestId,
        /// Arm.
        arm: Arm,
        /// Why.
        stop: StopReason,
        /// The whole text of the arm: it replaces what was streamed.
        text: String,
        /// New tokens.
        tokens: u32,
        /// Speed after the first token.
        tokens_per_s: Option<f64>,
    },
    /// All arms are done. Terminal.
    RunFinished {
        /// Request.
        id: RequestId,
    },
    /// Generation was stopped. Terminal.
    RunStopped {
        /// Request.
        id: RequestId,
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
            arms: vec![Arm::Original, Arm::Spot],
            sampling: Sampling { max_tokens: 48, temperature: 0.0, top_p: 1.0, seed: 3 },
        };
        assert_eq!(decode::<ToEngine>(&encode(&message)).unwrap(), message);
        assert!(decode::<ToEngine>(&[200, 1, 2]).is_err());
        assert!(decode::<FromEngine>(&[]).is_err());
    }
}
