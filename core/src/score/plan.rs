//! How much memory scoring needs, and what gives when there is less.

use super::pass::Residency;
use super::sums::bands;
use crate::config::LlamaConfig;
use crate::layout::ParameterLayout;
use serde::Serialize;

/// What a plan is asked for.
#[derive(Debug, Clone, Copy)]
pub struct PlanRequest {
    /// Sequences of a batch.
    pub batch_size: usize,
    /// Tokens of a sequence.
    pub seq_len: usize,
    /// Batches of the longest language; no pass is longer.
    pub batches: usize,
    /// Sums over gradients that are kept (none: forward passes only).
    pub reductions: usize,
    /// Bytes of an element of a weight on the device: 4, or 2 in f16.
    pub weight_bytes: u64,
    /// Whether the device's memory is the host's.
    pub shared_memory: bool,
    /// Bytes of the host's memory that the caller needs beside the engine.
    pub host_bytes: u64,
    /// Bytes that may be used.
    pub limit: u64,
}

/// A limit that no plan keeps.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "scoring batches of {batch_size} × {seq_len} tokens needs at least {needed} bytes ({} MiB), and the limit is {} MiB; \
     raise --memory-limit, or lower --batch-size or --seq-len",
    needed.div_ceil(1 << 20), limit >> 20
)]
pub struct PlanError {
    /// Sequences of a batch.
    pub batch_size: usize,
    /// Tokens of a sequence.
    pub seq_len: usize,
    /// Least bytes.
    pub needed: u64,
    /// Bytes that may be used.
    pub limit: u64,
}

/// What stays, what streams, and what it costs. Bytes of the device's memory, unless said.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MemoryPlan {
    /// All weights stay on the device; else they come block by block, twice a pass.
    pub weights_resident: bool,
    /// All sums stay on the device for the whole of a language; else they visit it block by block,
    /// once a pass.
    pub sums_resident: bool,
    /// Activations of all blocks are kept for the backward pass; else they are computed again.
    pub keep_activations: bool,
    /// The head is held whole; else its logits are computed twice, band by band.
    pub head_resident: bool,
    /// Batches that go through the blocks together.
    pub batches_per_pass: usize,
    /// Weights at the peak.
    pub weights_bytes: u64,
    /// Sums at the peak.
    pub sums_bytes: u64,
    /// Activations, gradients of activations and logits at the peak.
    pub activations_bytes: u64,
    /// The program itself, and what allocators keep.
    pub overhead_bytes: u64,
    /// Expected peak.
    pub peak_bytes: u64,
    /// Floating-point operations of one token.
    pub flops_per_token: f64,
}

/// What the program needs before any tensor.
const OVERHEAD: u64 = 160 << 20;
/// Logits of a chunk, their statistics and copies.
const LOGITS: u64 = 160 << 20;

impl MemoryPlan {
    /// The fastest plan within the limit.
    ///
    /// # Errors
    /// [`PlanError`] when even the smallest needs more.
    pub fn new(config: &LlamaConfig, request: &PlanRequest) -> Result<Self, PlanError> {
        let mut smallest = u64::MAX;
        // From the fastest to the smallest.
        for (weights_resident, sums_resident, keep_activations, head_resident) in [
            (true, true, true, true),
            (true, true, false, true),
            (true, false, false, true),
            (false, false, false, true),
            (false, false, false, false),
        ] {
            let residency = Choice { weights_resident, sums_resident, keep_activations, head_resident };
            let plan = Self::with(config, request, residency);
            smallest = smallest.min(plan.peak_bytes);
            if plan.peak_bytes <= request.limit {
                return Ok(plan);
            }
        }
        Err(PlanError {
            batch_size: request.batch_size,
            seq_len: request.seq_len,
            needed: smallest,
            limit: request.limit,
        })
    }

    /// What the engine is told.
    pub fn residency(&self) -> Residency {
        Residency { keep_activations: self.keep_activations, stream_head: !self.head_resident }
    }

    fn with(config: &LlamaConfig, request: &PlanRequest, choice: Choice) -> Self {
        let sizes = Sizes::new(config, request);
        let reductions = request.reductions as u64;
        let backward = reductions > 0;
        let overlap = u64::from(!choice.weights_resident);
        // In the block phase: the block, and the one that is fetched ahead.
        let block_weights =
            if choice.weights_resident { sizes.weights } else { 2 * sizes.block * request.weight_bytes };
        let head_part = if choice.head_resident { sizes.vocabulary } else { sizes.band };
        let head_weights = if choice.weights_resident {
            sizes.weights
        } else {
            // A band is converted while the head is assembled.
            head_part * request.weight_bytes + overlap * 4 * sizes.band
        };
        // Sums on the host while they are handed over.
        let handover = u64::from(!choice.sums_resident);
        // A gradient that is needed by itself (not `signed` alone) is one tensor more.
        let extra = u64::from(reductions > 1);
        // Lookups of tied embeddings are summed apart.
        let lookups = if config.tie_word_embeddings { sizes.vocabulary } else { 0 };
        let all_sums = (sizes.parameters + lookups) * reductions;
        let block_sums = if choice.sums_resident {
            4 * (all_sums + extra * sizes.largest)
        } else {
            4 * (sizes.block * reductions + (extra + handover) * sizes.largest)
        };
        let head_sums = if choice.sums_resident {
            4 * (all_sums + extra * sizes.vocabulary)
        } else {
            4 * (head_part * (reductions + extra) + handover * sizes.band)
        };
        let (block_sums, head_sums) = if backward { (block_sums, head_sums) } else { (0, 0) };

        let layers = config.num_hidden_layers as u64;
        let inputs = if backward { (layers + 2) * sizes.stream } else { 3 * sizes.stream };
        let kept = if choice.keep_activations && backward { layers * sizes.saved } else { 0 };
        // One batch at work in a block: what it saves, and the gradients of the widest parts.
        let at_work = sizes.saved + sizes.widest + 4 * sizes.stream + sizes.attention;
        let one = 4 * (inputs + kept);
        let overhead = if request.shared_memory { OVERHEAD + request.host_bytes } else { OVERHEAD };
        // Buffers that come and go in several sizes leave room between them: measured, three eighths
        // (Llama 3.2 3B's shape within 4 GiB: 1.29 GiB of such buffers, 1.77 GiB resident for them).
        let kept = |bytes: u64| bytes / 8 * 3;
        let coming_and_going = |weights: u64, sums: u64| {
            kept(
                if choice.weights_resident { 0 } else { weights }
                    + if choice.sums_resident { 0 } else { sums },
            )
        };
        let fixed_block = block_weights
            + block_sums
            + coming_and_going(block_weights, block_sums)
            + 4 * at_work
            + kept(4 * at_work)
            + overhead;
        let fixed_head = head_weights
            + head_sums
            + coming_and_going(head_weights, head_sums)
            + LOGITS
            + 4 * 2 * sizes.stream
            + overhead;
        let fixed = fixed_block.max(fixed_head);
        let batches_per_pass = if choice.weights_resident && choice.sums_resident {
            1
        } else {
            // What streams is paid once a pass, so a pass takes as many batches as there is room for.
            let room = request.limit.saturating_sub(fixed) / one.max(1);
            usize::try_from(room).unwrap_or(1).clamp(1, request.batches.max(1))
        };
        let activations = one * batches_per_pass as u64;
        let head_peak = fixed_head + activations;
        let block_peak = fixed_block + activations;
        let (weights_bytes, sums_bytes, activations_bytes) = if head_peak > block_peak {
            (head_weights, head_sums, activations + LOGITS)
        } else {
            (block_weights, block_sums, activations + 4 * at_work)
        };
        Self {
            weights_resident: choice.weights_resident,
            sums_resident: choice.sums_resident,
            keep_activations: choice.keep_activations,
            head_resident: choice.head_resident,
            batches_per_pass,
            weights_bytes,
            sums_bytes,
            activations_bytes,
            overhead_bytes: head_peak.max(block_peak) - weights_bytes - sums_bytes - activations_bytes,
            peak_bytes: head_peak.max(block_peak),
            flops_per_token: sizes.flops_per_token(config, request, &choice),
        }
    }
}

#[derive(Clone, Copy)]
struct Choice {
    weights_resident: bool,
    sums_resident: bool,
    keep_activations: bool,
    head_resident: bool,
}

/// Numbers of elements; `weights` in bytes.
struct Sizes {
    parameters: u64,
    weights: u64,
    block: u64,
    largest: u64,
    vocabulary: u64,
    band: u64,
    stream: u64,
    saved: u64,
    widest: u64,
    attention: u64,
}

impl Sizes {
    fn new(config: &LlamaConfig, request: &PlanRequest) -> Self {
        let layout = ParameterLayout::new(config);
        let parameters = layout.num_parameters();
        let block: u64 = layout.tensors().iter().filter(|t| t.layer == Some(0)).map(|t| t.numel()).sum();
        let largest = layout.tensors().iter().filter(|t| t.layer == Some(0)).map(|t| t.numel()).max();
        let head = &layout.tensors()[0];
        let band = bands(head)[0].len() as u64 * config.hidden_size as u64;
        let tokens = (request.batch_size * request.seq_len) as u64;
        let (hidden, inner) = (config.hidden_size as u64, config.intermediate_size as u64);
        let (queries, keys) = (config.query_size() as u64, config.key_value_size() as u64);
        // The CPU's kernels hold 64 rows of weights a head at work; composed ones hold them all.
        let attention = if request.shared_memory {
            tokens * (queries + 2 * keys)
        } else {
            4 * tokens * (config.num_attention_heads * request.seq_len) as u64
        };
        Self {
            parameters,
            weights: parameters * request.weight_bytes,
            block,
            largest: largest.unwrap_or(0),
            vocabulary: head.numel(),
            band,
            stream: tokens * hidden,
            saved: tokens * (2 * queries + 2 * keys + hidden + 2 * inner),
            widest: tokens * (2 * inner + hidden),
            attention,
        }
    }

    /// Two for each multiply-add: 2 forward, 4 backward for each weight of a product; 2 more where
    /// something is computed again; attention beside.
    fn flops_per_token(&self, config: &LlamaConfig, request: &PlanRequest, choice: &Choice) -> f64 {
        let blocks = (config.num_hidden_layers as u64 * self.block) as f64;
        let head = self.vocabulary as f64;
        if request.reductions == 0 {
            return 2.0 * (blocks + head);
        }
        let block_passes = if choice.keep_activations { 6.0 } else { 8.0 };
        let head_passes = if choice.head_resident { 6.0 } else { 8.0 };
        // Scores and mix, half of them masked, 2 products forward and 5 backward. In a window of w keys
        // the mean of n queries sees w − w²/2n of them.
        let seq = request.seq_len.max(1) as f64;
        let window = config.sliding_window.map_or(seq, |window| seq.min(window as f64));
        let seen = window * (2.0 - window / seq);
        let attention = (config.num_hidden_layers * config.query_size()) as f64 * seen * (block_passes + 1.0);
        block_passes * blocks + head_passes * head + attention
    }
}
