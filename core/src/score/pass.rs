//! One pass of batches through the model and back, block by block.
//!
//! Forward without a graph, keeping each block's input; the loss and its gradient by chunks of
//! positions and bands of the vocabulary; then from the last block to the first, each visited once
//! for all batches of the pass. What stays on the device is one block with its sums, the inputs of
//! blocks, and one chunk of logits; or more, where it fits, to save time. The numbers don't depend
//! on what stays: every product and every sum is made of the same parts in the same order.

use super::sums::{SumKey, Sums, bands};
use super::tune::{FineTune, Tuner};
use super::weights::{Weights, block_tensor, head_tensor};
use super::{NonFinite, ScoreError};
use crate::config::LlamaConfig;
use crate::kernels::cross_entropy::{self, BandStatistics, NO_TARGET};
use crate::kernels::matmul::{add_product_nn, add_product_tn_in, product_nn, product_nt, product_tn_in};
use crate::kernels::sums::{
    Reduction, accumulate, accumulate_rows, add_column_squares, max_magnitude, sum_rows, take_rows,
};
use crate::layout::{Module, ParameterLayout};
use crate::llama::{
    ForwardError, GradientSink, InputProbe, Llama, PassShape, RotaryTable, SavedBlock, check_tokens, read_f32,
};
use burn::tensor::{DType, Device, Tensor};
use std::collections::BTreeMap;
use std::ops::Range;

/// Bytes of logits that exist at once, in f32. Fixed, because it decides in which parts the head's
/// products are made.
const LOGITS_BYTES: usize = 128 << 20;

/// What stays on the device and what is made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Residency {
    /// Keep every block's activations from the forward to the backward pass, instead of computing
    /// them again.
    pub keep_activations: bool,
    /// Visit the head band by band for all positions, computing logits twice, instead of holding
    /// the whole head and its sums while positions go by.
    pub stream_head: bool,
}

/// Sums of squares of what linear layers read, `[d_input]` by tensor of the layout, and the number
/// of tokens.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct InputSquares {
    /// By tensor of the layout: those of the blocks' linear layers.
    pub by_tensor: BTreeMap<usize, Vec<f32>>,
    /// Tokens that went by.
    pub tokens: u64,
}

impl InputSquares {
    /// Root mean square of what tensor `tensor` reads, `[d_input]`; `None` when it was not watched.
    pub fn rms(&self, tensor: usize) -> Option<Vec<f32>> {
        let squares = self.by_tensor.get(&tensor)?;
        Some(squares.iter().map(|&sum| (f64::from(sum) / self.tokens as f64).sqrt() as f32).collect())
    }
}

/// Runs passes over one model.
#[derive(Debug)]
pub struct Scorer {
    weights: Weights,
    config: LlamaConfig,
    layout: ParameterLayout,
    device: Device,
    rope: RotaryTable,
    residency: Residency,
    reductions: Vec<Reduction>,
    loss_scale: f32,
    /// `None`: inputs are not watched.
    inputs: Option<(BTreeMap<usize, Tensor<1>>, u64)>,
    /// Type of the operands of matrix products.
    dtype: DType,
    tuner: Option<Tuner>,
    /// What losses are divided by, instead of the number of targets of their batch.
    divisor: Option<u64>,
}

/// What a scorer collects.
#[derive(Debug, Clone, PartialEq)]
pub struct Collect {
    /// Sums over gradients; without any, there is no backward pass.
    pub reductions: Vec<Reduction>,
    /// Squares of what linear layers read.
    pub inputs: bool,
}

/// Rows of one batch of a pass.
struct Batch {
    ids: Vec<u32>,
    targets: Vec<u32>,
    num_targets: usize,
    shape: PassShape,
}

/// Tokens of a batch, each once, and where the rows of each position go.
struct Lookup {
    unique: Vec<u32>,
    slots: Vec<u32>,
}

impl Batch {
    fn lookup(&self) -> Lookup {
        let mut unique = self.ids.clone();
        unique.sort_unstable();
        unique.dedup();
        let slot = |id: &u32| unique.binary_search(id).expect("every token is in the list");
        let slots = self.ids.iter().map(|id| u32::try_from(slot(id)).expect("below the tokens")).collect();
        Lookup { unique, slots }
    }
}

/// Unique tokens of a band, as rows of the band.
fn inside(unique: &[u32], rows: &Range<usize>) -> (Range<usize>, Vec<u32>) {
    let start = unique.partition_point(|&id| (id as usize) < rows.start);
    let end = unique.partition_point(|&id| (id as usize) < rows.end);
    let first = u32::try_from(rows.start).expect("a vocabulary is below 2^24");
    (start..end, unique[start..end].iter().map(|id| id - first).collect())
}

/// Bounds from which finiteness follows: a gradient `dyᵀ·x` over `n` rows is at most
/// `n · max|dy| · max|x|`.
#[derive(Default)]
struct Watch {
    factors: Vec<(usize, usize, usize, Tensor<1>, Tensor<1>)>,
    vectors: Vec<(usize, usize, Tensor<1>)>,
}

/// Where the gradients of one block of one batch go.
struct BlockSink<'a> {
    layout: &'a ParameterLayout,
    layer: usize,
    batch: usize,
    reductions: &'a [Reduction],
    sums: &'a mut BTreeMap<SumKey, Tensor<2>>,
    watch: &'a mut Watch,
    dtype: DType,
}

impl BlockSink<'_> {
    fn add(&mut self, tensor: usize, gradient: &Tensor<2>) {
        for &reduction in self.reductions {
            let key = SumKey::main(reduction, tensor, 0);
            let sum = self.sums.remove(&key).expect("the sums of a block are taken before it is visited");
            self.sums.insert(key, accumulate(reduction, sum, gradient));
        }
    }
}

impl GradientSink for BlockSink<'_> {
    fn matrix(&mut self, module: Module, dy: &Tensor<2>, x: &Tensor<2>) {
        let tensor = block_tensor(self.layout, self.layer, module);
        if self.dtype == DType::F16 {
            // A bound in f32 says nothing about f16, so the gradient itself is looked at.
            let gradient = product_tn_in(dy, x, self.dtype);
            self.watch.vectors.push((self.batch, tensor, max_magnitude(&gradient)));
            return self.add(tensor, &gradient);
        }
        self.watch.factors.push((self.batch, tensor, dy.dims()[0], max_magnitude(dy), max_magnitude(x)));
        if let [reduction @ Reduction::Signed] = *self.reductions {
            let key = SumKey::main(reduction, tensor, 0);
            let sum = self.sums.remove(&key).expect("the sums of a block are taken before it is visited");
            self.sums.insert(key, add_product_tn_in(sum, dy, x, self.dtype));
        } else {
            self.add(tensor, &product_tn_in(dy, x, self.dtype));
        }
    }

    fn vector(&mut self, module: Module, gradient: Tensor<1>) {
        let tensor = block_tensor(self.layout, self.layer, module);
        let gradient: Tensor<2> = gradient.unsqueeze();
        self.watch.vectors.push((self.batch, tensor, max_magnitude(&gradient)));
        self.add(tensor, &gradient);
    }
}

/// Adds up the squares of what a block's linear layers read.
struct SquareProbe<'a> {
    squares: &'a mut BTreeMap<usize, Tensor<1>>,
    layout: &'a ParameterLayout,
    layer: usize,
}

impl InputProbe for Option<SquareProbe<'_>> {
    fn input(&mut self, modules: &[Module], x: &Tensor<2>) {
        let Some(probe) = self else { return };
        // Layers that read the same share the first one's sum.
        let tensor = block_tensor(probe.layout, probe.layer, modules[0]);
        let sum = probe.squares.remove(&tensor).unwrap_or_else(|| {
            let [_, width] = x.dims();
            Tensor::zeros([width], (&x.device(), DType::F32))
        });
        probe.squares.insert(tensor, add_column_squares(sum, x));
    }
}

/// What goes backwards through the blocks.
struct HeadResult {
    gradients: Vec<Tensor<2>>,
    losses_nats: Vec<f64>,
    /// For tied weights: by batch, the head's gradient of the rows that the batch looked up.
    pending: Vec<Vec<Tensor<2>>>,
}

impl Scorer {
    /// For sequences of `seq_len` tokens. `loss_scale` (a power of two) multiplies every gradient.
    pub fn new(
        weights: Weights,
        config: &LlamaConfig,
        device: &Device,
        seq_len: usize,
        residency: Residency,
        collect: &Collect,
        loss_scale: f32,
    ) -> Self {
        Self {
            weights,
            config: config.clone(),
            layout: ParameterLayout::new(config),
            device: device.clone(),
            rope: RotaryTable::new(config, seq_len, device),
            residency,
            reductions: collect.reductions.clone(),
            loss_scale,
            inputs: collect.inputs.then(|| (BTreeMap::new(), 0)),
            dtype: DType::F32,
            tuner: None,
            divisor: None,
        }
    }

    /// Takes gradients of each batch's summed loss over `targets`, instead of its mean: summed over
    /// batches with `targets` targets in all, they are the gradient of the token-weighted mean.
    #[must_use]
    pub fn with_divisor(mut self, targets: u64) -> Self {
        self.divisor = Some(targets);
        self
    }

    /// Multiplies matrices in `dtype`, F32, BF16 or F16 (with f32 around them); the weights are held in
    /// it too.
    #[must_use]
    pub fn with_dtype(mut self, dtype: DType) -> Self {
        self.dtype = dtype;
        self
    }

    /// Moves the weights after every pass, which takes one batch then, along sums made by
    /// [`Sums::along_steps`].
    ///
    /// # Panics
    /// When the weights are not resident.
    #[must_use]
    pub fn with_fine_tuning(mut self, settings: FineTune) -> Self {
        let Weights::Resident(model) = &self.weights else { panic!("fine-tuning needs resident weights") };
        self.tuner = Some(Tuner::new(settings, (**model).clone()));
        // Each step's gradient is formed as a sum of its own.
        self.reductions = vec![Reduction::Signed];
        self
    }

    /// Goes back to the weights that fine-tuning began with.
    pub fn restart_fine_tuning(&mut self) {
        if let (Some(tuner), Weights::Resident(model)) = (&mut self.tuner, &mut self.weights) {
            **model = tuner.restart();
        }
    }

    /// Moves the weights whose gradients are complete.
    fn tune(&mut self, sums: &mut Sums<'_>) {
        if let (Some(tuner), Weights::Resident(model)) = (&mut self.tuner, &mut self.weights) {
            for (key, gradient) in sums.take_complete() {
                tuner.update(model, key, gradient);
            }
        }
    }

    /// As [`Self::with_divisor`], from the next pass on.
    pub(crate) fn set_divisor(&mut self, targets: u64) {
        self.divisor = Some(targets);
    }

    /// What gradients are multiplied by from the next pass on, a power of two.
    pub(crate) fn set_loss_scale(&mut self, loss_scale: f32) {
        self.loss_scale = loss_scale;
    }

    /// The weights, where they are on the device.
    pub(crate) fn resident(&self) -> Option<&Llama> {
        match &self.weights {
            Weights::Resident(model) => Some(model),
            Weights::Streamed(_) => None,
        }
    }

    /// As [`Self::resident`], to edit them.
    pub(crate) fn resident_mut(&mut self) -> Option<&mut Llama> {
        match &mut self.weights {
            Weights::Resident(model) => Some(model),
            Weights::Streamed(_) => None,
        }
    }

    /// Where it computes.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The weights.
    pub fn into_weights(self) -> Weights {
        self.weights
    }

    /// Takes the squares of inputs that were collected so far, and begins anew.
    ///
    /// # Errors
    /// [`ScoreError::Forward`] when the device fails.
    pub async fn take_inputs(&mut self) -> Result<InputSquares, ScoreError> {
        let Some((squares, tokens)) = self.inputs.as_mut() else { return Ok(InputSquares::default()) };
        let (squares, tokens) = (std::mem::take(squares), std::mem::take(tokens));
        let mut by_tensor = BTreeMap::new();
        for (tensor, sum) in squares {
            let values = read_f32(sum).await?;
            let spec = &self.layout.tensors()[tensor];
            let layer = spec.layer.expect("a linear layer of a block");
            let readers: &[Module] = match spec.module {
                Module::QProj => &[Module::QProj, Module::KProj, Module::VProj],
                Module::GateProj => &[Module::GateProj, Module::UpProj],
                _ => std::slice::from_ref(&spec.module),
            };
            for &module in readers {
                by_tensor.insert(block_tensor(&self.layout, layer, module), values.clone());
            }
        }
        Ok(InputSquares { by_tensor, tokens })
    }

    /// Continues from squares that [`Self::take_inputs`] gave before.
    pub fn restore_inputs(&mut self, inputs: &InputSquares) {
        if let Some((squares, tokens)) = self.inputs.as_mut() {
            squares.clear();
            for (&tensor, values) in &inputs.by_tensor {
                let shared = matches!(
                    self.layout.tensors()[tensor].module,
                    Module::KProj | Module::VProj | Module::UpProj
                );
                if !shared {
                    squares.insert(tensor, Tensor::from_data(values.as_slice(), (&self.device, DType::F32)));
                }
            }
            *tokens = inputs.tokens;
        }
    }

    /// Runs `batches` forward and back, and adds their gradients to `sums`. Rows that are shorter than
    /// the longest of their batch are padded at the end: causal attention keeps padding out of every
    /// real token, and it has no target. Returns the batches' mean losses in nats.
    ///
    /// # Errors
    /// [`ScoreError`]; `sums` are then of no more use.
    pub async fn pass(&mut self, batches: &[&[&[u32]]], sums: &mut Sums<'_>) -> Result<Vec<f64>, ScoreError> {
        let batches: Vec<Batch> = batches.iter().map(|rows| self.prepare(rows)).collect::<Result<_, _>>()?;
        if let Some(tuner) = &mut self.tuner {
            tuner.begin();
        }
        let layers = self.config.num_hidden_layers;
        let backward = !self.reductions.is_empty();
        let mut streams: Vec<Tensor<2>> =
            batches.iter().map(|batch| self.weights.embed(&batch.ids)).collect::<Result<_, _>>()?;
        // By layer, then batch.
        let mut inputs: Vec<Vec<(Tensor<2>, Option<SavedBlock>)>> = Vec::with_capacity(layers);
        for layer in 0..layers {
            let next = if layer + 1 < layers { Some(layer + 1) } else { None };
            let block = self.weights.block(layer, next)?;
            let mut kept = Vec::with_capacity(batches.len());
            for (stream, batch) in streams.iter_mut().zip(&batches) {
                let mut probe = self.inputs.as_mut().map(|(squares, _)| SquareProbe {
                    squares,
                    layout: &self.layout,
                    layer,
                });
                let (y, saved) = block.forward_saving(stream, &batch.shape, &mut probe);
                let x = std::mem::replace(stream, y);
                if backward {
                    kept.push((x, self.residency.keep_activations.then_some(saved)));
                }
            }
            inputs.push(kept);
        }
        if let Some((_, tokens)) = self.inputs.as_mut() {
            *tokens += batches.iter().map(|batch| batch.ids.len() as u64).sum::<u64>();
        }
        if self.residency.stream_head || !backward {
            // The head needs the room; the last block is read again after it.
            self.weights.forget();
        }
        let mut watch = Watch::default();
        let head = self.head(streams, &batches, sums, &mut watch).await?;
        if !backward {
            return Ok(head.losses_nats);
        }
        let mut gradients = head.gradients;
        for layer in (0..layers).rev() {
            let block = self.weights.block(layer, layer.checked_sub(1))?;
            let mut taken = self.take_block(layer, sums)?;
            let kept = inputs.pop().expect("one entry a layer");
            for (index, ((x, saved), batch)) in kept.into_iter().zip(&batches).enumerate() {
                let saved = saved.unwrap_or_else(|| block.forward_saving(&x, &batch.shape, &mut ()).1);
                let mut sink = BlockSink {
                    layout: &self.layout,
                    layer,
                    batch: index,
                    reductions: &self.reductions,
                    sums: &mut taken,
                    watch: &mut watch,
                    dtype: self.dtype,
                };
                let dy = std::mem::replace(&mut gradients[index], Tensor::zeros([1, 1], &self.device));
                gradients[index] = block.backward(&x, saved, dy, &batch.shape, &mut sink);
            }
            for (key, sum) in taken {
                sums.put(key, sum, true).await?;
            }
            drop(block);
            self.tune(sums);
        }
        self.weights.forget();
        self.embedding(&gradients, &batches, head.pending, sums, &mut watch).await?;
        self.tune(sums);
        self.check(watch).await?;
        Ok(head.losses_nats)
    }

    fn prepare(&self, rows: &[&[u32]]) -> Result<Batch, ScoreError> {
        check_tokens(&self.config, rows)?;
        let seq = rows.iter().map(|row| row.len()).max().unwrap_or(0);
        if seq > self.rope.length() {
            return Err(ForwardError::TooLong { found: seq, limit: self.rope.length() }.into());
        }
        // Padding would count among the inputs that are watched.
        let watched = self.inputs.is_some();
        if rows.iter().any(|row| row.len() < 2 || (watched && row.len() != seq)) {
            return Err(ForwardError::Empty.into());
        }
        let pad = |row: &[u32], with: u32| std::iter::repeat_n(with, seq - row.len());
        Ok(Batch {
            ids: rows.iter().flat_map(|row| row.iter().copied().chain(pad(row, 0))).collect(),
            targets: rows
                .iter()
                .flat_map(|row| row[1..].iter().copied().chain(pad(&row[1..], NO_TARGET)))
                .collect(),
            num_targets: rows.iter().map(|row| row.len() - 1).sum(),
            shape: PassShape::new(&self.config, rows.len(), &self.rope, seq),
        })
    }

    fn take_block(
        &self,
        layer: usize,
        sums: &mut Sums<'_>,
    ) -> Result<BTreeMap<SumKey, Tensor<2>>, ScoreError> {
        let mut taken = BTreeMap::new();
        for tensor in self.layout.block(layer) {
            let spec = &self.layout.tensors()[tensor];
            let shape = match *spec.shape.as_slice() {
                [rows, cols] => [rows, cols],
                // A vector is one row.
                _ => [1, spec.shape.iter().product()],
            };
            for &reduction in &self.reductions {
                let key = SumKey::main(reduction, tensor, 0);
                taken.insert(key, sums.take(key, shape)?);
            }
        }
        Ok(taken)
    }

    /// Positions whose logits exist at once.
    fn chunk(&self) -> usize {
        (LOGITS_BYTES / (4 * self.config.vocab_size) / 64 * 64).clamp(64, 1 << 16)
    }

    /// Losses, and gradients of the blocks' output; sums of the head and of the last norm.
    async fn head(
        &mut self,
        streams: Vec<Tensor<2>>,
        batches: &[Batch],
        sums: &mut Sums<'_>,
        watch: &mut Watch,
    ) -> Result<HeadResult, ScoreError> {
        let norm = self.weights.norm();
        let hidden: Vec<Tensor<2>> = streams.iter().map(|x| norm.rows(x)).collect();
        let (losses_nats, d_hidden, pending) = if self.residency.stream_head {
            self.head_by_bands(&hidden, batches, sums, watch).await?
        } else {
            self.head_by_positions(&hidden, batches, sums, watch).await?
        };
        if self.reductions.is_empty() {
            return Ok(HeadResult { gradients: Vec::new(), losses_nats, pending });
        }
        let tensor = self.layout.index_of("model.norm.weight").expect("every layout has a last norm");
        let mut gradients = Vec::with_capacity(batches.len());
        let mut taken = BTreeMap::new();
        for &reduction in &self.reductions {
            let key = SumKey::main(reduction, tensor, 0);
            taken.insert(key, sums.take(key, [1, self.config.hidden_size])?);
        }
        for (index, (x, dy)) in streams.iter().zip(d_hidden).enumerate() {
            let (dx, gain) = norm.rows_backward(x, &dy, x.zeros_like());
            let gain: Tensor<2> = gain.unsqueeze();
            watch.vectors.push((index, tensor, max_magnitude(&gain)));
            for &reduction in &self.reductions {
                let key = SumKey::main(reduction, tensor, 0);
                let sum = taken.remove(&key).expect("taken above");
                taken.insert(key, accumulate(reduction, sum, &gain));
            }
            gradients.push(dx);
        }
        for (key, sum) in taken {
            sums.put(key, sum, true).await?;
        }
        Ok(HeadResult { gradients, losses_nats, pending })
    }

    /// Mean losses from each position's log-sum-exp and target logit, on the host in f64.
    async fn losses(
        &self,
        statistics: Vec<Vec<(Tensor<1>, Tensor<1>)>>,
        batches: &[Batch],
    ) -> Result<Vec<f64>, ScoreError> {
        let mut losses = Vec::with_capacity(batches.len());
        for (index, (chunks, batch)) in statistics.into_iter().zip(batches).enumerate() {
            let nll = chunks.into_iter().map(|(lse, target)| lse - target).collect();
            let nll = read_f32(Tensor::<1>::cat(nll, 0)).await?;
            let sum: f64 = nll
                .iter()
                .zip(&batch.targets)
                .filter(|(_, target)| **target != NO_TARGET)
                .map(|(nll, _)| f64::from(*nll))
                .sum();
            let loss = sum / batch.num_targets as f64;
            if !loss.is_finite() {
                return Err(ScoreError::NonFiniteLoss { batch: index, loss });
            }
            losses.push(loss);
        }
        Ok(losses)
    }

    fn scale(&self, batch: &Batch) -> f32 {
        let divisor = self.divisor.map_or(batch.num_targets as f64, |targets| targets as f64);
        (f64::from(self.loss_scale) / divisor) as f32
    }

    /// The head held whole: chunk by chunk of positions, all bands at each.
    async fn head_by_positions(
        &mut self,
        hidden: &[Tensor<2>],
        batches: &[Batch],
        sums: &mut Sums<'_>,
        watch: &mut Watch,
    ) -> Result<HeadParts, ScoreError> {
        let head = head_tensor(&self.layout);
        let band_rows = bands(&self.layout.tensors()[head]);
        let matrices: Vec<Tensor<2>> =
            (0..band_rows.len()).map(|band| self.weights.head_band(band)).collect::<Result<_, _>>()?;
        let backward = !self.reductions.is_empty();
        let mut band_sums = Vec::with_capacity(band_rows.len());
        for band in 0..band_rows.len() {
            band_sums.push(BandSums::take(self, sums, head, band)?);
        }
        let (mut statistics, mut d_hidden, mut pending) = (Vec::new(), Vec::new(), Vec::new());
        for (index, (hidden, batch)) in hidden.iter().zip(batches).enumerate() {
            let mut chunks = Vec::new();
            let mut d_chunks = Vec::new();
            for range in self.chunks(batch) {
                let x = hidden.clone().narrow(0, range.start, range.len());
                let targets = &batch.targets[range];
                let logits: Vec<Tensor<2>> = matrices.iter().map(|matrix| product_nt(&x, matrix)).collect();
                let parts = logits
                    .iter()
                    .zip(&band_rows)
                    .map(|(logits, rows)| cross_entropy::statistics(logits, targets, rows.start))
                    .collect();
                let (lse, target) = cross_entropy::log_sum_exp(parts);
                chunks.push((lse.clone(), target));
                if !backward {
                    continue;
                }
                let mut dx: Option<Tensor<2>> = None;
                for (band, logits) in logits.into_iter().enumerate() {
                    let dy = cross_entropy::gradient(
                        logits,
                        &lse,
                        targets,
                        band_rows[band].start,
                        self.scale(batch),
                    );
                    dx = Some(match dx {
                        Some(dx) => add_product_nn(dx, &dy, &matrices[band]),
                        None => product_nn(&dy, &matrices[band]),
                    });
                    band_sums[band].add(&dy, &x);
                }
                d_chunks.push(dx.expect("a head has a band"));
            }
            statistics.push(chunks);
            if backward {
                let lookup = self.config.tie_word_embeddings.then(|| batch.lookup());
                let rows = band_sums
                    .iter_mut()
                    .zip(&band_rows)
                    .filter_map(|(sums, rows)| sums.end_batch(lookup.as_ref(), rows))
                    .collect();
                pending.push(rows);
                self.watch_head(watch, index, head, hidden);
                d_hidden.push(Tensor::cat(d_chunks, 0));
            }
        }
        for band in band_sums {
            band.put(sums, !self.config.tie_word_embeddings).await?;
        }
        let losses = self.losses(statistics, batches).await?;
        Ok((losses, d_hidden, pending))
    }

    /// One band of the head at a time: all positions for their statistics, then all bands again
    /// for gradients.
    async fn head_by_bands(
        &mut self,
        hidden: &[Tensor<2>],
        batches: &[Batch],
        sums: &mut Sums<'_>,
        watch: &mut Watch,
    ) -> Result<HeadParts, ScoreError> {
        let head = head_tensor(&self.layout);
        let band_rows = bands(&self.layout.tensors()[head]);
        // By batch, then chunk, then band.
        let mut parts: Vec<Vec<Vec<BandStatistics>>> =
            batches.iter().map(|batch| self.chunks(batch).iter().map(|_| Vec::new()).collect()).collect();
        for (band, rows) in band_rows.iter().enumerate() {
            let matrix = self.weights.head_band(band)?;
            for ((hidden, batch), parts) in hidden.iter().zip(batches).zip(&mut parts) {
                for (range, parts) in self.chunks(batch).into_iter().zip(parts) {
                    let x = hidden.clone().narrow(0, range.start, range.len());
                    let logits = product_nt(&x, &matrix);
                    parts.push(cross_entropy::statistics(&logits, &batch.targets[range], rows.start));
                }
            }
        }
        let statistics: Vec<Vec<(Tensor<1>, Tensor<1>)>> = parts
            .into_iter()
            .map(|chunks| chunks.into_iter().map(cross_entropy::log_sum_exp).collect())
            .collect();
        let losses = self.losses(statistics.clone(), batches).await?;
        if self.reductions.is_empty() {
            return Ok((losses, Vec::new(), Vec::new()));
        }
        let mut d_chunks: Vec<Vec<Option<Tensor<2>>>> =
            batches.iter().map(|batch| self.chunks(batch).iter().map(|_| None).collect()).collect();
        let mut pending: Vec<Vec<Tensor<2>>> = batches.iter().map(|_| Vec::new()).collect();
        for (band, rows) in band_rows.iter().enumerate() {
            let matrix = self.weights.head_band(band)?;
            let mut band_sums = BandSums::take(self, sums, head, band)?;
            for (index, (hidden, batch)) in hidden.iter().zip(batches).enumerate() {
                for (c, range) in self.chunks(batch).into_iter().enumerate() {
                    let x = hidden.clone().narrow(0, range.start, range.len());
                    let logits = product_nt(&x, &matrix);
                    let (lse, _) = &statistics[index][c];
                    let targets = &batch.targets[range];
                    let dy = cross_entropy::gradient(logits, lse, targets, rows.start, self.scale(batch));
                    let dx = &mut d_chunks[index][c];
                    *dx = Some(match dx.take() {
                        Some(dx) => add_product_nn(dx, &dy, &matrix),
                        None => product_nn(&dy, &matrix),
                    });
                    band_sums.add(&dy, &x);
                }
                let lookup = self.config.tie_word_embeddings.then(|| batch.lookup());
                pending[index].extend(band_sums.end_batch(lookup.as_ref(), rows));
            }
            band_sums.put(sums, !self.config.tie_word_embeddings).await?;
        }
        for (index, hidden) in hidden.iter().enumerate() {
            self.watch_head(watch, index, head, hidden);
        }
        let d_hidden = d_chunks
            .into_iter()
            .map(|chunks| {
                Tensor::cat(chunks.into_iter().map(|dx| dx.expect("a head has a band")).collect(), 0)
            })
            .collect();
        Ok((losses, d_hidden, pending))
    }

    /// The head's `dy` is a softmax less a one-hot: at most the scale.
    fn watch_head(&self, watch: &mut Watch, batch: usize, head: usize, hidden: &Tensor<2>) {
        let bound = Tensor::<1>::ones([1], (&self.device, DType::F32)) * self.loss_scale;
        watch.factors.push((batch, head, 1, bound, max_magnitude(hidden)));
    }

    fn chunks(&self, batch: &Batch) -> Vec<Range<usize>> {
        let n = batch.ids.len();
        (0..n).step_by(self.chunk()).map(|start| start..n.min(start + self.chunk())).collect()
    }

    /// The embedding's gradients: rows that batches looked up.
    async fn embedding(
        &mut self,
        gradients: &[Tensor<2>],
        batches: &[Batch],
        pending: Vec<Vec<Tensor<2>>>,
        sums: &mut Sums<'_>,
        watch: &mut Watch,
    ) -> Result<(), ScoreError> {
        let mut rows_of_batches = Vec::with_capacity(batches.len());
        let mut pending = pending.into_iter();
        for (index, (dx, batch)) in gradients.iter().zip(batches).enumerate() {
            let lookup = batch.lookup();
            let mut rows = sum_rows(dx, &lookup.slots, lookup.unique.len());
            // Tied weights: the head's gradient of these rows waited for this one.
            if let Some(waiting) = pending.next().filter(|waiting| !waiting.is_empty()) {
                rows = rows + Tensor::cat(waiting, 0);
            }
            watch.vectors.push((index, 0, max_magnitude(&rows)));
            rows_of_batches.push((lookup.unique, rows));
        }
        let spec = &self.layout.tensors()[0];
        let hidden = self.config.hidden_size;
        // The head has added to the sums for all batches of the pass; rows of lookups are summed beside
        // them, or the order of additions would depend on how many batches a pass takes.
        let apart = self.config.tie_word_embeddings;
        for (band, band_rows) in bands(spec).into_iter().enumerate() {
            for &reduction in &self.reductions {
                let main = SumKey::main(reduction, 0, band);
                let key = if apart { main.lookup() } else { main };
                let mut sum = sums.take(key, [band_rows.len(), hidden])?;
                for (unique, rows) in &rows_of_batches {
                    let (within, ids) = inside(unique, &band_rows);
                    if !ids.is_empty() {
                        let rows = rows.clone().narrow(0, within.start, within.len());
                        sum = accumulate_rows(reduction, sum, &ids, &rows);
                    }
                }
                sums.put(key, sum, !apart).await?;
                if apart {
                    sums.complete(main)?;
                }
            }
        }
        Ok(())
    }

    /// Whether a weight's gradient is needed only as a part of its sum.
    fn direct(&self) -> bool {
        matches!(self.reductions.as_slice(), [Reduction::Signed]) && self.dtype != DType::F16
    }

    /// Reads the bounds back, once a pass, and names the first tensor that fails them.
    async fn check(&self, watch: Watch) -> Result<(), ScoreError> {
        let Watch { factors, vectors } = watch;
        let squares = self.reductions.contains(&Reduction::Square);
        let (mut names, mut values) = (Vec::new(), Vec::new());
        for (batch, tensor, n, dy, x) in factors {
            names.push((batch, tensor));
            values.push(dy * x * n as f64);
        }
        for (batch, tensor, max) in vectors {
            names.push((batch, tensor));
            values.push(max);
        }
        let bounds = read_f32(Tensor::<1>::cat(values, 0)).await?;
        for ((batch, tensor), bound) in names.into_iter().zip(bounds) {
            let worst = if squares { bound * bound } else { bound };
            if !worst.is_finite() {
                let tensor = self.layout.tensors()[tensor].name.clone();
                return Err(ScoreError::NonFiniteGradient(NonFinite { batch, tensor }));
            }
        }
        Ok(())
    }
}

/// Losses, gradients of the hidden states, and rows that wait.
type HeadParts = (Vec<f64>, Vec<Tensor<2>>, Vec<Vec<Tensor<2>>>);

/// Sums of one band of the head while positions go by.
struct BandSums {
    keys: Vec<SumKey>,
    sums: Vec<Tensor<2>>,
    /// The batch's gradient so far, when it is needed by itself.
    gradient: Option<Tensor<2>>,
    direct: bool,
    dtype: DType,
}

impl BandSums {
    fn take(scorer: &Scorer, sums: &mut Sums<'_>, tensor: usize, band: usize) -> Result<Self, ScoreError> {
        let rows = bands(&scorer.layout.tensors()[tensor])[band].len();
        let keys: Vec<SumKey> =
            scorer.reductions.iter().map(|&reduction| SumKey::main(reduction, tensor, band)).collect();
        let taken = keys
            .iter()
            .map(|key| sums.take(*key, [rows, scorer.config.hidden_size]))
            .collect::<Result<_, _>>()?;
        Ok(Self { keys, sums: taken, gradient: None, direct: scorer.direct(), dtype: scorer.dtype })
    }

    fn add(&mut self, dy: &Tensor<2>, x: &Tensor<2>) {
        if self.direct {
            let sum = self.sums.pop().expect("one sum");
            self.sums.push(add_product_tn_in(sum, dy, x, self.dtype));
        } else {
            self.gradient = Some(match self.gradient.take() {
                Some(gradient) => add_product_tn_in(gradient, dy, x, self.dtype),
                None => product_tn_in(dy, x, self.dtype),
            });
        }
    }

    /// Adds the batch's gradient, but for the rows that the batch looked up: those it returns.
    fn end_batch(&mut self, lookup: Option<&Lookup>, rows: &Range<usize>) -> Option<Tensor<2>> {
        let mut gradient = self.gradient.take()?;
        let mut waiting = None;
        if let Some(lookup) = lookup {
            let (_, ids) = inside(&lookup.unique, rows);
            if !ids.is_empty() {
                let (taken, rest) = take_rows(gradient, &ids);
                (waiting, gradient) = (Some(taken), rest);
            }
        }
        self.sums = std::mem::take(&mut self.sums)
            .into_iter()
            .zip(&self.keys)
            .map(|(sum, key)| accumulate(key.reduction, sum, &gradient))
            .collect();
        waiting
    }

    async fn put(self, sums: &mut Sums<'_>, last: bool) -> Result<(), ScoreError> {
        for (key, sum) in self.keys.into_iter().zip(self.sums) {
            sums.put(key, sum, last).await?;
        }
        Ok(())
    }
}
