//! The model: buffers, and a pass of a few tokens.

use super::PackedError;
use super::place::{Places, Slot};
use crate::config::LlamaConfig;
use crate::kernels::packed::{
    Attention, Compute, ComputeError, Heads, MAX_ROWS, PackedMatrix, Place, Product, STATISTICS_WORDS,
};
use crate::layout::ParameterLayout;
use crate::llama::rotary_angles;
use codingspot_pack::Encoding;
use std::future::Future;

/// One block.
#[derive(Debug)]
pub(super) struct Layer<B> {
    pub(super) input_norm: B,
    pub(super) qkv: PackedMatrix<B>,
    pub(super) qkv_bias: Option<B>,
    pub(super) output: PackedMatrix<B>,
    pub(super) output_bias: Option<B>,
    pub(super) post_norm: B,
    pub(super) gate_up: PackedMatrix<B>,
    pub(super) down: PackedMatrix<B>,
    pub(super) keys: B,
    pub(super) values: B,
}

/// What a pass writes, for [`MAX_ROWS`] tokens.
#[derive(Debug)]
struct Scratch<B> {
    x: B,
    normed: B,
    qkv: B,
    queries: B,
    mixed: B,
    gated: B,
    /// Logits of one token, and of as many as a pass has: a buffer that is read back has no more than is wanted.
    logits: [B; 2],
    statistics: [B; 2],
    /// The token that the last pass found likeliest.
    next: B,
    no_targets: B,
}

/// Weights of a [`PackedLlama`].
#[derive(Debug)]
pub(super) struct Weights<B> {
    pub(super) embedding: Vec<PackedMatrix<B>>,
    pub(super) layers: Vec<Layer<B>>,
    pub(super) norm: B,
    pub(super) head: Option<Vec<PackedMatrix<B>>>,
}

/// A Llama in packed form on a device, with the keys and values of one sequence.
#[derive(Debug)]
pub struct PackedLlama<C: Compute> {
    compute: C,
    config: LlamaConfig,
    layout: ParameterLayout,
    encoding: Encoding,
    pub(super) places: Places,
    weights: Weights<C::Buffer>,
    table: C::Buffer,
    scratch: Scratch<C::Buffer>,
    heads: Heads,
    context: usize,
}

/// Tokens of a pass.
pub(super) enum Tokens<'a> {
    /// These.
    Given(&'a [u32]),
    /// The one that the last pass found likeliest, as the device has it.
    Likeliest,
}

impl<C: Compute> PackedLlama<C> {
    pub(super) fn new(
        compute: C,
        config: LlamaConfig,
        layout: ParameterLayout,
        encoding: Encoding,
        places: Places,
        weights: Weights<C::Buffer>,
        heads: Heads,
        context: usize,
    ) -> Self {
        let rows = |width: usize| compute.reserve(MAX_ROWS * width);
        let scratch = Scratch {
            x: rows(config.hidden_size),
            normed: rows(config.hidden_size),
            qkv: rows(heads.columns()),
            queries: rows(heads.query * heads.dim),
            mixed: rows(heads.query * heads.dim),
            gated: rows(config.intermediate_size),
            logits: [compute.reserve(config.vocab_size), rows(config.vocab_size)],
            statistics: [compute.reserve(STATISTICS_WORDS), rows(STATISTICS_WORDS)],
            next: compute.upload(&[0]),
            no_targets: compute.upload(&[u32::MAX; MAX_ROWS]),
        };
        let angles = rotary_angles(&config, heads.capacity);
        let table = compute.upload(bytemuck::cast_slice(&angles));
        Self { compute, config, layout, encoding, places, weights, table, scratch, heads, context }
    }

    /// Shape and constants.
    pub fn config(&self) -> &LlamaConfig {
        &self.config
    }

    /// Order of its tensors.
    pub fn layout(&self) -> &ParameterLayout {
        &self.layout
    }

    /// How its matrices are held, where their width allows it.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// The device.
    pub fn compute(&self) -> &C {
        &self.compute
    }

    /// Longest sequence, tokens: what was asked for when it was loaded, at most the config's.
    pub fn context(&self) -> usize {
        self.context
    }

    /// The words of a buffer.
    pub(super) fn words(&self, slot: Slot) -> &C::Buffer {
        let Weights { embedding, layers, norm, head } = &self.weights;
        let biased = "a bias has a part only where the model has it";
        match slot {
            Slot::Embedding(band) => &embedding[band].words,
            Slot::Head(band) => &head.as_ref().expect("a head has parts only when untied")[band].words,
            Slot::Qkv(layer) => &layers[layer].qkv.words,
            Slot::QkvBias(layer) => layers[layer].qkv_bias.as_ref().expect(biased),
            Slot::Output(layer) => &layers[layer].output.words,
            Slot::OutputBias(layer) => layers[layer].output_bias.as_ref().expect(biased),
            Slot::GateUp(layer) => &layers[layer].gate_up.words,
            Slot::Down(layer) => &layers[layer].down.words,
            Slot::InputNorm(layer) => &layers[layer].input_norm,
            Slot::PostNorm(layer) => &layers[layer].post_norm,
            Slot::Norm => norm,
        }
    }

    /// The scales of a matrix's buffer.
    pub(super) fn scales(&self, slot: Slot) -> Option<&C::Buffer> {
        let Weights { embedding, layers, head, .. } = &self.weights;
        let matrix = match slot {
            Slot::Embedding(band) => &embedding[band],
            Slot::Head(band) => head.as_ref()?.get(band)?,
            Slot::Qkv(layer) => &layers[layer].qkv,
            Slot::Output(layer) => &layers[layer].output,
            Slot::GateUp(layer) => &layers[layer].gate_up,
            Slot::Down(layer) => &layers[layer].down,
            _ => return None,
        };
        Some(&matrix.scales)
    }

    /// Runs up to [`MAX_ROWS`] tokens at `position`. Keys and values are written; logits are computed only if
    /// `targets` is there, and the returned read gives their statistics.
    ///
    /// One token is one row; more are filled up to [`MAX_ROWS`] rows, so that two forms of each kernel serve all. What
    /// fills lies in the future of all real tokens and is overwritten.
    pub(super) fn pass(
        &self,
        tokens: &Tokens<'_>,
        position: usize,
        targets: Option<&[u32]>,
    ) -> Option<impl Future<Output = Result<Vec<u32>, ComputeError>> + use<C>> {
        let Self { compute, config, weights, scratch, heads, .. } = self;
        let filled;
        let (tokens, n) = match tokens {
            Tokens::Likeliest => (&scratch.next, 1),
            Tokens::Given(tokens) => {
                debug_assert!(!tokens.is_empty() && tokens.len() <= MAX_ROWS);
                let n = if tokens.len() == 1 { 1 } else { MAX_ROWS };
                let mut rows = tokens.to_vec();
                rows.resize(n, 0);
                filled = compute.upload(&rows);
                (&filled, n)
            }
        };
        let (hidden, eps) = (config.hidden_size, config.rms_norm_eps as f32);
        let to = |stride: usize, gated: bool, add: bool| Product {
            n,
            gated,
            add,
            place: Place { stride, column: 0 },
        };
        for (band, matrix) in weights.embedding.iter().enumerate() {
            compute.embed(matrix, band * self.places.band_rows, tokens, n, &scratch.x);
        }
        let attention = Attention { heads: *heads, position, n, window: config.sliding_window };
        for layer in &weights.layers {
            compute.norm(&scratch.x, &layer.input_norm, eps, n, hidden, &scratch.normed);
            let product = to(heads.columns(), false, false);
            compute.product(&layer.qkv, layer.qkv_bias.as_ref(), &scratch.normed, product, &scratch.qkv);
            compute.rotate(
                &scratch.qkv,
                &self.table,
                *heads,
                position,
                n,
                &scratch.queries,
                &layer.keys,
                &layer.values,
            );
            compute.attend(&scratch.queries, &layer.keys, &layer.values, attention, &scratch.mixed);
            let product = to(hidden, false, true);
            compute.product(&layer.output, layer.output_bias.as_ref(), &scratch.mixed, product, &scratch.x);
            compute.norm(&scratch.x, &layer.post_norm, eps, n, hidden, &scratch.normed);
            let product = to(config.intermediate_size, true, false);
            compute.product(&layer.gate_up, None, &scratch.normed, product, &scratch.gated);
            compute.product(&layer.down, None, &scratch.gated, to(hidden, false, true), &scratch.x);
        }
        let targets = targets?;
        compute.norm(&scratch.x, &weights.norm, eps, n, hidden, &scratch.normed);
        let logits = &scratch.logits[usize::from(n > 1)];
        let head = weights.head.as_ref().unwrap_or(&weights.embedding);
        for (band, matrix) in head.iter().enumerate() {
            let place = Place { stride: config.vocab_size, column: band * self.places.band_rows };
            let product = Product { n, gated: false, add: false, place };
            compute.product(matrix, None, &scratch.normed, product, logits);
        }
        let wanted;
        let targets = if targets.is_empty() {
            &scratch.no_targets
        } else {
            let mut rows = targets.to_vec();
            rows.resize(MAX_ROWS, u32::MAX);
            wanted = compute.upload(&rows);
            &wanted
        };
        let statistics = &scratch.statistics[usize::from(n > 1)];
        compute.statistics(logits, n, config.vocab_size, targets, &scratch.next, statistics);
        let read = compute.read(statistics);
        compute.flush();
        Some(read)
    }

    /// Logits `[rows, vocab]` of the last pass that computed some: of its one token, or of [`MAX_ROWS`].
    pub(super) async fn logits(&self, several: bool) -> Result<Vec<f32>, PackedError> {
        let words = self.compute.read(&self.scratch.logits[usize::from(several)]).await?;
        Ok(words.into_iter().map(f32::from_bits).collect())
    }
}
